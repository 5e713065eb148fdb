"""Idempotency keys on SQLite: which run a submit with the same key gives, also when history no longer has it."""

from __future__ import annotations

import json
import sqlite3

from asyncsched.limits import Idempotency
from asyncsched.stores._durable.marred import row_said
from asyncsched.stores._durable.rows import COLUMNS, Row

# A submit with a key forgets a few that are past their time: so there are never many more than are needed.
_AT_A_SUBMIT = 5


def run_of_key(db: sqlite3.Connection, key: str, now_us: int) -> Row | None:
    """The run that stands for the key: within its time, and as long as it has not ended."""
    found = db.execute("SELECT run, ended, until_at FROM asyncsched_idempotency WHERE key = ?", (key,)).fetchone()
    if found is None:
        return None
    run_id, ended, until_us = found
    live = db.execute(f"SELECT {COLUMNS} FROM asyncsched_runs WHERE id = ?", (run_id,)).fetchone()
    if live is not None:
        return Row._make(live)
    return row_said(ended) if ended is not None and now_us < until_us else None


def keep_key(db: sqlite3.Connection, given: Idempotency, row: Row, now_us: int) -> None:
    """Let this run stand for the key from now on."""
    forget_keys(db, now_us, _AT_A_SUBMIT)
    ended = json.dumps(row) if row.finished_at is not None else None
    place = (given.key, row.id, ended, now_us + given.keep_us)
    db.execute("INSERT OR REPLACE INTO asyncsched_idempotency (key, run, ended, until_at) VALUES (?, ?, ?, ?)", place)


def end_keys(db: sqlite3.Connection, row: Row) -> None:
    """Note how a run ended with whose keys that is to be known."""
    db.execute("UPDATE asyncsched_idempotency SET ended = ? WHERE run = ?", (json.dumps(row), row.id))


def forget_keys(db: sqlite3.Connection, now_us: int, most: int) -> int:
    """Forget up to so many keys that are past their time and whose run has ended; how many."""
    return db.execute(
        "DELETE FROM asyncsched_idempotency WHERE key IN (SELECT key FROM asyncsched_idempotency WHERE until_at <= ? "
        "AND NOT EXISTS (SELECT 1 FROM asyncsched_runs WHERE id = asyncsched_idempotency.run) LIMIT ?)",
        (now_us, most),
    ).rowcount
