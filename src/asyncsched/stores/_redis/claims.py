"""Acknowledge, lapse, claim: what a node exchanges with the Redis store."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from asyncsched import crash_points
from asyncsched.again import dump_error
from asyncsched.deadlines import lapse, lapses_us
from asyncsched.run import RunStatus
from asyncsched.stores._durable.admission import PROMISE
from asyncsched.stores._durable.choice import Choice
from asyncsched.stores._durable.lost import SUSPECT
from asyncsched.stores._durable.marred import EARLIEST_US, LATEST_US, PARKED_AS
from asyncsched.stores._durable.orders import Claim
from asyncsched.stores._durable.rows import Row, bare_run
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.records import (
    DELAYED,
    PARKED,
    QUEUED,
    READY,
    RUNNING,
    Kept,
    begun_of,
    fields_of,
    kept_of,
)
from asyncsched.stores._redis.transaction import chunks
from asyncsched.stores._redis.unit import Unit, transact
from asyncsched.stores._redis.wire import LOOK
from asyncsched.stores._redis.wire import Unit as Changes

log = logging.getLogger("asyncsched.stores")

_PENDING = RunStatus.PENDING.value
_ANY = 2**31
_AT_ONCE = 200
TOGETHER = 25
"""So many that have to do with others are decided together: the more, the more often others come between."""


class Ready(NamedTuple):
    """A run that may be claimed: where it stands, and with how many nodes it has been lost."""

    id: str
    queue: str
    group: str | None
    task: str
    lost: int
    rated: bool


class Seen(NamedTuple):
    """What a look has found.

    next_us: when the next one that waits for its instant, or for a rate, will be ready.
    lapsing, due, waking, ahead, fading: what is to be done: runs that have waited too long, runs of keys that are due,
        and keys whose rate lets one start, whose starts lie ahead of the clock, whose starts matter no more.
    marred: the runs that were put aside as nobody can work with them, their tasks, and what of them cannot be that.
    started: those that the look let begin, as there was nothing to decide: their queues and groups, and what is kept.
    """

    now_us: int
    alive: bool
    ready: list[Ready]
    next_us: int | None
    lapses_us: int | None
    lapsing: list[str]
    due: list[str]
    waking: list[str]
    ahead: list[str]
    fading: list[str]
    marred: Sequence[tuple[str, str, str]]
    started: list[tuple[str, str, str | None, list[str]]]

    @property
    def has_chores(self) -> bool:
        """Whether something is to be done before runs begin."""
        return bool(self.lapsing or self.due or self.waking or self.ahead or self.fading)


# -- what time brings


async def do_chores(link: Link, seen: Seen) -> list[Row]:
    """Do what a look has found to be done; the runs that have lapsed."""
    lapsed: list[Row] = []
    if seen.due:
        await transact(link, lambda unit: _wake_due(unit, seen.due), seen.due)
    for names in chunks(list(dict.fromkeys((*seen.waking, *seen.ahead))), TOGETHER):
        await transact(link, partial(_look_at_rates, names=names), keys=names)
    for run_ids in chunks(seen.lapsing, TOGETHER):
        lapsed += await transact(link, partial(_lapse_all, run_ids=run_ids), run_ids)
    for names in chunks(seen.fading, TOGETHER):
        await transact(link, partial(_fade, names=names), keys=names)
    return lapsed


@crash_points.unit("wake")
async def _wake_due(unit: Unit, run_ids: Sequence[str]) -> None:
    """Let runs wait for their keys whose instants have come."""
    await unit.load(run_ids)
    for run_id in run_ids:
        kept = await unit.run(run_id)
        if kept is None or kept.state != DELAYED or kept.terms.limit_key is None:  # it was not left so by us
            unit.call("ZREM", "kdelayed", run_id)
        elif kept.row.due_at <= unit.now_us:
            await unit.queue(kept)
        else:
            unit.call("ZADD", "kdelayed", kept.row.due_at, run_id)


async def _look_at_rates(unit: Unit, names: Sequence[str]) -> None:
    for name in names:
        key = await unit.key(name)
        if key.starts and key.starts[-1] > unit.now_us:
            key.set_back()
        else:
            key.note_instants()
        unit.touch(name)


async def _fade(unit: Unit, names: Sequence[str]) -> None:
    for name in names:
        await (await unit.key(name)).fade()


async def _lapse_all(unit: Unit, run_ids: Sequence[str]) -> list[Row]:
    found = [await _lapse(unit, run_id) for run_id in run_ids]
    return [row for row in found if row is not None]


async def _lapse(unit: Unit, run_id: str) -> Row | None:
    kept = await unit.run(run_id)
    if kept is None or not kept.live or kept.state == RUNNING:
        unit.call("ZREM", "lapses", run_id)
        return None
    settled = lapse(bare_run(kept.row), unit.now_us)
    if settled is None:  # it was not noted so by us
        unit.call("ZREM", "lapses", run_id)
        if (lapse_us := lapses_us(bare_run(kept.row))) is not None:
            unit.call("ZADD", "lapses", lapse_us, run_id)
        return None
    return await unit.end_waiting(kept.row, settled, dump_error(settled.error))


# -- claims


class Claiming:
    """One claim: what is seen to be ready, and what of that is chosen and begins.

    served: tasks that it serves, not necessarily all: their runs begin at once where there is nothing to decide.
    """

    def __init__(self, link: Link, asked: Claim, served: Sequence[str]) -> None:
        self._link = link
        self._asked = asked
        self._served = json.dumps(served)
        self.decided = False
        """Whether runs have begun after the last look."""
        self._choice = Choice(asked)
        self._has_suspect: bool | None = None
        self.claimed: list[Kept] = []

    def looking(self) -> list[Any]:
        """What a look is given."""
        choice = self._choice
        limit = choice.limit
        texts = [_json_of(said) for said in (choice.queues, choice.full, sorted(choice.others))]
        too_lost = SUSPECT if choice.wary else _ANY
        asked = [min(limit + 1, _AT_ONCE), *texts, too_lost, self._asked.owner, PARKED_AS]
        return [*asked, limit, self._asked.node, self._served, *map(_json_of, (choice.left, choice.room)), SUSPECT]

    async def look(self, said: list[Any] | None = None) -> Seen:
        """What is ready, and what else is to be done; what needs no decision has begun.

        said: what the server has answered already, if it was asked with something else.
        """
        while True:
            seen = seen_of(said or await self._link.call(LOOK, *self.looking()))
            said = None
            self.decided = False
            for run_id, task, wrong in seen.marred:
                if task:
                    log.error("run %s of task %s is put aside: its %s cannot be that", run_id, task, wrong)
                else:
                    log.error("run %s stands in a queue, and nothing is kept of it: it is taken out", run_id)
            self._take(seen)
            if len(seen.started) < _AT_ONCE:
                return seen

    def _take(self, seen: Seen) -> None:
        """Count what a look let begin."""
        for run_id, queue, group, said in seen.started:
            self.claimed.append(begun_of(said, run_id))
            self._choice.take(queue, group)

    async def carry_out(self, seen: Seen) -> tuple[Seen, bool]:
        """Start as many as may be started; the last look, and whether there are more."""
        more = False
        while seen.alive and seen.ready and not more:
            before = len(self.claimed)
            if self._choice.doubts(seen.ready):
                self._choice.wary = await self._runs_suspect()
            chosen, more = self._choice.choose(seen.ready)
            self.decided = self.decided or bool(chosen)
            await self._start(chosen)
            if len(self.claimed) - before < len(chosen):  # others were faster, which leaves room for what is behind
                more = False
            elif more or not self._may_be_more(seen, chosen):
                break
            seen = await self.look()
        return seen, more

    def _may_be_more(self, seen: Seen, chosen: Sequence[Ready]) -> bool:
        """Whether it is worth another look: there was more than was chosen, or what was chosen let others be ready."""
        found = len(seen.started) + len(seen.ready)
        whole = len(chosen) == len(seen.ready) and found < min(self._asked.limit + 1, _AT_ONCE)
        return not whole or any(one.rated for one in chosen)

    async def _runs_suspect(self) -> bool:
        """Whether the node runs something that has lost so many nodes that it is given up if it loses this one too."""
        if self._has_suspect is None:
            (ids,) = await self._link.ask(("SMEMBERS", f"o:{self._asked.owner}"))
            lost = await self._link.ask(*(("HGET", f"r:{run_id}", "lost") for run_id in ids))
            self._has_suspect = any(int(times or 0) >= SUSPECT for times in lost)
        return self._has_suspect

    async def _start(self, chosen: Sequence[Ready]) -> None:
        """Let these begin their next attempts at the node, those that others have not claimed."""
        plain = [one for one in chosen if not one.rated]
        started: dict[str, Kept] = {}
        if plain:
            done = await self._link.carry_out([self._starting(one) for one in plain])
            for one, answer in zip(plain, done.answers, strict=True):
                kept = None if answer is None else kept_of(answer[0], one.id)
                if kept is not None:
                    started[one.id] = kept
        for some in chunks([one.id for one in chosen if one.rated], TOGETHER):
            found = await transact(self._link, partial(self._start_rated, run_ids=some), some)
            started |= {kept.row.id: kept for kept in found}
        for one in chosen:
            if one.id in started:
                self.claimed.append(started[one.id])
            else:  # somebody else was faster
                self._choice.take(one.queue, one.group, -1)

    def _starting(self, one: Ready) -> Changes:
        checks = [("alive", self._asked.owner), ("field", f"r:{one.id}", "state", READY)]
        return Changes(checks, [("start", one.id, self._asked.owner, self._asked.node)])

    async def _start_rated(self, unit: Unit, run_ids: Sequence[str]) -> list[Kept]:
        """The same of runs whose starts count for a rate."""
        unit.checks.append(("alive", self._asked.owner))
        found = [await self._start_one(unit, run_id) for run_id in run_ids]
        return [kept for kept in found if kept is not None]

    async def _start_one(self, unit: Unit, run_id: str) -> Kept | None:
        kept = await unit.run(run_id)
        if kept is None or kept.state != READY:
            return None
        terms = kept.terms
        row = kept.row
        kept.state = RUNNING
        kept.row = row._replace(
            status=RunStatus.RUNNING.value,
            node=self._asked.node,
            token=row.token + 1,
            attempt=row.attempt + 1,
            started_at=unit.now_us,
            first_at=unit.now_us if row.first_at is None else row.first_at,
        )
        if terms.rate is not None and terms.limit_key is not None:
            key = await unit.key(terms.limit_key)
            key.hold(run_id, key.holders.get(run_id, 0) & ~PROMISE)
            key.start(terms.rate)
            unit.touch(terms.limit_key)
        fields = fields_of(kept.row, ("status", "node", "token", "attempt", "started_at", "first_at"))
        unit.change("set", run_id, fields, [], ("running", self._asked.owner))
        unit.call("ZREM", "lapses", run_id)
        return kept


def _json_of(said: Any) -> str:
    return json.dumps(False if said is None else said)


def seen_of(said: list[Any]) -> Seen:
    """What a look has answered."""
    now, alive, ready, nexts, lapses, (lapsing, due, waking, ahead, fading), marred, started, _times = said
    return Seen(
        int(now),
        bool(alive),
        [Ready(one[1], one[2], one[3] or None, one[4], int(one[5]), one[6] == "1") for one in json.loads(ready)],
        min((instant_said(at) for at in nexts if at), default=None),
        instant_said(lapses) if lapses else None,
        *(lapsing, due, waking, ahead, fading),
        [(run_id, task, wrong) for run_id, task, wrong in json.loads(marred)],
        [(one[0], one[1], one[2] or None, one) for one in started],
    )


def instant_said(score: str) -> int:
    """The instant of a score; of one that is none an instant that ever comes, so that somebody looks there."""
    return int(min(max(float(score), EARLIEST_US), LATEST_US))


async def park(unit: Unit, rows: Sequence[tuple[Row, str]]) -> None:
    """Let nobody claim runs that were claimed and cannot be read; each says why."""
    for row, why in rows:
        kept = await unit.run(row.id)
        if kept is None or kept.state != RUNNING:
            continue
        fields = ["status", _PENDING, "reason", why[:500], "token", str(row.token + 1), "attempt", str(row.attempt - 1)]
        unit.change("set", row.id, fields, ["node"], ("parked",))
        kept.state = PARKED
        if (name := kept.terms.limit_key) is not None:
            (await unit.key(name)).hold(row.id, 0)
            unit.touch(name)
    unit.call("INCR", "edits")  # so that nodes look which may be able to read them


WAITING = (READY, DELAYED, QUEUED, PARKED)
"""Where runs stand that wait and are not blocked."""
