"""Runs that somebody here holds and that the engine does not count: where others end them, whoever awaits is told."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from asyncsched.errors import MisuseError
from asyncsched.run import Run
from asyncsched.stores._sqlite.abroad import ended_among
from asyncsched.stores._sqlite.connection import Synchronous
from asyncsched.stores._sqlite.presence import Presence
from asyncsched.stores._sqlite.rows import Row


class Watch(Presence):
    """Looks after such runs each time that others have written."""

    def __init__(self, path: str, synchronous: Synchronous) -> None:
        super().__init__(path, synchronous)
        self._watched: WeakValueDictionary[str, Run[Any]] = WeakValueDictionary()

    def _watch(self, run: Run[Any]) -> None:
        """Know of the end of a run that waits or runs elsewhere, or that there may be one day."""
        if not run.status.final and self._known.get(run.id) is run:
            self._watched[run.id] = run

    def _look_elsewhere(self) -> None:
        super()._look_elsewhere()
        if self._watched and self._reader is not None:
            asked = [run_id for run_id, run in self._watched.items() if not run.status.final]
            self._reader.post(lambda db: ended_among(db, asked), self._take_watched)

    def _take_watched(self, ended: dict[str, Row | None]) -> None:
        for run_id, row in ended.items():
            if row is not None and run_id not in self._known.counted and self._watched.pop(run_id, None) is not None:
                self._known.take(row, {})

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            for run in list(self._watched.values()):
                if not run.status.final:
                    run.wake_waiters(MisuseError("the scheduler stopped before this run ended"))
            self._watched.clear()
