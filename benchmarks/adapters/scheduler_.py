"""scheduler: one asyncio task for each job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, timedelta

from scheduler.asyncio import Scheduler
from scheduler.asyncio.job import Job

from benchmarks.adapters._base import Adapter, Order, Work


class Measured(Adapter):
    distribution = "scheduler"
    settings = "scheduler.asyncio.Scheduler.cyclic, one asyncio task per job"
    plain_functions = False
    add_us = 80

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._scheduler = Scheduler(tzinfo=UTC)

    async def add(self, orders: Sequence[Order]) -> list[Job]:
        jobs = []
        for order in orders:
            period, arguments = timedelta(seconds=order.period), self.arguments(order)
            if order.first is None:
                jobs.append(self._scheduler.cyclic(period, self.work.function, args=arguments))
            else:
                start = order.first_at - period
                jobs.append(self._scheduler.cyclic(period, self.work.function, args=arguments, start=start))
        await asyncio.sleep(0)  # the jobs' tasks take their first step, which is a part of adding them
        return jobs

    async def stop(self) -> None:
        self._scheduler.delete_jobs()

    async def remove(self, handle: Job) -> None:
        self._scheduler.delete_job(handle)
