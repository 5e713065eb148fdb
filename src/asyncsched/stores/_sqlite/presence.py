"""One node at a SQLite file: it comes, is told what others do, comes anew if they took it for dead, and goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from functools import partial
from itertools import islice
from uuid import uuid4

from asyncsched import crash_points
from asyncsched.clock import SECOND_US, Clock
from asyncsched.stores._sqlite.abroad import AT_ONCE, Abroad, last_written, look_abroad
from asyncsched.stores._sqlite.connection import OpenFile, Synchronous, connect, prepare_file, sound, tidy
from asyncsched.stores._sqlite.desk import Desk
from asyncsched.stores._sqlite.neighbours import Neighbours
from asyncsched.stores._sqlite.nodes import LEASE_US, NodeLock, nodes, others, sweep
from asyncsched.stores._sqlite.rescue import enter, leave, rescue, take_strays
from asyncsched.stores._sqlite.roster import enrol_again, last_edit, unpark
from asyncsched.stores._sqlite.schema import migrate
from asyncsched.stores._sqlite.screening import mend, reconsider, screen
from asyncsched.stores._sqlite.threads import DatabaseThread

log = logging.getLogger("asyncsched.stores")


class Presence(Desk):
    """What a store does from ``open`` to ``close`` beside its verbs."""

    _migrates = True
    _network = False

    def __init__(self, path: str, synchronous: Synchronous) -> None:
        super().__init__(path, synchronous)
        self._node = self._id = ""
        self._lease_us = LEASE_US
        self._file = OpenFile(self._path)
        self._lock: NodeLock | None = None
        self._entering = self._leaving = False
        """Whether it is about to come anew, or to go."""
        self._since = 0
        self._looking = self._again = False
        self._unasked = 0

    async def open(self, node: str, clock: Clock) -> None:
        self._node, self._clock = node, clock
        self._id = self._known.node_id = uuid4().hex
        self._meet_nobody()
        self._looking = self._again = self._entering = self._leaving = False
        on_loop = self._on_loop
        neighbours = Neighbours(
            self._path, lambda: self._lock, clock.now_us, on_loop(self._look_elsewhere), on_loop(self._given_up)
        )
        writer = DatabaseThread(
            *(self._path, "sqlite-writer", "BEGIN IMMEDIATE", neighbours.look),
            after=partial(tidy, self._path),
            check=self._file.check,
            mend=partial(mend, now_us=clock.now_us),
        )
        self._writer = writer
        found: list[str]
        try:
            await writer.start(self._connect)
            found, self._since, self._edits = await self._write(self._enter)
            # It renews the lease too: the writer may have to wait for its turn to write for longer than that.
            reader = self._reader = DatabaseThread(self._path, "sqlite-reader", "BEGIN", self._renew)
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
        prepare_file(self._path, network=self._network)
        db = connect(self._path, synchronous=self._synchronous)
        try:
            migrate(db, self._clock.now_us(), allowed=self._migrates)
        except BaseException:
            db.close()
            raise
        self._file.remember()
        return db

    def _enter(self, db: sqlite3.Connection, now_us: int) -> tuple[list[str], int, int]:
        """Become one of the nodes at the file; the others, and up to where there are runs and edits."""
        self._take_lock()
        rescue(db, self._path, self._id, now_us)
        enter(db, self._id, self._node, now_us)
        sweep(self._path, nodes(db))
        unpark(db, now_us, None)
        reconsider(db)
        screen(db, now_us)
        return others(db, self._id), last_written(db), last_edit(db)

    def _take_lock(self) -> None:
        """Have the lock of the node that this now is."""
        lock = self._lock
        if lock is None or lock.node_id != self._id:
            if lock is not None:
                lock.release()
            lock = NodeLock(self._path, self._id, self._lease_us)
            lock.take()
            self._lock = lock

    def _renew(self, _db: sqlite3.Connection) -> float:
        lock = self._lock
        if lock is not None:
            lock.renew()
        return self._lease_us / (4 * SECOND_US)

    def _given_up(self) -> None:
        """Come anew, as another node: others have taken this one for dead, and what it ran is theirs by now."""
        if self._entering or self._leaving or self._writer is None:
            return
        self._entering = True
        self._id = self._known.node_id = uuid4().hex
        now_us, name = self._clock.now_us(), self._node
        self._lost = [*(self._lost or ()), *self._known.lose()]

        def come(db: sqlite3.Connection) -> None:
            self._take_lock()
            take_strays(db, now_us)  # before any attempt that is lost has ended: none of them is to count
            enter(db, self._id, name, now_us)
            enrol_again(db, self._id, self._rosters)

        coming = self._writer.post(come, lambda _done: self._look_elsewhere())
        coming.add_done_callback(self._entered)

    def _entered(self, coming: asyncio.Future[None]) -> None:
        self._entering = False  # if it has not worked, the next look at the neighbours finds that
        if not coming.cancelled() and (error := coming.exception()) is not None:
            log.warning("this process cannot come anew to %s, it tries again: %s", self._path, error)

    async def close(self) -> None:
        if self._writer is not None:
            self._leaving = True  # from here on it is no wonder if it is not found among the nodes
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

    def _on_loop(self, function: Callable[[], None]) -> Callable[[], None]:
        """What the writer's thread calls, so that the function is called on the loop."""
        loop = asyncio.get_running_loop()

        def call() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(function)

        return call

    @crash_points.before("hint")
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
        edits = self._edits
        looking = self._reader.post(lambda db: look_abroad(db, asked, since, node_id, edits), self._done_elsewhere)
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
        self._hear_of_ends(abroad.ended, self._clock.now_us())
        self._hear_of_runs(abroad.made)
        self._since = max(self._since, abroad.last)
        self._hear_of_orders(abroad.stops, abroad.edited, abroad.edits)
        self.hint()
