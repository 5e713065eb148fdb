"""Which processes live at a SQLite file: each holds a lock that ends with it, and gives signs of life.

The lock tells at once that a process has ended. That one which has not ended does nothing any more, being stopped or
stuck, is told by the signs: it renews its lease by writing another one every now and then.
"""

from __future__ import annotations

import glob
import os
import sqlite3
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from asyncsched.clock import SECOND_US, SystemClock

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LEASE_US, LEAST_LEASE_US, MOST_LEASE_US = 20 * SECOND_US, 3 * SECOND_US, 86_400 * SECOND_US
"""How long a node may give no sign of life; a shorter lease would take a busy machine for a dead node."""
# The part of a lease that has gone by when it is renewed: three signs in a row may be late.
_RENEWED_AFTER = 4
# Of the time between two looks at a node so much counts: whoever was stopped himself cannot say that others were.
_MOST_BETWEEN_US = 2 * SECOND_US
# The first byte is the lock's: on Windows nobody else may read it.
_SIGN_AT, _SIGN_LENGTH = 1, 32


class NodeLock:
    """A file beside the database that is locked as long as its process lives, and in which it gives signs of life.

    lease_us: without another sign for so long others may take the node for dead.
    """

    def __init__(self, path: str, node_id: str, lease_us: int = LEASE_US) -> None:
        self.node_id = node_id
        self.sign = b""
        """The last sign of life."""
        self._path = _place(path, node_id)
        self._lease_us = lease_us
        self._steady_us = SystemClock().steady_us
        self._signed_us = 0
        self._fd: int | None = None
        self._guard = Lock()

    def take(self) -> None:
        """Make the file and lock it.

        Raises:
            OSError: it cannot be made.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        _lock(fd)
        self._fd = fd
        _own[self._path] = self
        self._sign(self._steady_us())

    def renew(self) -> None:
        """Give a sign of life, if it is time for one. From any thread."""
        now_us = self._steady_us()
        if now_us - self._signed_us >= self._lease_us // _RENEWED_AFTER:
            self._sign(now_us)

    def _sign(self, now_us: int) -> None:
        self._signed_us = now_us
        with self._guard:
            if self._fd is None:
                return
            self.sign = f"{now_us:020d} {self._lease_us:011d}".encode()
            with suppress(OSError):  # then others miss it, as they are to: nothing can be written here
                os.lseek(self._fd, _SIGN_AT, os.SEEK_SET)
                os.write(self._fd, self.sign)

    def release(self) -> None:
        """Let go of it; the file goes too."""
        with suppress(OSError):
            Path(self._path).unlink()
        self.vanish()

    def vanish(self) -> None:
        """Let go of it as the end of the process does: the file stays."""
        _own.pop(self._path, None)
        with self._guard:
            fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


# A process is not kept out by its own locks, and loses them where it opens the file again: so those are known here.
_own: dict[str, NodeLock] = {}


class Silence(NamedTuple):
    """A node as it was last looked at: its last sign, when that was, and how long it has been the same."""

    sign: bytes
    looked_us: int
    silent_us: int


def silence(before: Silence | None, sign: bytes, now_us: int) -> Silence:
    """How long a node has given the same sign of life, as far as that has been looked at."""
    if before is None or before.sign != sign:
        return Silence(sign, now_us, 0)
    return Silence(sign, now_us, before.silent_us + min(now_us - before.looked_us, _MOST_BETWEEN_US))


def expired(found: Silence) -> bool:
    """Whether the lease of the node is over; never, where its sign says nothing of a lease."""
    _at, _, lease = found.sign.partition(b" ")
    return lease.isdigit() and found.silent_us >= int(lease)


def sign_of(path: str, node_id: str) -> bytes | None:
    """The last sign of life of a node, empty if there is none; ``None`` if its process has ended without leaving."""
    place = _place(path, node_id)
    if (own := _own.get(place)) is not None:
        return own.sign
    try:
        fd = os.open(place, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return None
    except OSError:  # of another user, perhaps: nothing is known of it
        return b""
    try:
        _lock(fd)
    except OSError:
        return _read(fd)
    finally:
        os.close(fd)
    return None


def _read(fd: int) -> bytes:
    with suppress(OSError):
        os.lseek(fd, _SIGN_AT, os.SEEK_SET)
        return os.read(fd, _SIGN_LENGTH)
    return b""


def heard_us(path: str, node_id: str, now_us: int) -> int:
    """When the node gave its last sign of life, by the clock of the file system; never later than ``now_us``."""
    try:
        return min(now_us, Path(_place(path, node_id)).stat().st_mtime_ns // 1000)
    except OSError:
        return 0


def vanished(path: str, node_id: str) -> bool:
    """Whether the process of this node has ended without leaving."""
    return sign_of(path, node_id) is None


def bury(path: str, node_id: str) -> None:
    """Take away what a node that is gone has left beside the database."""
    with suppress(OSError):
        Path(_place(path, node_id)).unlink()


def sweep(path: str, known: Collection[str]) -> None:
    """Take away the files of processes that ended when they were no nodes any more, and had not yet taken them away.

    In a transaction that writes, as nodes come: between making its file and locking it nobody else may look.
    """
    start = Path(_place(path, ""))
    for file in start.parent.glob(f"{glob.escape(start.name)}*"):
        node_id = file.name.removeprefix(start.name)
        if node_id not in known and vanished(path, node_id):
            bury(path, node_id)


def nodes(db: sqlite3.Connection) -> list[str]:
    """The nodes that have entered and not left."""
    return [node_id for (node_id,) in db.execute("SELECT id FROM asyncsched_nodes").fetchall()]


def others(db: sqlite3.Connection, node_id: str) -> list[str]:
    """Those of them that are not this one."""
    return [other for other in nodes(db) if other != node_id]


def _place(path: str, node_id: str) -> str:
    return f"{Path(path).resolve()}-node-{node_id}"


def _lock(fd: int) -> None:
    """Lock the file if nobody else has.

    Raises:
        OSError: somebody has.
    """
    if sys.platform == "win32":
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:  # not flock: a forked child would go on holding that when this process has ended
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
