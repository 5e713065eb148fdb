"""What others write between the moment at which it is decided and that at which it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched.clock import SystemClock
from asyncsched.events import RunEnded
from asyncsched.ids import RunIds
from asyncsched.run import Run, Terms
from asyncsched.stores import Decision, FireOrder, RunFilter
from asyncsched.stores.sqlite import SQLiteStore


class Raced(SQLiteStore):
    """A store at which somebody else is faster: ``race`` is called before anything of a task is written."""

    race: Callable[[], Awaitable[None]]

    async def fire(self, orders: Sequence[FireOrder]) -> set[str]:
        if any(order.runs or order.skips for order in orders):
            await self.race()
        return await super().fire(orders)

    async def settle(self, decisions: Sequence[Decision]) -> list[Decision]:
        await self.race()
        return await super().settle(decisions)


class Other:
    """Another node at the file, which writes runs of one task as if it fired, and runs nothing."""

    def __init__(self, path: Path, task: str, times: int) -> None:
        self.store = SQLiteStore(path, synchronous="normal")
        self.task = task
        self.left = times
        self._ids = RunIds(Random(1))

    async def write(self, due_in_us: int = 0) -> None:
        if self.left:
            self.left -= 1
            now_us = SystemClock().now_us()
            run_id = self._ids.make(now_us)
            # A queue of its own that nobody serves: it stays as it is.
            await self.store.submit([Run(run_id, self.task, now_us, now_us + due_in_us, terms=Terms(queue="theirs"))])


async def raced(tmp_path: Path, registry: Registry, task: str, times: int = 1, due_in_us: int = 0) -> list[Run[Any]]:
    """The runs that there are of the task, oldest first, half a second after the start."""
    path = tmp_path / "jobs.db"
    store, other = Raced(path, synchronous="normal"), Other(path, task, times)
    store.race = lambda: other.write(due_in_us)
    await other.store.open("other", SystemClock())
    async with Scheduler(store, registry=registry, queues=["default"]) as scheduler:
        for declared in await scheduler.tasks.list():
            if declared.trigger is None and not declared.links.needs:
                await declared.submit()
        async with asyncio.timeout(10):
            while other.left:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.15)
        found = await store.runs(RunFilter(task=task, limit=10_000))
    await other.store.close()
    return [run for run in reversed(found) if run.terms.queue == "default"]


def ticking(**options: Any) -> Registry:
    registry = Registry()

    @registry.every("50ms", id="tick", **options)
    async def tick() -> None: ...

    return registry


async def test_a_fire_that_saw_nothing_is_skipped_for_a_run_that_somebody_wrote_meanwhile(tmp_path: Path) -> None:
    found = await raced(tmp_path, ticking(), "tick")
    assert {(run.status, run.reason) for run in found} == {("SKIPPED", "overlap")}
    assert len(found) >= 2


async def test_what_may_overlap_does(tmp_path: Path) -> None:
    found = await raced(tmp_path, ticking(overlap="allow"), "tick")
    assert {run.reason for run in found} == {None}


async def test_a_run_that_waits_for_its_time_hinders_nobody(tmp_path: Path) -> None:
    first, *_others = await raced(tmp_path, ticking(), "tick", due_in_us=3_600_000_000)
    assert first.status in ("SUCCESS", "RUNNING")  # on a slow machine later ones meet it


async def test_a_fire_queues_once_behind_a_run_that_somebody_wrote_meanwhile(tmp_path: Path) -> None:
    found = await raced(tmp_path, ticking(overlap="queue_one"), "tick", times=2)
    # Two of theirs are there when the first fire is written: one of them is about to start, the other one waits.
    assert {(run.status, run.reason) for run in found} == {("SKIPPED", "overlap")}


async def test_what_somebody_wrote_meanwhile_is_cancelled_for_a_fire_that_is_to_cancel_it(tmp_path: Path) -> None:
    registry = ticking(overlap="cancel_previous")
    path = tmp_path / "jobs.db"
    await raced(tmp_path, registry, "tick")
    store = SQLiteStore(path)
    await store.open("n", SystemClock())
    theirs = [run for run in await store.runs(RunFilter(task="tick", limit=1_000)) if run.terms.queue == "theirs"]
    await store.close()
    assert [(run.status, run.reason) for run in theirs] == [
        ("CANCELLED", "its task fired again, and runs one at a time: overlap='cancel_previous'")
    ]


async def test_who_is_hindered_each_time_writes_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store, other = Raced(path, synchronous="normal"), Other(path, "tick", 10_000)
    store.race = other.write
    await other.store.open("other", SystemClock())
    ended = asyncio.Event()
    async with Scheduler(store, registry=ticking(overlap="queue_all"), queues=["default"]) as scheduler:
        scheduler.events.on({RunEnded}, lambda _event: ended.set())
        await asyncio.wait_for(ended.wait(), 10)
        assert 8 <= 10_000 - other.left < 1_000
    await other.store.close()


@pytest.mark.parametrize(("overlap", "ends"), [("skip", ("SKIPPED", "overlap")), ("allow", ("SUCCESS", None))])
async def test_what_follows_others_overlaps_no_run_that_somebody_wrote_meanwhile(
    tmp_path: Path, overlap: str, ends: tuple[str, str | None]
) -> None:
    registry = Registry()

    @registry.task(id="top")
    async def top() -> int:
        return 1

    async def low() -> None: ...

    registry.register(Task(low, id="low", depends_on=["top"], overlap=overlap))
    (run,) = await raced(tmp_path, registry, "low")
    assert (run.status, run.reason) == ends


class Second(Raced):
    """A store at which another node decides first who follows, as long as ``ahead`` does."""

    ahead: SQLiteStore | None

    async def settle(self, decisions: Sequence[Decision]) -> list[Decision]:
        if self.ahead is not None:
            needs = {need for decision in decisions for need in decision.run.needs}
            followers = await self.ahead.followers(needs)
            await self.ahead.settle([Decision(one.run, one.token, None) for one in followers])
        return await super().settle(decisions)


async def test_who_was_second_many_times_still_looks_what_is_on_its_way(tmp_path: Path) -> None:
    registry, path = Registry(), tmp_path / "jobs.db"

    @registry.task(id="top")
    async def top() -> None: ...

    @registry.after(top, id="low")
    async def low() -> None: ...

    async def nobody() -> None: ...

    store, other = Second(path, synchronous="normal"), Other(path, "low", 1)
    await other.store.open("other", SystemClock())
    async with Scheduler(store, registry=registry, queues=["default"]), asyncio.timeout(20):
        store.ahead, store.race = other.store, nobody
        for number in range(9):  # more often than it is asked what is on its way
            await top.submit()
            while len(low.history) <= number:
                await asyncio.sleep(0.005)
        store.ahead, store.race = None, other.write
        await top.submit()
        while len(low.history) <= 9:
            await asyncio.sleep(0.005)
        assert [(run.status, run.reason) for run in low.history[:2]] == [("SKIPPED", "overlap"), ("SUCCESS", None)]
    await other.store.close()
