"""One node at a SQLite file: it comes, is told what others do, and goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any
from uuid import uuid4

from asyncsched.clock import Clock
from asyncsched.run import Run
from asyncsched.stores._sqlite.abroad import AT_ONCE, ended_among, lose
from asyncsched.stores._sqlite.connection import Synchronous, connect, prepare_file, sound
from asyncsched.stores._sqlite.desk import Desk
from asyncsched.stores._sqlite.neighbours import Neighbours
from asyncsched.stores._sqlite.nodes import NodeLock, others
from asyncsched.stores._sqlite.rescue import enter, leave, rescue, unpark
from asyncsched.stores._sqlite.rows import Row
from asyncsched.stores._sqlite.schema import migrate
from asyncsched.stores._sqlite.threads import DatabaseThread

log = logging.getLogger("asyncsched.stores")


class Presence(Desk):
    """What a store does from ``open`` to ``close`` beside its verbs."""

    hint: Callable[[], None]

    def __init__(self, path: str, synchronous: Synchronous) -> None:
        super().__init__(path, synchronous)
        self._node = self._id = ""
        self._lock: NodeLock | None = None
        self._elsewhere: list[Run[Any]] = []
        """Runs that ended at other nodes, until the engine is told."""
        self._looking = self._again = False

    async def open(self, node: str, clock: Clock) -> None:
        self._node, self._id, self._clock = node, uuid4().hex, clock
        neighbours = Neighbours(self._path, self._id, clock.now_us, self._changed_elsewhere())
        writer = DatabaseThread(self._path, "sqlite-writer", "BEGIN IMMEDIATE", neighbours.look)
        await writer.start(self._connect)
        self._writer = writer
        try:
            found: list[str] = await self._write(self._enter)
            reader = DatabaseThread(self._path, "sqlite-reader", "BEGIN")
            await reader.start(partial(connect, self._path, synchronous=self._synchronous, reads_only=True))
            self._reader = reader
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

    def _enter(self, db: sqlite3.Connection, now_us: int) -> list[str]:
        """Become one of the nodes at the file; the others."""
        if self._lock is None:
            lock = NodeLock(self._path, self._id)
            lock.take()
            self._lock = lock
        rescue(db, self._path, self._id, now_us)
        enter(db, self._id, self._node, now_us)
        unpark(db, now_us)
        return others(db, self._id)

    async def close(self) -> None:
        if self._writer is not None:
            try:
                node_id = self._id
                await self._write(lambda db, now_us: leave(db, node_id, now_us))
            finally:
                await self._stop()

    async def _stop(self) -> None:
        """Let the threads do what is left to be done, and end."""
        reader, writer, lock = self._reader, self._writer, self._lock
        self._reader = self._writer = self._lock = None
        for thread in (reader, writer):
            if thread is not None:
                await thread.stop()
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
        """Ask what has become of the runs that may have ended at another node, then let the engine look."""
        if self._reader is None:
            return
        self._again = self._looking
        if self._looking:
            return
        counted = self._known.counted
        asked = list(islice(counted, AT_ONCE))
        for run_id in asked:  # those come last the next time
            counted[run_id] = counted.pop(run_id)
        self._looking = bool(asked)
        if asked:
            self._reader.post(lambda db: ended_among(db, asked), self._ended_elsewhere)
        else:
            self.hint()

    def _ended_elsewhere(self, found: Mapping[str, Row | None]) -> None:
        self._looking = False
        if self._again:
            self._look_elsewhere()
        for run_id, row in found.items():
            run = self._known.counted.get(run_id)
            if run is None:  # it was claimed here meanwhile
                continue
            if row is None:
                lose(run, self._clock.now_us())
            else:
                self._known.take(row, {})
            self._known.ended(run)
            self._elsewhere.append(run)
        self.hint()
