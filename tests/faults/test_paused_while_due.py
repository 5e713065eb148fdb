"""A task is paused at another node when it has rung here and has not had its turn: it does not fire."""

from __future__ import annotations

import asyncio

from asyncsched import Registry, Scheduler
from asyncsched.stores import FOREVER, Amendment

from .stores import Around


class Busy(Around):
    """Answers no exchange while it is held; whoever looks where a task stands then finds that it was just paused."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = asyncio.Event()
        self.paused = False

    async def before(self, verb: str) -> None:
        if verb == "cycle" and not self.answers.is_set():
            self.asked.set()
            await self.answers.wait()
        if verb == "standings" and self.asked.is_set() and not self.paused:
            (standing,) = await self.inner.standings(["beat"])
            assert await self.inner.amend("beat", standing.version, Amendment(FOREVER, None))
            self.paused = True


async def test_a_task_that_is_paused_elsewhere_after_it_has_rung_does_not_fire() -> None:
    store, registry = Busy(), Registry()

    @registry.every("50ms", id="beat")
    async def beat() -> None: ...

    async with Scheduler(store, registry=registry, tz="UTC") as scheduler:
        store.answers.clear()
        await store.asked.wait()
        before = await scheduler.runs.list(task="beat")
        await asyncio.sleep(0.1)  # it is due when the turn that is held up is over
        store.edited(["beat"])
        store.answers.set()
        while not store.paused:
            await asyncio.sleep(0)
        await asyncio.sleep(0.2)
        assert [run.id for run in await scheduler.runs.list(task="beat")] == [run.id for run in before]
        await scheduler.tasks.resume("beat")
        while len(await scheduler.runs.list(task="beat", status="SUCCESS")) <= len(before):
            await asyncio.sleep(0.01)
