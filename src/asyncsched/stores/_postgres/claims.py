"""Acknowledge, lapse, claim, of runs that concern others, within a transaction each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from asyncsched.deadlines import lapse
from asyncsched.run import RunStatus, Settled
from asyncsched.stores._durable.admission import PROMISE
from asyncsched.stores._durable.orders import Claim
from asyncsched.stores._durable.rows import COLUMNS, Row, bare_run, terms_of
from asyncsched.stores._postgres.places import count_start
from asyncsched.stores._postgres.plain import WALL_US, Claimed, is_end
from asyncsched.stores._postgres.rescue import LOST_LIMIT
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
    started, more = await _Choice(db, asked).carry_out() if alive else ([], False)
    delayed, rated, lapses_us = await db.row(  # type: ignore[misc]
        "SELECT (SELECT min(due_at) FROM asyncsched.runs WHERE state = 2), "
        "(SELECT min(wake_at) FROM asyncsched.keys WHERE wake_at IS NOT NULL), "
        "(SELECT min(lapses_at) FROM asyncsched.runs WHERE lapses_at IS NOT NULL)"
    )
    next_us = min((at_us for at_us in (delayed, rated) if at_us is not None), default=None)
    return Claimed(more, bool(alive), db.now_us, next_us, lapses_us, started)


class _Choice:
    """Which of the runs that are ready a node gets."""

    def __init__(self, db: Transaction, asked: Claim) -> None:
        self._db = db
        self._asked = asked
        self._left = None if asked.queues is None else dict(asked.queues)
        self._room = None if asked.groups is None else dict(asked.groups)
        self._others: set[str] = set()
        self._lost: set[str] = set()
        """Those that others have claimed meanwhile."""
        self._wary = False

    async def carry_out(self) -> tuple[list[Row], bool]:
        """The runs that were started, and whether there are more."""
        db, asked = self._db, self._asked
        unit = Unit(db)
        claimed: list[Row] = []
        more = False
        while not more and (ready := await self._foremost(asked.limit - len(claimed) + 1)):
            chosen, more = await self._choose(ready, claimed)
            claimed += await self._start(unit, chosen)
            await unit.settle_keys()
        return claimed, more

    async def _choose(self, ready: Sequence[Any], claimed: Sequence[Row]) -> tuple[list[tuple[str, str | None]], bool]:
        """Those of the foremost that may be started, with their terms, and whether it ends with them."""
        asked, left, room = self._asked, self._left, self._room
        chosen: list[tuple[str, str | None]] = []
        for run_id, queue, group, task, lost, terms in ready:
            if not asked.serves(task):
                self._others.add(task)
                break
            # It is started by itself: if this process then dies at once, no others are to be blamed.
            suspect = lost >= LOST_LIMIT - 1
            if len(claimed) + len(chosen) >= asked.limit or (suspect and (claimed or chosen)):
                return chosen, True
            if suspect and await self._has_suspect():
                self._wary = True
                break
            if left is not None and left[queue] <= 0:
                break
            if room is not None and group in room:
                if room[group] <= 0:
                    break
                room[group] -= 1
            if left is not None:
                left[queue] -= 1
            chosen.append((run_id, terms))
            if suspect:
                return chosen, True
        return chosen, False

    async def _start(self, unit: Unit, chosen: Sequence[tuple[str, str | None]]) -> list[Row]:
        """Let these runs begin their next attempts at the node, in this order; those that others have not claimed."""
        if not chosen:
            return []
        db, asked = self._db, self._asked
        bound = [terms_of(text) for _run_id, text in chosen if text is not None]
        await db.lock({of_key(terms.limit_key) for terms in bound if terms.limit_key is not None and terms.rate})
        ids = [run_id for run_id, _terms in chosen]
        found = await db.change(_START, asked.owner, asked.node, db.now_us, ids)
        by_id = {row.id: row for row in map(Row._make, found)}
        self._lost.update(run_id for run_id in ids if run_id not in by_id)
        started = [by_id[run_id] for run_id in ids if run_id in by_id]
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
            *(self._asked.owner, LOST_LIMIT - 1),
        )
        return found is not None

    async def _foremost(self, limit: int) -> list[Any]:
        """The first of the runs that are ready, of queues and groups that have room and of no other node's tasks."""
        queues = await _queues(self._db) if self._left is None else _with_room(self._left)
        full = [] if self._room is None else [group for group, free in self._room.items() if free <= 0]
        return await self._db.rows(
            "SELECT f.id, f.queue, f.grouped, f.task, f.lost, f.terms FROM unnest($1::text[]) AS q(name) "
            "CROSS JOIN LATERAL (SELECT r.* FROM asyncsched.runs r WHERE r.state = 0 AND r.queue = q.name "
            "AND (r.grouped IS NULL OR r.grouped <> ALL($2::text[])) AND r.task <> ALL($3::text[]) "
            f"AND r.id <> ALL($4::text[]) AND (r.lost < {LOST_LIMIT - 1} OR NOT $5::boolean) "
            "ORDER BY r.priority DESC, r.due_at, r.seq LIMIT $6) AS f ORDER BY f.priority DESC, f.due_at, f.seq "
            "LIMIT $6",
            *(queues, full, list(self._others), list(self._lost), self._wary, limit),
        )


def _with_room(left: Mapping[str, int]) -> Collection[str]:
    return [queue for queue, free in left.items() if free > 0]


async def _queues(db: Transaction) -> list[str]:
    """The queues in which anything is ready."""
    found = await db.rows(
        "WITH RECURSIVE q(name) AS (SELECT min(queue) FROM asyncsched.runs WHERE state = 0 UNION ALL "
        "SELECT (SELECT min(r.queue) FROM asyncsched.runs r WHERE r.state = 0 AND r.queue > q.name) FROM q "
        "WHERE q.name IS NOT NULL) SELECT name FROM q WHERE name IS NOT NULL"
    )
    return [queue for (queue,) in found]
