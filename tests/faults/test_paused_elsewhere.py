"""A task is paused while a fire of it is on its way to the store: the fire loses, and the task stays silent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncsched import Registry, Scheduler
from asyncsched.clock import to_us
from asyncsched.stores import FOREVER, Amendment, FireOrder

from .stores import Around

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class PausedMeanwhile(Around):
    """Another process pauses the task just before its third fire is written."""

    answers_at_once = True

    def __init__(self, until_us: int = FOREVER) -> None:
        super().__init__()
        self.fires = 0
        self._until_us = until_us

    async def before(self, verb: str) -> None:
        self.fires += verb == "fire"
        if verb == "fire" and self.fires == 3:
            (standing,) = await self.inner.standings(["beat"])
            assert await self.inner.amend("beat", standing.version, Amendment(self._until_us, None))


async def test_a_task_whose_fire_lost_to_a_pause_does_not_fire(virtual: Any) -> None:
    store, registry = PausedMeanwhile(), Registry()

    @registry.every("1s", id="beat")
    async def beat() -> None: ...

    async with (
        virtual(Registry(), at=T0, tz="UTC") as stage,
        Scheduler(store, registry=registry, clock=stage.clock, tz="UTC") as scheduler,
    ):
        await stage.advance("10s")
        runs = await scheduler.runs.list(task="beat")
        assert [run.scheduled_for for run in runs] == [T0 + timedelta(seconds=second) for second in (2, 1)]


async def test_a_pause_that_was_found_so_ends_here_too_when_its_time_is_over(virtual: Any) -> None:
    store, registry = PausedMeanwhile(to_us(T0 + timedelta(seconds=5.5))), Registry()

    @registry.every("1s", id="beat")
    async def beat() -> None: ...

    async with (
        virtual(Registry(), at=T0, tz="UTC") as stage,
        Scheduler(store, registry=registry, clock=stage.clock, tz="UTC") as scheduler,
    ):
        await stage.advance("8s")
        found = {run.scheduled_for: run.reason for run in await scheduler.runs.list(task="beat")}
    reasons = [found[T0 + timedelta(seconds=second)] for second in range(1, 9)]
    assert reasons == [None, None, "paused", "paused", "paused", None, None, None]


class LosesRecords(Around):
    """Another process is said to be first, once, where fires that fell into a pause are to be recorded."""

    answers_at_once = True
    lost = False

    async def fire(self, orders: Sequence[FireOrder]) -> set[str]:
        if not self.lost and any(order.skips for order in orders):
            self.lost = True
            return set()
        return await self.inner.fire(orders)


async def test_fires_of_a_pause_are_recorded_as_such_though_that_has_lost_once(virtual: Any) -> None:
    store, registry = LosesRecords(), Registry()

    @registry.every("1s", id="beat")
    async def beat() -> None: ...

    async with (
        virtual(Registry(), at=T0, tz="UTC") as stage,
        Scheduler(store, registry=registry, clock=stage.clock, tz="UTC") as scheduler,
    ):
        await stage.advance("1s")
        for _ in range(2):
            await scheduler.tasks.pause("beat")
            await stage.advance("900ms")
            await stage.advance("900ms")
            await scheduler.tasks.resume("beat")
            await stage.advance("200ms")
        found = {run.scheduled_for: run.reason for run in await scheduler.runs.list(task="beat")}
    assert store.lost
    reasons = [found[T0 + timedelta(seconds=second)] for second in range(1, 6)]
    assert reasons == [None, "paused", None, "paused", None]
