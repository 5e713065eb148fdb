"""Runs of processes that are gone are handed back, within a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from asyncsched.retry import NO_RETRY
from asyncsched.run import HandedBack, settle
from asyncsched.stores._sqlite.nodes import bury, others, vanished
from asyncsched.stores._sqlite.rows import COLUMNS, PARKED, Row
from asyncsched.stores._sqlite.unit import Unit


def enter(db: sqlite3.Connection, node_id: str, name: str, now_us: int) -> None:
    """Let the node be one of those that live at the file."""
    db.execute("INSERT INTO asyncsched_nodes VALUES (?, ?, ?)", (node_id, name, now_us))


def leave(db: sqlite3.Connection, node_id: str, now_us: int) -> None:
    """Let it be none of them; what it leaves RUNNING is handed back."""
    _hand_back(db, node_id, now_us)
    db.execute("DELETE FROM asyncsched_nodes WHERE id = ?", (node_id,))


def rescue(db: sqlite3.Connection, path: str, node_id: str, now_us: int) -> list[str]:
    """Hand back the runs of nodes whose processes are gone; these nodes."""
    gone = [other for other in others(db, node_id) if vanished(path, other)]
    for other in gone:
        leave(db, other, now_us)
        bury(path, other)
    return gone


def unpark(db: sqlite3.Connection, now_us: int) -> None:
    """Let runs that could not be read be tried again: another version of the program may be able to."""
    unit = Unit(db, now_us)
    parked = db.execute(f"SELECT {COLUMNS} FROM asyncsched_runs WHERE state = {PARKED}").fetchall()
    for row in map(Row._make, parked):
        unit.admit(row._replace(token=row.token + 1, reason=None))
    unit.close()


def park(db: sqlite3.Connection, unreadable: Sequence[tuple[Row, str]]) -> None:
    """Let nobody claim runs that were claimed and cannot be read; each says why."""
    db.executemany(
        f"UPDATE asyncsched_runs SET state = {PARKED}, status = 'PENDING', reason = ?, token = token + 1, node = NULL, "
        "attempt = attempt - 1, lapses_at = NULL WHERE id = ? AND token = ?",
        [(why[:500], row.id, row.token) for row, why in unreadable],
    )


def _hand_back(db: sqlite3.Connection, node_id: str, now_us: int) -> None:
    unit = Unit(db, now_us)
    left = db.execute(f"SELECT {COLUMNS} FROM asyncsched_runs WHERE state = 1 AND owner = ?", (node_id,)).fetchall()
    for row in map(Row._make, left):
        settled = settle(HandedBack(), row.attempt, NO_RETRY, now_us)
        back = row._replace(
            status=settled.status.value,
            reason=settled.reason,
            attempt=row.attempt - 1,
            token=row.token + 1,
            node=None,
            due_at=now_us,
            error=None,
        )
        unit.admit(back)
    unit.close()
