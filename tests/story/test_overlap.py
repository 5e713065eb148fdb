"""A task fires while its run of before has not ended."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def slow_task(seconds: float, **options: Any) -> tuple[Registry, list[int]]:
    """A task every second whose runs take longer, and how many were running after each start."""
    registry = Registry()
    running: list[int] = []
    now = 0

    @registry.every("1s", id="slow", **options)
    async def slow() -> None:
        nonlocal now
        now += 1
        running.append(now)
        await asyncio.sleep(seconds)
        now -= 1

    return registry, running


async def test_by_default_the_fire_is_skipped_and_the_skip_is_recorded(virtual: Any) -> None:
    registry, running = slow_task(2.5)
    async with virtual(registry, at=T0) as sched:
        await sched.advance("10s")
        assert [(run.started_at - T0).seconds for run in sched.runs()] == [1, 4, 7, 10]
        assert [(skip.scheduled_for - T0).seconds for skip in sched.skips()] == [2, 3, 5, 6, 8, 9]
        assert {(skip.status, skip.reason) for skip in sched.skips()} == {("SKIPPED", "overlap")}
        assert max(running) == 1


async def test_allow_lets_them_run_together(virtual: Any) -> None:
    registry, running = slow_task(2.5, overlap="allow")
    async with virtual(registry, at=T0) as sched:
        await sched.advance("10s")
        assert len(sched.runs()) == 10
        assert sched.skips() == []
        assert max(running) == 3


async def test_a_run_that_ends_when_the_next_is_due_does_not_hinder_it(virtual: Any) -> None:
    registry, running = slow_task(0.999999)
    async with virtual(registry, at=T0) as sched:
        await sched.advance("10s")
        assert (len(sched.runs()), sched.skips(), max(running)) == (10, [], 1)


async def test_different_tasks_never_hinder_each_other(virtual: Any) -> None:
    registry, _running = slow_task(1000)

    @registry.every("1s")
    async def quick() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("100s")
        assert len(sched.runs("quick")) == 100
        assert len(sched.runs("slow")) == 1
        assert len(sched.skips("slow")) == 99


async def test_a_submitted_run_counts_too_but_is_never_skipped(virtual: Any) -> None:
    registry, running = slow_task(1.5)
    async with virtual(registry, at=T0) as sched:
        await sched.advance("500ms")
        run = await sched.scheduler.tasks.run_now("slow")
        await sched.advance("700ms")  # it still runs when the task fires
        assert [skip.scheduled_for for skip in sched.skips()] == [T0 + timedelta(seconds=1)]
        again = await sched.scheduler.tasks.run_now("slow")
        await again
        assert run.status == again.status == "SUCCESS"
        assert max(running) == 2


async def test_a_thread_counts_until_it_returns(virtual: Any) -> None:
    registry = Registry()
    inside = most = 0

    @registry.every("1s", overlap="allow")
    def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.001)
        inside -= 1

    async with virtual(registry, at=T0) as sched:
        await sched.advance("20s")
        assert len(sched.runs()) == 20
        assert most == 1  # virtual time waits for threads


@pytest.mark.parametrize("wrong", ["queue", "Skip", None, True])
def test_what_is_no_overlap_policy_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"overlap=.*one of 'skip', 'allow'"):
        slow_task(1, overlap=wrong)
