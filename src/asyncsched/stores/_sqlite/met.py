"""How many runs of a task are on their way, within a transaction."""

from __future__ import annotations

import sqlite3

from asyncsched.stores._durable.rows import BLOCKED, PARKED
from asyncsched.stores._graphs import Met

# Most tasks have no live run when they fire: that is a look into the index by task, and no row is read.
_ON_THEIR_WAY = (
    "SELECT count(*) FROM (SELECT 1 FROM asyncsched_runs WHERE task = ? "
    f"AND state != {PARKED} AND (attempt > 0 OR due_at <= ?) "
    f"""AND (state != {BLOCKED} OR instr(edges, '"kind":"gate"')) """
    """AND (terms IS NULL OR NOT instr(terms, '"backfill":')) LIMIT ?)"""
)


def still_met(db: sqlite3.Connection, now_us: int, task: str, met: Met) -> bool:
    """Whether so many runs of the task are on their way."""
    (number,) = db.execute(_ON_THEIR_WAY, (task, now_us, met.most)).fetchone()
    return bool(number == met.number)
