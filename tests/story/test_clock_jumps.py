"""Somebody sets the clock, or the machine sleeps: nothing is lost, nothing is doubled, and it is told."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Retry, Task
from asyncsched.events import ClockJumped

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def daily_and_often() -> Registry:
    registry = Registry()

    async def work() -> None: ...

    registry.register(Task(work, at="12:30", id="daily"))
    registry.register(Task(work, every="10m", id="often"))
    return registry


def jumps(sched: Any) -> list[timedelta]:
    return [event.by for event in sched.events if isinstance(event, ClockJumped)]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    return [record.getMessage() for record in warnings if "clock jumped" in record.getMessage()]


async def test_set_forward_over_a_fire_it_runs_late_and_once(virtual: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with virtual(daily_and_often(), at=NOON) as sched:
        await sched.jump("2h")
        assert jumps(sched) == [timedelta(hours=2)]
        assert told(caplog) == ["the clock jumped by 2:00:00, forward: it was set, or the machine slept"]
        assert sched.fires("daily") == ["2026-06-01T12:30+00:00"]
        (often,) = sched.runs("often")
        assert (often.stands_for, sched.fires("often")) == (12, ["2026-06-01T14:00+00:00"])
        await sched.advance("1 day")
        assert sched.fires("daily")[1:] == ["2026-06-02T12:30+00:00"]
        assert len(jumps(sched)) == len(told(caplog)) == 1


async def test_set_back_over_a_fire_it_does_not_run_again(virtual: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with virtual(daily_and_often(), at=NOON) as sched:
        await sched.advance("45m")
        await sched.jump("-30m")
        assert jumps(sched) == [timedelta(minutes=-30)]
        assert told(caplog) == ["the clock jumped by -1 day, 23:30:00, back: it was set"]
        await sched.advance("45m")
        assert sched.fires("daily") == ["2026-06-01T12:30+00:00"]
        assert sched.fires("often") == [
            *(f"2026-06-01T12:{minute}+00:00" for minute in (10, 20, 30, 40, 50)),
            "2026-06-01T13:00+00:00",
        ]


async def test_there_and_back_again(virtual: Any) -> None:
    async with virtual(daily_and_often(), at=NOON) as sched:
        await sched.jump("2h")
        await sched.jump("-2h")
        assert jumps(sched) == [timedelta(hours=2), timedelta(hours=-2)]
        await sched.advance("3h")
        assert sched.fires("daily") == ["2026-06-01T12:30+00:00"]
        accounted = sum(run.stands_for for run in sched.runs("often"))
        assert accounted == 18
        assert len(set(sched.fires("often"))) == len(sched.fires("often"))


async def test_a_clock_that_is_set_again_and_again(virtual: Any) -> None:
    async with virtual(daily_and_often(), at=NOON) as sched:
        for by in ("7m", "-3m", "31m", "-90m", "1 day", "-1h", "2h", "-11m", "11m"):
            await sched.jump(by)
            await sched.advance("4m")
        end = sched.now()
        instants = [run.scheduled_for for run in sched.runs("often")]
        assert instants == sorted(set(instants))
        latest = max(instants)
        # Grid instants from the first to the latest that was reached: each is run or stood for, once.
        assert sum(run.stands_for for run in sched.runs("often")) == (latest - NOON) // timedelta(minutes=10)
        assert end - latest < timedelta(minutes=10)


async def test_ntps_small_corrections_are_no_jump(virtual: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with virtual(daily_and_often(), at=NOON) as sched:
        for _ in range(3):
            await sched.jump("300ms")
            await sched.advance("10m")
        assert jumps(sched) == []
        assert told(caplog) == []
        assert len(sched.runs("often")) == 3


@pytest.mark.parametrize("by", ["2h", "-2h"])
async def test_a_timeout_is_time_that_passes_not_what_a_clock_shows(virtual: Any, by: str) -> None:
    registry = Registry()

    @registry.task(timeout="10s")
    async def slow(takes: int) -> str:
        await asyncio.sleep(takes)
        return "done"

    async with virtual(registry, at=NOON) as sched:
        quick, hanging = await slow.submit(9), await slow.submit(100)
        await sched.advance("1s")
        await sched.jump(by)
        await sched.advance("8s")
        assert (quick.status, hanging.status) == ("SUCCESS", "RUNNING")
        await sched.advance("1s")
        assert hanging.status == "FAILED"
        with pytest.raises(TimeoutError, match="timeout='10s'"):
            await hanging


@pytest.mark.parametrize("by", ["2h", "-2h"])
async def test_so_is_the_time_to_shut_down(virtual: Any, by: str) -> None:
    registry = Registry()

    @registry.task
    async def endless() -> None:
        await asyncio.sleep(1e6)

    loop = asyncio.get_running_loop()
    async with virtual(registry, at=NOON) as sched:
        await endless.submit()
        await sched.advance("1s")
        began = loop.time()
        leaving = asyncio.create_task(sched.scheduler.stop())
        await asyncio.sleep(10)
        await sched.jump(by)
        drained = await leaving
        assert loop.time() - began == 30
        assert [run.task for run in drained.cancelled] == [endless.id]


@pytest.mark.parametrize("by", ["-1h", "-20s"])
async def test_the_wait_before_the_next_attempt_is_time_that_passes_too(virtual: Any, by: str) -> None:
    registry, began = Registry(), []
    loop = asyncio.get_running_loop()

    @registry.task(retry=Retry(attempts=3, wait="10s"), run_timeout="25s")
    async def failing() -> None:
        began.append(loop.time())
        raise ValueError("not yet")

    @registry.task
    async def later() -> None: ...

    async with virtual(registry, at=NOON) as sched:
        run = await failing.submit()
        waiting = await later.using(at=NOON + timedelta(seconds=30)).submit()
        await sched.advance("4s")
        await sched.jump(by)
        await sched.advance("30s")
        assert [at - began[0] for at in began] == [0, 10, 20]
        assert run.status == "FAILED"
        assert waiting.status == "PENDING", "an instant is one of the clock, wherever that has been set"


async def test_a_run_that_waits_to_be_tried_again_is_out_of_time_when_it_would_have_been(virtual: Any) -> None:
    registry = Registry()

    @registry.task(retry=Retry(attempts=2, wait="1h"), run_timeout="30m")
    async def failing() -> None:
        raise ValueError("not yet")

    async with virtual(registry, at=NOON) as sched:
        run = await failing.submit()
        await sched.advance("1m")
        await sched.jump("-2h")
        await sched.advance("28m")
        assert run.status == "PENDING"
        await sched.advance("2m")
        assert run.status == "FAILED"
        with pytest.raises(TimeoutError, match="run_timeout='30m'"):
            await run
