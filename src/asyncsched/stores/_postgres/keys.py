"""Idempotency keys: which run a submit with the same key gives, also when history no longer has it.

Whoever looks at a key here has its lock.
"""

from __future__ import annotations

import json

from asyncsched.limits import Idempotency
from asyncsched.stores._durable.marred import row_said
from asyncsched.stores._durable.rows import COLUMNS, Row
from asyncsched.stores._postgres.transaction import Transaction

# A submit with a key forgets a few that are past their time: so there are never many more than are needed.
_AT_A_SUBMIT = 5


async def run_of_key(db: Transaction, key: str) -> Row | None:
    """The run that stands for the key: within its time, and as long as it has not ended."""
    found = await db.row("SELECT run, ended, until_at FROM asyncsched.idempotency WHERE key = $1", key)
    if found is None:
        return None
    run_id, ended, until_us = found
    live = await db.row(f"SELECT {COLUMNS} FROM asyncsched.runs WHERE id = $1", run_id)
    if live is not None:
        return Row._make(live)
    if ended is None:  # it has ended since the key was looked at
        ended = await db.value("SELECT ended FROM asyncsched.idempotency WHERE key = $1", key)
    return row_said(ended) if ended is not None and db.now_us < until_us else None


async def keep_key(db: Transaction, given: Idempotency, row: Row) -> None:
    """Let this run stand for the key from now on."""
    await forget_keys(db, _AT_A_SUBMIT)
    await put_key(db, given, row)


async def put_key(db: Transaction, given: Idempotency, row: Row) -> None:
    """The same, and nothing else."""
    ended = json.dumps(row) if row.finished_at is not None else None
    await db.execute(
        "INSERT INTO asyncsched.idempotency (key, run, ended, until_at) VALUES ($1, $2, $3, $4) ON CONFLICT (key) "
        "DO UPDATE SET run = excluded.run, ended = excluded.ended, until_at = excluded.until_at",
        *(given.key, row.id, ended, db.now_us + given.keep_us),
    )


async def end_keys(db: Transaction, row: Row) -> None:
    """Note how a run ended with whose keys that is to be known."""
    await db.execute("UPDATE asyncsched.idempotency SET ended = $1 WHERE run = $2", json.dumps(row), row.id)


async def forget_keys(db: Transaction, most: int) -> int:
    """Forget up to so many keys that are past their time and whose run has ended; how many."""
    return await db.execute(
        "DELETE FROM asyncsched.idempotency WHERE key = ANY(ARRAY(SELECT key FROM asyncsched.idempotency i "
        "WHERE until_at <= $1 AND NOT EXISTS (SELECT 1 FROM asyncsched.runs r WHERE r.id = i.run) LIMIT $2 "
        "FOR UPDATE SKIP LOCKED))",
        *(db.now_us, most),
    )
