"""Runs of nodes that are gone are handed back, within a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from asyncsched import crash_points
from asyncsched.run import RunStatus
from asyncsched.stores._durable.lost import let_go
from asyncsched.stores._durable.rows import COLUMNS, PARKED, Row
from asyncsched.stores._sqlite.nodes import bury, others, sign_of
from asyncsched.stores._sqlite.places import pass_on
from asyncsched.stores._sqlite.roster import edit, strike
from asyncsched.stores._sqlite.unit import Unit

_KEY = "SELECT limit_key FROM asyncsched_runs WHERE id = ? AND limit_key IS NOT NULL"


def enter(db: sqlite3.Connection, node_id: str, name: str, now_us: int) -> None:
    """Let the node be one of those that live at the file."""
    db.execute("INSERT INTO asyncsched_nodes (id, name, started_at) VALUES (?, ?, ?)", (node_id, name, now_us))


@crash_points.unit("leave")
def leave(db: sqlite3.Connection, node_id: str, now_us: int) -> None:
    """Let it be none of them; what it leaves RUNNING is handed back."""
    _let_go(db, node_id, now_us)
    db.execute("DELETE FROM asyncsched_nodes WHERE id = ?", (node_id,))
    strike(db, now_us)


@crash_points.unit("rescue", len)
def rescue(
    db: sqlite3.Connection, path: str, node_id: str, now_us: int, silent: Mapping[str, bytes] = MappingProxyType({})
) -> list[str]:
    """Hand back the runs of nodes whose processes are gone, and of those that are no nodes any more; all these nodes.

    silent: the nodes whose leases are over, each with the sign of life that it must not have given again.
    """
    gone = []
    for other in others(db, node_id):
        sign = sign_of(path, other)
        if sign is None or sign == silent.get(other):
            gone.append(other)
            db.execute("DELETE FROM asyncsched_nodes WHERE id = ?", (other,))
            bury(path, other)
    strike(db, now_us)
    return [*gone, *(owner for owner in take_strays(db, now_us) if owner not in gone)]


def take_strays(db: sqlite3.Connection, now_us: int) -> list[str]:
    """Hand back the runs whose owners are no nodes; these owners."""
    strays = strays_of(db)
    for owner in strays:
        _let_go(db, owner, now_us, lost=True)
    return strays


def strays_of(db: sqlite3.Connection) -> list[str]:
    """The owners of runs under way that are no nodes."""
    nodes = "SELECT id FROM asyncsched_nodes"
    found = db.execute(f"SELECT DISTINCT owner FROM asyncsched_runs WHERE state = 1 AND owner NOT IN ({nodes})")
    return [owner for (owner,) in found.fetchall()]


def park(db: sqlite3.Connection, now_us: int, unreadable: Sequence[tuple[Row, str]]) -> None:
    """Let nobody claim runs that were claimed and cannot be read; each says why."""
    db.executemany(
        f"UPDATE asyncsched_runs SET state = {PARKED}, status = 'PENDING', reason = ?, token = token + 1, node = NULL, "
        "attempt = attempt - 1, lapses_at = NULL, holds = 0 WHERE id = ? AND token = ?",
        [(why[:500], row.id, row.token) for row, why in unreadable],
    )
    keys = {key for row, _why in unreadable for (key,) in db.execute(_KEY, (row.id,))}
    pass_on(db, keys, now_us)  # those that it held up
    edit(db)  # so that nodes look which may be able to read them


def _let_go(db: sqlite3.Connection, owner: str, now_us: int, *, lost: bool = False) -> None:
    """Hand back what runs at the node; end what was told to stop, and what has lost too many nodes."""
    unit = Unit(db, now_us)
    if lost:
        db.execute("UPDATE asyncsched_runs SET lost = lost + 1 WHERE state = 1 AND owner = ?", (owner,))
    query = f"SELECT lost, stop, {COLUMNS} FROM asyncsched_runs WHERE state = 1 AND owner = ?"
    for times, stop, *columns in db.execute(query, (owner,)).fetchall():
        row = Row._make(columns)
        after = let_go(row, now_us, stop, times if lost else None)
        if after.status == RunStatus.PENDING.value:
            unit.admit(after)
        else:
            unit.end(after, "= 1")
    unit.close()
