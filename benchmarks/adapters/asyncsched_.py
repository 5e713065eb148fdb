"""Ourselves, with all features on: run records, history, one subscriber to events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from asyncsched import Registry, Scheduler, Task
from asyncsched.events import RunEnded
from asyncsched.triggers import Every
from benchmarks.adapters._base import Adapter, Order, Work


class Measured(Adapter):
    graphs = True
    distribution = "asyncsched"
    settings = "memory store, default policies: run records, history, one subscriber to RunEnded"

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._registry = Registry()
        self._scheduler = Scheduler(registry=self._registry, tz="UTC")
        self._reader: asyncio.Task[None] | None = None

    async def add(self, orders: Sequence[Order]) -> list[str]:
        if not self._scheduler.running:
            return [self._registry.register(self._task(order)).id for order in orders]
        return [(await self._scheduler.tasks.add(self._task(order))).id for order in orders]

    async def add_graph(self, needs: Sequence[tuple[int, ...]]) -> Callable[[int], Awaitable[None]]:
        graph = f"graph-{len(self._registry)}"
        tasks = [
            self._registry.register(
                Task(self.work.function, id=f"{graph}-{number}", depends_on=[f"{graph}-{need}" for need in needed])
            )
            for number, needed in enumerate(needs)
        ]

        async def submit(runs: int) -> None:
            await tasks[0].submit_many([()] * runs)
            await self._scheduler.idle()

        return submit

    def values(self, orders: Sequence[Order]) -> list[Task[..., Any]]:
        return [self._task(order) for order in orders]

    def _task(self, order: Order) -> Task[..., Any]:
        period, name = timedelta(seconds=order.period), f"task-{order.number}"
        trigger = Every(period) if order.first is None else Every(period, start=order.first_at)
        return Task(self.work.function, trigger=trigger, id=name, args=self.arguments(order))

    async def start(self) -> None:
        self._reader = asyncio.create_task(self._read())
        await self._scheduler.start()

    async def _read(self) -> None:
        with self._scheduler.events.subscribe((RunEnded,)) as ended:
            async for _event in ended:
                pass

    async def stop(self) -> None:
        await self._scheduler.stop()
        assert self._reader is not None
        self._reader.cancel()

    async def remove(self, handle: str) -> None:
        await self._scheduler.tasks.remove(handle)
