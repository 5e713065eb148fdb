"""schedule, driven by a loop that sleeps until its next job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import schedule

from benchmarks.adapters._base import Adapter, Order, Work


class Measured(Adapter):
    distribution = "schedule"
    settings = "run_pending(), then asyncio.sleep(idle_seconds); create_task per fire; its intervals drift by design"
    anchored = False

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._loop = asyncio.get_running_loop()
        self._scheduler = schedule.Scheduler()
        self._running: set[asyncio.Task[Any]] = set()
        self._driver: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._driver = asyncio.create_task(self._drive())

    async def _drive(self) -> None:
        while True:
            self._scheduler.run_pending()
            idle_s = self._scheduler.idle_seconds
            await asyncio.sleep(0.01 if idle_s is None else max(0, idle_s))

    async def stop(self) -> None:
        if self._driver is not None:
            self._driver.cancel()

    async def add(self, orders: Sequence[Order]) -> list[schedule.Job]:
        jobs = []
        for order in orders:
            job = self._scheduler.every(order.period).seconds.do(self._fire, *self.arguments(order))
            if order.first is not None:
                job.next_run = datetime.fromtimestamp(order.first)  # noqa: DTZ006 - the library counts in naive local time
            jobs.append(job)
        return jobs

    def _fire(self, *arguments: int) -> None:
        if self.work.blocking:
            self._loop.run_in_executor(None, self.work.function, *arguments)
        else:
            task = self._loop.create_task(self.work.function(*arguments))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def remove(self, handle: schedule.Job) -> None:
        self._scheduler.cancel_job(handle)
