"""Which runs of a key have a place and may start, within a transaction: ``Admission``, on rows.

Whoever looks at a key here has its lock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from asyncsched import crash_points
from asyncsched.limits import Rate
from asyncsched.stores._durable.admission import Admission, Starts
from asyncsched.stores._durable.rows import QUEUED, READY, terms_of
from asyncsched.stores._postgres.transaction import Transaction, of_key

_AT_ONCE = 64


async def _starts_of(db: Transaction, key: str) -> Starts:
    """Those that are kept of the key."""
    starts = Starts()
    found = await db.row("SELECT starts, count, period, wake_at FROM asyncsched.keys WHERE key = $1", key)
    if found is not None:
        text, count, period_us, wake_us = found
        starts.know(json.loads(text), count, period_us, wake_us)
    return starts


async def _save(db: Transaction, key: str, starts: Starts) -> None:
    await db.execute(
        "INSERT INTO asyncsched.keys (key, starts, count, period, last_at, wake_at) VALUES ($1, $2, $3, $4, $5, $6) "
        "ON CONFLICT (key) DO UPDATE SET starts = excluded.starts, count = excluded.count, "
        "period = excluded.period, last_at = excluded.last_at, wake_at = excluded.wake_at",
        *(key, starts.text, starts.count, starts.period_us, starts.last_us, starts.wake_us),
    )


async def pass_on(db: Transaction, keys: Iterable[str]) -> None:
    """Let those that wait for these keys be ready, in their order, until the first that must go on waiting."""
    wanted = sorted(keys)
    await db.lock(map(of_key, wanted))
    for key in wanted:
        await _pass_on(db, key)


async def _pass_on(db: Transaction, key: str) -> None:
    (held,) = await db.rows(
        "SELECT coalesce(sum(holds & 1), 0)::bigint, coalesce(sum((holds & 2) / 2), 0)::bigint FROM asyncsched.runs "
        "WHERE limit_key = $1 AND holds <> 0",
        key,
    )
    places, promised = held
    admission = Admission(places, promised, db.now_us)
    starts: Starts | None = None
    waits = True
    while waits and (waiting := await _waiting(db, key)):
        ready = []
        for run_id, holds, text in waiting:
            terms = terms_of(text)
            if admission.full(terms, holds):
                waits = False
                break
            if terms.rate is not None:
                starts = starts or await _starts_of(db, key)
                if admission.early(terms.rate, starts):
                    waits = False
                    break
            ready.append((admission.admit(terms, holds), run_id))
        await db.many(f"UPDATE asyncsched.runs SET state = {READY}, holds = $1 WHERE id = $2", ready)
        waits = waits and len(waiting) == _AT_ONCE
    if starts is None:  # nobody waits for the rate
        await db.execute("UPDATE asyncsched.keys SET wake_at = NULL WHERE key = $1 AND wake_at IS NOT NULL", key)
    elif starts.known or starts.wake_us is not None:
        await _save(db, key, starts)


async def _waiting(db: Transaction, key: str) -> list[tuple[str, int, str | None]]:
    """The first of those that wait for the key: those that have run before, then by priority, first come first."""
    found = await db.rows(
        "SELECT id, holds, terms FROM asyncsched.runs WHERE limit_key = $1 AND state = 4 "
        "ORDER BY (started_at IS NULL), priority DESC, arrived_at, seq LIMIT $2",
        key,
        _AT_ONCE,
    )
    return [(run_id, holds, text) for run_id, holds, text in found]


async def count_start(db: Transaction, key: str, rate: Rate) -> None:
    """Count the start of a run that was ready by its rate."""
    starts = await _starts_of(db, key)
    starts.add_start(rate, db.now_us)
    await _save(db, key, starts)


@crash_points.unit("wake")
async def wake(db: Transaction) -> None:
    """Let runs wait for their keys whose instants have come, and be ready whose rates allow it by now."""
    due = await db.rows(
        "SELECT DISTINCT limit_key FROM asyncsched.runs WHERE state = 2 AND due_at <= $1 AND limit_key IS NOT NULL",
        db.now_us,
    )
    rated = await db.rows(
        "SELECT key FROM asyncsched.keys WHERE wake_at <= $1 UNION SELECT key FROM asyncsched.keys WHERE last_at > $1",
        db.now_us,
    )
    keys = {key for (key,) in (*due, *rated)}
    if not keys:
        return
    await db.lock(map(of_key, keys))
    await db.execute(
        f"UPDATE asyncsched.runs SET state = {QUEUED} WHERE state = 2 AND due_at <= $1 AND limit_key = ANY($2::text[])",
        db.now_us,
        list(keys),
    )
    ahead = await db.rows(
        "SELECT key, starts FROM asyncsched.keys WHERE last_at > $1 AND key = ANY($2::text[])", db.now_us, list(keys)
    )
    for key, starts in ahead:  # the clock was set back: nobody is to wait for that
        there = json.dumps([min(at_us, db.now_us) for at_us in json.loads(starts)])
        await db.execute("UPDATE asyncsched.keys SET starts = $1, last_at = $2 WHERE key = $3", there, db.now_us, key)
    await pass_on(db, keys)


async def forget_starts(db: Transaction) -> int:
    """Forget starts that matter no more; of how many keys."""
    return await db.execute(
        "DELETE FROM asyncsched.keys WHERE key = ANY(ARRAY(SELECT key FROM asyncsched.keys WHERE wake_at IS NULL "
        "AND (last_at IS NULL OR last_at + period <= $1) LIMIT 1000 FOR UPDATE SKIP LOCKED))",
        db.now_us,
    )
