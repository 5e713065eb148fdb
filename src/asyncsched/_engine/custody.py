"""What can be done to runs that have not ended: stop them, give them up, or give them more time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

from asyncsched._engine.bus import Events, warn
from asyncsched._engine.cycle import Cycle
from asyncsched._engine.living import Living, LivingRun
from asyncsched._engine.timer import Timer
from asyncsched.deadlines import run_ends_us
from asyncsched.events import NodeLost, RunLost
from asyncsched.keeper import keepers
from asyncsched.run import Run
from asyncsched.stores import Notice, Store


class Custody:
    """Whom the runs of this scheduler turn to, from ``begin`` to ``end``."""

    def __init__(
        self,
        living: Living,
        store: Store,
        timer: Timer,
        bus: Events,
        cycle: Callable[[], Cycle],
        now_us: Callable[[], int],
    ) -> None:
        self._living = living
        self._store = store
        self._timer = timer
        self._bus = bus
        self._cycle = cycle
        self._now_us = now_us
        self._loop = asyncio.get_running_loop()

    def begin(self) -> None:
        """Answer the runs that ask."""
        keepers.append(self)

    def end(self) -> None:
        """Answer them no more."""
        if self in keepers:
            keepers.remove(self)

    async def cancel(self, run_ids: Collection[str], reason: str) -> set[str]:
        """Stop these runs: those that wait at once, those that run by their coroutines. The ids of both.

        Those under way at other nodes are stopped there, as soon as these hear of it.
        """
        told = await self._store.cancel(run_ids, reason)
        now_us = self._now_us()
        stopped = {run.id for run in told}
        waited = [run for run in told if run.status.final]
        for run in waited:
            self._cycle().over(run, now_us)
        if waited:
            self._cycle().stir()
        for run_id in run_ids:
            living = self._living.runs.get(run_id)
            if living is not None:
                living.stop("cancelled", reason)
                stopped.add(run_id)
        return stopped

    def heed(self, notice: Notice) -> None:
        """Do what the store asks of the runs under way: stop those that others want stopped, give up those it lost."""
        for run_id, reason in notice.stops.items():
            living = self._living.runs.get(run_id)
            if living is not None:
                living.stop("cancelled", reason)
        if notice.lost is not None:
            self._lose(notice.lost)

    def _lose(self, lost: Sequence[Run[Any]]) -> None:
        now_us = self._now_us()
        warn("other nodes took this one for dead, or may have: it goes on without the %d run(s) it had", len(lost))
        self._bus.tell(NodeLost(at_us=now_us, runs=len(lost)))
        for run in lost:
            living = self._living.runs.get(run.id)
            if living is not None and living.run is run:
                del self._living.runs[run.id]
                self._living.lost[run.id, living.token] = living
                if living.armed.policy.on_lost == "cancel":
                    living.stop("lost", "another node runs it: this one was taken for dead")
            warn("task %s: run %s was lost to other nodes", run.task, run.id)
            self._bus.tell(RunLost(at_us=now_us, task=run.task, run=run))

    async def cancel_run(self, run_id: str, reason: str) -> bool | None:
        if asyncio.get_running_loop() is not self._loop or await self._store.run(run_id) is None:
            return None
        return bool(await self.cancel([run_id], reason))

    def extend_run(self, run_id: str, by_us: int) -> bool:
        living = self._living.runs.get(run_id)
        if living is None:
            return False
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            self._extend(living, by_us)
        else:
            self._loop.call_soon_threadsafe(self._extend, living, by_us)
        return True

    def _extend(self, living: LivingRun, by_us: int) -> None:
        if living.ending is None and living.entry and living.due_us is not None:
            ends_us = run_ends_us(living.run)
            due_us = living.due_us + by_us
            self._timer.set(living, due_us if ends_us is None else min(due_us, ends_us))
