"""Nodes come and go; runs of those that are gone are handed back."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial

from asyncsched import crash_points
from asyncsched.run import RunStatus
from asyncsched.stores._durable.lost import let_go
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.records import RUNNING
from asyncsched.stores._redis.roster import strike
from asyncsched.stores._redis.transaction import chunks
from asyncsched.stores._redis.unit import Unit, transact
from asyncsched.stores._redis.wire import Unit as Changes

log = logging.getLogger("asyncsched.stores")
# What is known of a node, and is forgotten with it.
_GONE = (
    *(("call", "ZREM", "nodes"), ("call", "HDEL", "names"), ("call", "HDEL", "came")),
    *(("call", "HDEL", "said"), ("call", "SREM", "asked")),
)


async def enter(link: Link, node_id: str, name: str, lease_us: int) -> None:
    """Let the node be one of those at the store."""
    await link.carry_out([Changes([], [("enter", node_id, name, lease_us)])])


@crash_points.within("leave-before-commit")
@crash_points.after("leave-after-commit")
async def leave(link: Link, node_id: str) -> None:
    """Let it be none of them; what it leaves RUNNING is handed back."""
    await _let_go(link, node_id)
    await link.carry_out([Changes([], [(*change, node_id) for change in _GONE])])
    await strike(link)


@crash_points.after("rescue-after-commit", len)
async def rescue(link: Link, node_id: str) -> list[str]:
    """Hand back the runs of nodes whose leases are over, and of those that are no nodes any more; all these nodes."""
    dead = await _bury(link, node_id)
    await strike(link)
    return [*dead, *(owner for owner in await take_strays(link) if owner not in dead)]


@crash_points.after("rescue-before-commit", len)
async def _bury(link: Link, node_id: str) -> list[str]:
    """Forget the nodes whose leases are over; these."""
    (nodes,) = await link.ask(("ZRANGE", "nodes", 0, -1))
    others = [other for other in nodes if other != node_id]
    done = await link.carry_out(
        [Changes([("dead", other)], [(*change, other) for change in _GONE]) for other in others]
    )
    dead = [other for other, answer in zip(others, done.answers, strict=True) if answer is not None]
    if dead:
        log.warning("%s: %d nodes are gone, their runs are handed back", link.address, len(dead))
    return dead


async def take_strays(link: Link) -> list[str]:
    """Hand back the runs whose owners are no nodes; these owners."""
    owners, nodes = await link.ask(("SMEMBERS", "owners"), ("ZRANGE", "nodes", 0, -1))
    strays = sorted(set(owners) - set(nodes))
    for owner in strays:
        await _let_go(link, owner, lost=True)
        await link.carry_out([Changes([], [("unowned", owner)])])
    return strays


async def release(link: Link, node_id: str, here: Collection[str]) -> None:
    """Hand back what this node has claimed without getting to know of it."""
    await _let_go(link, node_id, but=here)


async def _let_go(link: Link, owner: str, *, lost: bool = False, but: Collection[str] = ()) -> None:
    """Hand back what runs at the node; end what was told to stop, and what has lost too many nodes."""
    (ids,) = await link.ask(("SMEMBERS", f"o:{owner}"))
    for piece in chunks(sorted(set(ids).difference(but)), 50):
        await transact(link, partial(_hand_back, owner=owner, run_ids=piece, lost=lost), piece)


async def _hand_back(unit: Unit, owner: str, run_ids: list[str], *, lost: bool) -> None:
    await unit.load(run_ids)
    found = [await unit.run(run_id) for run_id in run_ids]
    strays = [run_id for run_id, kept in zip(run_ids, found, strict=True) if kept is None or kept.owner != owner]
    if strays:  # they are not there
        unit.call("SREM", f"o:{owner}", *strays)
    for kept in sorted((one for one in found if one is not None), key=lambda one: one.seq or 0):
        if kept.state != RUNNING or kept.owner != owner:
            continue
        times = kept.lost + lost
        after = let_go(kept.row, unit.now_us, kept.stop, times if lost else None)
        if after.status == RunStatus.PENDING.value:
            await unit.admit(after, times)
        else:
            await unit.end(after, running=True)
