"""Runs that somebody here holds and that the engine does not count: where others end them, whoever awaits is told."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from asyncsched.errors import MisuseError
from asyncsched.run import Run
from asyncsched.stores._durable.known import lose
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._sqlite.abroad import AT_ONCE, ended_among
from asyncsched.stores._sqlite.connection import Synchronous
from asyncsched.stores._sqlite.presence import Presence

log = logging.getLogger("asyncsched.stores")


class Watch(Presence):
    """Looks after such runs each time that others have written."""

    def __init__(self, path: str, synchronous: Synchronous) -> None:
        super().__init__(path, synchronous)
        self._watched: WeakValueDictionary[str, Run[Any]] = WeakValueDictionary()
        self._unsure: WeakSet[Run[Any]] = WeakSet()
        """Those of transactions of others, of which nobody knows whether they are committed."""
        self._asked: list[str] = []
        """Those that are still to be asked for."""
        self._watch_again = False

    def _watch(self, run: Run[Any], *, written: bool = True) -> None:
        """Know of the end of a run that waits or runs elsewhere; or, unless it is ``written``, may do so one day."""
        if not run.status.final and self._known.get(run.id) is run:
            self._watched[run.id] = run
            if not written:
                self._unsure.add(run)

    def _know(self, run: Run[Any]) -> None:
        """Know a run that was written here: the engine counts it, or else whoever holds it is told how it ends."""
        if run.edges is not None or self.counts(run.task):
            self._known.keep(run)
        else:
            self._known.hold(run)
            self._watch(run)

    def _look_elsewhere(self) -> None:
        super()._look_elsewhere()
        self._watch_again = True
        if not self._asked:
            self._ask_watched()

    def _ask_watched(self, before: asyncio.Future[None] | None = None) -> None:
        """Ask how some of them stand, then the next, until all have been asked since others have written last."""
        if before is not None and not before.cancelled() and (error := before.exception()) is not None:
            log.warning("what became of runs at %s cannot be read: %s", self._path, error)
        if not self._asked and self._watch_again:
            self._watch_again = False
            self._asked = [run_id for run_id, run in self._watched.items() if not run.status.final]
        some, self._asked = self._asked[:AT_ONCE], self._asked[AT_ONCE:]
        if some and self._reader is not None:
            asking = self._reader.post(lambda db: ended_among(db, some), self._take_watched)
            asking.add_done_callback(self._ask_watched)

    def _take_watched(self, ended: dict[str, Row | None]) -> None:
        for run_id, row in ended.items():
            run = self._watched.get(run_id)
            if run is None or run_id in self._known.counted or run_id in self._known.here:
                continue
            if row is not None:
                self._known.take(row, {})
            elif run not in self._unsure:
                lose(run, self._clock.now_us())
                run.wake_waiters()
            else:
                continue
            del self._watched[run_id]

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            for run in list(self._watched.values()):
                if not run.status.final:
                    run.wake_waiters(MisuseError("the scheduler stopped before this run ended"))
            self._watched.clear()
