"""Cancel a run that waits or runs, repeat one that has ended, wait for one as long as you like."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Retry, Scheduler, Task, current_run
from asyncsched.errors import MisuseError, RunCancelled, UnknownRun, UnknownTask
from asyncsched.events import RunEnded

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


async def minute() -> str:
    await asyncio.sleep(60)
    return "done"


def minutes(**options: Any) -> tuple[Registry, Task[[], Any]]:
    registry = Registry()
    return registry, registry.register(Task(minute, id="minute", **options))


async def test_a_running_run_is_told_by_a_cancelled_error_and_may_clean_up(virtual: Any) -> None:
    registry = Registry()
    cleaned: list[datetime] = []

    @registry.task
    async def careful() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(2)
            cleaned.append(sched.now())

    async with virtual(registry, at=T0) as sched:
        run = await careful.submit()
        await sched.advance("5s")
        assert await sched.scheduler.runs.cancel(run.id, "the customer left") is True
        with pytest.raises(RunCancelled, match="the customer left") as caught:
            await run
        assert caught.value.run_id == run.id
        assert (cleaned, run.finished_at, run.status) == ([at(7)], at(7), "CANCELLED")
        assert careful.history == [run]


async def test_a_run_that_waits_never_starts_and_everybody_hears(virtual: Any) -> None:
    registry, task = minutes()
    async with virtual(registry, at=T0) as sched:
        run = await task.using(delay="1h").submit()
        waiting = asyncio.ensure_future(_result(run))
        await sched.advance("10s")
        assert await sched.scheduler.runs.cancel(run.id) is True
        with pytest.raises(RunCancelled, match="cancelled by hand"):
            await waiting
        assert (run.attempt, run.started_at, run.finished_at) == (0, None, at(10))
        assert [event.run for event in sched.events if isinstance(event, RunEnded)] == [run]
        await sched.advance("2h")
        assert sched.runs() == []
        assert (task.status, list(task.history)) == ("CANCELLED", [run])


async def _result(run: Any) -> Any:
    return await run


async def test_a_run_that_has_ended_cannot_be_cancelled(virtual: Any) -> None:
    registry, task = minutes()
    async with virtual(registry, at=T0) as sched:
        run = await task.submit()
        await run
        assert await sched.scheduler.runs.cancel(run.id) is False
        assert run.status == "SUCCESS"
        again = await task.submit()
        assert await sched.scheduler.runs.cancel(again.id, "once") is True
        await sched.advance("1s")
        assert await sched.scheduler.runs.cancel(again.id, "once") is False
        with pytest.raises(UnknownRun, match="no run 'x'"):
            await sched.scheduler.runs.cancel("x")


async def test_a_run_between_two_attempts_is_cancelled_for_good(virtual: Any) -> None:
    registry = Registry()

    @registry.task(retry=Retry(attempts=5, wait="10s"))
    async def fails() -> None:
        raise OSError

    async with virtual(registry, at=T0) as sched:
        run = await fails.submit()
        await sched.advance("15s")
        assert (run.attempt, run.status) == (2, "PENDING")
        assert await sched.scheduler.runs.cancel(run.id) is True
        await sched.advance("1h")
        assert (run.attempt, run.status) == (2, "CANCELLED")


async def test_a_cancelled_run_is_not_tried_again_and_a_run_may_refuse(virtual: Any) -> None:
    registry = Registry()

    @registry.task(retry=3)
    async def refuses() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "all the same"
        return "never"

    task = registry.register(Task(minute, id="minute", retry=3))
    async with virtual(registry, at=T0) as sched:
        run, other = await task.submit(), await refuses.submit()
        await sched.advance("1s")
        for one in (run, other):
            assert await sched.scheduler.runs.cancel(one.id) is True
        assert await other == "all the same"
        await sched.advance("1h")
        assert (run.status, run.attempt, other.status) == ("CANCELLED", 1, "SUCCESS")


async def test_a_cancelled_run_makes_way_for_the_next_fire(virtual: Any) -> None:
    registry, _task = minutes(every="10s")
    async with virtual(registry, at=T0) as sched:
        await sched.advance("15s")
        (stuck,) = sched.runs()
        await sched.scheduler.runs.cancel(stuck.id)
        await sched.advance("5s")
        assert [run.started_at for run in sched.runs()] == [at(10), at(20)]
        assert sched.skips() == []


async def test_a_waiting_run_that_is_cancelled_makes_way_for_the_next_fire(virtual: Any) -> None:
    registry, task = minutes(every="10s")
    async with virtual(registry, at=T0) as sched:
        run = await task.using(delay="1h").submit()
        await sched.scheduler.runs.cancel(run.id)
        await sched.advance("10s")
        assert [run.started_at for run in sched.runs()] == [at(10)]


async def test_a_run_may_cancel_another_and_itself(virtual: Any) -> None:
    registry, task = minutes()

    @registry.task
    async def ends_it(run_id: str) -> None:
        await sched.scheduler.runs.cancel(run_id)

    @registry.task
    async def gives_up() -> None:
        await sched.scheduler.runs.cancel(current_run().id, "of its own will")
        await asyncio.sleep(60)

    async with virtual(registry, at=T0) as sched:
        run = await task.submit()
        await ends_it.submit(run.id)
        mine = await gives_up.submit()
        await sched.advance("1s")
        assert [run.status, mine.status, mine.reason] == ["CANCELLED", "CANCELLED", "of its own will"]


async def test_a_thread_ends_when_it_returns_its_run_at_once() -> None:
    registry, release, began = Registry(), threading.Event(), threading.Event()

    @registry.task
    def waits() -> None:
        began.set()
        release.wait(10)

    scheduler = Scheduler(registry=registry, tz="UTC")
    try:
        async with scheduler:
            run = await waits.submit()
            await asyncio.to_thread(began.wait, 10)
            assert await scheduler.runs.cancel(run.id) is True
            with pytest.raises(RunCancelled):
                await run
            assert not release.is_set()
    finally:
        release.set()


# --- once more


async def test_a_run_that_has_ended_is_repeated_with_its_arguments(virtual: Any) -> None:
    registry = Registry()
    broken = [True]

    @registry.task
    async def divide(left: int, *, by: int = 2) -> float:
        if broken:
            raise OSError
        return left / by

    async with virtual(registry, at=T0) as sched:
        run = await divide.submit(9, by=3)
        await sched.drain()
        assert run.status == "FAILED"
        broken.clear()
        again = await sched.scheduler.runs.retry(run.id)
        assert await again == 3
        assert (again.retry_of, again.id == run.id, again.args, again.kwargs) == (run.id, False, (9,), {"by": 3})
        assert (run.status, run.retry_of) == ("FAILED", None)
        third = await sched.scheduler.runs.retry(again.id)
        assert (await third, third.retry_of) == (3, again.id)


async def test_what_cannot_be_repeated_says_why(virtual: Any) -> None:
    registry, task = minutes()
    async with virtual(registry, at=T0) as sched:
        run = await task.submit()
        with pytest.raises(MisuseError, match=rf"run {run.id} of 'minute' is PENDING: cancel it first, or await it"):
            await sched.scheduler.runs.retry(run.id)
        await run
        await sched.scheduler.tasks.remove("minute")
        with pytest.raises(UnknownTask, match="belongs to task 'minute', which is not served here"):
            await sched.scheduler.runs.retry(run.id)
        with pytest.raises(UnknownRun, match="no run 'x'"):
            await sched.scheduler.runs.retry("x")


# --- wait


async def test_waiting_has_the_end_that_you_give_it_and_the_run_goes_on(virtual: Any) -> None:
    registry, task = minutes()
    async with virtual(registry, at=T0) as sched:
        runs = sched.scheduler.runs
        run = await task.submit()
        with pytest.raises(TimeoutError, match=rf"run {run.id} of 'minute' has not ended within 10s"):
            await runs.wait(run.id, within=timedelta(seconds=10))
        assert sched.now() == at(10)
        with pytest.raises(TimeoutError):
            await runs.wait(run.id, within="0s")
        assert await runs.wait(run.id, within="1h") == "done"
        assert sched.now() == at(60)
        assert await runs.wait(run.id, within="0s") == await runs.wait(run.id) == "done"


async def test_whoever_waits_may_be_cancelled_and_the_run_goes_on(virtual: Any) -> None:
    registry, task = minutes()
    async with virtual(registry, at=T0) as sched:
        run = await task.submit()
        waiting = asyncio.ensure_future(sched.scheduler.runs.wait(run.id, within="1h"))
        await sched.advance("1s")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await run == "done"


async def test_who_waits_in_vain_is_told_when_the_scheduler_stops(virtual: Any) -> None:
    registry, task = minutes()
    async with virtual(registry, at=T0) as sched:
        run = await task.using(delay="1h").submit()
        waiting = asyncio.ensure_future(sched.scheduler.runs.wait(run.id, within="2h"))
        await sched.advance("1s")
        await sched.scheduler.stop()
        with pytest.raises(MisuseError, match="stopped before this run ended"):
            await waiting
