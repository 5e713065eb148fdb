"""The rows of features about a program that is replaced by a newer one: its tasks, their runs, operators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from addresses import Place
from asyncsched import Registry, RunStatus, Scheduler, Task
from asyncsched.events import Event, TaskAdded, TaskChanged, TaskOverridden, TaskRenamed, TaskUnknown
from asyncsched.triggers import Cron

SOON = 15.0


def tasks(*given: Task[..., Any]) -> Registry:
    registry = Registry()
    for task in given:
        registry.register(task)
    return registry


def deploys(place: Place) -> Callable[..., Scheduler]:
    """Makes the scheduler of a program with these tasks; all of them have one store."""
    return lambda *given, **options: place.scheduler(tasks(*given), tz="UTC", **options)


@pytest.fixture
def deploy(place: Place) -> Callable[..., Scheduler]:
    return deploys(place)


@pytest.fixture
def deploy_shared(shared: Place) -> Callable[..., Scheduler]:
    return deploys(shared)


def heard(scheduler: Scheduler, *kinds: type[Event]) -> list[Any]:
    events: list[Any] = []
    scheduler.events.on(kinds, events.append)
    return events


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.01)


async def add(a: int, b: int = 1) -> int:
    return a + b


async def tick() -> None: ...


@pytest.mark.feature("NB18")
async def test_nb18_a_renamed_task_takes_over_its_runs_its_rhythm_and_its_overrides(deploy: Any) -> None:
    async with deploy(Task(add, id="old"), Task(tick, every="1h", id="tick"), queues=[]) as before:
        run = await (await before.tasks.get("old")).submit(1, 2)
        kept = await (await before.tasks.get("old")).submit(3)
        await before.tasks.override("tick", priority=7)
        due = await before.tasks.next_fires()
    after = deploy(Task(add, id="new", aliases=["old"]), Task(tick, every="1h", id="tock", aliases=["tick"]))
    told = heard(after, TaskRenamed, TaskAdded, TaskChanged)
    async with after:
        assert (await after.runs.wait(run.id, within="5s"), await after.runs.wait(kept.id, within="5s")) == (3, 4)
        assert [each.task for each in await after.runs.list(task="new")] == ["new", "new"]
        assert [(type(event), event.task) for event in told] == [(TaskRenamed, "new"), (TaskRenamed, "tock")]
        assert await after.tasks.next_fires() == [("tock", due[0][1])]
        assert (await after.tasks.get("tock")).overrides.priority == 7
        assert [each.task for each in await after.tasks.stored()] == ["new", "tock"]
    again = deploy(Task(add, id="new", aliases=["old"]), Task(tick, every="1h", id="tock", aliases=["tick"]))
    told = heard(again, TaskRenamed, TaskAdded, TaskChanged)
    async with again:
        assert told == []
        assert len(await again.runs.list(task="new", status="SUCCESS")) == 2


@pytest.mark.feature("NB18")
async def test_nb18_old_arguments_run_under_the_new_id_by_an_upgrade(deploy_shared: Any) -> None:
    async with deploy_shared(Task(add, id="old"), queues=[]) as before:
        run = await (await before.tasks.get("old")).submit(1, b=2)
        broken = await (await before.tasks.get("old")).submit(5)
        run_id, broken_id = run.id, broken.id
    del run, broken

    async def greet(name: str, *, times: int) -> str:
        return name * times

    async with deploy_shared(Task(greet, id="new", aliases=["old"])) as unready:
        parked = await parked_of(unready, "new", 2)
        assert {each.id for each in parked} == {run_id, broken_id}
        explained = str(await unready.tasks.explain("new"))
        assert "parked" in explained
        assert "no parameter 'b'" in explained

    def upgrade(given: dict[str, Any]) -> dict[str, Any]:
        return {"name": "ho", "times": given["b"]}

    async with deploy_shared(Task(greet, id="new", aliases=["old"], upgrade=upgrade)) as ready:
        assert await ready.runs.wait(run_id, within="5s") == "hoho"
        (parked_one,) = await parked_of(ready, "new", 1)
        assert (parked_one.id, parked_one.status) == (broken_id, "PENDING")
        assert "upgrade= raised KeyError" in str(parked_one.reason)


async def parked_of(scheduler: Scheduler, task: str, count: int) -> list[Any]:
    """The parked runs of a task, once there are so many."""
    async with asyncio.timeout(SOON):
        while True:
            runs = await scheduler.runs.list(task=task, status="PENDING")
            parked = [run for run in runs if run.reason and run.reason.startswith("parked")]
            if len(parked) == count:
                return parked
            await asyncio.sleep(0.02)


@pytest.mark.feature("NB19")
async def test_nb19_what_operators_put_outlives_a_redeploy_and_shows_as_theirs(deploy: Any) -> None:
    async with deploy(Task(tick, every="1h", id="paused"), Task(tick, every="1h", id="moved")) as before:
        await before.tasks.pause("paused")
        put = await before.tasks.override("moved", cron="0 4 * * *", note="the night is quiet")
        assert put.trigger is not None
    after = deploy(Task(tick, every="30m", id="paused"), Task(tick, every="30m", id="moved"))
    told = heard(after, TaskChanged)
    async with after:
        ((task_id, at),) = await after.tasks.next_fires()
        assert (task_id, at.hour, at.minute) == ("moved", 4, 0)
        assert [event.task for event in told] == ["paused"]
        moved = await after.tasks.get("moved")
        assert moved.overrides.trigger == Cron("0 4 * * *", tz="UTC")
        explained = str(await after.tasks.explain("moved"))
        assert "where code says 'every 30 minutes'" in explained
        assert "the night is quiet" in explained
        shown = {each.task: each.to_json() for each in await after.tasks.stored()}
        assert shown["moved"]["overrides"]["trigger"] == put.trigger.describe()
        assert shown["moved"]["overrides"]["code_trigger"].startswith("every 30 minutes")
        assert shown["paused"]["paused"] is True
        assert await after.tasks.reset("moved") is True
        assert moved.next_fire is not None
        assert moved.next_fire <= datetime.now(UTC) + timedelta(minutes=30)
        assert await after.tasks.reset("moved") is False


@pytest.mark.feature("NB19")
async def test_nb19_a_task_that_no_node_declares_is_retired_with_its_reason(deploy: Any) -> None:
    async with deploy(Task(tick, every="100ms", id="gone"), Task(tick, every="1h", id="stays")):
        await asyncio.sleep(0.35)
    async with deploy(Task(tick, every="1h", id="stays")) as after:
        gone, stays = await after.tasks.stored()
        assert (gone.task, gone.retired, gone.next_fire, stays.retired) == ("gone", True, None, False)
        assert str(gone.reason).startswith("no node declares it since 2")
        runs = len(await after.runs.list(task="gone"))
        assert runs >= 2
        assert "no node declares it" in str(await after.tasks.explain("gone"))
        await asyncio.sleep(0.25)
        assert len(await after.runs.list(task="gone")) == runs
    async with deploy(Task(tick, every="100ms", id="gone")) as back:
        assert not (await back.tasks.stored())[0].retired
        await asyncio.sleep(0.25)
        fires = await back.runs.list(task="gone", limit=1_000)
        instants = [run.scheduled_us for run in fires]
        assert len(fires) > runs
        assert sum(run.stands_for for run in fires) == (max(instants) - min(instants)) // 100_000 + 1  # none is missing


@pytest.mark.feature("NB19")
async def test_nb19_all_nodes_at_a_store_follow(shared: Place) -> None:
    one, other = (tasks(Task(tick, every="1h", id="tick", max_running=3)) for _ in range(2))
    async with shared.scheduler(one, tz="UTC") as here, shared.scheduler(other, tz="UTC") as there:
        grid = one["tick"].next_fire
        told = heard(here, TaskOverridden)
        await there.tasks.override("tick", cron="0 4 * * *", max_running=2, priority=-1)
        await soon(lambda: one["tick"].overrides.max_running == 2)
        assert one["tick"].next_fire == other["tick"].next_fire
        assert one["tick"].next_fire.hour == 4
        run = await one["tick"].submit()
        assert (run.priority, run.terms.limit) == (-1, 2)
        await here.tasks.pause("tick")
        await soon(lambda: other["tick"].next_fire is None)
        await there.tasks.resume("tick")
        await there.tasks.reset("tick")
        await soon(lambda: one["tick"].next_fire == grid)
        assert told == []


@pytest.mark.feature("NB19")
async def test_nb19_nobody_retires_what_another_node_declares(shared: Place) -> None:
    web, worker = tasks(Task(tick, every="1h", id="web")), tasks(Task(add, id="worker"))
    async with shared.scheduler(web) as here:
        told = heard(here, TaskUnknown)
        async with shared.scheduler(worker, queues=[]):
            assert [each.retired for each in await here.tasks.stored()] == [False, False]
            await worker["worker"].submit(1)
            await asyncio.sleep(0.1)
            assert told == []
        await soon(lambda: told)
        assert [(event.task, event.waiting) for event in told] == [("worker", 1)]
        assert [each.retired for each in await here.tasks.stored()] == [False, True]
        assert [each.parked for each in await here.tasks.stored()] == [0, 1]
        async with shared.scheduler(worker):
            await worker["worker"].submit(5)
            await soon(lambda: len(worker["worker"].history) == 2)


@pytest.mark.feature("TC23")
async def test_tc23_runs_of_an_unknown_task_wait_and_run_when_it_is_back(deploy: Any) -> None:
    async with deploy(Task(add, id="sum"), queues=[]) as before:
        run = await (await before.tasks.get("sum")).submit(20, 22)
        later = await (await before.tasks.get("sum")).using(delay="100ms").submit(1)
    without = deploy(Task(tick, every="1h", id="tick"))
    told = heard(without, TaskUnknown)
    async with without:
        assert [(event.task, event.waiting) for event in told] == [("sum", 2)]
        await asyncio.sleep(0.2)
        explained = str(await without.tasks.explain("sum"))
        assert "no node serves task 'sum'" in explained
        assert "aliases=['sum']" in explained
        waiting = await without.runs.list(task="sum")
        assert {each.status for each in waiting} == {RunStatus.PENDING}
        assert all("no node serves task 'sum'" in each.reason for each in waiting)
        await (await (await without.tasks.get("tick")).submit())
    async with deploy(Task(add, id="sum")) as back:
        assert await back.runs.wait(run.id, within="5s") == 42
        assert await back.runs.wait(later.id, within="5s") == 2
        assert (await back.runs.get(run.id)).reason is None


@pytest.mark.feature("TC25")
async def test_tc25_counts_and_metadata_outlive_the_program(deploy_shared: Any) -> None:
    metadata = {"owner": "ops", "levels": [1, 2]}
    async with deploy_shared(Task(add, id="sum", metadata=metadata)) as before:
        runs = await (await before.tasks.get("sum")).submit_many([(number,) for number in range(50)])
        await asyncio.gather(*runs)
    async with deploy_shared(Task(add, id="sum", metadata=metadata)) as after:
        assert len(await after.runs.list(task="sum", status="SUCCESS")) == 50
        task = await after.tasks.get("sum")
        assert (len(task.history), task.metadata) == (50, metadata)
    async with deploy_shared() as looking:
        (stored,) = await looking.tasks.stored()
        assert stored.metadata == metadata


@pytest.mark.feature("TC3")
async def test_tc3_a_reloaded_trigger_keeps_the_rules_of_its_zone(deploy_shared: Any) -> None:
    dublin = Task(tick, trigger=Cron("0 0 18 * * *"), tz="Europe/Dublin", id="six")
    async with deploy_shared(dublin):
        pass
    async with deploy_shared() as looking:
        (stored,) = await looking.tasks.stored()
    assert stored.trigger.tz == "Europe/Dublin"
    first = list(islice(stored.trigger.upcoming(datetime(2025, 3, 29, 19, tzinfo=UTC)), 2))
    assert first == [datetime(2025, 3, 30, 17, tzinfo=UTC), datetime(2025, 3, 31, 17, tzinfo=UTC)]


@pytest.mark.feature("TC19")
async def test_tc19_a_reloaded_cron_line_means_what_it_meant(deploy_shared: Any) -> None:
    declared = Task(tick, cron="0 12 1 * MON", id="rare")
    async with deploy_shared(declared) as scheduler:
        served = [at for _task, at in await scheduler.tasks.next_fires(50)]
    async with deploy_shared(declared) as scheduler:
        assert [at for _task, at in await scheduler.tasks.next_fires(50)] == served
    async with deploy_shared() as looking:
        (stored,) = await looking.tasks.stored()
    assert list(islice(stored.trigger.upcoming(served[0] - timedelta(seconds=1)), 50)) == served


@pytest.mark.feature("NB19")
async def test_nb19_what_fell_into_a_pause_that_was_ended_elsewhere_is_recorded_so(shared: Place) -> None:
    fires, asks = (tasks(Task(tick, every="100ms", id="tick")) for _ in range(2))
    async with shared.scheduler(fires) as here, shared.scheduler(asks, roles={"run"}) as there:
        await there.tasks.pause("tick")
        await soon(lambda: fires["tick"].next_fire is None)
        await asyncio.sleep(0.35)
        await there.tasks.resume("tick")
        await soon(lambda: any(run.reason == "paused" for run in fires["tick"].history))
        assert await here.runs.list(task="tick", reason="paused")
