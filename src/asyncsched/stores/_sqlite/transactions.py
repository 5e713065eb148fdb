"""Transactions of the user's own at the file of a SQLite store, in which runs may be written."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asyncsched.errors import MisuseError, StoreError
from asyncsched.run import Run
from asyncsched.stores._drivers import driver_connection, driver_of
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._sqlite import tasks as stored
from asyncsched.stores._sqlite.connection import store_error
from asyncsched.stores._sqlite.watch import Watch
from asyncsched.stores._within import TransactionVerbs

# So often it is tried to write behind the user's transaction, five seconds each time; later the end of it is seen when
# the neighbours are looked at.
_PATIENCE = 12
_BUSY = (
    "another transaction is writing, or has written since this one began to read: roll back, and do it again with "
    "BEGIN IMMEDIATE"
)


class TransactionDesk(Watch, TransactionVerbs):
    """Runs that are written by connections of the user, at a SQLite file."""

    async def submit_within(self, connection: object, runs: Sequence[Run[Any]]) -> list[Run[Any]]:
        self._thread(self._writer)
        new = [self._known.new(run) for run in runs]
        now_us, path = self._clock.now_us(), self._path

        def work(db: sqlite3.Connection) -> list[Row | None]:
            with enlisted(db, path):
                return stored.submit(db, now_us, new)

        own = await driver_connection(connection)
        if isinstance(own, sqlite3.Connection):
            answer = work(own)
        elif driver_of(own) == "aiosqlite" and hasattr(type(own), "in_transaction"):
            answer = await _on_its_thread(own, work)
        else:
            cure = f"give one of sqlite3, aiosqlite or SQLAlchemy to {path}"
            raise MisuseError(f"connection={type(connection).__name__} is no connection to SQLite: {cure}")
        standing = []
        for run, other in zip(runs, answer, strict=True):
            if other is None:
                self._known.hold(run)
                self._watch(run, written=False)
            standing.append(run if other is None else self._stands(other))
        self._follow(_PATIENCE)
        return standing

    def _follow(self, tries: int) -> None:
        """Look as soon as the user's transaction is over: the writer gets its turn then."""
        if self._writer is not None and tries:
            waiting = self._writer.post(lambda _db: None, lambda _done: self._look_elsewhere())
            waiting.add_done_callback(lambda done: self._followed(done, tries))

    def _followed(self, waiting: asyncio.Future[None], tries: int) -> None:
        if not waiting.cancelled() and waiting.exception() is not None:
            self._follow(tries - 1)


async def _on_its_thread(connection: Any, work: Callable[[sqlite3.Connection], Any]) -> Any:
    """What ``work`` gives, on the thread that aiosqlite keeps for the connection."""
    try:
        db = connection._conn
    except ValueError as error:
        raise MisuseError(f"connection= is not open ({error}): open it first, and close it after the commit") from error
    return await connection._execute(work, db)


@contextmanager
def enlisted(db: sqlite3.Connection, path: str) -> Iterator[None]:
    """The user's connection as the store's own are, in the user's transaction, of which a failure here undoes nothing.

    Raises:
        MisuseError: it is not a connection to this file, is closed, may only read, may not be used on this thread, or
            has no transaction.
        StoreError: SQLite refuses.
    """
    try:
        shape = db.row_factory, db.text_factory
        db.row_factory, db.text_factory = None, str
        try:
            _check(db, path)
            db.execute("SAVEPOINT asyncsched")
            try:
                yield
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK TO asyncsched")
                    db.execute("RELEASE asyncsched")
                raise
            db.execute("RELEASE asyncsched")
        finally:
            db.row_factory, db.text_factory = shape
    except sqlite3.ProgrammingError as error:
        cure = (
            "leave it open, and if it is used on several threads, one at a time, make it with check_same_thread=False"
        )
        raise MisuseError(f"this connection cannot be used here ({error}): {cure}") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_BUSY:
            raise StoreError(f"SQLite store {path}: {_BUSY} ({error})") from error
        if code == sqlite3.SQLITE_READONLY:
            cure = "open it without mode=ro, and leave PRAGMA query_only off"
            raise MisuseError(f"this connection may only read ({error}): {cure}") from error
        raise store_error(path, error) from error


def _check(db: sqlite3.Connection, path: str) -> None:
    file = next((name for _number, schema, name in db.execute("PRAGMA database_list") if schema == "main"), "")
    if not (file and _is_same(Path(file), path)):
        cure = f"connect to {path}, or name this file in Scheduler('sqlite:///...')"
        raise MisuseError(f"connection= is one to {file or 'a database in memory'}, and the store is in {path}: {cure}")
    if db.in_transaction:
        return
    if db.isolation_level is None or getattr(db, "autocommit", None) is True:
        cure = "execute BEGIN IMMEDIATE first, or leave connection= out"
        raise MisuseError(f"connection= has no transaction open, and would commit each statement by itself: {cure}")
    db.execute("BEGIN IMMEDIATE")


def _is_same(file: Path, path: str) -> bool:
    try:
        return file.samefile(path)
    except FileNotFoundError:  # one of them was deleted
        return False
