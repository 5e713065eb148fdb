"""The rows of features about exact instants: once, many times a second, and in every way to say them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched.triggers import Every, Once, Trigger

T0 = datetime(2025, 1, 1, tzinfo=UTC)


async def nothing() -> None: ...


@pytest.mark.feature("TC5")
async def test_tc5_once_is_an_instant_and_a_naive_one_is_in_the_schedulers_zone(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, trigger=Once(T0 + timedelta(seconds=20)), id="aware"))
    registry.register(Task(nothing, trigger=Once(datetime(2025, 1, 1, 12)), id="naive"))
    registry.register(Task(nothing, run_at=datetime(2025, 1, 1, 12), id="run-at"))
    registry.register(Task(nothing, run_at=datetime(2025, 1, 1, 12), id="own-zone", tz="America/New_York"))
    async with virtual(Scheduler(registry=registry, tz="Asia/Seoul"), at=T0) as sched:
        await sched.advance("3 days")
        started = {run.task: run.started_at for run in sched.runs()}
    assert started == {
        "aware": T0 + timedelta(seconds=20),
        "naive": T0 + timedelta(hours=3),
        "run-at": T0 + timedelta(hours=3),
        "own-zone": T0 + timedelta(hours=17),
    }


@pytest.mark.feature("TC6")
async def test_tc6_an_interval_may_be_below_a_second_and_outlives_a_stall(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, every="50ms", id="often"))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("2s")
        tick = timedelta(milliseconds=50)
        assert [run.started_at for run in sched.runs("often")] == [T0 + tick * number for number in range(1, 41)]
        await sched.advance("20ms")
        await sched.jump("30s")
        late = sched.runs("often")[40:]
        assert [(run.scheduled_for, run.stands_for) for run in late] == [(T0 + timedelta(seconds=32), 600)]
        await sched.advance("2s")
        after = sched.runs("often")[41:]
        assert [run.scheduled_for for run in after] == [T0 + timedelta(seconds=32) + tick * n for n in range(1, 41)]
        assert [run.started_at for run in after] == [run.scheduled_for for run in after]


@pytest.mark.feature("TC12")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"every": "1.000001s"}, T0 + timedelta(seconds=1, microseconds=1)),
        ({"trigger": Every("1h", T0 + timedelta(microseconds=7))}, T0 + timedelta(microseconds=7)),
        ({"at": "13:30", "tz": "Asia/Seoul"}, T0 + timedelta(hours=4, minutes=30)),
        ({"cron": "30 13 * * *"}, T0 + timedelta(hours=13, minutes=30)),
        ({"run_at": T0 + timedelta(microseconds=123456)}, T0 + timedelta(microseconds=123456)),
        ({}, None),
    ],
    ids=["every", "start", "at", "cron", "run_at", "none"],
)
async def test_tc12_next_fire_is_an_aware_datetime_and_exact(
    virtual: Any, options: dict[str, Any], expected: datetime | None
) -> None:
    registry = Registry()
    task = registry.register(Task(nothing, **options))
    assert task.next_fire is None
    async with virtual(registry, at=T0) as sched:
        assert task.next_fire == expected
        if expected is not None:
            assert str(task.next_fire.tzinfo) == options.get("tz", "UTC")
            await sched.until(task="nothing")
            assert sched.now() == expected
    assert task.next_fire is None


@pytest.mark.feature("TC19")
async def test_tc19_a_cron_line_means_one_thing_however_it_is_given(virtual: Any) -> None:
    line, registry = "0 12 1 * MON", Registry()

    @registry.cron(line)
    async def decorated() -> None: ...

    registry.register(Task(nothing, cron=line, id="constructed"))
    registry.register(Task(nothing, trigger=line, id="text"))
    async with virtual(registry, at=T0) as sched:
        added = await sched.scheduler.tasks.add(Task(nothing, cron=line, id="added"))
        stored = Trigger.from_json(added.trigger.to_json())
        await sched.scheduler.tasks.add(Task(nothing, trigger=stored, id="reloaded"))
        previews = {task.id: task.next_fires(50) for task in await sched.scheduler.tasks.list()}
        assert len(previews) == 5
        (instants,) = {tuple(preview) for preview in previews.values()}
        assert instants == tuple(islice(stored.upcoming(T0), 50))
        assert [f"{instant:%a %d %H:%M}" for instant in instants[:4]] == [
            "Wed 01 12:00",
            "Mon 06 12:00",
            "Mon 13 12:00",
            "Mon 20 12:00",
        ]
        await sched.advance("120 days")
        fired = {task: [run.scheduled_for for run in sched.runs(task)] for task in previews}
    (runs,) = {tuple(of_one) for of_one in fired.values()}
    assert runs == instants[: len(runs)]
    assert len(runs) == 21  # 17 Mondays and four firsts until the end of April


@pytest.mark.feature("TC19")
async def test_tc19_and_still_means_it_after_leaving_and_entering_again(virtual: Any) -> None:
    registry = Registry()
    task = registry.register(Task(nothing, cron="0 12 1 * MON"))
    async with virtual(registry, at=T0) as sched:
        before = task.next_fires(50)
        await sched.restart()
        assert task.next_fires(50) == before
