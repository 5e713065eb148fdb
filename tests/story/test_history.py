"""What ran, when, how long, how often it was tried, and what came of it: kept, bounded, and told as it happens."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, RunStatus, Task
from asyncsched.errors import UnknownRun
from asyncsched.events import FireSkipped, RunEnded, RunStarted, TaskAdded, TaskRemoved

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def counting(**options: Any) -> Registry:
    registry = Registry()
    count = 0

    @registry.every("1m", id="count", **options)
    async def work() -> int:
        nonlocal count
        count += 1
        await asyncio.sleep(2)
        if count % 2 == 0:
            raise ValueError(count)
        return count

    return registry


async def test_each_run_is_kept_with_all_that_is_known_of_it(virtual: Any) -> None:
    async with virtual(counting(), at=T0) as sched:
        await sched.advance("2m 2s")
        failed, success = await sched.scheduler.runs.list(task="count")  # newest first
        assert (success.status, success.result, success.error, success.attempt) == ("SUCCESS", 1, None, 1)
        assert (success.scheduled_for, success.started_at) == (T0 + timedelta(minutes=1),) * 2
        assert success.finished_at == T0 + timedelta(minutes=1, seconds=2)
        assert success.duration == timedelta(seconds=2)
        assert (failed.status, failed.result, repr(failed.error)) == ("FAILED", None, "ValueError(2)")
        assert "raise ValueError(count)" in failed.traceback
        assert await sched.scheduler.runs.get(failed.id) is failed


async def test_runs_are_listed_by_task_and_status(virtual: Any) -> None:
    registry = counting()

    @registry.every("1m", id="other")
    async def other() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("4m")  # the fourth run of count is under way
        runs = sched.scheduler.runs
        assert [run.status for run in await runs.list(task="count")] == ["RUNNING", "SUCCESS", "FAILED", "SUCCESS"]
        assert len(await runs.list()) == 8
        assert len(await runs.list(limit=3)) == 3
        assert [run.result for run in await runs.list(task="count", status="SUCCESS")] == [3, 1]
        unfinished = await runs.list(status=[RunStatus.PENDING, "RUNNING"])
        assert [run.task for run in unfinished] == ["count"]
        assert await runs.list(task="nobody") == []
        with pytest.raises(ValueError, match="DONE"):
            await runs.list(status="DONE")


@pytest.mark.full_speed
async def test_the_history_is_bounded(virtual: Any) -> None:
    async with virtual(counting(history_limit=100), at=T0) as sched:
        await sched.advance("1000m 2s")
        kept = await sched.scheduler.runs.list(task="count", limit=10_000)
        assert len(kept) == 100
        assert kept[-1].scheduled_for == T0 + timedelta(minutes=901)
        oldest = sched.runs("count")[0]
        with pytest.raises(UnknownRun, match="history_limit"):
            await sched.scheduler.runs.get(oldest.id)


async def test_no_history_at_all_if_that_is_wanted(virtual: Any) -> None:
    async with virtual(counting(history_limit=0), at=T0) as sched:
        await sched.advance("10m 30s")
        assert await sched.scheduler.runs.list() == []
        assert len(sched.runs()) == 10


async def test_skips_are_part_of_the_history(virtual: Any) -> None:
    async with virtual(counting(missed="skip"), at=T0) as sched:
        await sched.jump("3m 30s")
        listed = await sched.scheduler.runs.list(status="SKIPPED")
        assert [run.scheduled_for for run in listed] == [T0 + timedelta(minutes=minute) for minute in (3, 2, 1)]
        assert {run.reason for run in listed} == {"missed"}


async def test_replacing_a_task_keeps_its_history_and_arms_it_anew(virtual: Any) -> None:
    async def work() -> None: ...

    async with virtual(counting(), at=T0) as sched:
        await sched.advance("3m 30s")
        task = await sched.scheduler.tasks.replace(Task(work, every="1h", id="count"))
        assert task.next_fire == T0 + timedelta(hours=1, minutes=3, seconds=30)
        assert len(await sched.scheduler.runs.list(task="count")) == 3
        await sched.advance("1h")
        assert len(await sched.scheduler.runs.list(task="count")) == 4


async def test_it_outlives_a_restart(virtual: Any) -> None:
    async with virtual(counting(), at=T0) as sched:
        await sched.advance("3m 30s")
        before = await sched.scheduler.runs.list(task="count")
        await sched.crash()
        await sched.restart()
        assert await sched.scheduler.runs.list(task="count") == before


async def test_events_tell_it_in_order_as_it_happens(virtual: Any) -> None:
    heard: list[Any] = []

    async def work() -> None: ...

    async with virtual(counting(), at=T0) as sched:
        events = sched.scheduler.events
        listener = events.on({RunStarted, RunEnded}, heard.append, task="count")
        told = events.subscribe({TaskAdded, TaskRemoved})
        await sched.scheduler.tasks.add(Task(work, every="1m", id="other"))
        await sched.advance("1m 30s")
        assert [type(event) for event in heard] == [RunStarted, RunEnded]
        assert [event.at_us for event in heard] == [
            (T0 + timedelta(minutes=1, seconds=second)).timestamp() * 1e6 for second in (0, 2)
        ]
        listener.cancel()
        await sched.advance("5m")
        assert len(heard) == 2
        await sched.scheduler.tasks.remove("other")
        told.cancel()
        assert [(type(event), event.task) async for event in told] == [(TaskAdded, "other"), (TaskRemoved, "other")]


async def test_a_stream_is_read_while_things_happen(virtual: Any) -> None:
    async with virtual(counting(overlap="allow"), at=T0) as sched:
        seen = []
        async for event in sched.scheduler.events.stream({RunEnded, FireSkipped}):
            seen.append(event.run.status)
            if len(seen) == 3:
                break
        assert seen == ["SUCCESS", "FAILED", "SUCCESS"]
        assert sched.now() == T0 + timedelta(minutes=3, seconds=2)


async def test_each_end_is_a_line_in_the_log(virtual: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncsched")
    async with virtual(counting(), at=T0) as sched:
        await sched.advance("2m 2s")
    ends = [record for record in caplog.records if "task count" in record.getMessage()]
    lines = [f"{record.levelname} {record.getMessage()}" for record in ends]
    first, second = sched.runs("count")
    assert lines == [
        f"INFO task count: run {first.id} SUCCESS after 2.000 s",
        f"ERROR task count: run {second.id} FAILED after 2.000 s, attempt 1",
    ]
