"""What is no longer kept, forgotten in small pieces, within a transaction."""

from __future__ import annotations

from asyncsched.stores._durable.orders import Limits
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.keys import forget_keys
from asyncsched.stores._postgres.places import forget_starts
from asyncsched.stores._postgres.rescue import DEAD
from asyncsched.stores._postgres.transaction import Transaction
from asyncsched.stores._upkeep import Pruned

_FORGET = (
    "DELETE FROM asyncsched.history WHERE id = ANY($1::text[]) "
    "AND NOT EXISTS (SELECT 1 FROM asyncsched.needs WHERE upstream = history.id)"
)


async def prune(db: Transaction, limits: Limits, most: int, after: int) -> tuple[Pruned, int]:
    """Look at up to ``most`` rows of the history behind the place ``after``; and behind which to go on."""
    now_us = db.now_us
    keys = await forget_keys(db, most)
    never_us = limits.never_us(now_us)
    if never_us is None:
        return Pruned(0, keys, keys >= most), 0
    rows = await db.rows(
        "SELECT seq, id, task, finished_at FROM asyncsched.history WHERE seq > $1 ORDER BY seq LIMIT $2", after, most
    )
    past = []
    for _seq, run_id, task, finished_us in rows:
        before_us = limits.before_us(task, now_us)
        if before_us is not None and finished_us is not None and finished_us < before_us:
            past.append(run_id)
    runs = await db.execute(_FORGET, past) if past else 0
    # Rows come in the order of their ends: behind one that is young for every task there is nothing to forget.
    over = len(rows) < most or (rows[-1][3] or 0) >= never_us
    return Pruned(runs, keys, not over or keys >= most), 0 if over else rows[-1][0]


_TO_DO = (
    f"SELECT EXISTS ({DEAD}), coalesce((SELECT min(until_at) FROM asyncsched.standing WHERE until_at IS NOT NULL) "
    "<= t.now, false) OR EXISTS (SELECT 1 FROM asyncsched.keys WHERE wake_at IS NULL "
    "AND (last_at IS NULL OR last_at + period <= t.now)) FROM (SELECT asyncsched.now_us() AS now) AS t"
)


async def to_do(db: Database, node_id: str, lease_us: int) -> tuple[bool, bool]:
    """Whether there are nodes whose leases are over, and anything that ``tidy`` would forget."""
    dead, over = await db.row(_TO_DO, lease_us, node_id)  # type: ignore[misc]
    return dead, over


async def tidy(db: Transaction) -> None:
    """Forget what stands for submits, and starts that rates look back at, once that is over."""
    await db.execute(
        "DELETE FROM asyncsched.standing WHERE key = ANY(ARRAY(SELECT key FROM asyncsched.standing "
        "WHERE until_at <= $1 "
        "LIMIT 1000 FOR UPDATE SKIP LOCKED))",
        db.now_us,
    )
    await forget_starts(db)
