"""Something raises: it is recorded, it may be tried again, and nobody else suffers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from asyncsched import Registry, Retry, Scheduler, Task, current_run
from asyncsched.events import CallbackFailed, RunEnded, RunRetrying, RunStarted, TaskBroken
from asyncsched.triggers import Trigger

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def healthy() -> Registry:
    """A registry with one task that must never miss a second, whatever stands beside it."""
    registry = Registry()

    @registry.every("1s", id="healthy")
    async def beat() -> None: ...

    return registry


def assert_healthy(sched: Any, count: int) -> None:
    assert [run.started_at for run in sched.runs("healthy")] == [T0 + timedelta(seconds=n + 1) for n in range(count)]
    assert {run.status for run in sched.runs("healthy")} == {"SUCCESS"}


class OwnEnd(BaseException):
    """Not even an Exception."""


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), OwnEnd(), StopIteration()])
@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_a_raising_function_fails_its_own_run(virtual: Any, error: BaseException, where: str) -> None:
    registry = healthy()

    async def on_loop() -> None:
        raise error

    def in_thread() -> None:
        raise error

    registry.register(Task(on_loop if where == "loop" else in_thread, every="5s", id="failing"))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("20s")
        assert [run.status for run in sched.runs("failing")] == ["FAILED"] * 4
        assert_healthy(sched, 20)
        first = sched.runs("failing")[0]
        # Neither a coroutine nor a future can raise StopIteration: Python itself turns it into something else.
        assert isinstance(first.error, RuntimeError if isinstance(error, StopIteration) else type(error))


async def test_the_traceback_is_kept_and_logged(virtual: Any, caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()

    @registry.task
    async def divide(by: int) -> float:
        return 1 / by

    async with virtual(registry, at=T0) as sched:
        run = await divide.submit(0)
        with pytest.raises(ZeroDivisionError):
            await run
        assert "return 1 / by" in run.traceback
        (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert divide.id in record.getMessage()
        assert record.exc_info[1] is run.error
        (event,) = [event for event in sched.events if isinstance(event, RunEnded)]
        assert event.run.error is run.error


@dataclass(frozen=True)
class Broken(Trigger):
    """Right for three seconds, then it raises, or goes back in time."""

    backwards: bool = False

    def next_after(self, moment: datetime) -> datetime | None:
        if moment < T0 + timedelta(seconds=3):
            return moment + timedelta(seconds=1)
        if self.backwards:
            return T0
        raise ZeroDivisionError("in the trigger")


@pytest.mark.parametrize("backwards", [False, True])
async def test_a_raising_trigger_ends_its_own_task(virtual: Any, backwards: bool) -> None:
    registry = healthy()

    async def work() -> None: ...

    registry.register(Task(work, trigger=Broken(backwards), id="broken"))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("20s")
        assert_healthy(sched, 20)
        (event,) = [event for event in sched.events if isinstance(event, TaskBroken)]
        assert event.task == "broken"
        await sched.scheduler.tasks.replace(Task(work, every="1s", id="broken"))
        await sched.advance("2s")
        assert [run.started_at for run in sched.runs("broken")][-2:] == [T0 + timedelta(seconds=s) for s in (21, 22)]


async def test_a_trigger_that_is_broken_from_the_start_hinders_nobody(virtual: Any) -> None:
    @dataclass(frozen=True)
    class Stillborn(Trigger):
        def next_after(self, moment: datetime) -> datetime | None:
            raise ZeroDivisionError

    registry = healthy()
    registry.register(Task(lambda: None, trigger=Stillborn(), id="stillborn"))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("5s")
        assert_healthy(sched, 5)
        assert [event.task for event in sched.events if isinstance(event, TaskBroken)] == ["stillborn"]


async def test_a_raising_callback_is_told_and_the_others_are_called(virtual: Any) -> None:
    heard = []

    def bad(event: Any) -> None:
        raise RuntimeError("in the callback")

    async with virtual(healthy(), at=T0) as sched:
        sched.scheduler.events.on({RunEnded}, bad)
        sched.scheduler.events.on({RunEnded}, heard.append)
        await sched.advance("5s")
        assert_healthy(sched, 5)
        assert len(heard) == 5
        assert [repr(event.error) for event in sched.events if isinstance(event, CallbackFailed)] == [
            "RuntimeError('in the callback')"
        ] * 5


async def test_a_subscriber_that_never_reads_loses_events_and_slows_nobody(virtual: Any) -> None:
    async with virtual(healthy(), at=T0) as sched:
        with sched.scheduler.events.subscribe({RunStarted}, size=3) as subscription:
            await sched.advance("10s")
            assert_healthy(sched, 10)
            assert subscription.dropped == 7
            first = await anext(subscription)
            assert first.run is sched.runs("healthy")[0]


def failing_at(instants: list[float], until: int = 10**6) -> Callable[[], Any]:
    async def fail() -> str:
        instants.append(asyncio.get_running_loop().time())
        if current_run().attempt < until:
            raise OSError("try again")
        return "done"

    return fail


async def test_retries_wait_longer_each_time_up_to_the_cap(virtual: Any) -> None:
    tried: list[float] = []
    registry = Registry()
    policy = Retry(attempts=6, wait="1s", factor=2, cap="4s")
    task = registry.register(Task(failing_at(tried), id="flaky", retry=policy))
    async with virtual(registry, at=T0) as sched:
        run = await task.submit()
        with pytest.raises(OSError, match="try again"):
            await run
        assert [later - earlier for earlier, later in pairwise(tried)] == [1, 2, 4, 4, 4]
        assert (run.status, run.attempt) == ("FAILED", 6)
        retrying = [event for event in sched.events if isinstance(event, RunRetrying)]
        assert len(retrying) == 5
        assert [event.run for event in sched.events if isinstance(event, RunEnded)] == [run]


async def test_a_run_that_succeeds_at_last_is_a_success(virtual: Any) -> None:
    tried: list[float] = []
    registry = Registry()
    task = registry.register(Task(failing_at(tried, until=3), id="flaky", retry=Retry(attempts=5, wait="10s")))
    async with virtual(registry, at=T0) as sched:
        run = await task.submit()
        assert await run == "done"
        assert (run.attempt, run.error, tried) == (3, None, [0, 10, 20])
        assert len(sched.runs()) == 1


async def test_a_number_is_that_many_more_tries_at_once(virtual: Any) -> None:
    tried: list[float] = []
    registry = Registry()
    task = registry.register(Task(failing_at(tried), id="flaky", retry=3))
    async with virtual(registry, at=T0):
        run = await task.submit()
        with pytest.raises(OSError, match="try again"):
            await run
        assert tried == [0, 0, 0, 0]


async def test_only_what_is_named_is_tried_again(virtual: Any) -> None:
    tried: list[float] = []
    registry = Registry()
    policy = Retry(attempts=5, on=(ValueError, TimeoutError))
    task = registry.register(Task(failing_at(tried), id="flaky", retry=policy))
    async with virtual(registry, at=T0):
        run = await task.submit()
        with pytest.raises(OSError, match="try again"):
            await run
        assert len(tried) == 1


async def test_a_fire_during_a_retrys_wait_is_an_overlap(virtual: Any) -> None:
    registry = Registry()
    tried: list[float] = []
    registry.register(Task(failing_at(tried), every="10s", id="flaky", retry=Retry(attempts=2, wait="15s")))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("30s")
        assert tried == [10, 25, 30]
        (skip,) = sched.skips()
        assert (skip.reason, skip.scheduled_for) == ("overlap", T0 + timedelta(seconds=20))


async def test_a_timeout_cancels_the_attempt_at_its_exact_instant(virtual: Any) -> None:
    seen: list[float] = []
    registry = Registry()

    @registry.task(timeout="100ms", retry=Retry(attempts=2, wait="1s"))
    async def hangs() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append(asyncio.get_running_loop().time())
            raise

    async with virtual(registry, at=T0):
        run = await hangs.submit()
        with pytest.raises(TimeoutError, match="attempt 2 took longer than timeout='100ms'"):
            await run
        assert seen == [0.1, 1.2]
        assert (run.status, run.attempt, run.duration) == ("FAILED", 2, timedelta(milliseconds=100))


async def test_a_stuck_run_holds_its_task_no_longer_than_its_timeout(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1m", timeout="70s")
    async def stuck() -> None:
        await asyncio.Event().wait()

    async with virtual(registry, at=T0) as sched:
        await sched.advance("5m")
        assert [run.started_at for run in sched.runs()] == [T0 + timedelta(minutes=minute) for minute in (1, 3, 5)]


async def test_a_function_that_swallows_its_timeout_has_ended_all_the_same(virtual: Any) -> None:
    registry = Registry()

    @registry.task(timeout="1s")
    async def stubborn() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return "what there was"
        return "all of it"

    async with virtual(registry, at=T0):
        assert await (await stubborn.submit()) == "what there was"


async def test_a_thread_that_runs_out_of_time_is_left_to_itself() -> None:
    registry, release, returned = Registry(), threading.Event(), list[bool]()

    @registry.task(timeout="50ms")
    def waits() -> None:
        returned.append(release.wait(60))

    async with Scheduler(registry=registry, tz="UTC"):
        run = await waits.submit()
        with pytest.raises(TimeoutError):
            await run
        assert returned == []
        release.set()
