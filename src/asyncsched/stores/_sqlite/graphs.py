"""Blocked runs, what they need and what becomes of them, within a transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence

from asyncsched import crash_points
from asyncsched.graph import Tally
from asyncsched.run import RunStatus
from asyncsched.stores._durable.marred import row_said
from asyncsched.stores._durable.orders import Decided, New
from asyncsched.stores._durable.rows import COLUMNS, Row
from asyncsched.stores._sqlite.met import still_met
from asyncsched.stores._sqlite.unit import Unit

_STATUSES = {status.value: status for status in RunStatus}
_SELECT = ", ".join(f"r.{name}" for name in Row._fields)


@crash_points.after("followers", len)
def followers(db: sqlite3.Connection, run_ids: Collection[str] | None) -> list[tuple[Row, Tally]]:
    """The blocked runs that need one of these; with ``None`` all that need one which has ended."""
    if run_ids is None:
        found = db.execute(
            f"SELECT {_SELECT} FROM asyncsched_runs r WHERE r.state = 3 AND r.id IN "
            "(SELECT n.run FROM asyncsched_needs n WHERE n.status IS NOT NULL) ORDER BY r.seq"
        ).fetchall()
    else:
        query = f"SELECT {_SELECT} FROM asyncsched_needs n JOIN asyncsched_runs r ON r.id = n.run "
        found = [
            one
            for run_id in run_ids
            for one in db.execute(query + "WHERE n.upstream = ? AND r.state = 3 ORDER BY r.seq", (run_id,))
        ]
    rows = {one[0]: Row._make(one) for one in found}
    return [(row, _tally(db, run_id)) for run_id, row in rows.items()]


def _tally(db: sqlite3.Connection, run_id: str) -> Tally:
    needed = db.execute("SELECT status, reason FROM asyncsched_needs WHERE run = ?", (run_id,))
    return Tally.of((_STATUSES.get(status, RunStatus.PENDING), reason) for status, reason in needed)


@crash_points.unit("settle", any)
def settle(db: sqlite3.Connection, now_us: int, decisions: Sequence[Decided]) -> list[Row | None]:
    """Let blocked runs be ready, or end; each as it then stands, ``None`` if its decision did not count."""
    unit = Unit(db, now_us)
    done = [_settle(unit, one) for one in decisions]
    unit.close()
    return done


def _settle(unit: Unit, decided: Decided) -> Row | None:
    row, ready, sources, met = decided
    if met is not None and not still_met(unit.db, unit.now_us, row.task, met):
        return None
    if not ready:
        return None if unit.end(row, "= 3") is None else row
    found = unit.db.execute(
        f"SELECT {COLUMNS} FROM asyncsched_runs WHERE id = ? AND token = ? AND state = 3", (row.id, row.token - 1)
    ).fetchone()
    if found is None:
        return None
    due_us = max(row.due_at, unit.now_us)
    admitted = row._replace(due_at=due_us)
    unit.db.execute("UPDATE asyncsched_runs SET edges = ? WHERE id = ?", (row.edges, row.id))
    unit.admit(admitted)
    if sources is not None:  # their results are kept until it has ended
        unit.db.execute("DELETE FROM asyncsched_needs WHERE run = ?", (row.id,))
        needs = [(source, row.id, "SUCCESS") for source in sources]
        unit.db.executemany("INSERT INTO asyncsched_needs (upstream, run, status) VALUES (?, ?, ?)", needs)
    return admitted


def lookback(db: sqlite3.Connection, tasks: Collection[str]) -> dict[str, tuple[Row | None, list[Row]]]:
    """Of each task its last success and its runs that have not ended."""
    return {task: (_last_success(db, task), _unfinished(db, task)) for task in tasks}


def _last_success(db: sqlite3.Connection, task: str) -> Row | None:
    marked = db.execute("SELECT succeeded FROM asyncsched_marks WHERE task = ?", (task,)).fetchone()
    if marked is not None and marked[0] is not None:
        last = row_said(marked[0])
        if last is not None:
            return last
    kept = db.execute(
        f"SELECT {COLUMNS} FROM asyncsched_history WHERE task = ? AND status = 'SUCCESS' ORDER BY seq DESC LIMIT 1",
        (task,),
    ).fetchone()
    return None if kept is None else Row._make(kept)


def _unfinished(db: sqlite3.Connection, task: str) -> list[Row]:
    found = db.execute(f"SELECT {COLUMNS} FROM asyncsched_runs WHERE task = ? ORDER BY seq", (task,))
    return list(map(Row._make, found))


def offers(db: sqlite3.Connection, task: str, upstreams: Mapping[str, str]) -> tuple[dict[str, str], list[Row]]:
    """What the join took last, and the ended runs of its upstreams in later flows."""
    taken = _taken(db, task)
    ended = [
        Row._make(found)
        for upstream, root in upstreams.items()
        for found in db.execute(
            f"SELECT {COLUMNS} FROM asyncsched_history WHERE task = ? AND flow > ? ORDER BY seq",
            (upstream, taken.get(root, "")),
        )
    ]
    return taken, ended


def join(
    db: sqlite3.Connection,
    now_us: int,
    task: str,
    before: Mapping[str, str],
    after: Mapping[str, str],
    runs: Sequence[New],
) -> bool:
    """Write the runs of a join's new flow, if what it has taken is still ``before``."""
    if _taken(db, task) != before:
        return False
    db.execute(
        "INSERT INTO asyncsched_marks (task, taken) VALUES (?, ?) "
        "ON CONFLICT (task) DO UPDATE SET taken = excluded.taken",
        (task, json.dumps(after)),
    )
    unit = Unit(db, now_us)
    for new in runs:
        unit.submit(new)
    unit.close()
    return True


def _taken(db: sqlite3.Connection, task: str) -> dict[str, str]:
    found = db.execute("SELECT taken FROM asyncsched_marks WHERE task = ?", (task,)).fetchone()
    if found is None or found[0] is None:
        return {}
    try:
        said = json.loads(found[0])
    except (ValueError, TypeError, RecursionError):
        return {}
    if not isinstance(said, dict) or not all(isinstance(flow, str) for flow in said.values()):
        return {}
    return said
