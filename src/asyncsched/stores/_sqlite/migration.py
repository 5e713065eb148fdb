"""The schema of a file that nobody here has open: looked at, and brought up to date by hand."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from asyncsched.clock import SystemClock
from asyncsched.errors import MisuseError, StoreError
from asyncsched.stores._migrates import Migrates, SchemaState
from asyncsched.stores._sqlite.connection import connect, prepare_file, store_error
from asyncsched.stores._sqlite.presence import Presence
from asyncsched.stores._sqlite.schema import STEPS, migrate, missing, script, seen

T = TypeVar("T")


class SchemaDesk(Presence, Migrates):
    """What a store does about its schema beside opening."""

    async def schema(self) -> SchemaState:
        return await self._apart(_state)

    async def migrate(self, *, backup: Path | None = None) -> tuple[str, ...]:
        now_us = SystemClock().now_us()

        def work(path: str) -> tuple[str, ...]:
            prepare_file(path, network=self._network)
            with closing(connect(path, synchronous="full")) as db:
                if backup is not None and missing(db):
                    _copy(db, backup)
                return tuple(step.name for step in migrate(db, now_us))

        return await self._apart(work)

    async def _apart(self, work: Callable[[str], T]) -> T:
        """What ``work`` gives for the file, done beside the loop, on a connection of its own."""
        path = self._path
        if self._writer is not None:  # that connection's end would take away the locks of this one
            raise MisuseError(f"the SQLite store {path} is open here: its schema is what it needs")
        try:
            return await asyncio.to_thread(work, path)
        except sqlite3.Error as error:
            raise store_error(path, error) from error


def _state(path: str) -> SchemaState:
    names: tuple[str, ...] = ()
    lacking = STEPS
    if Path(path).exists():
        # Only to be read, but not "ro": beside a log that nobody has open a reader must be able to make its index.
        with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=rw", uri=True)) as db:
            db.execute("PRAGMA query_only = ON")
            lacking, names = tuple(missing(db)), seen(db)
    return SchemaState(names, tuple(step.name for step in lacking), script(lacking))


def _copy(db: sqlite3.Connection, copy: Path) -> None:
    try:
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise StoreError(f"backup {copy}: there is such a file already: name another one") from None
    except OSError as error:
        raise StoreError(f"backup {copy}: {error.strerror}: name a file in a directory that can be written") from error
    try:
        db.execute("VACUUM INTO ?", (str(copy),))
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
