"""Acknowledge, lapse, claim: one exchange of a node with the SQLite store, within a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from asyncsched.deadlines import lapse
from asyncsched.run import RunStatus
from asyncsched.stores._sqlite.places import PROMISE, count_start, next_us, wake
from asyncsched.stores._sqlite.rows import COLUMNS, Row, bare_run, terms_of
from asyncsched.stores._sqlite.unit import Unit, upstreams_of
from asyncsched.values import dump_error

_PENDING = RunStatus.PENDING.value
_CLAIM = (
    "UPDATE asyncsched_runs SET state = 1, status = 'RUNNING', owner = ?, node = ?, token = token + 1, "
    "attempt = attempt + 1, started_at = ?, first_at = coalesce(first_at, ?), lapses_at = NULL, "
    f"holds = holds & ~{PROMISE} WHERE seq = ? RETURNING {COLUMNS}"
)


class Exchanged(NamedTuple):
    """What an exchange did.

    accepted: for each acknowledgement whether it counted, and then whether others need the run.
    upstreams: the runs that those claimed need, by id.
    """

    accepted: list[tuple[bool, bool]]
    claimed: list[Row]
    lapsed: list[Row]
    upstreams: dict[str, Row]
    next_us: int | None
    lapses_us: int | None


class Claim(NamedTuple):
    """What a node claims: who it is, how many it may have, and of which tasks."""

    owner: str
    node: str
    limit: int
    queues: Mapping[str, int] | None
    groups: Mapping[str, int] | None
    serves: Callable[[str], bool]


def exchange(db: sqlite3.Connection, now_us: int, acks: Sequence[Row], claim: Claim) -> Exchanged:
    """Acknowledge what has ended or is to be tried again, end what has waited too long, claim what is ready."""
    unit = Unit(db, now_us)
    accepted = [_acknowledge(unit, row) for row in acks]
    unit.settle_keys()
    wake(db, now_us)
    lapsed = _lapse(unit)
    unit.settle_keys()
    claimed, more = _claim(unit, claim)
    unit.close()
    soon_us = now_us if more else next_us(db)
    (lapses_us,) = db.execute("SELECT min(lapses_at) FROM asyncsched_runs WHERE lapses_at IS NOT NULL").fetchone()
    return Exchanged(accepted, claimed, lapsed, upstreams_of(db, claimed), soon_us, lapses_us)


def _acknowledge(unit: Unit, row: Row) -> tuple[bool, bool]:
    if row.status != _PENDING:
        needed = unit.end(row, "= 1")
        return needed is not None, bool(needed)
    still = unit.db.execute(
        "SELECT 1 FROM asyncsched_runs WHERE id = ? AND token = ? AND state = 1", (row.id, row.token - 1)
    ).fetchone()
    if still is None:
        return False, False
    unit.admit(row)
    return True, False


def _lapse(unit: Unit) -> list[Row]:
    """End the runs that have waited too long."""
    due = unit.db.execute(
        f"SELECT {COLUMNS} FROM asyncsched_runs WHERE lapses_at IS NOT NULL AND lapses_at <= ? ORDER BY lapses_at, id",
        (unit.now_us,),
    ).fetchall()
    lapsed = []
    for row in map(Row._make, due):
        settled = lapse(bare_run(row), unit.now_us)
        if settled is not None and (ended := unit.end_waiting(row, settled, dump_error(settled.error))) is not None:
            lapsed.append(ended)
    return lapsed


def _claim(unit: Unit, claim: Claim) -> tuple[list[Row], bool]:
    """Start up to so many of the runs that are ready; these, and whether there are more."""
    left = None if claim.queues is None else dict(claim.queues)
    room = None if claim.groups is None else dict(claim.groups)
    claimed: list[Row] = []
    others: set[str] = set()
    while ready := _foremost(unit.db, left, room, others, claim.limit - len(claimed) + 1):
        for seq, queue, group, task in ready:
            if not claim.serves(task):
                others.add(task)
                break
            if len(claimed) >= claim.limit:
                return claimed, True
            if left is not None and left[queue] <= 0:
                break
            if room is not None and group in room:
                if room[group] <= 0:
                    break
                room[group] -= 1
            if left is not None:
                left[queue] -= 1
            started = (claim.owner, claim.node, unit.now_us, unit.now_us, seq)
            row = Row._make(unit.db.execute(_CLAIM, started).fetchall()[0])
            claimed.append(row)
            terms = terms_of(row.terms)
            if terms.rate is not None and terms.limit_key is not None:
                count_start(unit.db, terms.limit_key, terms.rate, unit.now_us)
                unit.touch(terms.limit_key)
        unit.settle_keys()
    return claimed, False


def _foremost(
    db: sqlite3.Connection,
    left: Mapping[str, int] | None,
    room: Mapping[str, int] | None,
    others: Collection[str],
    limit: int,
) -> list[tuple[int, str, str | None, str]]:
    """The first of the runs that are ready, of queues and groups that have room and of no other node's tasks.

    Each by its place, queue, group and task.
    """
    queues = _queues(db) if left is None else [queue for queue, free in left.items() if free > 0]
    full = [] if room is None else [group for group, free in room.items() if free <= 0]
    apart = f" AND (grouped IS NULL OR grouped NOT IN ({', '.join('?' * len(full))}))" if full else ""
    apart += f" AND task NOT IN ({', '.join('?' * len(others))})" if others else ""
    found: list[tuple[int, int, int, str, str | None, str]] = []
    for queue in queues:
        found += db.execute(
            "SELECT -priority, due_at, seq, queue, grouped, task FROM asyncsched_runs WHERE state = 0 AND queue = ?"
            f"{apart} ORDER BY priority DESC, due_at, seq LIMIT ?",
            (queue, *full, *others, limit),
        ).fetchall()
    if len(queues) > 1:
        found.sort(key=lambda one: one[:3])
    return [one[2:] for one in found[:limit]]


def _queues(db: sqlite3.Connection) -> list[str]:
    """The queues in which anything is ready."""
    found: list[str] = []
    last = ""
    while row := db.execute(
        "SELECT queue FROM asyncsched_runs WHERE state = 0 AND queue > ? ORDER BY queue LIMIT 1", (last,)
    ).fetchone():
        last = row[0]
        found.append(last)
    return found
