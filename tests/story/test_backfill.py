"""Yesterday's fires, run today: a backfill makes the runs that a past range lacks, and no other."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched.errors import ConfigError, UnknownTask

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


async def nothing() -> None: ...


async def slow() -> None:
    await asyncio.sleep(10)


def hourly(func: Any = nothing, **options: Any) -> Registry:
    registry = Registry()
    registry.register(Task(func, id="work", **{"cron": "0 * * * *", **options}))
    return registry


def instants(runs: Any) -> list[datetime]:
    return [run.scheduled_for for run in runs]


async def test_a_dry_run_tells_and_makes_nothing(virtual: Any) -> None:
    async with virtual(hourly(), at=T0) as sched:
        tasks = sched.scheduler.tasks
        found = await tasks.backfill("work", T0 - 24 * HOUR, T0, dry_run=True)
        assert found.instants == tuple(T0 - hours * HOUR for hours in range(24, 0, -1))
        assert (found.runs, found.present) == ((), 0)
        await sched.drain()
        assert sched.runs() == []


async def test_again_it_makes_only_what_is_missing(virtual: Any) -> None:
    async with virtual(hourly(), at=T0) as sched:
        tasks = sched.scheduler.tasks
        first = await tasks.backfill("work", T0 - 12 * HOUR, T0)
        assert (len(first.runs), first.present) == (12, 0)
        second = await tasks.backfill("work", T0 - 24 * HOUR, T0)  # the first ones have not even ended
        assert (len(second.runs), second.present) == (12, 12)
        await sched.drain()
        assert (await tasks.backfill("work", T0 - 24 * HOUR, T0))[1:] == ((), 24)
        assert await tasks.backfill("work", T0 - 24 * HOUR, T0, dry_run=True) == ((), (), 24)
        assert sorted(instants(sched.runs())) == [T0 - hours * HOUR for hours in range(24, 0, -1)]


async def test_they_come_oldest_first_and_one_after_another(virtual: Any) -> None:
    running = most = 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(60)
        running -= 1

    async with virtual(hourly(work, expires="10s"), at=T0) as sched:  # to wait for one another does not count
        await sched.scheduler.tasks.backfill("work", T0 - 3 * HOUR, T0)
        await sched.drain()
        assert [(run.scheduled_for, run.started_at) for run in sched.runs()] == [
            (T0 - 3 * HOUR, at(0)), (T0 - 2 * HOUR, at(60)), (T0 - HOUR, at(120)),
        ]  # fmt: skip
        assert most == 1


async def test_where_runs_may_overlap_they_come_together(virtual: Any) -> None:
    async def work() -> None:
        await asyncio.sleep(60)

    async with virtual(hourly(work, overlap="allow"), at=T0) as sched:
        await sched.scheduler.tasks.backfill("work", T0 - 3 * HOUR, T0)
        await sched.drain()
        assert [(run.scheduled_for, run.started_at) for run in sched.runs()] == [
            (T0 - hours * HOUR, T0) for hours in (3, 2, 1)
        ]


@pytest.mark.parametrize("overlap", ["skip", "queue_one", "queue_all", "cancel_previous"])
async def test_what_fires_meanwhile_goes_first_and_is_not_skipped(virtual: Any, overlap: str) -> None:
    async def work() -> None:
        await asyncio.sleep(20 * 60)

    async with virtual(hourly(work, overlap=overlap), at=T0) as sched:
        await sched.scheduler.tasks.backfill("work", T0 - 24 * HOUR, T0)
        await sched.advance("30h")
        assert sched.skips() == []
        assert sorted(instants(sched.runs())) == [T0 + hours * HOUR for hours in range(-24, 31) if hours]
        ordinary = [run for run in sched.runs() if run.scheduled_for > T0]
        late = [run.started_at - run.scheduled_for for run in ordinary]
        # Where runs never come side by side, one that is under way is waited for, and none of those behind it.
        assert max(late) < timedelta(minutes=20)
        assert {run.status for run in sched.runs()} <= {"SUCCESS", "RUNNING"}


@pytest.mark.parametrize(("priority", "order"), [(None, ["other", "work", "work"]), (1, ["work", "work", "other"])])
async def test_they_come_after_what_is_due_now_unless_they_are_said_to_be_urgent(
    virtual: Any, priority: int | None, order: list[str]
) -> None:
    registry = hourly(overlap="allow")
    other = registry.register(Task(slow, id="other"))
    async with virtual(Scheduler(registry=registry, max_running=1), at=T0) as stage:
        await other.submit()
        await stage.advance("1s")  # the one place is taken
        await stage.scheduler.tasks.backfill("work", T0 - 2 * HOUR, T0, priority=priority)
        await other.submit()
        await stage.drain()
        assert [run.task for run in stage.runs()][1:] == order


async def test_a_skip_is_made_up_for_and_so_is_a_fire_that_another_stood_for(virtual: Any) -> None:
    async with virtual(hourly(), at=T0) as sched:
        tasks = sched.scheduler.tasks
        await tasks.skip_next("work")
        await sched.advance("90m")
        await sched.jump("3h")  # of 02:00, 03:00 and 04:00 the last one runs
        assert [(run.scheduled_for, run.stands_for) for run in sched.runs()] == [(T0 + 4 * HOUR, 3)]
        found = await tasks.backfill("work", at(1), sched.now())
        assert found.instants == tuple(T0 + hours * HOUR for hours in (1, 2, 3))
        assert found.present == 1


async def test_the_fires_of_a_pause_can_be_run_while_it_lasts(virtual: Any) -> None:
    async with virtual(hourly(), at=T0) as sched:
        tasks = sched.scheduler.tasks
        await tasks.pause("work")
        await sched.advance("210m")
        assert len((await tasks.backfill("work", at(1), sched.now())).runs) == 3
        await sched.drain()
        assert instants(sched.runs()) == [T0 + hours * HOUR for hours in (1, 2, 3)]
        await sched.advance("1h")
        told = (await tasks.explain("work")).recent
        assert [(one.at, one.status, one.stands_for) for one in told] == [
            (T0 + 4 * HOUR, "SKIPPED", 1),
            *((T0 + hours * HOUR, "SUCCESS", 1) for hours in (3, 2, 1)),
        ]


async def test_a_fire_that_is_about_to_run_by_itself_is_left_to_that(virtual: Any) -> None:
    async with virtual(hourly(jitter="10m"), at=T0) as sched:
        await sched.advance("3601s")
        (waits,) = (await sched.scheduler.tasks.explain("work")).live
        assert (waits.at, waits.run) == (T0 + HOUR, None)
        assert await sched.scheduler.tasks.backfill("work", at(1), sched.now()) == ((), (), 0)
        await sched.advance("10m")
        assert instants(sched.runs()) == [T0 + HOUR]


async def test_an_interval_reaches_back_beyond_its_registration(virtual: Any) -> None:
    async with virtual(hourly(cron=None, every="1h"), at=T0) as sched:
        found = await sched.scheduler.tasks.backfill("work", T0 - 2 * HOUR, T0, dry_run=True)
        assert found.instants == (T0 - 2 * HOUR, T0 - HOUR)


async def test_naive_times_are_in_the_zone_of_the_task(virtual: Any) -> None:
    async with virtual(hourly(cron="0 9 * * *", tz="Asia/Seoul"), at=T0) as sched:
        found = await sched.scheduler.tasks.backfill("work", datetime(2025, 12, 31), datetime(2026, 1, 1), dry_run=True)
        assert [moment.isoformat() for moment in found.instants] == ["2025-12-31T09:00:00+09:00"]


async def test_each_runs_with_what_the_task_is_called_with_and_knows_its_instant(virtual: Any) -> None:
    called = []

    async def work(name: str, *, size: int) -> None:
        called.append((name, size))

    async with virtual(hourly(work, args=["a"], kwargs={"size": 2}, expires="1s"), at=T0) as sched:
        (run,) = (await sched.scheduler.tasks.backfill("work", T0 - HOUR, T0)).runs
        await run
        assert called == [("a", 2)]
        assert (run.scheduled_for, run.priority) == (T0 - HOUR, -100)


async def test_what_follows_a_task_follows_each_of_its_fires(virtual: Any) -> None:
    registry = Registry()
    seen = []

    @registry.cron("0 * * * *", id="work")
    async def work() -> int:
        return len(seen)

    @registry.task(id="after", depends_on=work)
    async def after(dep_work: int) -> None:
        seen.append(dep_work)
        await asyncio.sleep(60)

    async with virtual(registry, at=T0) as sched:
        for made in (3, 0):
            assert len((await sched.scheduler.tasks.backfill("work", T0 - 3 * HOUR, T0)).runs) == made
            await sched.drain()
            assert [run.status for run in sched.runs("after")] == ["SUCCESS"] * 3
            assert [run.flow for run in sched.runs("after")] == [run.id for run in sched.runs("work")]
        starts = [run.started_at for run in sched.runs("after")]
        assert starts == [at(0), at(60), at(120)]  # they, too, come one after another


async def test_a_fire_that_depends_on_others_is_made_up_for_if_they_have_succeeded(virtual: Any) -> None:
    registry = Registry()
    above = registry.register(Task(nothing, id="above"))
    registry.register(Task(nothing, id="work", cron="0 * * * *", depends_on=above))
    async with virtual(registry, at=T0) as sched:
        tasks = sched.scheduler.tasks
        assert (await tasks.backfill("work", T0 - 2 * HOUR, T0)).runs == ()
        await (await above.submit())
        assert len((await tasks.backfill("work", T0 - 2 * HOUR, T0)).runs) == 2
        await sched.drain()
        assert [run.status for run in sched.runs("work")] == ["SUCCESS"] * 2


async def test_what_cannot_be_is_refused(virtual: Any) -> None:
    registry = hourly()
    registry.register(Task(nothing, id="free"))
    registry.register(Task(nothing, id="after", every="1h", anchor="completion"))
    registry.register(Task(nothing, id="often", every="1s"))
    async with virtual(registry, at=T0) as sched:
        tasks = sched.scheduler.tasks
        for task_id, start, end, words in (
            ("work", T0, T0 + HOUR, "a backfill is of the past, and now is 2026-01-01 00:00:00"),
            ("work", T0, T0 - HOUR, "give a start that is before the end"),
            ("free", T0 - HOUR, T0, "task 'free' has no trigger, so no fires to replay: submit it"),
            ("after", T0 - HOUR, T0, "its fires depend on its runs"),
            ("often", T0 - 24 * HOUR, T0, "more than 10,000 fires .* take smaller ranges"),
        ):
            with pytest.raises(ConfigError, match=words):
                await tasks.backfill(task_id, start, end)
        with pytest.raises(UnknownTask, match="no task 'x'"):
            await tasks.backfill("x", T0 - HOUR, T0)
        assert await sched.scheduler.runs.list() == []


async def test_ten_thousand_do_not_stop_the_loop(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, id="often", every="1s"))
    async with virtual(registry, at=T0) as sched:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        beside = asyncio.ensure_future(others())
        found = await sched.scheduler.tasks.backfill("often", T0 - timedelta(seconds=10_000), T0)
        assert len(found.runs) == 10_000
        assert turns >= 10
        beside.cancel()
        await sched.drain()
