"""The rows of features about tasks as plain values: every, at, run_at, and which of them go together."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest

from asyncsched import Registry, Task
from asyncsched.errors import ConfigError, DuplicateTask

T0 = datetime(2025, 1, 1, 14, 0, tzinfo=UTC)


async def nothing() -> None: ...


@pytest.mark.feature("EA1")
@pytest.mark.parametrize("slow", [False, True], ids=["instant", "runs that take half the interval"])
async def test_ea1_an_interval_never_drifts(virtual: Any, slow: bool) -> None:
    async def work() -> None:
        await asyncio.sleep(0.5 if slow else 0)

    registry = Registry()
    registry.register(Task(work, every={"seconds": 1}, id="mapping"))
    registry.every("1s", id="text")(work)
    async with virtual(registry, at=T0) as sched:
        await sched.advance("100s")
        for task in ("mapping", "text"):
            started = [run.started_at for run in sched.runs(task)]
            assert started == [T0 + timedelta(seconds=second) for second in range(1, 101)]


@pytest.mark.feature("EA1")
@pytest.mark.parametrize("interval", [{"minutes": 0}, {"minutes": -5}, timedelta(0), timedelta(-5), "0s", "-5m"])
def test_ea1_zero_or_less_is_no_interval(interval: Any) -> None:
    with pytest.raises(ValueError, match=r"0|-5|duration"):
        Task(nothing, every=interval)


@pytest.mark.feature("EA2")
async def test_ea2_a_time_of_day_that_has_passed_is_tomorrows(virtual: Any) -> None:
    registry = Registry()
    task = registry.register(Task(nothing, at="14:30"))
    async with virtual(registry, at="2025-01-01 14:35", tz="UTC") as sched:
        await sched.advance("9h")
        assert sched.runs() == sched.skips() == []
        assert task.next_fire == datetime(2025, 1, 2, 14, 30, tzinfo=UTC)


@pytest.mark.feature("EA2")
async def test_ea2_a_known_task_that_was_down_at_its_time_runs_once_late(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, at="14:30"))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("20m")
        await sched.crash()
        await sched.advance("15m")
        await sched.restart()
        await sched.advance("1h")
        (run,) = sched.runs("nothing")
        assert (run.scheduled_for, run.started_at) == (T0 + timedelta(minutes=30), T0 + timedelta(minutes=35))


@pytest.mark.feature("EA2")
@pytest.mark.parametrize("text", ["25:00", "7pm", "14:60", "14", "noonish", ""])
def test_ea2_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"HH:MM"):
        Task(nothing, at=text)


@pytest.mark.feature("EA3")
async def test_ea3_run_at_fires_once(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, run_at=T0 + timedelta(minutes=1)))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("1 day")
        assert [run.started_at for run in sched.runs()] == [T0 + timedelta(minutes=1)]


@pytest.mark.feature("EA3")
async def test_ea3_a_run_at_in_the_past_runs_at_once_unless_it_is_past_its_grace(virtual: Any) -> None:
    past = T0 - timedelta(minutes=1)
    registry = Registry()
    registry.register(Task(nothing, run_at=past, id="late"))
    registry.register(Task(nothing, run_at=past, id="too-late", grace="10s"))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("1 day")
        (run,) = sched.runs()
        assert (run.task, run.scheduled_for, run.started_at) == ("late", past, T0)
        (skip,) = sched.skips()
        assert (skip.task, skip.scheduled_for, skip.status, skip.reason) == ("too-late", past, "SKIPPED", "missed")


@pytest.mark.feature("EA3")
async def test_ea3_a_run_at_that_fails_is_tried_again(virtual: Any) -> None:
    errors = [OSError("not yet")]

    async def flaky() -> str:
        if errors:
            raise errors.pop()
        return "done"

    registry = Registry()
    registry.register(Task(flaky, run_at=T0 + timedelta(minutes=1), retry=1))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("1 day")
        (run,) = sched.runs()
        assert (run.attempt, run.status, run.result) == (2, "SUCCESS", "done")


TRIGGERS: dict[str, Any] = {"every": "5m", "at": "14:30", "cron": "0 4 * * *", "run_at": T0, "trigger": "hourly"}


@pytest.mark.feature("EA4")
@pytest.mark.parametrize(("one", "other"), list(combinations(TRIGGERS, 2)))
def test_ea4_two_triggers_are_an_error_that_names_both(one: str, other: str) -> None:
    with pytest.raises(ConfigError, match=f"{one}= and {other}=: give one of them"):
        Task(nothing, **{one: TRIGGERS[one], other: TRIGGERS[other]})


@pytest.mark.feature("EA4")
async def test_ea4_one_trigger_or_none_will_do(virtual: Any) -> None:
    async def answer() -> int:
        return 42

    registry = Registry()
    for name, value in TRIGGERS.items():
        registry.register(Task(nothing, id=name, **{name: value}))
    task = registry.register(Task(answer))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("1 day")
        assert {run.task for run in sched.runs()} == set(TRIGGERS)
        assert await (await task.submit()) == 42
        assert len(sched.runs("answer")) == 1


@pytest.mark.feature("EA5")
async def test_ea5_an_id_is_given_once_and_replaced_on_purpose(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, every="1h", id="twin"))
    with pytest.raises(DuplicateTask, match="'twin'"):
        registry.register(Task(nothing, every="2h", id="twin"))
    async with virtual(registry, at=T0) as sched:
        with pytest.raises(DuplicateTask, match="'twin'"):
            await sched.scheduler.tasks.add(Task(nothing, every="2h", id="twin"))
        new = await sched.scheduler.tasks.replace(Task(nothing, every="2h", id="twin"))
        assert await sched.scheduler.tasks.list() == [new]
        await sched.advance("2h")
        assert [run.started_at for run in sched.runs("twin")] == [T0 + timedelta(hours=2)]


@pytest.mark.feature("EA6")
async def test_ea6_functions_and_coroutines_are_called_with_their_arguments(virtual: Any) -> None:
    def add(left: int, right: int) -> int:
        return left + right

    async def add_later(left: int, right: int) -> int:
        await asyncio.sleep(1)
        return left + right

    registry = Registry()
    registry.register(Task(add, every="1m", args=(10, 20)))
    registry.register(Task(add_later, every="1m", args=(10,), kwargs={"right": 20}))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("61s")
        for task in ("add", "add_later"):
            assert [(run.status, run.result) for run in sched.runs(task)] == [("SUCCESS", 30)]


QUIET = """
import asyncio
from asyncsched import Registry, Scheduler, Task

def add(left, right):
    return left + right

async def add_later(left, right):
    return left + right

async def main():
    registry = Registry()
    tasks = [registry.register(Task(f, every="1h", args=(10, 20))) for f in (add, add_later)]
    async with Scheduler(registry=registry, tz="UTC"):
        print([await (await task.submit()) for task in tasks])

asyncio.run(main(), debug=True)
"""


@pytest.mark.feature("EA6")
def test_ea6_nothing_is_warned_of() -> None:
    done = subprocess.run([sys.executable, "-X", "dev", "-W", "error", "-c", QUIET], capture_output=True, timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == (b"[30, 30]\n", b"", 0)
