"""Which tasks are kept, and which of them any node declares.

What a node declares is written as lists of tasks, each once for all nodes that declare the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from asyncsched.stored import PARKED as REASON
from asyncsched.stored import Unserved, unserved_reason
from asyncsched.stores._durable.marred import PARKED_AS
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._durable.tasks import digest_of
from asyncsched.stores._durable.unread import AT_ONCE
from asyncsched.stores._redis.claims import WAITING
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.lookups import kept_among
from asyncsched.stores._redis.records import PARKED, count_said, names_said
from asyncsched.stores._redis.tasks import Columns, standing_among
from asyncsched.stores._redis.transaction import chunks
from asyncsched.stores._redis.unit import Unit, transact
from asyncsched.stores._redis.wire import Unit as Changes

# So many lists of tasks that no node declares any more are remembered, for when that ended.
_REMEMBERED = 1_000


async def enrol(link: Link, node_id: str, tasks: Sequence[str]) -> str:
    """Let the node declare these tasks too; the digest of their list."""
    digest = digest_of(tasks)
    await link.carry_out([Changes([], [("call", "HSET", "rosters", digest, json.dumps(tasks))])])
    await enrol_again(link, node_id, [digest])
    return digest


async def enrol_again(link: Link, node_id: str, digests: Collection[str]) -> None:
    """Let the node declare the tasks of these lists."""
    known = await link.ask(*(("SISMEMBER", f"sv:{node_id}", digest) for digest in digests))
    fresh = [digest for digest, there in zip(digests, known, strict=True) if not there]
    if fresh:
        changes: list[Sequence[Any]] = [("call", "SADD", f"sv:{node_id}", *fresh), ("call", "SADD", "serving", node_id)]
        changes += [("call", "HDEL", "until", *fresh), ("count", "edits")]
        await link.carry_out([Changes([], changes)])


async def forget(link: Link, task: str) -> None:
    """Keep no list of a task alone: programs that add and remove tasks all day would have ever more of them."""
    alone = digest_of([task])
    (serving,) = await link.ask(("SMEMBERS", "serving"))
    changes: list[Sequence[Any]] = [("call", "SREM", f"sv:{node_id}", alone) for node_id in serving]
    changes += [("call", "HDEL", "rosters", alone), ("call", "HDEL", "until", alone)]
    await link.carry_out([Changes([], changes)])


async def strike(link: Link) -> None:
    """Let what nodes declared be declared no more that are none any more."""
    serving, nodes = await link.ask(("SMEMBERS", "serving"), ("ZRANGE", "nodes", 0, -1))
    for node_id in set(serving) - set(nodes):
        (digests,) = await link.ask(("SMEMBERS", f"sv:{node_id}"))
        changes: list[Sequence[Any]] = [("until_now", digests), ("call", "DEL", f"sv:{node_id}")]
        changes += [("call", "SREM", "serving", node_id), ("count", "edits")]
        await link.carry_out([Changes([("dead", node_id)], changes)])
    if set(serving) - set(nodes):
        await _forget_oldest(link)


async def _forget_oldest(link: Link) -> None:
    (until,) = await link.ask(("HGETALL", "until"))
    if len(until) > _REMEMBERED:
        served = await _digests(link)
        gone = sorted(set(until) - served, key=lambda digest: count_said(until[digest]))[: len(until) - _REMEMBERED]
        if gone:
            await link.carry_out([Changes([], [("call", "HDEL", name, *gone) for name in ("until", "rosters")])])


async def _digests(link: Link) -> set[str]:
    """The lists that any node declares."""
    (nodes,) = await link.ask(("ZRANGE", "nodes", 0, -1))
    return {digest for digests in await link.ask(*(("SMEMBERS", f"sv:{node}") for node in nodes)) for digest in digests}


async def served(link: Link) -> set[str]:
    """The tasks that any node declares."""
    digests = sorted(await _digests(link))
    if not digests:
        return set()
    (texts,) = await link.ask(("HMGET", "rosters", *digests))
    return {task for text in texts for task in names_said(text)}


async def since(link: Link, tasks: Collection[str]) -> dict[str, int]:
    """When the last node went that declared these tasks, where it is remembered."""
    until, rosters = await link.ask(("HGETALL", "until"), ("HGETALL", "rosters"))
    found: dict[str, int] = {}
    wanted = set(tasks)
    for digest, at in until.items():
        for task in wanted.intersection(names_said(rosters.get(digest))):
            found[task] = max(found.get(task, 0), count_said(at))
    return found


async def unserved(link: Link, own: Collection[str]) -> list[str]:
    """The tasks with live runs that no node declares; ``own`` are this node's."""
    (busy,) = await link.ask(("SMEMBERS", "busy"))
    asked = [task for task in busy if task not in own]
    if not asked:
        return []
    known = await served(link)
    return sorted(task for task in asked if task not in known)


