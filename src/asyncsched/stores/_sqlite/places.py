"""Which runs of a key have a place and may start, within a transaction: ``Admission``, on rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from asyncsched import crash_points
from asyncsched.limits import Rate
from asyncsched.stores._durable.admission import Admission, Starts
from asyncsched.stores._durable.rows import QUEUED, READY, terms_of

_AT_ONCE = 64


def _starts_of(db: sqlite3.Connection, key: str) -> Starts:
    """Those that are kept of the key."""
    starts = Starts()
    found = db.execute("SELECT starts, count, period, wake_at FROM asyncsched_keys WHERE key = ?", (key,)).fetchone()
    if found is not None:
        text, count, period_us, wake_us = found
        starts.know(json.loads(text), count, period_us, wake_us)
    return starts


def _save(db: sqlite3.Connection, key: str, starts: Starts) -> None:
    row = (key, starts.text, starts.count, starts.period_us, starts.last_us, starts.wake_us)
    columns = "(key, starts, count, period, last_at, wake_at)"
    db.execute(f"INSERT OR REPLACE INTO asyncsched_keys {columns} VALUES (?, ?, ?, ?, ?, ?)", row)


def pass_on(db: sqlite3.Connection, keys: Iterable[str], now_us: int) -> None:
    """Let those that wait for these keys be ready, in their order, until the first that must go on waiting."""
    for key in sorted(keys):
        _pass_on(db, key, now_us)


def _pass_on(db: sqlite3.Connection, key: str, now_us: int) -> None:
    places, promised = db.execute(
        "SELECT coalesce(sum(holds & 1), 0), coalesce(sum(holds & 2) / 2, 0) FROM asyncsched_runs "
        "WHERE limit_key = ? AND holds != 0",
        (key,),
    ).fetchone()
    admission = Admission(places, promised, now_us)
    starts: Starts | None = None
    waits = True
    while waits and (waiting := _waiting(db, key)):
        ready = []
        for seq, holds, text in waiting:
            terms = terms_of(text)
            if admission.full(terms, holds):
                waits = False
                break
            if terms.rate is not None:
                starts = starts or _starts_of(db, key)
                if admission.early(terms.rate, starts):
                    waits = False
                    break
            ready.append((READY, admission.admit(terms, holds), seq))
        db.executemany("UPDATE asyncsched_runs SET state = ?, holds = ? WHERE seq = ?", ready)
        waits = waits and len(waiting) == _AT_ONCE
    if starts is None:  # nobody waits for the rate
        db.execute("UPDATE asyncsched_keys SET wake_at = NULL WHERE key = ? AND wake_at IS NOT NULL", (key,))
    elif starts.known or starts.wake_us is not None:
        _save(db, key, starts)


def _waiting(db: sqlite3.Connection, key: str) -> list[tuple[int, int, str | None]]:
    """The first of those that wait for the key: those that have run before, then by priority, first come first."""
    return db.execute(
        "SELECT seq, holds, terms FROM asyncsched_runs WHERE limit_key = ? AND state = 4 "
        "ORDER BY started_at IS NULL, priority DESC, arrived_at, seq LIMIT ?",
        (key, _AT_ONCE),
    ).fetchall()


def count_start(db: sqlite3.Connection, key: str, rate: Rate, now_us: int) -> None:
    """Count the start of a run that was ready by its rate."""
    starts = _starts_of(db, key)
    starts.add_start(rate, now_us)
    _save(db, key, starts)


def wake(db: sqlite3.Connection, now_us: int) -> None:
    """Let runs be ready, or wait for their keys, whose instants or rates have come."""
    if db.execute("SELECT 1 FROM asyncsched_runs WHERE state = 2 AND due_at <= ? LIMIT 1", (now_us,)).fetchone():
        _wake_due(db, now_us)
    if db.execute("SELECT 1 FROM asyncsched_keys LIMIT 1").fetchone():
        _look_at_rates(db, now_us)


@crash_points.unit("wake")
def _wake_due(db: sqlite3.Connection, now_us: int) -> None:
    due = (now_us,)
    keys = db.execute(
        "SELECT DISTINCT limit_key FROM asyncsched_runs WHERE state = 2 AND due_at <= ? AND limit_key IS NOT NULL", due
    ).fetchall()
    db.execute(
        f"UPDATE asyncsched_runs SET state = CASE WHEN limit_key IS NULL THEN {READY} ELSE {QUEUED} END "
        "WHERE state = 2 AND due_at <= ?",
        due,
    )
    pass_on(db, (key for (key,) in keys), now_us)


def _look_at_rates(db: sqlite3.Connection, now_us: int) -> None:
    """Let those be ready whose rates allow it by now, and forget starts that matter no more."""
    ahead = db.execute("SELECT key, starts FROM asyncsched_keys WHERE last_at > ?", (now_us,)).fetchall()
    for key, starts in ahead:  # the clock was set back: nobody is to wait for that
        there = json.dumps([min(at_us, now_us) for at_us in json.loads(starts)])
        db.execute("UPDATE asyncsched_keys SET starts = ?, last_at = ? WHERE key = ?", (there, now_us, key))
    pass_on(db, (key for key, _starts in ahead), now_us)
    due = db.execute("SELECT key FROM asyncsched_keys WHERE wake_at <= ?", (now_us,)).fetchall()
    pass_on(db, (key for (key,) in due), now_us)
    db.execute(
        "DELETE FROM asyncsched_keys WHERE wake_at IS NULL AND (last_at IS NULL OR last_at + period <= ?)", (now_us,)
    )


def next_us(db: sqlite3.Connection) -> int | None:
    """When the next run that waits for its instant, or for a rate, will be ready."""
    (delayed,) = db.execute("SELECT min(due_at) FROM asyncsched_runs WHERE state = 2").fetchone()
    (rated,) = db.execute("SELECT min(wake_at) FROM asyncsched_keys").fetchone()
    found = [at_us for at_us in (delayed, rated) if at_us is not None]
    if not all(type(at_us) is int for at_us in found):
        raise ValueError("an instant is no whole number")  # what holds it is put aside
    return min(found, default=None)
