"""Which processes live at a SQLite file: each holds a lock that ends with it, however it ends."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# A process is not kept out by its own locks, so those are remembered here: by path, the open files.
_own: dict[str, int] = {}


class NodeLock:
    """A file beside the database that is locked as long as its process lives."""

    def __init__(self, path: str, node_id: str) -> None:
        self.node_id = node_id
        self._path = _place(path, node_id)

    def take(self) -> None:
        """Make the file and lock it.

        Raises:
            OSError: it cannot be made.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        _lock(fd)
        _own[self._path] = fd

    def release(self) -> None:
        """Let go of it; the file goes too."""
        with suppress(OSError):
            Path(self._path).unlink()
        self.vanish()

    def vanish(self) -> None:
        """Let go of it as the end of the process does: the file stays."""
        fd = _own.pop(self._path, None)
        if fd is not None:
            os.close(fd)


def vanished(path: str, node_id: str) -> bool:
    """Whether the process of this node has ended without leaving."""
    place = _place(path, node_id)
    if place in _own:
        return False
    try:
        fd = os.open(place, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return True
    except OSError:  # of another user, perhaps: nothing is known of it
        return False
    try:
        _lock(fd)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def bury(path: str, node_id: str) -> None:
    """Take away what a vanished node has left beside the database."""
    with suppress(OSError):
        Path(_place(path, node_id)).unlink()


def others(db: sqlite3.Connection, node_id: str) -> list[str]:
    """The nodes that have entered and not left, but this one."""
    found = db.execute("SELECT id FROM asyncsched_nodes WHERE id != ?", (node_id,)).fetchall()
    return [other for (other,) in found]


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
