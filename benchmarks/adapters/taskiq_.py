"""taskiq's scheduler with its in-memory broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

from taskiq import InMemoryBroker, ScheduleSource, TaskiqScheduler
from taskiq.cli.scheduler.run import SchedulerLoop
from taskiq.scheduler.scheduled_task import ScheduledTask

from benchmarks.adapters._base import Adapter, Order, Work

logging.getLogger("taskiq").setLevel(logging.ERROR)


class _Source(ScheduleSource):
    def __init__(self) -> None:
        self.schedules: dict[str, ScheduledTask] = {}

    async def get_schedules(self) -> list[ScheduledTask]:
        return list(self.schedules.values())


class Measured(Adapter):
    distribution = "taskiq"
    settings = (
        "InMemoryBroker(max_async_tasks=100000, cast_types=False), a schedule source that is a dict, looked through "
        "once a second (its finest), logs only errors"
    )
    whole_seconds = True

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._broker = InMemoryBroker(max_async_tasks=100_000, cast_types=False, sync_tasks_pool_size=8)
        self._broker.register_task(work.function, task_name="work")
        self._source = _Source()
        self._scheduler = TaskiqScheduler(self._broker, [self._source])
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._broker.startup()
        second, minute = timedelta(seconds=1), timedelta(minutes=1)
        loop = SchedulerLoop(self._scheduler)
        self._serving = asyncio.create_task(loop.run(update_interval=minute, loop_interval=second))

    async def stop(self) -> None:
        if self._serving is not None:
            self._serving.cancel()

    async def add(self, orders: Sequence[Order]) -> list[str]:
        added = []
        for order in orders:
            task = self._task(order)
            self._source.schedules[task.schedule_id] = task
            added.append(task.schedule_id)
        return added

    def _task(self, order: Order) -> ScheduledTask:
        arguments = list(self.arguments(order))
        if order.period == 1 or order.first is None:
            return ScheduledTask(task_name="work", labels={}, args=arguments, kwargs={}, interval=order.period)
        return ScheduledTask(task_name="work", labels={}, args=arguments, kwargs={}, time=order.first_at)

    async def remove(self, handle: str) -> None:
        del self._source.schedules[handle]
