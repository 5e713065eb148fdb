"""A task is paused while a fire of it is on its way to the store: the fire loses, and the task stays silent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from asyncsched import Registry, Scheduler
from asyncsched.stores import FOREVER, Amendment

from .stores import Around

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class PausedMeanwhile(Around):
    """Another process pauses the task just before its third fire is written."""

    answers_at_once = True

    def __init__(self) -> None:
        super().__init__()
        self.fires = 0

    async def before(self, verb: str) -> None:
        self.fires += verb == "fire"
        if verb == "fire" and self.fires == 3:
            (standing,) = await self.inner.standings(["beat"])
            assert await self.inner.amend("beat", standing.version, Amendment(FOREVER, None))


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
