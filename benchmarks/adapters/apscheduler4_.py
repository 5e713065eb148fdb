"""APScheduler 4, whose pins clash with 3: it is measured in an environment of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from apscheduler import AsyncScheduler
from apscheduler.triggers.interval import IntervalTrigger

from benchmarks.adapters._base import Adapter, Order, Work

logging.getLogger("apscheduler").setLevel(logging.ERROR)


class Measured(Adapter):
    distribution = "APScheduler"
    settings = (
        "MemoryDataStore, LocalEventBroker, max_concurrent_jobs=100000, max_running_jobs=None, "
        "misfire_grace_time=None, logs only errors"
    )
    most = 10_000
    add_us = 100

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._scheduler = AsyncScheduler(max_concurrent_jobs=100_000, logger=logging.getLogger("apscheduler"))
        self._entered = False

    async def _enter(self) -> None:
        if not self._entered:
            self._entered = True
            await self._scheduler.__aenter__()
            await self._scheduler.configure_task(
                "work",
                func=self.work.function,
                job_executor="threadpool" if self.work.blocking else "async",
                max_running_jobs=None,
                misfire_grace_time=None,
            )

    async def start(self) -> None:
        await self._enter()
        await self._scheduler.start_in_background()

    async def stop(self) -> None:
        await self._scheduler.__aexit__(None, None, None)

    async def add(self, orders: Sequence[Order]) -> list[str]:
        await self._enter()
        return [
            await self._scheduler.add_schedule("work", self._trigger(order), args=self.arguments(order))
            for order in orders
        ]

    @staticmethod
    def _trigger(order: Order) -> IntervalTrigger:
        if order.first is None:
            return IntervalTrigger(seconds=order.period)
        return IntervalTrigger(seconds=order.period, start_time=order.first_at)

    async def remove(self, handle: str) -> None:
        await self._scheduler.remove_schedule(handle)
