"""The limit: what the loop itself can do, one timer for each task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.adapters._base import Adapter, Order, Work


class _Timed:
    __slots__ = ("arguments", "due", "handle", "period")

    def __init__(self, arguments: tuple[int, ...], period: int, due: float) -> None:
        self.arguments = arguments
        self.period = period
        self.due = due
        self.handle: asyncio.TimerHandle | None = None


class Measured(Adapter):
    settings = "a TimerHandle per task, create_task per fire, run_in_executor for plain functions"
    add_us = 5

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._loop = asyncio.get_running_loop()
        self._running: set[asyncio.Task[Any]] = set()

    async def add(self, orders: Sequence[Order]) -> list[_Timed]:
        ahead = self._loop.time() - time.time()
        added = []
        for order in orders:
            due = self._loop.time() + order.period if order.first is None else order.first + ahead
            timed = _Timed(self.arguments(order), order.period, due)
            timed.handle = self._loop.call_at(due, self._fire, timed)
            added.append(timed)
        return added

    def _fire(self, timed: _Timed) -> None:
        timed.due += timed.period
        timed.handle = self._loop.call_at(timed.due, self._fire, timed)
        if self.work.blocking:
            self._loop.run_in_executor(None, self.work.function, *timed.arguments)
        else:
            task = self._loop.create_task(self.work.function(*timed.arguments))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def remove(self, handle: _Timed) -> None:
        assert handle.handle is not None
        handle.handle.cancel()
