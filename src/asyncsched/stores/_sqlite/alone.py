"""Runs that have nothing to do with others, as most have not: written and ended many at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from asyncsched.run import NO_TERMS, Run, Terms
from asyncsched.stores._durable.rows import COLUMNS, DELAYED, READY, Row, terms_of, terms_text
from asyncsched.stores._sqlite.threads import Insertion
from asyncsched.values import Values

_INSERT = (
    "INSERT INTO asyncsched_runs (id, task, created_at, due_at, scheduled_at, stands_for, terms, args, retry_of, "
    "state, queue, priority, grouped, arrived_at, maker, status, attempt, token) "
    f"VALUES ({', '.join('?' * 15)}, 'PENDING', 0, 0)"
)
# A run that this node has under way, as it was when it was claimed: nobody has come meanwhile who needs its end.
_STILL = "FROM asyncsched_runs WHERE id = ? AND token = ? AND state = 1 AND flow IS NULL AND terms IS ?"
# Its owner does not send its arguments back.
_ARGS = Row._fields.index("args")
_KEEP = (
    f"INSERT OR IGNORE INTO asyncsched_history ({COLUMNS}) "
    f"SELECT {', '.join('args' if name == 'args' else '?' for name in Row._fields)} {_STILL}"
)


def alone(run: Run[Any]) -> bool:
    """Whether a new run has nothing to do with others: its row is all that there is to be written."""
    terms = run.terms
    return run.edges is None and (terms is NO_TERMS or (terms.bounds is None and not terms.backfill and _free(terms)))


def _free(terms: Terms) -> bool:
    """Whether neither the start nor the end of a run with these terms changes anything for others."""
    return terms.limit_key is None and terms.once is None and terms.idempotency is None


def insertion(runs: Sequence[Run[Any]], values: Callable[[str], Values], maker: str, now_us: int) -> Insertion:
    """How runs are written that are ``alone``; ``values`` tells for a task how its values are.

    Raises:
        ArgumentsError: an argument cannot be stored.
    """
    rows = []
    for run in runs:
        terms, due_us, args, kwargs = run.terms, run.due_us, run.args, run.kwargs
        text = values(run.task).dump_arguments(args, kwargs) if args or kwargs else None
        said = None if terms is NO_TERMS else terms_text(terms)
        row = (run.id, run.task, run.created_us, due_us, run.scheduled_us, run.stands_for, said, text, run.retry_of)
        state, arrived_us = (DELAYED, due_us) if due_us > now_us else (READY, now_us)
        rows.append((*row, state, terms.queue, terms.priority, terms.group, arrived_us, maker))
    return Insertion(_INSERT, rows)


def finish(db: sqlite3.Connection, rows: Sequence[Row]) -> dict[str, str]:
    """End those of these runs, which ran, that have nothing to do with others; their tasks, by their ids."""
    found = {row.id: row for row in rows if row.flow is None and (row.terms is None or _free(terms_of(row.terms)))}
    if not found or len({row.id for row in rows}) < len(rows):  # one that is named twice ends once
        return {}
    told = [(*row[:_ARGS], *row[_ARGS + 1 :], *_still(row)) for row in found.values()]
    if db.executemany(_KEEP, told).rowcount < len(told):
        found = {row.id: row for row in found.values() if db.execute(f"SELECT 1 {_STILL}", _still(row)).fetchone()}
    db.executemany("DELETE FROM asyncsched_runs WHERE id = ?", [(run_id,) for run_id in found])
    return {row.id: row.task for row in found.values()}


def _still(row: Row) -> tuple[str, int, str | None]:
    return row.id, row.token - 1, row.terms
