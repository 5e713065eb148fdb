"""The rows of features about the life of a run, what a task knows of its runs, and changes while it is served."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from asyncsched import Registry, Run, RunStatus, Task
from asyncsched.errors import MisuseError
from asyncsched.events import RunEnded, RunStarted
from asyncsched.run import TRANSITIONS

T0 = datetime(2025, 1, 1, tzinfo=UTC)


async def nothing() -> None: ...


@pytest.mark.feature("EA10")
@pytest.mark.parametrize("end", ["SUCCESS", "FAILED"])
async def test_ea10_a_run_goes_from_pending_over_running_to_its_end(virtual: Any, end: str) -> None:
    registry = Registry()
    seen = []

    @registry.task
    async def work() -> None:
        seen.append(work.status)
        if end == "FAILED":
            raise ValueError

    async with virtual(registry, at=T0) as sched:
        assert work.status is None
        sched.scheduler.events.on({RunStarted, RunEnded}, lambda event: seen.append(event.run.status))
        await work.submit()
        seen.append(work.status)
        await sched.drain()
        assert seen == ["PENDING", "RUNNING", "RUNNING", end]
        assert work.status == end


@pytest.mark.feature("EA10")
@pytest.mark.parametrize(
    ("before", "after"), [edge for edge in product(RunStatus, RunStatus) if edge[1] not in TRANSITIONS[edge[0]]]
)
def test_ea10_any_other_edge_raises(before: RunStatus, after: RunStatus) -> None:
    run: Run[None] = Run(id="r", task="t", created_us=0, due_us=0)
    run.status = before
    with pytest.raises(MisuseError, match=f"cannot go from {before} to {after}"):
        run.become(after)
    assert run.status is before


@pytest.mark.feature("EA11")
async def test_ea11_a_task_knows_its_last_run_and_its_last_success(virtual: Any) -> None:
    errors: list[Exception | None] = [None, ValueError("second")]
    registry = Registry()

    @registry.every("10s")
    async def work() -> str:
        await asyncio.sleep(1)
        error = errors.pop(0)
        if error:
            raise error
        return "first"

    def at(seconds: float) -> datetime:
        return T0 + timedelta(seconds=seconds)

    async with virtual(registry, at=T0) as sched:
        assert (work.last_run_at, work.last_success_at, work.result, work.error) == (None, None, None, None)
        assert work.next_fire == at(10)
        failure = errors[1]
        await sched.advance("15s")
        assert (work.last_run_at, work.last_success_at, work.result, work.error) == (at(10), at(11), "first", None)
        await sched.advance("10s")
        assert (work.last_run_at, work.last_success_at) == (at(20), at(11))
        assert (work.status, work.result) == ("FAILED", "first")
        assert work.error is failure
        assert work.next_fire == at(30)


@pytest.mark.feature("EA12")
@pytest.mark.full_speed
async def test_ea12_history_is_bounded_and_holds_the_newest(virtual: Any) -> None:
    registry = Registry()

    @registry.task(retry=1)
    async def work(number: int) -> int:
        if number % 2:
            raise ValueError(number)
        await asyncio.sleep(1)
        return number

    async with virtual(registry, at=T0) as sched:
        runs = await work.submit_many((number,) for number in range(1000))
        await sched.drain()
        assert len(work.history) == 100
        assert {run.args[0] % 2 for run in work.history} == {0}  # those that took a second ended last
        assert [run.id for run in work.history] == [run.id for run in runs[::2]][:-101:-1]
        for run in work.history:
            assert (run.started_at, run.finished_at, run.attempt) == (T0, T0 + timedelta(seconds=1), 1)
            assert (run.status, run.result, run.error) == ("SUCCESS", run.args[0], None)
        await work.submit(1001)
        await sched.drain()
        assert len(work.history) == 100
        last = work.history[0]
        assert (last.attempt, last.status, repr(last.error)) == (2, "FAILED", "ValueError(1001)")


@pytest.mark.feature("EA13")
async def test_ea13_verbs_take_a_tag(virtual: Any) -> None:
    registry = Registry()
    mail = registry.register(Task(nothing, every="1s", id="mail", tags=["out"]))
    sms = registry.register(Task(nothing, every="1s", id="sms", tags=["out", "paid"]))
    registry.register(Task(nothing, every="1s", id="sweep"))
    async with virtual(registry, at=T0) as sched:
        tasks = sched.scheduler.tasks
        assert await tasks.list(tag="out") == [mail, sms]
        assert await tasks.list(tag="paid") == [sms]
        assert await tasks.list(tag="nobody") == []
        await tasks.pause(tag="out")
        await sched.advance("5s")
        assert {run.task for run in sched.runs()} == {"sweep"}
        await tasks.resume(tag="out")
        await sched.advance("1s")
        assert {run.task for run in sched.runs()} == {"sweep", "mail", "sms"}


@pytest.mark.feature("EA14")
async def test_ea14_a_replaced_task_keeps_its_history_and_is_armed_anew(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, every="5s", id="work"))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("17s")
        new = await sched.scheduler.tasks.replace(Task(nothing, every="1h", id="work"))
        assert new.next_fire == sched.now() + timedelta(hours=1)
        assert len(new.history) == 3
        assert new.last_success_at == T0 + timedelta(seconds=15)
        await sched.advance("2h")
        assert len(sched.runs("work")) == 5
        assert len(new.history) == 5


@pytest.mark.feature("EA22")
@pytest.mark.feature("LS25")
async def test_ea22_ls25_what_changes_at_run_time_wakes_the_sleeper(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, every="1h", id="hourly"))
    async with virtual(registry, at=T0) as sched:
        tasks = sched.scheduler.tasks
        await sched.advance("1m")
        await tasks.add(Task(nothing, run_at=sched.now() + timedelta(seconds=1), id="soon"))
        await sched.advance("2s")
        assert [run.started_at for run in sched.runs("soon")] == [T0 + timedelta(seconds=61)]
        await tasks.replace(Task(nothing, every="3s", id="hourly"))
        await sched.advance("3s")
        assert [run.started_at for run in sched.runs("hourly")] == [T0 + timedelta(seconds=65)]
        await tasks.remove("hourly")
        await tasks.remove("soon")
        await sched.advance("2h")
        assert len(sched.runs()) == 2
