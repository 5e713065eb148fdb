"""Other processes at the same file: that they changed something, that one of them is gone, and that they gave up us."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from random import Random

from asyncsched import crash_points
from asyncsched.clock import SECOND_US, SystemClock
from asyncsched.stores._sqlite.nodes import NodeLock, Silence, expired, nodes, sign_of, silence
from asyncsched.stores._sqlite.rescue import rescue, strays_of
from asyncsched.stores._sqlite.screening import mend

log = logging.getLogger("asyncsched.stores")

# How often it is looked whether others have written: a look and the wake for it cost 150 us. Where nobody has written
# for a while, less often; alone, whether somebody has come.
_BESIDE_S, _QUIET_S, _ALONE_S = 0.02, 0.04, 1.0
_QUIET_AFTER_US = 2 * SECOND_US
# Each time that much later or earlier, so that nodes which have begun together do not look together.
_SWEEP_US, _SWEEP_SPREAD = 5 * SECOND_US, 0.2


class Neighbours:
    """Looks after others, on the writer's thread and connection, in its pauses and after its transactions.

    lock: gives the lock of this node, once it has one.
    changed: called, on that thread, when others may have written something.
    given_up: called there when others have taken this node for dead.
    """

    def __init__(
        self,
        path: str,
        lock: Callable[[], NodeLock | None],
        now_us: Callable[[], int],
        changed: Callable[[], None],
        given_up: Callable[[], None],
    ) -> None:
        self._path = path
        self._lock = lock
        self._now_us = now_us
        self._changed = changed
        self._given_up = given_up
        self._steady_us = SystemClock().steady_us
        self._random = Random()
        self._version = -1
        self._others: dict[str, Silence | None] = {}
        """The other nodes, each as it was last looked at."""
        self._visited_us = self._sweep_us = self._heard_us = 0

    def look(self, db: sqlite3.Connection) -> float:
        """See to what is due; in how many seconds to look again."""
        lock = self._lock()
        if lock is None:  # it has not entered yet
            return _BESIDE_S
        lock.renew()
        version = data_version(db)
        now_us = self._steady_us()
        visiting = now_us - self._visited_us >= SECOND_US
        if version != self._version:
            self._heard_us = now_us
        if version != self._version or visiting:
            # At the first look too: who came, wrote and went before it has left no other sign.
            self._look_around(db, lock.node_id, hinted=version != self._version)
            self._version = version
        if visiting:
            self._visited_us = now_us
            self._visit(db, lock.node_id, now_us)
        if not self._others:
            return _ALONE_S
        return _BESIDE_S if now_us - self._heard_us < _QUIET_AFTER_US else _QUIET_S

    def _look_around(self, db: sqlite3.Connection, node_id: str, *, hinted: bool) -> None:
        """Learn who is there. What others have done is asked each time that they have written.

        Beside others it is asked once a second too: a hint may be lost, and is never the only way to hear of something.
        """
        known = nodes(db)
        if node_id not in known:
            self._given_up()
        before = self._others
        self._others = {other: before.get(other) for other in known if other != node_id}
        if hinted or (self._visited_us and (self._others or before)):
            self._changed()

    def _visit(self, db: sqlite3.Connection, node_id: str, now_us: int) -> None:
        """Hand back what nodes have left that are gone, or have given no sign of life for as long as their lease."""
        gone, silent = False, {}
        for other, before in self._others.items():
            sign = sign_of(self._path, other)
            if sign is None:
                gone = True
                continue
            found = self._others[other] = silence(before, sign, now_us)
            if expired(found):
                silent[other] = sign
        if now_us >= self._sweep_us:
            self._sweep_us = now_us + int(_SWEEP_US * self._random.uniform(1 - _SWEEP_SPREAD, 1 + _SWEEP_SPREAD))
            gone = gone or bool(strays_of(db))
        if gone or silent:
            self._rescue(db, node_id, silent)

    @crash_points.transaction
    def _rescue(self, db: sqlite3.Connection, node_id: str, silent: dict[str, bytes]) -> None:
        try:
            db.execute("BEGIN IMMEDIATE")
            gone = rescue(db, self._path, node_id, self._now_us(), silent)
            db.execute("COMMIT")
        except Exception as error:  # this thread must go on; the next visit tries again
            if db.in_transaction:
                db.execute("ROLLBACK")
            if not mend(db, error, self._now_us):
                log.warning("what other processes left at %s cannot be handed back: %s", self._path, error)
            return
        for other in gone:
            self._others.pop(other, None)
        self._changed()


def data_version(db: sqlite3.Connection) -> int:
    """A number that changes when another connection has written."""
    (version,) = db.execute("PRAGMA data_version").fetchone()
    return int(version)
