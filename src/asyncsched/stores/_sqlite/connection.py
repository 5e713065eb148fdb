"""Connections to a SQLite file, and its troubles in words."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from typing import Literal, TypeAlias

from asyncsched.errors import StoreError

log = logging.getLogger("asyncsched.stores")

Synchronous: TypeAlias = Literal["full", "normal"]

LEAST_VERSION = (3, 35, 0)
"""Without RETURNING nothing here works."""
# From here on, and in the patched releases before, two connections that write at once cannot spoil a log that begins
# anew: https://sqlite.org/wal.html names the releases.
_SOUND_VERSION = (3, 51, 3)
_PATCHED = ((3, 50, 7), (3, 44, 6))
_LOG_LIMIT = 4_000_000  # bytes: about 1,000 pages, SQLite's own measure
_TRIES = 1_000
_NETWORKS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.s3fs", "fuse.glusterfs")
_CURES = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space; nothing was written, and later calls work again",
    sqlite3.SQLITE_READONLY: "it cannot be written: give this user the right to write the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: the directory must exist, and this user be allowed to write there",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database: name another file, or move this one away",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore a copy, or save what can be read with the sqlite3 tool's .recover",
    sqlite3.SQLITE_BUSY: "another process has been writing for too long: look for a transaction that was left open",
    sqlite3.SQLITE_IOERR: "the disk could not be read or written",
}


def store_error(path: str, error: sqlite3.Error) -> StoreError:
    """What went wrong with the file, and what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest tells the cases of one trouble apart
    cure = _CURES.get(code)
    return StoreError(f"SQLite store {path}: {cure} ({error})" if cure else f"SQLite store {path}: {error}")


def prepare_file(path: str) -> None:
    """Make the file, for its owner alone, if there is none.

    Raises:
        StoreError: it cannot be made or used.
    """
    if sqlite3.sqlite_version_info < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        raise StoreError(f"this Python brings SQLite {sqlite3.sqlite_version}; the SQLite store needs {least} or later")
    file = Path(path)
    if not file.parent.is_dir():
        raise StoreError(f"SQLite store {path}: the directory {file.parent} does not exist: make it first")
    if file.is_dir():
        raise StoreError(f"SQLite store {path}: that is a directory: name a file in it")
    network = network_kind(_mounts(), file.parent.resolve())
    if network is not None:
        log.warning(
            "SQLite store %s lies on a network file system (%s): SQLite's locks do not hold there, the file may be "
            "damaged. Put it on a local disk, or use a store that is a server",
            *(path, network),
        )
    if file.exists():
        return  # and is not opened here: to close it again would take away the locks of this process's connections
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    except OSError as error:
        cure = "give this user the right to write the file and its directory"
        raise StoreError(f"SQLite store {path}: {error.strerror}: {cure}") from error


def connect(path: str, *, synchronous: Synchronous, reads_only: bool = False) -> sqlite3.Connection:
    """A connection that leaves transactions to its user, for one thread at a time."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        for pragma in (
            "busy_timeout = 5000",
            f"synchronous = {synchronous}",
            "foreign_keys = ON",
            "trusted_schema = OFF",
            "cache_size = -65536",
            "temp_store = MEMORY",
            # The writer does this itself, alone: two connections that do it at once are what the unsound versions fear.
            "wal_autocheckpoint = 0",
            *(["query_only = ON"] if reads_only else []),
        ):
            db.execute(f"PRAGMA {pragma}")
        _log_ahead(db)
    except BaseException:
        db.close()
        raise
    return db


def _log_ahead(db: sqlite3.Connection) -> None:
    """Let the file have a write-ahead log, as it stays from then on."""
    for _ in range(_TRIES):
        (mode,) = db.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            return
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            # Another one does the same, and for this SQLite does not wait; for a transaction it does.
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
    raise sqlite3.OperationalError("it cannot be given a write-ahead log: others keep it busy")


def tidy(path: str, db: sqlite3.Connection) -> None:
    """Move what has been written from the log to the database, once that is much; not while others are reading."""
    try:
        if Path(f"{path}-wal").stat().st_size < _LOG_LIMIT:
            return
    except OSError:
        return
    db.execute("PRAGMA busy_timeout = 0")
    try:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        db.execute("PRAGMA busy_timeout = 5000")


def sound() -> bool:
    """Whether this SQLite is safe for several processes that write one file."""
    version = sqlite3.sqlite_version_info
    return version >= _SOUND_VERSION or any(version[:2] == one[:2] and version >= one for one in _PATCHED)


def network_kind(mounts: str, directory: Path) -> str | None:
    """The kind of network file system in which the directory lies, by the text of ``/proc/mounts``; ``None``: none."""
    parts = (line.split(" ") for line in mounts.splitlines())
    by_place = {part[1].replace("\\040", " "): part[2] for part in parts if len(part) > 2}
    kind = next((by_place[str(place)] for place in (directory, *directory.parents) if str(place) in by_place), "")
    return kind if kind in _NETWORKS else None


def _mounts() -> str:
    """What the system says is mounted where; nothing on one that says it in another way."""
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
