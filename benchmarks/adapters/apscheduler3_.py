"""APScheduler 3: AsyncIOScheduler on its memory job store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC

from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from benchmarks.adapters._base import Adapter, Order, Work

logging.getLogger("apscheduler").setLevel(logging.ERROR)


class Measured(Adapter):
    distribution = "APScheduler"
    settings = "AsyncIOScheduler, memory, misfire_grace_time=None, max_instances=100, coalesce=True, logs only errors"
    add_us = 60

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        defaults = {"misfire_grace_time": None, "max_instances": 100, "coalesce": True}
        self._scheduler = AsyncIOScheduler(timezone=UTC, job_defaults=defaults)

    async def start(self) -> None:
        self._scheduler.start()

    async def stop(self) -> None:
        self._scheduler.shutdown(wait=False)

    async def add(self, orders: Sequence[Order]) -> list[Job]:
        return [
            self._scheduler.add_job(self.work.function, self._trigger(order), args=self.arguments(order))
            for order in orders
        ]

    @staticmethod
    def _trigger(order: Order) -> IntervalTrigger:
        if order.first is None:
            return IntervalTrigger(seconds=order.period, timezone=UTC)
        return IntervalTrigger(seconds=order.period, start_date=order.first_at, timezone=UTC)

    async def remove(self, handle: Job) -> None:
        handle.remove()
