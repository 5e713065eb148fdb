"""The store's side on the event loop: the runs that are known here, what they are as rows, and the two threads."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asyncsched.clock import Clock, SystemClock
from asyncsched.errors import MisuseError
from asyncsched.stores._durable.answers import Answers
from asyncsched.stores._sqlite.connection import Synchronous
from asyncsched.stores._sqlite.threads import DatabaseThread, Take, Work

log = logging.getLogger("asyncsched.stores")


class Desk(Answers):
    """A SQLite file, as one node works at it: asks the threads, and keeps the runs that are known here."""

    def __init__(self, path: str, synchronous: Synchronous) -> None:
        super().__init__()
        self._path = str(Path(path).expanduser())
        self._synchronous: Synchronous = synchronous
        self._clock: Clock = SystemClock()
        self._writer: DatabaseThread | None = None
        self._reader: DatabaseThread | None = None

    async def _write(self, work: Callable[[sqlite3.Connection, int], Any], take: Take = lambda answer: answer) -> Any:
        """Let ``work`` be done in a transaction; what ``take`` makes of its answer, once that is committed."""
        # The time is read within the transaction: before, it may have waited for another process, and nothing that
        # was written meanwhile is later than what follows it.
        clock = self._clock
        return await self._thread(self._writer).ask(lambda db: work(db, clock.now_us()), take)

    async def _read(self, work: Work, take: Take = lambda answer: answer) -> Any:
        """Let ``work`` be done on what has been committed; what ``take`` makes of its answer."""
        return await self._thread(self._reader).ask(work, take)

    def _thread(self, thread: DatabaseThread | None) -> DatabaseThread:
        if thread is None:
            raise MisuseError(f"the SQLite store {self._path} is not open: enter the scheduler first")
        return thread