async def park_unserved(link: Link, own: Collection[str]) -> list[Unserved]:
    """Let nobody claim the waiting runs of tasks that no node declares; these tasks."""
    counted = {}
    for task in await unserved(link, own):
        (ids,) = await link.ask(("ZRANGE", f"l:{task}", 0, -1))
        count = 0
        for piece in chunks(ids):
            count += await transact(link, partial(_park, task=task, run_ids=piece), piece)
        if count:
            counted[task] = count
    went = await since(link, counted) if counted else {}
    return [Unserved(task, count, went.get(task)) for task, count in counted.items()]


async def _park(unit: Unit, task: str, run_ids: Sequence[str]) -> int:
    """Put those aside that wait; how many there are, those put aside before among them."""
    await unit.load(run_ids)
    count = 0
    for run_id in run_ids:
        kept = await unit.run(run_id)
        if kept is None or kept.state not in WAITING:
            continue
        count += 1
        if kept.state != PARKED:
            await unit.leave_key(kept)
            fields = ["reason", unserved_reason(task), "token", kept.row.token + 1]
            unit.change("set", run_id, fields, [], ("parked",))
            kept.state = PARKED
    return count


async def unpark(link: Link, tasks: Collection[str] | None) -> None:
    """Let parked runs of these tasks wait again: they are declared now. With ``None`` those that could not be read."""
    (ids,) = await link.ask(("ZRANGE", "parked", 0, -1))
    wanted = None if tasks is None else set(tasks)
    for piece in chunks(ids):
        await transact(link, partial(_unpark, run_ids=piece, tasks=wanted), piece)


async def unread(link: Link) -> list[Row]:
    """Runs that nodes have put aside as they could not read them."""
    (ids,) = await link.ask(("ZRANGE", "parked", 0, -1))
    found: list[Row] = []
    for piece in chunks(ids):
        reasons = await link.ask(*(("HGET", f"r:{run_id}", "reason") for run_id in piece))
        chosen = [one for one, reason in zip(piece, reasons, strict=True) if (reason or "").startswith(PARKED_AS)]
        found += [one.row for one in await kept_among(link, chosen) if one.wrong is None and one.state == PARKED]
        if len(found) >= AT_ONCE:
            break
    return found


async def unpark_unread(link: Link, run_ids: Sequence[str]) -> None:
    """Let these of them wait again."""
    for piece in chunks(run_ids):
        await transact(link, partial(_unpark, run_ids=piece, tasks=None), piece)


async def _unpark(unit: Unit, run_ids: Sequence[str], tasks: Collection[str] | None) -> None:
    await unit.load(run_ids)
    for run_id in run_ids:
        kept = await unit.run(run_id)
        if kept is None or kept.state != PARKED or kept.wrong is not None:
            continue
        row = kept.row
        if (row.reason or "").startswith(PARKED_AS) if tasks is None else row.task in tasks:
            await unit.admit(row._replace(token=row.token + 1, reason=None))


class Listed(NamedTuple):
    """A task as it stands, whether any node declares it, and how many of its runs wait, run and are put aside."""

    columns: Columns
    served: bool
    waiting: int
    running: int
    parked: int


async def listed(link: Link, tasks: Collection[str] | None) -> list[Listed]:
    """These tasks or all, in the order of their ids."""
    wanted: Iterable[str] = (await link.ask(("ZRANGE", "ed", 0, -1)))[0] if tasks is None else set(tasks)
    columns = await standing_among(link, sorted(wanted))
    (busy,) = await link.ask(("SMEMBERS", "busy"))
    known = await served(link)
    found = []
    for one in columns:
        counted = await _count(link, one[0]) if one[0] in busy else (0, 0, 0)
        found.append(Listed(one, one[0] in known, *counted))
    return found


async def _count(link: Link, task: str) -> tuple[int, int, int]:
    (ids,) = await link.ask(("ZRANGE", f"l:{task}", 0, -1))
    running = parked = 0
    for piece in chunks(ids):
        for status, state, reason in await link.ask(
            *(("HMGET", f"r:{run_id}", "status", "state", "reason") for run_id in piece)
        ):
            running += status == "RUNNING"
            parked += state == PARKED and (reason or "").startswith(REASON)
    return len(ids) - running, running, parked
