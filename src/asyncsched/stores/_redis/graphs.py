"""Blocked runs, what they need and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from asyncsched import crash_points
from asyncsched.graph import Tally
from asyncsched.run import FINAL, RunStatus
from asyncsched.stores._durable.marred import row_said
from asyncsched.stores._durable.orders import Decided, New
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.lookups import kept_among, rows_among
from asyncsched.stores._redis.records import BLOCKED, json_said
from asyncsched.stores._redis.tasks import check_met
from asyncsched.stores._redis.unit import Unit
from asyncsched.stores._redis.wire import Unit as Changes

_STATUSES = {status.value: status for status in RunStatus}
_ENDED = frozenset(status.value for status in FINAL)
_FEW = 50


@crash_points.after("followers", len)
async def followers(link: Link, run_ids: Collection[str] | None) -> list[tuple[Row, Tally]]:
    """The blocked runs that need one of these; with ``None`` all that need one which has ended."""
    if run_ids is None:
        (ids,) = await link.ask(("ZRANGE", "told", 0, -1))
        found = await kept_among(link, ids)
    else:
        known = await link.ask(*(("SMEMBERS", f"f:{run_id}") for run_id in run_ids))
        kept = {one.row.id: one for one in await kept_among(link, {run_id for some in known for run_id in some})}
        found = []
        for some in known:  # of those who need several the first that is asked for tells where they come
            found += sorted((kept.pop(one) for one in some if one in kept), key=lambda one: one.seq or 0)
    rows = {kept.row.id: kept.row for kept in found if kept.state == BLOCKED}
    told = await link.ask(*(("HVALS", f"n:{run_id}") for run_id in rows))
    return [(row, _tally(texts)) for row, texts in zip(rows.values(), told, strict=True)]


def _tally(texts: Sequence[str]) -> Tally:
    return Tally.of(
        (_STATUSES.get(status or "", RunStatus.PENDING), reason) for status, reason in map(_told_how, texts)
    )


@crash_points.unit("settle")
async def settle(unit: Unit, decided: Decided) -> Row | None:
    """Let a blocked run be ready, or end; as it then stands, ``None`` if its decision does not count."""
    row, ready, sources, met = decided
    kept = await unit.run(row.id)
    if kept is None or kept.state != BLOCKED or kept.row.token != row.token - 1:
        return None
    if met is not None:
        check = check_met(row.task, met)
        done = await unit.link.carry_out([Changes([check], [])])
        if done.answers[0] is None:
            return None
        unit.checks.append(check)
    if not ready:
        return None if await unit.end(row) is None else row
    admitted = row._replace(due_at=max(row.due_at, unit.now_us))
    await unit.admit(admitted)
    unit.change("set", row.id, ["edges", row.edges], [], None)
    unit.call("ZREM", "told", row.id)
    if sources is not None:  # their results are kept until it has ended
        await unit.need_no_more(row.id)
        for source in sources:
            unit.call("SADD", f"f:{source}", row.id)
            unit.call("HSET", f"n:{row.id}", source, json.dumps(["SUCCESS", None]))
    return admitted


async def settle_all(unit: Unit, decided: Sequence[Decided]) -> list[Row | None]:
    """The same of several, one after another."""
    return [await settle(unit, one) for one in decided]


async def lookback(link: Link, tasks: Collection[str]) -> dict[str, tuple[Row | None, list[Row]]]:
    """Of each task its last success and its runs that have not ended."""
    found = {}
    for task in tasks:
        (live,) = await link.ask(("ZRANGE", f"l:{task}", 0, -1))
        found[task] = await _last_success(link, task), await rows_among(link, live)
    return found


async def _last_success(link: Link, task: str) -> Row | None:
    (marked,) = await link.ask(("GET", f"ms:{task}"))
    last = None if marked is None else row_said(marked)
    start = 0
    while last is None:
        (ids,) = await link.ask(("ZREVRANGE", f"e:{task}", start, start + _FEW - 1))
        rows = await rows_among(link, ids)
        last = next((row for row in rows if row.status == "SUCCESS"), None)
        start += _FEW
        if len(ids) < _FEW:
            break
    return last


async def offers(link: Link, task: str, upstreams: Mapping[str, str]) -> tuple[dict[str, str], list[Row]]:
    """What the join took last, and the ended runs of its upstreams in later flows."""
    (text,) = await link.ask(("GET", f"mt:{task}"))
    taken = _taken(text)
    ended: list[Row] = []
    for upstream, root in upstreams.items():
        (ids,) = await link.ask(("ZRANGE", f"e:{upstream}", 0, -1))
        after = taken.get(root, "")
        ended += [row for row in await rows_among(link, ids) if row.flow is not None and row.flow > after]
    return taken, ended


async def join(unit: Unit, task: str, before: Mapping[str, str], after: Mapping[str, str], runs: Sequence[New]) -> bool:
    """Write the runs of a join's new flow, if what it has taken is still ``before``."""
    if _taken(await unit.text(f"mt:{task}")) != before:
        return False
    unit.write_text(f"mt:{task}", json.dumps(after))
    unit.call("SADD", "joins", task)
    for new in runs:
        await unit.submit(new)
    return True


def _taken(text: str | None) -> dict[str, str]:
    said = json_said(text)
    return said if isinstance(said, dict) and all(isinstance(run_id, str) for run_id in said.values()) else {}


def _told_how(text: str) -> tuple[str | None, str | None]:
    """How an upstream ended, as a follower was told."""
    found = json_said(text)
    if not isinstance(found, list) or len(found) != 2 or found[0] not in _ENDED:
        return ("FAILED", None) if text else (None, None)  # of one that cannot be read nothing good is known
    return found[0], found[1] if isinstance(found[1], str) else None
