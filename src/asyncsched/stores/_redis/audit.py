"""A walk through what is kept, a little at a time: what is not where it is looked for is put back there.

Whoever writes to the server beside this library may have taken a run out of its queue, or put something of another kind
in the place of a queue. Nobody would come by it again: it is neither lost without a word, nor does it hold up others.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import partial

from asyncsched.run import FINAL
from asyncsched.stores._durable.admission import PLACE, PROMISE
from asyncsched.stores._durable.marred import PARKED_AS
from asyncsched.stores._durable.rows import handed_back, needs_of
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.records import (
    BLOCKED,
    DELAYED,
    PARKED,
    QUEUED,
    READY,
    RUNNING,
    Kept,
    by_priority,
)
from asyncsched.stores._redis.transaction import chunks
from asyncsched.stores._redis.unit import Unit, transact
from asyncsched.stores._redis.wire import Unit as Changes

log = logging.getLogger("asyncsched.stores")

# So many keys of the server, those of others among them: some 3 ms, in scripts of less than one.
_KEYS = 500
_AT_ONCE = 100
_REPAIRED = 25
_ENDED = frozenset(status.value for status in FINAL)
_STATES = (READY, RUNNING, DELAYED, BLOCKED, QUEUED, PARKED)


class Walk:
    """Where the walk has come to."""

    def __init__(self) -> None:
        self._cursor = 0

    async def go_on(self, link: Link) -> int:
        """Look at some more of what is kept, and tell what was set aside; how many runs were put back."""
        await tell(link)
        self._cursor, keys = await link.some_keys(self._cursor, "[rh]:*", _KEYS)
        limits = [key.removeprefix("h:") for key in keys if key.startswith("h:")]
        count = await put_right(link, [key.removeprefix("r:") for key in keys if key.startswith("r:")])
        return count + await free_places(link, limits)


async def tell(link: Link) -> None:
    """Say what was set aside as it is of another kind than it should be; each is said by one node, once."""
    (names,) = await link.ask(("HKEYS", "aside"))
    if names:
        done = await link.carry_out([Changes([], [("call", "HDEL", "aside", name) for name in names])])
        for name, counted in zip(names, done.answers[0] or (), strict=True):
            if counted == 1:
                log.error(
                    "%s: %s holds what this library did not write: it is kept as %smarred:%s, and begins anew",
                    *(link.address, name, link.prefix, name),
                )


async def put_right(link: Link, run_ids: Sequence[str]) -> int:
    """Put those of the runs where they belong that are not there; how many."""
    count = 0
    for piece in chunks(run_ids, _AT_ONCE):
        for some in chunks(await _amiss(link, piece), _REPAIRED):
            told = await transact(link, partial(_put_right, run_ids=some), some)
            for message in told:
                log.warning("%s: %s", link.address, message)
            count += len(told)
    return count


async def free_places(link: Link, names: Sequence[str]) -> int:
    """Let nobody have a place under these limits who is not there to give it back; how many had."""
    count = 0
    for name in names:
        told = await transact(link, partial(_free_places, name=name), keys=[name])
        for run_id in told:
            said = "%s: %s had a place under the limit %s, and is no live run of it: the place is free"
            log.warning(said, link.address, run_id, name)
        count += len(told)
    return count


async def _free_places(unit: Unit, name: str) -> list[str]:
    key = await unit.key(name)
    await unit.load(key.holders)
    strays = []
    for run_id in key.holders:
        kept = await unit.run(run_id)
        if kept is None or not kept.live or (kept.wrong is None and kept.terms.limit_key != name):
            strays.append(run_id)
    for run_id in strays:
        key.hold(run_id, 0)
        unit.touch(name)
    return strays


async def _amiss(link: Link, run_ids: Sequence[str]) -> dict[str, str]:
    """Those of the runs that are not where they are looked for, and what is amiss."""
    found = await link.call("audit", json.dumps(run_ids))
    return dict(zip(found[::2], found[1::2], strict=True))


async def _put_right(unit: Unit, run_ids: Sequence[str]) -> list[str]:
    await unit.load(run_ids)
    told = []
    for run_id, why in (await _amiss(unit.link, run_ids)).items():  # another node may have done it meanwhile
        kept = await unit.run(run_id)
        if kept is None:
            unit.change("index", run_id)
            told.append(f"what is kept of run {run_id} does not say of which task it is: it is set aside")
            continue
        where = await _place(unit, kept, why)
        unit.change("index", run_id)
        told.append(f"run {run_id} of task {kept.row.task} was not where it is looked for ({why}): {where}")
    return told


async def _place(unit: Unit, kept: Kept, why: str) -> str:
    """Let a run stand where it should; what became of it, in words."""
    row = kept.row
    if why == "history" or (why == "state" and row.status in _ENDED and row.finished_at is not None):
        unit.change("set", row.id, [], [], ("ended",))
        return "it is in the history again"
    if kept.wrong is not None or kept.state not in _STATES or row.status in _ENDED:
        await unit.leave_key(kept)
        reason = f"{PARKED_AS}: its {'state' if kept.wrong is None else kept.wrong.split()[1]} cannot be that"
        fields = ["status", "PENDING", "reason", reason, "token", row.token + 1, "attempt", row.attempt]
        unit.change("set", row.id, fields, [], ("parked",))
        return "it is put aside"
    if why == "needs":
        await _tell_again(unit, kept)
        return "it waits for what it needs again"
    if why == "limit":
        await _hold_again(unit, kept)
        return "it has its place under its limit again"
    if why == "place":
        await _stand_again(unit, kept)
    return "it is there again"


async def _hold_again(unit: Unit, kept: Kept) -> None:
    """Let the limit know again what it has let a run have that is ready, or runs."""
    terms = kept.terms
    if terms.limit_key is not None:
        key = await unit.key(terms.limit_key)
        has = key.holders.get(kept.row.id, 0) | (PLACE if terms.limit is not None else 0)
        key.hold(kept.row.id, has | (PROMISE if terms.rate is not None and kept.state == READY else 0))


async def _stand_again(unit: Unit, kept: Kept) -> None:
    row = kept.row
    if kept.state == PARKED:
        unit.change("set", row.id, [], [], ("parked",))
    elif kept.state == READY:  # it does not wait for its key again: it has its place
        terms = kept.terms
        unit.change("set", row.id, [], [], ("ready", terms.queue, by_priority(terms, row.due_at)))
    elif kept.state == RUNNING and kept.owner is not None:
        unit.change("set", row.id, [], [], ("running", kept.owner))
    elif kept.state == RUNNING:
        await unit.admit(handed_back(row, unit.now_us), kept.lost)
    else:
        await unit.admit(row._replace(token=row.token + 1))


async def _tell_again(unit: Unit, kept: Kept) -> None:
    """Let a blocked run be told how what it needs has ended, and ends."""
    run_id = kept.row.id
    needs = needs_of(kept.row)
    await unit.load(needs)
    for need in needs:
        upstream = await unit.run(need)
        if upstream is not None and upstream.live:
            unit.call("SADD", f"f:{need}", run_id)
            unit.call("HSETNX", f"n:{run_id}", need, "")
            continue
        # Nobody knows any more how one ended that is not kept.
        how = ["FAILED", None] if upstream is None else [upstream.row.status, upstream.row.reason]
        unit.call("HSETNX", f"n:{run_id}", need, "")
        unit.change("told", run_id, need, json.dumps(how))
    unit.change("set", run_id, [], [], None)
