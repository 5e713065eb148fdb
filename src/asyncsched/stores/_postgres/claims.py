"""Acknowledge, lapse, claim, of runs that concern others, within a transaction each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from asyncsched.deadlines import lapse
from asyncsched.run import RunStatus, Settled
from asyncsched.stores._durable.admission import PROMISE
from asyncsched.stores._durable.choice import Choice
from asyncsched.stores._durable.lost import SUSPECT
from asyncsched.stores._durable.orders import Claim
from asyncsched.stores._durable.rows import COLUMNS, Row, bare_run, terms_of
from asyncsched.stores._postgres.places import count_start
from asyncsched.stores._postgres.plain import WALL_US, Claimed, is_end
from asyncsched.stores._postgres.roster import RUNNING
from asyncsched.stores._postgres.transaction import Transaction, of_key
from asyncsched.stores._postgres.unit import Unit, lock_runs

_LAPSED_AT_ONCE = 500
_START = (
    "UPDATE asyncsched.runs r SET state = 1, status = 'RUNNING', owner = $1, node = $2, token = r.token + 1, "
    "attempt = r.attempt + 1, started_at = $3, first_at = coalesce(r.first_at, $3), lapses_at = NULL, "
    f"holds = r.holds & {~PROMISE} WHERE r.id = ANY(ARRAY(SELECT id FROM asyncsched.runs WHERE id = ANY($4::text[]) "
    f"AND state = 0 FOR UPDATE SKIP LOCKED)) RETURNING {COLUMNS}"
)


async def acknowledge(db: Transaction, rows: Sequence[Row]) -> tuple[list[bool | None], list[Row]]:
    """End runs, or let them wait for their next attempts, which this node has under way.

    Of each whether others need it, ``None`` if it does not count; and those that were to be tried again, but were told
    to stop.
    """
    unit = Unit(db)
    still = {row.id: row.token for row in await lock_runs(db, [row.id for row in rows], "state = 1")}
    ends = iter(await unit.end_all([row for row in rows if is_end(row)], "= 1"))
    stops = dict(
        await db.rows(
            "SELECT id, stop FROM asyncsched.runs WHERE id = ANY($1::text[]) AND stop IS NOT NULL", list(still)
        )
    )
    stopped: list[tuple[Row, Settled]] = []
    done: list[bool | None] = []
    for row in rows:
        if is_end(row):
            done.append(next(ends))
        elif still.pop(row.id, None) != row.token - 1:
            done.append(None)
        else:
            await unit.admit(row)
            done.append(None if row.id in stops else False)
            if row.id in stops:
                stopped.append((row, Settled(RunStatus.CANCELLED, unit.now_us, reason=stops[row.id])))
    over = await unit.end_waiting(stopped)
    await unit.close()
    return done, over


async def already(db: Any, rows: Sequence[Row]) -> set[tuple[str, int]]:
    """Those of these ends, by id and token, that stand in the history: somebody has been told nothing of them."""
    found = await db.rows(
        "SELECT h.id, h.token FROM asyncsched.history h JOIN unnest($1::text[], $2::bigint[], $3::text[]) "
        "AS v(id, token, status) ON h.id = v.id AND h.token = v.token AND h.status = v.status "
        "WHERE h.id = ANY($1::text[])",
        *([row.id for row in rows], [row.token for row in rows], [row.status for row in rows]),
    )
    return {(run_id, token) for run_id, token in found}


async def lapse_due(db: Transaction) -> list[Row]:
    """End the runs that have waited too long."""
    due = await db.rows(
        "SELECT id FROM asyncsched.runs WHERE lapses_at <= $1 ORDER BY lapses_at, id LIMIT $2",
        *(db.now_us, _LAPSED_AT_ONCE),
    )
    unit = Unit(db)
    rows = await lock_runs(db, [run_id for (run_id,) in due], "state <> 1 AND lapses_at IS NOT NULL")
    over = [(row, lapse(bare_run(row), unit.now_us)) for row in rows]
    lapsed = await unit.end_waiting([(row, settled) for row, settled in over if settled is not None])
    await unit.close()
    return lapsed


async def claim(db: Transaction, asked: Claim) -> Claimed:
    """Start up to so many of the runs that are ready, whatever they have to do with others."""
    alive = await db.change(
        f"SELECT 1 FROM asyncsched.nodes WHERE id = $1 AND expires_at > {WALL_US} FOR KEY SHARE", asked.owner
    )
    started, more = await _Claiming(db, asked).carry_out() if alive else ([], False)
    delayed, rated, lapses_us = await db.row(  # type: ignore[misc]
        "SELECT (SELECT min(due_at) FROM asyncsched.runs WHERE state = 2), "
        "(SELECT min(wake_at) FROM asyncsched.keys WHERE wake_at IS NOT NULL), "
        "(SELECT min(lapses_at) FROM asyncsched.runs WHERE lapses_at IS NOT NULL)"
    )
    next_us = min((at_us for at_us in (delayed, rated) if at_us is not None), default=None)
    return Claimed(more, bool(alive), db.now_us, next_us, lapses_us, started)


class _Ready(NamedTuple):
    """A run that may be claimed."""

    id: str
    queue: str
    group: str | None
    task: str
    lost: int
    terms: str | None


class _Claiming:
    """One claim: what is chosen, and who of that others have claimed meanwhile."""

    def __init__(self, db: Transaction, asked: Claim) -> None:
        self._db = db
        self._asked = asked
        self._choice = Choice(asked)
        self._lost: set[str] = set()

    async def carry_out(self) -> tuple[list[Row], bool]:
        """The runs that were started, and whether there are more."""
        choice, unit = self._choice, Unit(self._db)
        claimed: list[Row] = []
        more = False
        while not more and (ready := await self._foremost()):
            if choice.doubts(ready):
                choice.wary = await self._has_suspect()
            chosen, more = choice.choose(ready)
            claimed += await self._start(unit, chosen)
            await unit.settle_keys()
        return claimed, more

    async def _start(self, unit: Unit, chosen: Sequence[_Ready]) -> list[Row]:
        """Let these runs begin their next attempts at the node, in this order; those that others have not claimed."""
        if not chosen:
            return []
        db, asked = self._db, self._asked
        bound = [terms_of(one.terms) for one in chosen if one.terms is not None]
        await db.lock({of_key(terms.limit_key) for terms in bound if terms.limit_key is not None and terms.rate})
        found = await db.change(_START, asked.owner, asked.node, db.now_us, [one.id for one in chosen])
        by_id = {row.id: row for row in map(Row._make, found)}
        for one in chosen:
            if one.id not in by_id:
                self._lost.add(one.id)
                self._choice.take(one.queue, one.group, -1)
        started = [by_id[one.id] for one in chosen if one.id in by_id]
        for row in started:
            terms = terms_of(row.terms)
            if terms.rate is not None and terms.limit_key is not None:
                await count_start(db, terms.limit_key, terms.rate)
                unit.touch(terms.limit_key)
        return started

    async def _has_suspect(self) -> bool:
        """Whether the node runs something that has lost so many nodes that it is given up if it loses this one too."""
        found = await self._db.row(
            f"SELECT 1 FROM asyncsched.runs WHERE {RUNNING} AND owner = $1 AND lost >= $2 LIMIT 1",
            *(self._asked.owner, SUSPECT),
        )
        return found is not None

    async def _foremost(self) -> list[_Ready]:
        """The first of the runs that are ready, of queues and groups that have room and of no other node's tasks."""
        choice = self._choice
        queues = await _queues(self._db) if choice.queues is None else choice.queues
        found = await self._db.rows(
            "SELECT f.id, f.queue, f.grouped, f.task, f.lost, f.terms FROM unnest($1::text[]) AS q(name) "
            "CROSS JOIN LATERAL (SELECT r.* FROM asyncsched.runs r WHERE r.state = 0 AND r.queue = q.name "
            "AND (r.grouped IS NULL OR r.grouped <> ALL($2::text[])) AND r.task <> ALL($3::text[]) "
            f"AND r.id <> ALL($4::text[]) AND (r.lost < {SUSPECT} OR NOT $5::boolean) "
            "ORDER BY r.priority DESC, r.due_at, r.seq LIMIT $6) AS f ORDER BY f.priority DESC, f.due_at, f.seq "
            "LIMIT $6",
            *(queues, choice.full, list(choice.others), list(self._lost), choice.wary, choice.limit + 1),
        )
        return list(map(_Ready._make, found))


async def _queues(db: Transaction) -> list[str]:
    """The queues in which anything is ready."""
    found = await db.rows(
        "WITH RECURSIVE q(name) AS (SELECT min(queue) FROM asyncsched.runs WHERE state = 0 UNION ALL "
        "SELECT (SELECT min(r.queue) FROM asyncsched.runs r WHERE r.state = 0 AND r.queue > q.name) FROM q "
        "WHERE q.name IS NOT NULL) SELECT name FROM q WHERE name IS NOT NULL"
    )
    return [queue for (queue,) in found]
