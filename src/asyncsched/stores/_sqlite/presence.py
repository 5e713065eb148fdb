"""One node at a SQLite file: it comes, is told what others do, and goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any
from uuid import uuid4

from asyncsched.clock import Clock
from asyncsched.run import FINAL, Run
from asyncsched.stores._sqlite.abroad import AT_ONCE, Abroad, last_written, look_abroad, lose
from asyncsched.stores._sqlite.connection import Synchronous, connect, prepare_file, sound
from asyncsched.stores._sqlite.desk import Desk
from asyncsched.stores._sqlite.neighbours import Neighbours
from asyncsched.stores._sqlite.nodes import NodeLock, others
from asyncsched.stores._sqlite.rescue import enter, leave, rescue, unpark
from asyncsched.stores._sqlite.schema import migrate
from asyncsched.stores._sqlite.threads import DatabaseThread

log = logging.getLogger("asyncsched.stores")


class Presence(Desk):
    """What a store does from ``open`` to ``close`` beside its verbs."""

    hint: Callable[[], None]
    serves: Callable[[str], bool]

    def __init__(self, path: str, synchronous: Synchronous) -> None:
        super().__init__(path, synchronous)
        self._node = self._id = ""
        self._lock: NodeLock | None = None
        self._elsewhere: list[Run[Any]] = []
        """Runs that ended at other nodes, until the engine is told."""
        self._found: list[Run[Any]] = []
        """Runs that other nodes have made, until the engine is told."""
        self._since = 0
        self._looking = self._again = False
        self._unasked = 0

    async def open(self, node: str, clock: Clock) -> None:
        self._node, self._id, self._clock = node, uuid4().hex, clock
        self._known.counted.clear()
        self._known.here.clear()
        self._known.node_id = self._id
        self._elsewhere, self._found, self._looking, self._again = [], [], False, False
        neighbours = Neighbours(self._path, self._id, clock.now_us, self._changed_elsewhere())
        writer = DatabaseThread(self._path, "sqlite-writer", "BEGIN IMMEDIATE", neighbours.look)
        self._writer = writer
        found: list[str]
        try:
            await writer.start(self._connect)
            found, self._since = await self._write(self._enter)
            reader = self._reader = DatabaseThread(self._path, "sqlite-reader", "BEGIN")
            await reader.start(partial(connect, self._path, synchronous=self._synchronous, reads_only=True))
        except BaseException:
            await self._stop()
            raise
        if found and not sound():
            log.warning(
                "SQLite %s may, very rarely, damage a file that several processes write at once, as %d do with %s: "
                "use SQLite 3.51.3 or later",
                *(sqlite3.sqlite_version, len(found) + 1, self._path),
            )

    def _connect(self) -> sqlite3.Connection:
        prepare_file(self._path)
        db = connect(self._path, synchronous=self._synchronous)
        try:
            migrate(db, self._clock.now_us())
        except BaseException:
            db.close()
            raise
        return db

    def _enter(self, db: sqlite3.Connection, now_us: int) -> tuple[list[str], int]:
        """Become one of the nodes at the file; the others, and up to where there are runs."""
        if self._lock is None:
            lock = NodeLock(self._path, self._id)
            lock.take()
            self._lock = lock
        rescue(db, self._path, self._id, now_us)
        enter(db, self._id, self._node, now_us)
        unpark(db, now_us)
        return others(db, self._id), last_written(db)

    async def close(self) -> None:
        if self._writer is not None:
            try:
                node_id = self._id
                await self._write(lambda db, now_us: leave(db, node_id, now_us))
            finally:
                await self._stop()

    async def _stop(self) -> None:
        """Let the threads do what is left to be done, and end."""
        reader, writer = self._reader, self._writer
        self._reader = self._writer = None
        for thread in (reader, writer):
            if thread is not None:
                await thread.stop()
        lock, self._lock = self._lock, None  # only now: the writer takes it
        if lock is not None:
            lock.release()

    def _changed_elsewhere(self) -> Callable[[], None]:
        """What the writer's thread calls when others have written something."""
        loop = asyncio.get_running_loop()

        def changed() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(self._look_elsewhere)

        return changed

    def _look_elsewhere(self) -> None:
        """Ask what others have done, of every run that has not ended here, then let the engine look."""
        self._unasked = len(self._known.counted)
        self._again = self._looking
        if not self._looking:
            self._ask()

    def _ask(self) -> None:
        if self._reader is None:
            return
        self._looking = True
        counted, since, node_id = self._known.counted, self._since, self._id
        asked = list(islice(counted, AT_ONCE))
        self._unasked -= len(asked)
        for run_id in asked:  # those come last the next time
            counted[run_id] = counted.pop(run_id)
        looking = self._reader.post(lambda db: look_abroad(db, asked, since, node_id), self._done_elsewhere)
        looking.add_done_callback(self._looked)

    def _looked(self, looking: asyncio.Future[None]) -> None:
        self._looking = False
        if not looking.cancelled() and (error := looking.exception()) is not None:
            log.warning("what other processes did at %s cannot be read: %s", self._path, error)
        if self._again or self._unasked > 0:  # nobody may ever write again: what is not asked now never is
            self._again = False
            self._ask()

    def _done_elsewhere(self, abroad: Abroad) -> None:
        """Take account of what others have done."""
        known = self._known
        for run_id, row in abroad.ended.items():
            run = known.counted.get(run_id)
            if run is None:  # it was claimed here meanwhile
                continue
            if row is None:
                lose(run, self._clock.now_us())
                run.wake_waiters()
            else:
                known.take(row, {})
            known.ended(run)
            self._elsewhere.append(run)
        for row in abroad.made:
            if self.serves(row.task) and not known.counts(row.id):
                for run in known.take_all([row], {}):
                    if run.status not in FINAL:  # it did not end here meanwhile
                        known.keep(run)
                        self._found.append(run)
        self._since = max(self._since, abroad.last)
        self.hint()
