"""What can be done to runs that have not ended: stop them, or give them more time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from asyncsched._engine.cycle import Cycle
from asyncsched._engine.living import Living, LivingRun
from asyncsched._engine.timer import Timer
from asyncsched.deadlines import run_ends_us
from asyncsched.keeper import keepers
from asyncsched.stores import Store


class Custody:
    """Whom the runs of this scheduler turn to, from ``begin`` to ``end``."""

    def __init__(
        self, living: Living, store: Store, timer: Timer, cycle: Callable[[], Cycle], now_us: Callable[[], int]
    ) -> None:
        self._living = living
        self._store = store
        self._timer = timer
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
        """Stop these runs: those that wait at once, those that run by their coroutines. The ids of both."""
        waited = await self._store.cancel(run_ids, reason)
        now_us = self._now_us()
        stopped = {run.id for run in waited}
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
