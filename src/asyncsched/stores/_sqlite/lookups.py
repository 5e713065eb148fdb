"""What the SQLite store is asked about runs: by id, by filter, by task."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from asyncsched.run import FINAL
from asyncsched.stores._base import RunFilter
from asyncsched.stores._durable.rows import COLUMNS, Row

# Of ended runs the queue stands in their terms alone.
_QUEUE = "CASE WHEN json_valid(terms) THEN coalesce(json_extract(terms, '$.queue'), 'default') ELSE 'default' END"
# The instant of a run; and, of runs that were made at once, which is the newer.
_FEW = 1_000
_INSTANT, _AGE = "coalesce(scheduled_at, created_at)", "created_at DESC, coalesce(scheduled_at, due_at) DESC, id DESC"


def find(db: sqlite3.Connection, wanted: RunFilter) -> list[Row]:
    """The runs that fit, newest first."""
    where, values = _conditions(wanted)
    parts = [
        f"SELECT {COLUMNS} FROM (SELECT {COLUMNS} FROM asyncsched_{table}{where} ORDER BY {_AGE} LIMIT ?)"
        for table in _tables(wanted)
    ]
    if not parts:
        return []
    query = f"SELECT * FROM ({' UNION ALL '.join(parts)}) ORDER BY {_AGE} LIMIT ?"
    return list(map(Row._make, db.execute(query, (*((*values, wanted.limit) * len(parts)), wanted.limit))))


def unfinished(db: sqlite3.Connection, tasks: Collection[str]) -> list[Row]:
    """The runs of these tasks that have not ended, newest first."""
    busy = _busy_tasks(db)
    wanted = list(tasks) if busy is None else [task for task in busy if task in set(tasks)]
    if not wanted:
        return []
    query = f"SELECT {COLUMNS} FROM asyncsched_runs WHERE task IN (SELECT value FROM json_each(?)) ORDER BY {_AGE}"
    return list(map(Row._make, db.execute(query, (json.dumps(wanted),))))


def _busy_tasks(db: sqlite3.Connection) -> list[str] | None:
    """The tasks of which any run has not ended; ``None`` if they are too many to be looked for one by one."""
    found = db.execute(
        "WITH RECURSIVE busy (task) AS (SELECT min(task) FROM asyncsched_runs UNION ALL "
        "SELECT (SELECT min(task) FROM asyncsched_runs r WHERE r.task > busy.task) FROM busy WHERE task IS NOT NULL "
        "LIMIT ?) SELECT task FROM busy WHERE task IS NOT NULL",
        (_FEW + 2,),
    ).fetchall()
    return None if len(found) > _FEW else [task for (task,) in found]


def _tables(wanted: RunFilter) -> list[str]:
    """Where such runs are: the history may be long, and those that have not ended are not there."""
    live = wanted.status is None or not FINAL.issuperset(wanted.status)
    ended = wanted.status is None or not FINAL.isdisjoint(wanted.status)
    return ["runs"] * live + ["history"] * ended


def _conditions(wanted: RunFilter) -> tuple[str, list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    if wanted.task is not None:
        conditions.append("task = ?")
        values.append(wanted.task)
    if wanted.flow is not None:
        conditions.append("(flow = ? OR (flow IS NULL AND id = ?))")
        values += [wanted.flow, wanted.flow]
    choices: tuple[tuple[str, Collection[str] | None], ...] = (("status", wanted.status), ("reason", wanted.reason))
    for column, choice in choices:
        if choice is not None:
            conditions.append(f"{column} IN ({', '.join('?' * len(choice))})")
            values += [str(one) for one in choice]
    if wanted.tasks is not None:
        conditions.append("task IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(list(wanted.tasks)))
    if wanted.queue is not None:
        conditions.append(f"{_QUEUE} = ?")
        values.append(wanted.queue)
    if wanted.since_us is not None:
        conditions.append(f"{_INSTANT} >= ?")
        values.append(wanted.since_us)
    if wanted.until_us is not None:
        conditions.append(f"{_INSTANT} < ?")
        values.append(wanted.until_us)
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values


def last_ended(db: sqlite3.Connection, tasks: Sequence[str], most: int) -> dict[str, list[Row]]:
    """The latest ended runs of each of these tasks, at most so many of each, oldest first."""
    if db.execute("SELECT 1 FROM asyncsched_history LIMIT 1").fetchone() is None:
        return {}
    found: dict[str, list[Row]] = {}
    for task in tasks:
        rows = db.execute(
            f"SELECT {COLUMNS} FROM asyncsched_history WHERE task = ? ORDER BY seq DESC LIMIT ?", (task, most)
        ).fetchall()
        if rows:
            found[task] = [Row._make(row) for row in reversed(rows)]
    return found
