"""aiocron: cron lines with seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import aiocron

from benchmarks.adapters._base import Adapter, Order


class Measured(Adapter):
    distribution = "aiocron"
    settings = "cron lines of six fields: all tasks of a second are due at its beginning"
    whole_seconds = True
    plain_functions = False
    most = 10_000
    add_us = 200

    async def add(self, orders: Sequence[Order]) -> list[aiocron.Cron]:
        tasks = [
            aiocron.crontab(self._line(order), func=self.work.function, args=self.arguments(order), tz=UTC)
            for order in orders
        ]
        await asyncio.sleep(0)  # each computes its first fire in a later step
        return tasks

    @staticmethod
    def _line(order: Order) -> str:
        if order.period == 1:
            return "* * * * * *"
        first = time.time() + order.period if order.first is None else order.first
        due = datetime.fromtimestamp(first, UTC)
        return f"{due.second} {due.minute} {due.hour} {due.day} {due.month} *"

    async def remove(self, handle: aiocron.Cron) -> None:
        handle.stop()
