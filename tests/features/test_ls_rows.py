"""The rows of features about intervals that follow their runs, and about tasks that never fire."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry
from asyncsched.triggers import Never

T0 = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.mark.feature("LS4")
@pytest.mark.parametrize(("immediate", "starts"), [(True, [0, 8, 16]), (False, [5, 13, 21])])
async def test_ls4_an_interval_may_run_from_the_end_of_the_last_run(
    virtual: Any, immediate: bool, starts: list[int]
) -> None:
    registry = Registry()

    @registry.every("5s", anchor="completion", immediate=immediate)
    async def three_seconds() -> None:
        await asyncio.sleep(3)

    async with virtual(registry, at=T0) as sched:
        await sched.advance("23s")
        assert [run.started_at for run in sched.runs()] == [T0 + timedelta(seconds=start) for start in starts]


@pytest.mark.feature("LS4")
async def test_ls4_also_when_the_run_fails_or_is_tried_again(virtual: Any) -> None:
    registry = Registry()

    @registry.every("5s", anchor="completion", retry=1)
    async def fails() -> None:
        await asyncio.sleep(1)
        raise OSError

    async with virtual(registry, at=T0) as sched:
        await sched.advance("20s")  # two attempts of a second each, five seconds between
        assert [run.started_at for run in sched.runs()] == [T0 + timedelta(seconds=start) for start in (6, 13, 20)]


@pytest.mark.feature("LS6")
async def test_ls6_a_task_that_never_fires_runs_when_asked(virtual: Any) -> None:
    registry = Registry()

    @registry.when(Never())
    async def by_hand() -> str:
        return "done"

    async with virtual(registry, at=T0) as sched:
        assert by_hand.next_fire is None
        await sched.advance("366 days")
        assert sched.runs() == []
        run = await sched.scheduler.tasks.run_now(by_hand.id)
        assert await run == "done"
        assert sched.runs() == [run]
        assert by_hand.next_fire is None
