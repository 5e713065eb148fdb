"""The machine slept, or the program was down, or the loop was late: what becomes of the fires of that time.

A fire is missed when it is handled more than a second after its instant. Nothing is dropped in silence: each
fire ends as a run, is stood for by one, or is a recorded skip.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Task

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def every_ten_seconds(**options: Any) -> Registry:
    async def work() -> None: ...

    registry = Registry()
    registry.register(Task(work, every="10s", id="work", **options))
    return registry


def seconds(runs: list[Any]) -> list[float]:
    return [(run.scheduled_for - T0).total_seconds() for run in runs]


async def test_by_default_one_late_run_stands_for_all(virtual: Any) -> None:
    async with virtual(every_ten_seconds(), at=T0) as sched:
        await sched.jump("65s")
        (run,) = sched.runs("work")
        assert (seconds([run]), run.stands_for) == ([60], 6)
        assert sched.skips() == []
        await sched.advance("10s")
        assert seconds(sched.runs("work")) == [60, 70]  # and on it goes, on the grid
        assert sched.runs("work")[1].stands_for == 1


async def test_skip_runs_none_of_them_and_records_each(virtual: Any) -> None:
    async with virtual(every_ten_seconds(missed="skip"), at=T0) as sched:
        await sched.jump("65s")
        assert sched.runs() == []
        assert seconds(sched.skips()) == [10, 20, 30, 40, 50, 60]
        assert {skip.reason for skip in sched.skips()} == {"missed"}
        await sched.advance("5s")
        assert seconds(sched.runs()) == [70]


async def test_the_one_that_is_not_late_runs(virtual: Any) -> None:
    async with virtual(every_ten_seconds(missed="skip"), at=T0) as sched:
        await sched.jump("61s")
        assert seconds(sched.skips()) == [10, 20, 30, 40, 50]
        assert seconds(sched.runs()) == [60]


async def test_all_runs_each_the_oldest_first_one_after_another(virtual: Any) -> None:
    running = most = 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    registry = Registry()
    registry.register(Task(work, every="10s", missed="all"))
    async with virtual(registry, at=T0) as sched:
        await sched.jump("65s")
        await sched.advance("4s")
        assert seconds(sched.runs()) == [10, 20, 30, 40, 50]
        await sched.advance("2s")
        assert seconds(sched.runs()) == [10, 20, 30, 40, 50, 60]
        assert [run.stands_for for run in sched.runs()] == [1] * 6
        assert most == 1


async def test_all_together_where_runs_may_overlap(virtual: Any) -> None:
    async with virtual(every_ten_seconds(missed="all", overlap="allow"), at=T0) as sched:
        await sched.jump("65s")
        assert {run.started_at for run in sched.runs()} == {T0 + timedelta(seconds=65)}
        assert len(sched.runs()) == 6


async def test_no_flood_after_a_long_night(virtual: Any) -> None:
    async with virtual(every_ten_seconds(missed="all", missed_limit=3), at=T0) as sched:
        await sched.jump("65s")
        assert seconds(sched.runs()) == [40, 50, 60]
        assert seconds(sched.skips()) == [10, 20, 30]


@pytest.mark.parametrize("missed", ["latest", "skip", "all"])
async def test_every_fire_of_a_year_is_accounted_for(virtual: Any, missed: str) -> None:
    async with virtual(every_ten_seconds(missed=missed), at=T0) as sched:
        await sched.jump("365 days")
        await sched.advance("1s")
        told = sum(run.stands_for for run in sched.runs() + sched.skips())
        assert told == 365 * 24 * 360
        assert len(sched.runs()) <= 101  # the last one is not late, and runs in any case
        assert len(sched.skips()) <= 1  # thousands share one record that counts them


async def test_grace_is_how_late_a_run_still_makes_sense(virtual: Any) -> None:
    async def work() -> None: ...

    registry = Registry()
    registry.register(Task(work, at="12:00", grace="5m"))
    async with virtual(registry, at="2026-01-01 11:59", tz="UTC") as sched:
        await sched.jump("5m")  # four minutes late
        assert len(sched.runs()) == 1
        await sched.jump("1 day")
        await sched.jump("2m")  # a day and six minutes: the fire of the next noon was seen four minutes late
        assert len(sched.runs()) == 2
        await sched.advance("23h")
        await sched.jump("67m")  # six minutes and more
        assert len(sched.runs()) == 2
        (skip,) = sched.skips()
        assert (skip.reason, skip.status) == ("missed", "SKIPPED")
        assert skip.scheduled_for == datetime(2026, 1, 3, 12, tzinfo=UTC)
        assert skip.finished_at - skip.scheduled_for > timedelta(minutes=5)


async def test_down_is_like_asleep(virtual: Any) -> None:
    async with virtual(every_ten_seconds(), at=T0) as sched:
        await sched.advance("10s")
        await sched.crash()
        await sched.advance("65s")
        assert len(sched.runs()) == 1
        await sched.restart()
        await sched.advance("0s")
        late = sched.runs()[1]
        assert (seconds([late]), late.stands_for, late.started_at) == ([70], 6, T0 + timedelta(seconds=75))


async def test_a_second_late_is_not_missed(virtual: Any) -> None:
    async with virtual(every_ten_seconds(missed="skip"), at=T0) as sched:
        await sched.jump("11s")
        assert seconds(sched.runs()) == [10]
        await sched.advance("5s")
        await sched.jump("5.000001s")
        assert seconds(sched.skips()) == [20]
