"""Runs of processes that are gone are handed back, within a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from asyncsched.errors import RunFailed
from asyncsched.retry import NO_RETRY
from asyncsched.run import HandedBack, RunStatus, settle
from asyncsched.stores._sqlite.nodes import bury, others, vanished
from asyncsched.stores._sqlite.rows import COLUMNS, PARKED, Row
from asyncsched.stores._sqlite.unit import Unit
from asyncsched.values import dump_error

LOST_LIMIT = 3
"""A run that has lost so many processes is given up: it may be what kills them."""


def enter(db: sqlite3.Connection, node_id: str, name: str, now_us: int) -> None:
    """Let the node be one of those that live at the file."""
    db.execute("INSERT INTO asyncsched_nodes VALUES (?, ?, ?)", (node_id, name, now_us))


def leave(db: sqlite3.Connection, node_id: str, now_us: int) -> None:
    """Let it be none of them; what it leaves RUNNING is handed back."""
    unit = Unit(db, now_us)
    for _lost, row in _left_by(db, node_id):
        unit.admit(_handed_back(row, now_us))
    unit.close()
    db.execute("DELETE FROM asyncsched_nodes WHERE id = ?", (node_id,))


def rescue(db: sqlite3.Connection, path: str, node_id: str, now_us: int) -> list[str]:
    """Hand back the runs of nodes whose processes are gone; these nodes."""
    gone = [other for other in others(db, node_id) if vanished(path, other)]
    for other in gone:
        _lose(db, other, now_us)
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


def _lose(db: sqlite3.Connection, node_id: str, now_us: int) -> None:
    """Count that the runs of this node lost their owner; end those that lose every one they get."""
    unit = Unit(db, now_us)
    db.execute("UPDATE asyncsched_runs SET lost = lost + 1 WHERE state = 1 AND owner = ?", (node_id,))
    for lost, row in _left_by(db, node_id):
        if lost >= LOST_LIMIT:
            message = f"run {row.id} of {row.task!r} was given up: {lost} processes died while they ran it"
            error = dump_error(RunFailed(message, run_id=row.id, reason="lost"))
            failed = RunStatus.FAILED.value
            unit.end(
                row._replace(status=failed, reason="lost", token=row.token + 1, finished_at=now_us, error=error), "= 1"
            )
    unit.close()


def _left_by(db: sqlite3.Connection, node_id: str) -> list[tuple[int, Row]]:
    """What runs at the node, each with how many nodes it has lost."""
    query = f"SELECT lost, {COLUMNS} FROM asyncsched_runs WHERE state = 1 AND owner = ?"
    return [(found[0], Row._make(found[1:])) for found in db.execute(query, (node_id,)).fetchall()]


def _handed_back(row: Row, now_us: int) -> Row:
    settled = settle(HandedBack(), row.attempt, NO_RETRY, now_us)
    return row._replace(
        status=settled.status.value,
        reason=settled.reason,
        attempt=row.attempt - 1,
        token=row.token + 1,
        node=None,
        due_at=now_us,
        error=None,
    )
