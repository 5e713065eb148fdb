"""Acknowledge, lapse, claim: one exchange of a node with the SQLite store, within a transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from asyncsched import crash_points
from asyncsched.again import dump_error
from asyncsched.deadlines import lapse
from asyncsched.run import RunStatus, Settled
from asyncsched.stores._durable.admission import PROMISE
from asyncsched.stores._durable.choice import Choice
from asyncsched.stores._durable.lost import SUSPECT
from asyncsched.stores._durable.orders import Claim
from asyncsched.stores._durable.rows import COLUMNS, Row, bare_run, terms_of
from asyncsched.stores._sqlite.places import count_start, next_us, wake
from asyncsched.stores._sqlite.unit import Unit, upstreams_of

_PENDING = RunStatus.PENDING.value
_CLAIM = (
    "UPDATE asyncsched_runs SET state = 1, status = 'RUNNING', owner = ?, node = ?, token = token + 1, "
    "attempt = attempt + 1, started_at = ?, first_at = coalesce(first_at, ?), lapses_at = NULL, "
    f"holds = holds & ~{PROMISE} WHERE seq IN (SELECT value FROM json_each(?)) RETURNING seq, {COLUMNS}"
)


class _Ready(NamedTuple):
    """A run that may be claimed."""

    seq: int
    queue: str
    group: str | None
    task: str
    lost: int


class Exchanged(NamedTuple):
    """What an exchange did.

    accepted: for each acknowledgement whether it counted, and then whether others need the run.
    lapsed: those that have waited too long; and those that were to be tried again, but were told to stop.
    upstreams: the runs that those claimed need, by id.
    """

    accepted: list[tuple[bool, bool]]
    claimed: list[Row]
    lapsed: list[Row]
    upstreams: dict[str, Row]
    next_us: int | None
    lapses_us: int | None
    stranger: bool = False
    """Whether who claims is no node, others having taken it for dead: it is given nothing."""


@crash_points.before("before-finish", lambda _db, _now_us, acks, _claim: acks)
@crash_points.unit("finish", lambda done: any(counted for counted, _needed in done.accepted))
@crash_points.unit("claim", lambda done: done.claimed)
def exchange(db: sqlite3.Connection, now_us: int, acks: Sequence[Row], claim: Claim) -> Exchanged:
    """Acknowledge what has ended or is to be tried again, end what has waited too long, claim what is ready."""
    unit = Unit(db, now_us)
    stopped: list[Row] = []
    accepted = _acknowledge(unit, acks, stopped)
    unit.settle_keys()
    wake(db, now_us)
    lapsed = stopped + _lapse(unit)
    unit.settle_keys()
    stranger = db.execute("SELECT 1 FROM asyncsched_nodes WHERE id = ?", (claim.owner,)).fetchone() is None
    claimed, more = ([], False) if stranger else _claim(unit, claim)
    unit.close()
    soon_us = now_us if more else next_us(db)
    (lapses_us,) = db.execute("SELECT min(lapses_at) FROM asyncsched_runs WHERE lapses_at IS NOT NULL").fetchone()
    if not isinstance(lapses_us, int | None):
        raise ValueError("lapses_at is no whole number")  # what holds it is put aside
    return Exchanged(accepted, claimed, lapsed, upstreams_of(db, claimed), soon_us, lapses_us, stranger)


def _acknowledge(unit: Unit, rows: Sequence[Row], stopped: list[Row]) -> list[tuple[bool, bool]]:
    ends = iter(unit.end_all([row for row in rows if row.status != _PENDING]))
    accepted = []
    for row in rows:
        if row.status == _PENDING:
            accepted.append((_retry(unit, row, stopped), False))
        else:
            needed = next(ends)
            accepted.append((needed is not None, bool(needed)))
    return accepted


def _retry(unit: Unit, row: Row, stopped: list[Row]) -> bool:
    """Let a run wait for its next attempt, or for another node; whether it was still this one's, and may go on."""
    still = unit.db.execute(
        "SELECT stop FROM asyncsched_runs WHERE id = ? AND token = ? AND state = 1", (row.id, row.token - 1)
    ).fetchone()
    if still is None:
        return False
    unit.admit(row)
    if still[0] is None:
        return True
    ended = unit.end_waiting(row, Settled(RunStatus.CANCELLED, unit.now_us, reason=still[0]))
    stopped += [] if ended is None else [ended]
    return False


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
    choice = Choice(claim)
    claimed: list[Row] = []
    more = False
    while not more and (ready := _foremost(unit.db, choice)):
        if choice.doubts(ready):
            choice.wary = _has_suspect(unit.db, claim.owner)
        chosen, more = choice.choose(ready)
        claimed += _start(unit, claim, [one.seq for one in chosen])
        unit.settle_keys()
    return claimed, more


def _start(unit: Unit, claim: Claim, chosen: Sequence[int]) -> list[Row]:
    """Let these runs begin their next attempts at the node, in this order."""
    told = (claim.owner, claim.node, unit.now_us, unit.now_us, json.dumps(chosen))
    found = {seq: Row._make(columns) for seq, *columns in unit.db.execute(_CLAIM, told).fetchall()} if chosen else {}
    started = [found[seq] for seq in chosen]
    for row in started:
        terms = terms_of(row.terms)
        if terms.rate is not None and terms.limit_key is not None:
            count_start(unit.db, terms.limit_key, terms.rate, unit.now_us)
            unit.touch(terms.limit_key)
    return started


def _has_suspect(db: sqlite3.Connection, owner: str) -> bool:
    """Whether the node runs something that has lost so many nodes that it is given up if it loses this one too."""
    query = "SELECT 1 FROM asyncsched_runs WHERE state = 1 AND owner = ? AND lost >= ? LIMIT 1"
    return db.execute(query, (owner, SUSPECT)).fetchone() is not None


def _foremost(db: sqlite3.Connection, choice: Choice) -> list[_Ready]:
    """The first of the runs that are ready, of queues and groups that have room and of no other node's tasks."""
    queues = _queues(db) if choice.queues is None else choice.queues
    full, others, limit = choice.full, choice.others, choice.limit + 1
    apart = f" AND (grouped IS NULL OR grouped NOT IN ({', '.join('?' * len(full))}))" if full else ""
    apart += f" AND task NOT IN ({', '.join('?' * len(others))})" if others else ""
    apart += f" AND lost < {SUSPECT}" if choice.wary else ""
    found: list[tuple[int, int, int, str, str | None, str, int]] = []
    for queue in queues:
        found += db.execute(
            "SELECT -priority, due_at, seq, queue, grouped, task, lost FROM asyncsched_runs "
            "WHERE state = 0 AND queue = ?"
            f"{apart} ORDER BY priority DESC, due_at, seq LIMIT ?",
            (queue, *full, *others, limit),
        ).fetchall()
    if len(queues) > 1:
        found.sort(key=lambda one: one[:3])
    return [_Ready._make(one[2:]) for one in found[:limit]]


def _queues(db: sqlite3.Connection) -> list[str]:
    """The queues in which anything is ready."""
    found: list[str] = []
    last = ""
    while row := db.execute(
        "SELECT queue FROM asyncsched_runs WHERE state = 0 AND queue > ? ORDER BY queue LIMIT 1", (last,)
    ).fetchone():
        if row[0] == last:  # it would be found for ever
            raise ValueError("the queue of a run is no text")
        last = row[0]
        found.append(last)
    return found
