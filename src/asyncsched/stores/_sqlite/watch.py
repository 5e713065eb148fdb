"""Runs that somebody here holds and that the engine does not count: where others end them, whoever awaits is told."""

from __future__ import annotations

import asyncio
import logging

from asyncsched.stores._durable.rows import Row
from asyncsched.stores._sqlite.abroad import AT_ONCE, ended_among
from asyncsched.stores._sqlite.connection import Synchronous
from asyncsched.stores._sqlite.presence import Presence

log = logging.getLogger("asyncsched.stores")


class Watch(Presence):
    """Looks after such runs each time that others have written."""

    def __init__(self, path: str, synchronous: Synchronous) -> None:
        super().__init__(path, synchronous)
        self._asked: list[str] = []
        """Those that are still to be asked for."""
        self._watch_again = False

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
            self._asked = self._watching()
        some, self._asked = self._asked[:AT_ONCE], self._asked[AT_ONCE:]
        if some and self._reader is not None:
            asking = self._reader.post(lambda db: ended_among(db, some), self._take_watched)
            asking.add_done_callback(self._ask_watched)

    def _take_watched(self, ended: dict[str, Row | None]) -> None:
        self._hear_of_ends(ended, self._clock.now_us())

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            self._part()
