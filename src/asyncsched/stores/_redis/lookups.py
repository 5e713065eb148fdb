"""What the Redis store is asked about runs: by id, by filter, by task; and what others have done."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from asyncsched.run import FINAL
from asyncsched.stores._base import RunFilter
from asyncsched.stores._durable.rows import Row, needs_of, terms_of
from asyncsched.stores._redis.link import Link, number_of
from asyncsched.stores._redis.records import ENDED, Kept, kept_of
from asyncsched.stores._redis.transaction import chunks, server_now_us

AT_ONCE = 500
"""So many runs are asked for at a time."""
_PAGE = 200
_FEW = 2_000


async def kept_among(link: Link, run_ids: Collection[str], *, staged: bool = False) -> list[Kept]:
    """Those of these runs that are kept, in this order; ``staged``: of flows, too, that are not yet written whole."""
    found: list[Kept] = []
    for piece in chunks(run_ids):
        read = await link.read(piece, tied=False, staged=staged)
        found += [kept for kept in map(kept_of, read.runs, piece) if kept is not None]
    return found


async def rows_among(link: Link, run_ids: Collection[str]) -> list[Row]:
    """The same, as rows."""
    return [kept.row for kept in await kept_among(link, run_ids)]


async def upstreams_of(link: Link, rows: Iterable[Row]) -> dict[str, Row]:
    """The runs that these need, as far as they are kept."""
    needs = dict.fromkeys(need for row in rows if row.edges is not None for need in needs_of(row))
    return {row.id: row for row in await rows_among(link, needs)} if needs else {}


async def find(link: Link, wanted: RunFilter) -> list[Row]:
    """The runs that fit, newest first."""
    live = wanted.status is not None and FINAL.isdisjoint(wanted.status)
    if live and (tasks := await _with_few(link, wanted)) is not None:
        rows = [row for task in tasks for row in await _live_of(link, task) if _fits(row, wanted)]
    elif wanted.task is not None:
        rows = await _newest(link, f"a:{wanted.task}", wanted)
    else:
        rows = await _newest(link, "a", wanted)
    rows.sort(key=_age, reverse=True)
    return rows[: wanted.limit]


async def _with_few(link: Link, wanted: RunFilter) -> list[str] | None:
    """The tasks whose live runs are to be looked through; ``None`` if those are many: then the newest come first."""
    tasks = [wanted.task] if wanted.task is not None else sorted((await link.ask(("SMEMBERS", "busy")))[0])
    counts = await link.ask(*(("ZCARD", f"l:{task}") for task in tasks))
    return tasks if sum(counts) <= max(_FEW, wanted.limit) else None


async def _live_of(link: Link, task: str) -> list[Row]:
    (ids,) = await link.ask(("ZRANGE", f"l:{task}", 0, -1))
    return await rows_among(link, ids)


async def _newest(link: Link, zset: str, wanted: RunFilter) -> list[Row]:
    """As many as are wanted, and those that were made at the same instant as the last of them."""
    found: list[Row] = []
    seen: set[str] = set()
    start = 0
    while True:
        (ids,) = await link.ask(("ZREVRANGE", zset, start, start + _PAGE - 1))
        rows = await rows_among(link, [one for one in ids if one not in seen])  # those made meanwhile shift the pages
        seen.update(ids)
        if len(found) >= wanted.limit and rows and rows[0].created_at < found[wanted.limit - 1].created_at:
            return found
        found += [row for row in rows if _fits(row, wanted)]
        start += _PAGE
        if len(ids) < _PAGE:
            return found


def _fits(row: Row, wanted: RunFilter) -> bool:
    at_us = row.created_at if row.scheduled_at is None else row.scheduled_at
    return (
        wanted.task in (None, row.task)
        and wanted.flow in (None, row.flow or row.id)
        and (wanted.status is None or row.status in {str(one) for one in wanted.status})
        and (wanted.reason is None or row.reason in {str(one) for one in wanted.reason})
        and (wanted.tasks is None or row.task in wanted.tasks)
        and wanted.queue in (None, terms_of(row.terms).queue)
        and (wanted.since_us is None or at_us >= wanted.since_us)
        and (wanted.until_us is None or at_us < wanted.until_us)
    )


def _age(row: Row) -> tuple[int, int, str]:
    return row.created_at, row.due_at if row.scheduled_at is None else row.scheduled_at, row.id


async def unfinished(link: Link, tasks: Collection[str]) -> list[Row]:
    """The runs of these tasks that have not ended, newest first."""
    (busy,) = await link.ask(("SMEMBERS", "busy"))
    wanted = set(busy) & set(tasks)
    found = [row for task in wanted for row in await _live_of(link, task) if row.task == task]
    return sorted(found, key=_age, reverse=True)


async def last_ended(link: Link, tasks: Sequence[str], most: int) -> dict[str, list[Row]]:
    """The latest ended runs of each of these tasks, at most so many of each, oldest first."""
    found: dict[str, list[Row]] = {}
    for piece in chunks(tasks):
        listed = await link.ask(*(("ZRANGE", f"e:{task}", -most, -1) for task in piece))
        for task, ids in zip(piece, listed, strict=True):
            if ids and (rows := await rows_among(link, ids)):
                found[task] = rows
    return found


class Abroad(NamedTuple):
    """What others have done.

    ended: those of the runs asked for that have ended; ``None`` for one that is no longer kept.
    made: the runs of fires that others have written since.
    last: up to where runs have been looked at.
    stops: why runs that this node has under way are to stop, by their ids.
    edited: the tasks that have a later version than was asked for.
    edits: the version that was given last; nodes that come or go count too.
    rolled_back: whether the server has forgotten what it had acknowledged.
    """

    ended: dict[str, Row | None]
    made: list[Row]
    last: int
    stops: dict[str, str]
    edited: list[str]
    edits: int
    now_us: int
    rolled_back: bool


async def look_abroad(
    link: Link, run_ids: Sequence[str], since: int, node_id: str, edits: int, seen: Mapping[str, int]
) -> Abroad:
    """What others have done about these runs and this node's, and which they have written later than ``since``.

    seen: how much this node has seen to have happened, by the primaries at which that was.
    """
    asked = link.ask(
        ("GET", "edits"),
        ("ZRANGEBYSCORE", "fired", f"({since}", "+inf", "LIMIT", 0, AT_ONCE),
        ("HGETALL", f"st:{node_id}"),
        *(("HGET", f"r:{run_id}", "state") for run_id in run_ids),
    )
    same, (newest, fresh, stops, *states), now_us = await asyncio.gather(
        link.same_epoch(seen), asked, server_now_us(link)
    )
    over = [run_id for run_id, state in zip(run_ids, states, strict=True) if state in (None, ENDED)]
    kept = {row.id: row for row in await rows_among(link, over)}
    made = await kept_among(link, fresh)
    edited: list[str] = []
    last_edit = number_of(newest) or 0
    if last_edit != edits:
        (edited,) = await link.ask(("ZRANGEBYSCORE", "ed", f"({edits}", "+inf"))
    return Abroad(
        {run_id: kept.get(run_id) for run_id in over},
        [one.row for one in made if one.maker != node_id and one.live],
        max((one.seq or since for one in made), default=since),
        stops,
        edited,
        last_edit,
        now_us,
        not same,
    )
