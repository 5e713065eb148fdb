"""What is no longer kept of a SQLite store, forgotten in small pieces, within a transaction."""

from __future__ import annotations

import json
import sqlite3

from asyncsched.stores._durable.orders import Limits
from asyncsched.stores._sqlite.keys import forget_keys
from asyncsched.stores._upkeep import Pruned

_FORGET = (
    "DELETE FROM asyncsched_history WHERE seq IN (SELECT value FROM json_each(?)) "
    "AND NOT EXISTS (SELECT 1 FROM asyncsched_needs WHERE upstream = asyncsched_history.id)"
)


def prune(db: sqlite3.Connection, now_us: int, limits: Limits, most: int, after: int) -> tuple[Pruned, int]:
    """Look at up to ``most`` rows of the history behind the place ``after``; and behind which to go on."""
    keys = forget_keys(db, now_us, most)
    never_us = limits.never_us(now_us)
    if never_us is None:
        return Pruned(0, keys, keys >= most), 0
    rows = db.execute(
        "SELECT seq, task, finished_at FROM asyncsched_history WHERE seq > ? ORDER BY seq LIMIT ?", (after, most)
    ).fetchall()
    past = []
    for seq, task, finished_us in rows:
        before_us = limits.before_us(task, now_us)
        if before_us is not None and finished_us is not None and finished_us < before_us:
            past.append(seq)
    runs = db.execute(_FORGET, (json.dumps(past),)).rowcount if past else 0
    # Rows come in the order of their ends: behind one that is young for every task there is nothing to forget.
    over = len(rows) < most or (rows[-1][2] or 0) >= never_us
    return Pruned(runs, keys, not over or keys >= most), 0 if over else rows[-1][0]
