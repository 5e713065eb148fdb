"""A paused task fires nothing and forgets nothing: what fell into the pause is recorded, and the grid stands."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched.errors import UnknownTask
from asyncsched.events import TaskPaused, TaskResumed

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


async def nothing() -> None: ...


def every_ten_seconds(**options: Any) -> Registry:
    registry = Registry()
    registry.register(Task(nothing, every="10s", id="work", **options))
    return registry


async def test_nothing_fires_until_it_is_resumed_and_then_the_grid_goes_on(virtual: Any) -> None:
    registry = every_ten_seconds()
    task = registry["work"]
    async with virtual(registry, at=T0) as sched:
        await sched.scheduler.tasks.pause("work")
        assert (task.next_fire, await sched.scheduler.tasks.next_fires()) == (None, [])
        await sched.advance("35s")
        assert sched.runs() == sched.skips() == []
        await sched.scheduler.tasks.resume("work")
        assert task.next_fires(2) == [at(40), at(50)]
        await sched.advance("10s")
        assert [run.started_at for run in sched.runs()] == [at(40)]
        assert [(skip.scheduled_for, skip.reason) for skip in sched.skips()] == [
            (at(second), "paused") for second in (10, 20, 30)
        ]
        assert [run.status for run in task.history] == ["SUCCESS", "SKIPPED", "SKIPPED", "SKIPPED"]


async def test_a_pause_may_end_by_itself(virtual: Any) -> None:
    async with virtual(every_ten_seconds(), at=T0) as sched:
        await sched.scheduler.tasks.pause("work", until=at(25))
        await sched.advance("30s")
        assert [skip.scheduled_for for skip in sched.skips()] == [at(10), at(20)]
        assert [run.started_at for run in sched.runs()] == [at(30)]
        (resumed,) = [event for event in sched.events if isinstance(event, TaskResumed)]
        assert resumed.at_us == at(25).timestamp() * 1e6


async def test_a_fire_at_the_very_end_of_a_pause_is_part_of_it(virtual: Any) -> None:
    async with virtual(every_ten_seconds(), at=T0) as sched:
        await sched.scheduler.tasks.pause("work", until=at(20))
        await sched.advance("30s")
        assert [skip.scheduled_for for skip in sched.skips()] == [at(10), at(20)]
        assert [run.started_at for run in sched.runs()] == [at(30)]


async def test_a_naive_until_is_in_the_zone_of_the_task(virtual: Any) -> None:
    async with virtual(every_ten_seconds(tz="Asia/Seoul"), at=T0) as sched:
        await sched.scheduler.tasks.pause("work", until=datetime(2026, 1, 1, 9, 0, 15))
        await sched.advance("20s")
        assert [run.started_at for run in sched.runs()] == [at(20)]


async def test_an_until_that_has_passed_is_no_pause(virtual: Any) -> None:
    async with virtual(every_ten_seconds(), at=T0) as sched:
        await sched.advance("15s")
        await sched.scheduler.tasks.pause("work", until=at(12))
        await sched.advance("5s")
        assert [run.started_at for run in sched.runs()] == [at(10), at(20)]
        assert sched.skips() == []


async def test_pausing_again_moves_the_end_and_resuming_twice_changes_nothing(virtual: Any) -> None:
    async with virtual(every_ten_seconds(), at=T0) as sched:
        tasks = sched.scheduler.tasks
        await tasks.pause("work", until=at(15))
        await tasks.pause("work")
        await sched.advance("20s")
        assert sched.runs() == []
        await tasks.pause("work", until=at(35))
        await sched.advance("20s")
        assert [run.started_at for run in sched.runs()] == [at(40)]
        await tasks.resume("work")
        await tasks.resume("work")
        await sched.advance("10s")
        assert len(sched.skips()) == 3
        assert len([event for event in sched.events if isinstance(event, TaskResumed)]) == 1


async def test_everybody_hears_of_it_with_its_note(virtual: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncsched")
    async with virtual(every_ten_seconds(), at=T0) as sched:
        await sched.scheduler.tasks.pause("work", until=at(60), note="the printer is out of paper")
        (paused,) = [event for event in sched.events if isinstance(event, TaskPaused)]
        assert (paused.task, paused.until, paused.note) == ("work", at(60), "the printer is out of paper")
        assert "task work: paused: the printer is out of paper" in caplog.text


async def test_tasks_are_paused_by_name_and_by_tag(virtual: Any) -> None:
    registry = Registry()
    for name, tags in (("a", ["x"]), ("b", ["x", "y"]), ("c", []), ("d", ["y"])):
        registry.register(Task(nothing, every="10s", id=name, tags=tags))
    async with virtual(registry, at=T0) as sched:
        await sched.scheduler.tasks.pause("b", "c", tag="x")
        await sched.advance("10s")
        assert [run.task for run in sched.runs()] == ["d"]
        await sched.scheduler.tasks.resume("a", tag="y")
        await sched.advance("10s")
        assert {run.task for run in sched.runs() if run.started_at == at(20)} == {"a", "b", "d"}


async def test_of_several_names_none_is_paused_if_one_is_unknown(virtual: Any) -> None:
    async with virtual(every_ten_seconds(), at=T0) as sched:
        with pytest.raises(UnknownTask, match=r"no task 'wrok'; there are: work"):
            await sched.scheduler.tasks.pause("work", "wrok")
        await sched.advance("10s")
        assert len(sched.runs()) == 1


async def test_runs_under_way_and_submitted_ones_are_not_concerned(virtual: Any) -> None:
    async with virtual(every_ten_seconds(), at=T0) as sched:
        await sched.scheduler.tasks.pause("work")
        run = await sched.scheduler.tasks.run_now("work")
        await run
        later = await run_of(sched.scheduler, "work")
        await later
        assert [run.status, later.status] == ["SUCCESS", "SUCCESS"]


async def run_of(scheduler: Scheduler, task_id: str) -> Any:
    return await (await scheduler.tasks.get(task_id)).using(delay="5s").submit()


async def test_a_pause_outlives_a_restart_and_a_crash(virtual: Any) -> None:
    async with virtual(every_ten_seconds(), at=T0) as sched:
        await sched.scheduler.tasks.pause("work", until=at(100))
        await sched.restart()
        await sched.advance("15s")
        await sched.crash()
        await sched.restart()
        await sched.advance("80s")
        assert sched.runs() == []
        await sched.crash()
        await sched.advance("15s")  # its end comes while nobody is there
        await sched.restart()
        await sched.advance("9s")
        assert [skip.scheduled_for for skip in sched.skips()] == [at(10 * number) for number in range(1, 11)]
        assert [(run.scheduled_for, run.stands_for) for run in sched.runs()] == [(at(110), 1)]


async def test_a_pause_outlives_a_replacement(virtual: Any) -> None:
    async with virtual(every_ten_seconds(), at=T0) as sched:
        await sched.scheduler.tasks.pause("work")
        await sched.scheduler.tasks.replace(Task(nothing, every="3s", id="work"))
        await sched.advance("10s")
        assert sched.runs() == []
        await sched.scheduler.tasks.resume("work")
        await sched.advance("2s")
        assert [run.started_at for run in sched.runs()] == [at(12)]


async def test_a_long_pause_is_one_record_that_counts(virtual: Any) -> None:
    async with virtual(every_ten_seconds(), at=T0) as sched:
        await sched.scheduler.tasks.pause("work")
        await sched.advance("30 days")
        await sched.scheduler.tasks.resume("work")
        await sched.advance("10s")
        (skip,) = sched.skips()
        assert (skip.stands_for, skip.reason) == (30 * 24 * 360, "paused")
        assert len(sched.runs()) == 1


async def test_an_interval_from_completion_goes_on_after_a_pause(virtual: Any) -> None:
    async with virtual(every_ten_seconds(anchor="completion"), at=T0) as sched:
        await sched.advance("10s")
        await sched.scheduler.tasks.pause("work")
        await sched.advance("15s")
        await sched.scheduler.tasks.resume("work")
        await sched.advance("10s")
        assert [(skip.scheduled_for, skip.reason) for skip in sched.skips()] == [(at(20), "paused")]
        assert [run.started_at for run in sched.runs()] == [at(10), at(35)]


async def test_what_was_due_before_the_pause_was_over_is_never_called_missed(virtual: Any) -> None:
    async with virtual(every_ten_seconds(missed="all"), at=T0) as sched:
        await sched.scheduler.tasks.pause("work", until=at(25))
        await sched.jump("45s")
        assert [(skip.scheduled_for, skip.reason) for skip in sched.skips()] == [(at(10), "paused"), (at(20), "paused")]
        assert [run.scheduled_for for run in sched.runs()] == [at(30), at(40)]


async def test_the_next_fire_may_be_skipped_alone(virtual: Any) -> None:
    registry = every_ten_seconds()
    task = registry["work"]
    async with virtual(registry, at=T0) as sched:
        assert await sched.scheduler.tasks.skip_next("work") == at(10)
        assert await sched.scheduler.tasks.skip_next("work") == at(10)  # it is still that one
        assert task.next_fire == at(20)
        await sched.restart()
        await sched.advance("20s")
        assert [(skip.scheduled_for, skip.reason) for skip in sched.skips()] == [(at(10), "skipped")]
        assert [run.scheduled_for for run in sched.runs()] == [at(20)]


async def test_a_skipped_fire_of_an_interval_from_completion_is_followed_by_the_next(virtual: Any) -> None:
    async with virtual(every_ten_seconds(anchor="completion"), at=T0) as sched:
        await sched.scheduler.tasks.skip_next("work")
        await sched.advance("30s")
        assert [run.started_at for run in sched.runs()] == [at(20), at(30)]


async def test_what_fires_no_more_has_nothing_to_skip(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, id="by-hand"))
    async with virtual(registry, at=T0) as sched:
        assert await sched.scheduler.tasks.skip_next("by-hand") is None
        with pytest.raises(UnknownTask):
            await sched.scheduler.tasks.skip_next("nobody")
