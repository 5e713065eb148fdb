"""Connections to a SQLite file, and its troubles in words."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Literal, TypeAlias

from asyncsched.errors import StoreError

Synchronous: TypeAlias = Literal["full", "normal"]

LEAST_VERSION = (3, 35, 0)
"""Without RETURNING nothing here works."""
# From here on, and in the patched releases before, two connections that write at once cannot spoil a log that begins
# anew: https://sqlite.org/wal.html names the releases.
_SOUND_VERSION = (3, 51, 3)
_PATCHED = ((3, 50, 7), (3, 44, 6))
_LOG_LIMIT = 4_000_000  # bytes: about 1,000 pages, SQLite's own measure
_TRIES = 1_000
_NETWORKS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs"}
# Of what is mounted through FUSE only these lie on a disk of this machine.
_LOCAL_FUSE = {"fuseblk", "fuse.ntfs-3g", "fuse.exfat", "fuse.ext4", "fuse.fuse-overlayfs", "fuse.gocryptfs"}
_MAY_WRITE = "give this user the right to write the file and its directory"
_CURES = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space; nothing was written, and later calls work again",
    sqlite3.SQLITE_READONLY: f"it cannot be written: {_MAY_WRITE}",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: the directory must exist, and this user be allowed to write there",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database: name another file, or move this one away",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore a copy, or save what can be read with the sqlite3 tool's .recover",
    sqlite3.SQLITE_BUSY: "another process has been writing for too long: look for a transaction that was left open",
    sqlite3.SQLITE_IOERR: "the disk could not be read or written: look for one that fails or is over its quota",
}


class FileGone(StoreError):
    """The file at the path is not the one that is open."""


def holds_up_all(error: BaseException) -> bool:
    """Whether a transaction failed for what no part of it has done: to try each part alone would take as long again."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or isinstance(error, FileGone)


def os_error(path: str, error: OSError) -> StoreError:
    """What the system refused beside the file, and what to do."""
    cure = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else _MAY_WRITE
    return StoreError(f"SQLite store {path}: {error.strerror or error}: {cure}")


class OpenFile:
    """The file as it was when it was opened: whether the one at its path is still the same."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._opened: tuple[int, int] | None = None

    def remember(self) -> None:
        """It has been opened, as it is now."""
        self._opened = _identity(self._path)

    def check(self) -> None:
        """Nothing, as long as what is written reaches the file that others would open.

        Raises:
            FileGone: it was deleted, or another file has taken its place.
        """
        now = _identity(self._path)
        if now != self._opened:
            what = "was deleted" if now is None else "was replaced by another one"
            raise FileGone(
                f"SQLite store {self._path}: the file {what} while it was in use: nothing is written any more. Put it "
                "back where it was, or stop this process and start it again"
            )


def read_anything(db: sqlite3.Connection, error: BaseException) -> bool:
    """From now on read texts that are none too, if that is what went wrong; whether it was."""
    # Not from the start: a function that decodes each text makes reading twice as slow.
    if not str(error).startswith("Could not decode") or db.text_factory is not str:
        return False
    db.text_factory = _decoded
    return True


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - asked before each commit; a Path takes twice as long
    except OSError:
        return None
    return found.st_dev, found.st_ino


def store_error(path: str, error: sqlite3.Error) -> StoreError:
    """What went wrong with the file, and what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest tells the cases of one trouble apart
    cure = _CURES.get(code)
    return StoreError(f"SQLite store {path}: {cure} ({error})" if cure else f"SQLite store {path}: {error}")


def prepare_file(path: str, *, network: bool = False) -> None:
    """Make the file, for its owner alone, if there is none; ``network``: it may lie on a network file system.

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
    kind = None if network else network_kind(_mounts(), file.parent.resolve())
    if kind is not None:
        raise StoreError(
            f"SQLite store {path}: it lies on a network file system ({kind}), where SQLite's locks do not hold and the "
            "file may be damaged: put it on a local disk, or use a store that is a server. If one process alone uses "
            "it, SQLiteStore(path, network=True) or '?network=allow' in the URL opens it all the same"
        )
    if file.exists():
        # SQLite would open what cannot be written, and leave files behind that cannot be written either.
        if not (_writable(file) and _writable(file.parent)):
            raise StoreError(f"SQLite store {path}: it cannot be written: {_MAY_WRITE}")
        return  # and is not opened here: to close it again would take away the locks of this process's connections
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    except OSError as error:
        raise os_error(path, error) from error


def _writable(place: Path) -> bool:
    return os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


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
        if os.stat(f"{path}-wal").st_size < _LOG_LIMIT:  # noqa: PTH116 - after each transaction: a Path takes longer
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
    return kind if kind in _NETWORKS or (kind.startswith("fuse") and kind not in _LOCAL_FUSE) else None


def _mounts() -> str:
    """What the system says is mounted where; nothing on one that says it in another way."""
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
