"""Left and entered again, or killed and started again on the same store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Retry, Task
from asyncsched.errors import MisuseError
from asyncsched.events import TaskAdded, TaskChanged

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def hourly() -> tuple[Registry, Task[[], Any]]:
    registry = Registry()

    @registry.every("1h")
    async def work() -> None: ...

    return registry, work


@pytest.mark.parametrize("how", ["left", "killed"])
async def test_the_rhythm_stays(virtual: Any, how: str) -> None:
    registry, task = hourly()
    async with virtual(registry, at=T0) as sched:
        await sched.advance("20m")
        await (sched.scheduler.stop() if how == "left" else sched.crash())
        assert task.next_fire is None
        await sched.advance("10m")
        await sched.restart()
        assert task.next_fire == T0 + timedelta(hours=1)
        await sched.scheduler.tasks.run_now(task.id)
        assert task.next_fire == T0 + timedelta(hours=1)
        await sched.advance("3h")
        scheduled = [run.scheduled_for for run in sched.runs() if run.scheduled_for is not None]
        assert scheduled == [T0 + timedelta(hours=hour) for hour in (1, 2, 3)]
        assert len([event for event in sched.events if isinstance(event, TaskAdded)]) == 1


async def test_a_task_that_was_added_at_run_time_goes_on_where_it_stood_when_it_is_added_again(virtual: Any) -> None:
    async def work() -> None:
        await asyncio.sleep(30 * 60)

    def another(every: str = "1h") -> Task[[], Any]:
        return Task(work, id="work", every=every, retry=Retry(attempts=2))

    async with virtual(Registry(), at=T0) as sched:
        await sched.scheduler.tasks.add(another())
        await sched.advance("70m")
        await sched.crash()  # in the midst of its first run, which begins again and overlaps the second fire
        await sched.advance("40m")
        await sched.restart()
        task = await sched.scheduler.tasks.add(another())
        assert task.next_fire == T0 + timedelta(hours=2)
        await sched.advance("2h")
        assert [run.scheduled_for for run in sched.runs("work")] == [T0 + timedelta(hours=hour) for hour in (1, 3)]
        assert [(skip.scheduled_for, skip.reason) for skip in sched.skips("work")] == [
            (T0 + timedelta(hours=2), "overlap")
        ]
        await sched.scheduler.stop()
        await sched.restart()
        task = await sched.scheduler.tasks.add(another("2h"))
        assert task.next_fire is not None
        assert task.next_fire > T0 + timedelta(hours=5)
        told = [type(event) for event in sched.events if isinstance(event, TaskAdded | TaskChanged)]
        assert told == [TaskAdded, TaskChanged]


async def test_an_immediate_task_is_immediate_once(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1h", immediate=True)
    async def work() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("1m")
        await sched.restart()
        await sched.advance("1m")
        assert len(sched.runs()) == 1


async def test_nothing_is_fired_twice_and_nothing_is_forgotten(virtual: Any) -> None:
    registry, _task = hourly()
    async with virtual(registry, at=T0) as sched:
        for _ in range(10):
            await sched.advance("37m")
            await sched.crash()
            await sched.advance("53m")
            await sched.restart()
        await sched.advance("1s")
        instants = [run.scheduled_for for run in sched.runs()]
        assert len(instants) == len(set(instants))
        assert sum(run.stands_for for run in sched.runs()) == 15


async def test_a_killed_run_starts_again_and_the_attempt_is_not_counted(virtual: Any) -> None:
    starts: list[float] = []
    registry = Registry()

    @registry.task
    async def slow() -> str:
        starts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(60)
        return "done"

    async with virtual(registry, at=T0) as sched:
        run = await slow.submit()
        await sched.advance("10s")
        assert run.status == "RUNNING"
        await sched.crash()
        await sched.advance("10s")
        await sched.restart()
        assert await run == "done"
        assert (starts, run.attempt) == ([0, 20], 1)


async def test_a_retry_goes_on_at_the_next_attempt(virtual: Any) -> None:
    tried: list[float] = []
    registry = Registry()

    @registry.task(retry=Retry(attempts=4, wait="1s", factor=2, cap="60s"))
    async def fails() -> None:
        tried.append(asyncio.get_running_loop().time())
        raise OSError("no")

    async with virtual(registry, at=T0) as sched:
        run = await fails.submit()
        await sched.advance("2s")
        await sched.crash()
        await sched.advance("500ms")
        await sched.restart()
        with pytest.raises(OSError, match="no"):
            await run
        assert tried == [0, 1, 3, 7]
        assert (run.status, run.attempt) == ("FAILED", 4)


async def test_an_overlap_is_seen_across_a_restart(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1m")
    async def slow() -> None:
        await asyncio.sleep(90)

    async with virtual(registry, at=T0) as sched:
        await sched.advance("70s")
        await sched.crash()
        await sched.restart()
        await sched.advance("50s")  # begun anew at 70 s, it still runs at 120 s
        assert [skip.reason for skip in sched.skips()] == ["overlap"]
        assert len(sched.runs()) == 1


async def test_a_changed_trigger_is_armed_anew_and_told(virtual: Any) -> None:
    registry, task = hourly()
    async with virtual(registry, at=T0) as sched:
        await sched.advance("20m")
        await sched.scheduler.stop()
        registry.forget(task.id)
        changed = registry.register(Task(task.__wrapped__, every="30m", id=task.id))
        await sched.restart()
        assert changed.next_fire == T0 + timedelta(minutes=50)
        assert [event.task for event in sched.events if isinstance(event, TaskChanged)] == [task.id]


async def test_entering_twice_is_an_error_and_so_is_leaving_twice(virtual: Any) -> None:
    registry, _task = hourly()
    async with virtual(registry, at=T0) as sched:
        with pytest.raises(MisuseError, match="running already"):
            await sched.scheduler.start()
        await sched.scheduler.stop()
        with pytest.raises(MisuseError, match="not running"):
            await sched.scheduler.stop()


@pytest.mark.full_speed
async def test_fifty_times_in_and_out_leave_nothing_behind(virtual: Any) -> None:
    registry, _task = hourly()
    async with virtual(registry, at=T0) as sched:
        before = len(asyncio.all_tasks())
        for _ in range(50):
            await sched.restart()
            await sched.advance("1h")
        assert len(asyncio.all_tasks()) == before
        assert len(sched.runs()) == 50
