"""Which runs of a key have a place and may start, within a transaction: the rules of ``limits``, on rows."""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Iterable

from asyncsched import crash_points
from asyncsched.limits import Rate
from asyncsched.run import Terms
from asyncsched.stores._durable.rows import QUEUED, READY, terms_of

# Flags of a run: it has one of the places of its key; a start has been promised to it by the rate.
PLACE, PROMISE = 1, 2
_AT_ONCE = 64


class _Starts:
    """What is known of the starts under one key: as many of the latest as its rates look back at."""

    def __init__(self, db: sqlite3.Connection, key: str) -> None:
        self._db = db
        self._key = key
        found = db.execute(
            "SELECT starts, count, period, wake_at FROM asyncsched_keys WHERE key = ?", (key,)
        ).fetchone()
        self.known = found is not None
        starts, count, period_us, wake_us = found or ("[]", 0, 0, None)
        self.count: int = count
        self.period_us: int = period_us
        self.wake_us: int | None = wake_us
        self.starts: deque[int] = deque(json.loads(starts), self.count)

    def next_us(self, rate: Rate, now_us: int, promised: int) -> int | None:
        """When one more may start; ``None``: not before one that was promised a start has had it."""
        if self.count < rate.count:
            self.count = rate.count
            self.starts = deque(self.starts, rate.count)
        self.period_us = max(self.period_us, rate.period_us)
        return rate.next_us(self.starts, now_us, promised)

    def save(self) -> None:
        last_us = self.starts[-1] if self.starts else None
        row = (self._key, json.dumps(list(self.starts)), self.count, self.period_us, last_us, self.wake_us)
        columns = "(key, starts, count, period, last_at, wake_at)"
        self._db.execute(f"INSERT OR REPLACE INTO asyncsched_keys {columns} VALUES (?, ?, ?, ?, ?, ?)", row)
        self.known = True


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
    starts: _Starts | None = None
    waits = True
    while waits and (waiting := _waiting(db, key)):
        ready = []
        for seq, holds, text in waiting:
            terms = terms_of(text)
            bounded = terms.limit is not None and not holds & PLACE
            if bounded and terms.limit is not None and places >= terms.limit:
                waits = False
                break
            if terms.rate is not None:
                if starts is None:
                    starts = _Starts(db, key)
                    starts.wake_us = None
                next_us = starts.next_us(terms.rate, now_us, promised)
                if next_us is None or next_us > now_us:
                    starts.wake_us = next_us
                    waits = False
                    break
                promised += 1
            places += bounded
            ready.append((READY, _flags(terms, holds), seq))
        db.executemany("UPDATE asyncsched_runs SET state = ?, holds = ? WHERE seq = ?", ready)
        waits = waits and len(waiting) == _AT_ONCE
    if starts is None:  # nobody waits for the rate
        db.execute("UPDATE asyncsched_keys SET wake_at = NULL WHERE key = ? AND wake_at IS NOT NULL", (key,))
    elif starts.known or starts.wake_us is not None:
        starts.save()


def _flags(terms: Terms, holds: int) -> int:
    return holds | (PLACE if terms.limit is not None else 0) | (PROMISE if terms.rate is not None else 0)


def _waiting(db: sqlite3.Connection, key: str) -> list[tuple[int, int, str | None]]:
    """The first of those that wait for the key: those that have run before, then by priority, first come first."""
    return db.execute(
        "SELECT seq, holds, terms FROM asyncsched_runs WHERE limit_key = ? AND state = 4 "
        "ORDER BY started_at IS NULL, priority DESC, arrived_at, seq LIMIT ?",
        (key, _AT_ONCE),
    ).fetchall()


def count_start(db: sqlite3.Connection, key: str, rate: Rate, now_us: int) -> None:
    """Count the start of a run that was ready by its rate."""
    starts = _Starts(db, key)
    starts.next_us(rate, now_us, 0)  # it looks back as far as the rate does
    starts.starts.append(now_us)
    starts.save()


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
