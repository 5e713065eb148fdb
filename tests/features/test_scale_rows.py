"""PA15 where the tasks are in a database that others look at, too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from addresses import Place
from asyncsched import Registry, Scheduler, Task

TASKS = 5_000


@pytest.mark.feature("PA15")
@pytest.mark.full_speed
async def test_pa15_five_thousand_tasks_in_postgresql_are_all_listed_and_run(tmp_path: Path) -> None:
    ran: set[int] = set()
    registry = Registry()

    async def work(number: int) -> None:
        ran.add(number)

    for number in range(TASKS):
        registry.register(Task(work, every="1h", args=(number,), id=f"t{number}"))
    place = Place("postgres", tmp_path)
    async with place.scheduler(registry, tz="UTC") as scheduler:
        names = {f"t{number}" for number in range(TASKS)}
        assert {task.id for task in await scheduler.tasks.list()} == names
        async with Scheduler(place.url, registry=Registry(), queues=[], tz="UTC") as looking:
            stored = await looking.tasks.stored()
            assert {one.task for one in stored} == names
            assert len(stored) == TASKS
        await asyncio.gather(*(scheduler.tasks.run_now(f"t{number}") for number in range(TASKS)))
        await scheduler.idle()
        assert len(ran) == TASKS
