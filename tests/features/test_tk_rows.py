"""The rows of features about intervals and stalls, timeouts, limits, and about time that is not waited for."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched.triggers import Every

T0 = datetime(2025, 1, 1, tzinfo=UTC)


def seconds_of(instants: list[datetime]) -> list[float]:
    return [(instant - T0).total_seconds() for instant in instants]


@pytest.mark.feature("TK3")
async def test_tk3_an_interval_first_fires_one_interval_after_the_start_or_at_once(virtual: Any) -> None:
    registry = Registry()

    @registry.every("5s")
    async def patient() -> None: ...

    @registry.every("5s", immediate=True)
    async def eager() -> None: ...

    async with virtual(registry, at="2025-01-01", tz="UTC") as sched:
        await sched.advance("10s")
        assert [f"{run.started_at:%H:%M:%S.%f}" for run in sched.runs("patient")] == [
            "00:00:05.000000",
            "00:00:10.000000",
        ]
        assert [f"{run.started_at:%H:%M:%S.%f}" for run in sched.runs("eager")] == [
            "00:00:00.000000",
            "00:00:05.000000",
            "00:00:10.000000",
        ]


@pytest.mark.feature("TK4")
@pytest.mark.parametrize(
    ("options", "at_22", "until_27"),
    [
        ({"missed": "all"}, [22, 22, 22, 22], [25]),
        ({"anchor": "completion"}, [22], [27]),
        ({"missed": "skip"}, [], [25]),
    ],
    ids=["all catches up", "completion moves the grid", "skip keeps it"],
)
async def test_tk4_what_follows_a_stall(
    virtual: Any, options: dict[str, Any], at_22: list[float], until_27: list[float]
) -> None:
    async def work() -> None: ...

    registry = Registry()
    registry.register(Task(work, every="5s", **options))
    async with virtual(registry, at=T0) as sched:
        await sched.jump("22s")
        assert seconds_of([run.started_at for run in sched.runs("work")]) == at_22
        await sched.advance("5s")
        assert seconds_of([run.started_at for run in sched.runs("work")]) == at_22 + until_27


@pytest.mark.feature("TK5")
async def test_tk5_the_start_of_an_interval_is_its_first_fire_and_a_replacement_has_its_own(virtual: Any) -> None:
    async def work() -> None: ...

    first, second = T0 + timedelta(seconds=3), T0 + timedelta(seconds=31, microseconds=7)
    registry = Registry()
    task = registry.register(Task(work, trigger=Every("5s", start=first)))
    async with virtual(registry, at=T0) as sched:
        assert task.next_fire == first
        await sched.advance("10s")
        assert seconds_of([run.scheduled_for for run in sched.runs("work")]) == [3, 8]
        new = await sched.scheduler.tasks.replace(Task(work, trigger=Every("5s", start=second)))
        assert new.next_fire == second
        await sched.advance("30s")
        assert seconds_of([run.scheduled_for for run in sched.runs("work")]) == [3, 8, 31.000007, 36.000007]


@pytest.mark.feature("TK6")
async def test_tk6_a_timeout_cancels_the_attempt(virtual: Any) -> None:
    registry = Registry()
    seen: list[float] = []

    @registry.task(timeout="100ms")
    async def slow() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append(asyncio.get_running_loop().time())
            raise

    async with virtual(registry, at=T0) as sched:
        run = await slow.submit()
        with pytest.raises(TimeoutError, match="100ms"):
            await run
        assert (run.status, seconds_of([run.finished_at]), seen) == ("FAILED", [0.1], [0.1])
        assert sched.now() == T0 + timedelta(milliseconds=100)


@pytest.mark.feature("TK10")
@pytest.mark.parametrize(
    ("of_scheduler", "of_task"),
    [({}, {"max_running": 3}), ({"queues": {"mail": 3}}, {"queue": "mail"}), ({"max_running": 3}, {})],
    ids=["a task", "a queue", "the scheduler"],
)
async def test_tk10_no_more_run_at_once_than_the_limit_says(
    virtual: Any, of_scheduler: dict[str, Any], of_task: dict[str, Any]
) -> None:
    registry = Registry()
    inside: set[object] = set()
    most = 0

    @registry.task(**of_task)
    async def work() -> None:
        nonlocal most
        me = object()
        inside.add(me)
        most = max(most, len(inside))
        await asyncio.sleep(1)
        inside.remove(me)

    async with virtual(Scheduler(registry=registry, **of_scheduler), at=T0) as sched:
        runs = await work.submit_many([()] * 20)
        await asyncio.gather(*map(ended, runs))
        assert (most, [run.status for run in runs]) == (3, ["SUCCESS"] * 20)
        assert sched.now() == T0 + timedelta(seconds=7)  # three at a time, without a pause


async def ended(run: Any) -> None:
    await run


@pytest.mark.feature("TK12")
@pytest.mark.feature("PA25")
@pytest.mark.full_speed
async def test_tk12_pa25_a_month_of_an_hourly_task_takes_less_than_a_second(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1h")
    async def hourly() -> None: ...

    async with virtual(registry, at="2025-01-01", tz="UTC") as sched:
        began = time.perf_counter()
        await sched.advance("30 days")
        took = time.perf_counter() - began
        assert len(sched.runs("hourly")) == 720
        assert {run.status for run in sched.runs("hourly")} == {"SUCCESS"}
    assert took < 1
