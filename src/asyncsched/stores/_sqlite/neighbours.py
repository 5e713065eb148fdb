"""Other processes at the same file: that they changed something, and that one of them is gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from asyncsched.clock import SECOND_US, SystemClock
from asyncsched.stores._sqlite.connection import tidy
from asyncsched.stores._sqlite.nodes import others, vanished
from asyncsched.stores._sqlite.rescue import rescue

# How often it is looked whether others have written: a look costs 10 us. Alone, whether somebody has come.
_BESIDE_S, _ALONE_S = 0.02, 1.0


class Neighbours:
    """Looks after others, on the writer's thread and connection, in its pauses and after its transactions.

    changed: called, on that thread, when others have written something.
    """

    def __init__(self, path: str, node_id: str, now_us: Callable[[], int], changed: Callable[[], None]) -> None:
        self._path = path
        self._node_id = node_id
        self._now_us = now_us
        self._changed = changed
        self._steady_us = SystemClock().steady_us
        self._version = -1
        self._others: list[str] = []
        self._visited_us = 0

    def look(self, db: sqlite3.Connection) -> float:
        """See to what is due; in how many seconds to look again."""
        tidy(self._path, db)
        (version,) = db.execute("PRAGMA data_version").fetchone()  # grows with what other connections write
        if version != self._version:
            self._others = others(db, self._node_id)
            if self._version >= 0:
                self._changed()
            self._version = version
        if not self._others:
            return _ALONE_S
        now_us = self._steady_us()
        if now_us - self._visited_us >= SECOND_US:
            self._visited_us = now_us
            if any(vanished(self._path, other) for other in self._others):
                self._rescue(db)
        return _BESIDE_S

    def _rescue(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            gone = rescue(db, self._path, self._node_id, self._now_us())
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        self._others = [other for other in self._others if other not in gone]
        self._changed()
