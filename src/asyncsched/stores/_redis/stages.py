"""Large flows, written ahead a few runs at a time, and seen by nobody before a last small step opens them.

So a flow is there whole or not at all, and no call of a script is long. A run that is written ahead says its stage: as
long as that stands in ``stages``, the scripts that read runs find nothing there. The unit that writes what a flow
begins with takes its stage away. What a node has left that died meanwhile, or gave it up, is swept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import NamedTuple
from uuid import uuid4

from asyncsched.errors import StoreError
from asyncsched.stores._base import FireOrder
from asyncsched.stores._durable.orders import New
from asyncsched.stores._durable.rows import Row, terms_of
from asyncsched.stores._redis import graphs, tasks
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.records import looks_at
from asyncsched.stores._redis.unit import Unit, transact
from asyncsched.stores._redis.wire import Unit as Changes

LARGE = 200
"""So many runs, and what they need, are written by one call: the server answers nobody meanwhile, some 8 ms."""
_SWEPT = 100


class Builder(NamedTuple):
    """The node that writes flows, and the stages that it has under way, which it does not sweep."""

    owner: str
    busy: set[str]


class Ahead:
    """What of some runs is written ahead, by their flows, and what is ``left`` for the last step.

    A flow that is not opened there is swept.
    """

    def __init__(self, link: Link, builder: Builder, new: Sequence[New]) -> None:
        self._link, self._builder, self._new = link, builder, new
        self._stages: dict[str, str] = {}
        self.opened: set[str] = set()
        self._members = _members(new) if _weight(new) > LARGE else []
        ahead = {one.row.id for one in self._members}
        self.left = [one for one in new if one.row.id not in ahead]
        # Nobody has seen these: who follows them changes nothing of them.
        self.fresh = {one.row.id for one in new if one.row.flow is not None and one.row.edges is not None}

    async def write(self) -> None:
        """Write what may be written ahead.

        Raises:
            StoreError: the server cannot be reached, or this node was taken for dead meanwhile.
        """
        if not self._members:
            return
        flows = dict.fromkeys(one.row.flow or "" for one in self._members)
        self._stages = {flow: uuid4().hex for flow in flows}
        self._builder.busy.update(self._stages.values())
        owner = self._builder.owner
        registered = [("call", "HSET", "stages", stage, owner) for stage in self._stages.values()]
        await self._link.carry_out([Changes([], registered)])
        for piece in _pieces(self._members):
            outside = [need.id for one in piece for need in one.needs or () if need.id not in self.fresh]
            await transact(self._link, partial(self._write, piece=piece), outside)

    async def _write(self, unit: Unit, piece: Sequence[New]) -> None:
        unit.fresh = self.fresh
        by_flow: dict[str, list[New]] = {}
        for one in piece:
            by_flow.setdefault(one.row.flow or "", []).append(one)
        await self._check(unit, by_flow)
        for flow, some in by_flow.items():
            stage = self._stages[flow]
            unit.call("SADD", f"staged:{stage}", *(one.row.id for one in some))
            for one in some:
                await unit.write(one, stage)

    async def open(self, unit: Unit, but: Collection[str] = ()) -> None:
        """Let these flows be seen once the unit is carried out, but for those below runs that were not written."""
        flows = [flow for flow in self._stages if flow not in but]
        await self._check(unit, flows)
        for flow in flows:
            unit.call("HDEL", "stages", self._stages[flow])
            unit.call("UNLINK", f"staged:{self._stages[flow]}")
        self.opened = set(flows)

    async def _check(self, unit: Unit, flows: Collection[str]) -> None:
        """Let the unit count only if these stages stand."""
        stages, owner = [self._stages[flow] for flow in flows], self._builder.owner
        if stages and set((await self._link.ask(("HMGET", "stages", *stages)))[0]) != {owner}:
            cure = "nothing of it is there: submit it again"
            raise StoreError(f"{self._link.address}: this node was taken for dead while it wrote a flow; {cure}")
        unit.checks += [("field", "stages", stage, owner) for stage in stages]

    async def close(self, *, opened: bool) -> None:
        """Sweep what is not to be; ``opened``: the last step has been carried out."""
        self._builder.busy.difference_update(self._stages.values())
        with suppress(StoreError):  # the next sweep does it
            for flow, stage in self._stages.items():
                if not opened or flow not in self.opened:
                    await _drop(self._link, stage, self._builder.owner)

    def answers(self, left: Sequence[Row | None]) -> list[Row | None]:
        """For each run the other one that stands for it, as is known of those that were left."""
        stands = {one.row.id: row for one, row in zip(self.left, left, strict=True)}
        return [stands[one.row.id] if one.row.id in stands else stands.get(one.row.flow or "") for one in self._new]


@asynccontextmanager
async def ahead(link: Link, builder: Builder, new: Sequence[New]) -> AsyncIterator[Ahead]:
    """What of these runs is written ahead, by now; what is not opened in the block is swept behind it."""
    written = Ahead(link, builder, new)
    opened = False
    try:
        await written.write()
        yield written
        opened = True
    finally:
        await written.close(opened=opened)


async def submit(link: Link, builder: Builder, new: Sequence[New]) -> list[Row | None]:
    """Write runs that have to do with others, each flow whole or not at all; for each the other that stands for it."""
    found: dict[str, Row | None] = {}
    for batch in _batches(new):
        async with ahead(link, builder, batch) as written:
            stands = await transact(link, partial(_submit, written=written), *_beside(written.left))
        found |= {one.row.id: row for one, row in zip(batch, written.answers(stands), strict=True)}
    return [found[one.row.id] for one in new]


async def _submit(unit: Unit, written: Ahead) -> list[Row | None]:
    unit.fresh = written.fresh
    stands = await tasks.submit(unit, written.left)
    merged = {one.row.id for one, row in zip(written.left, stands, strict=True) if row is not None}
    await written.open(unit, merged)
    return stands


async def fire(
    link: Link, builder: Builder, order: FireOrder, runs: Sequence[New], skips: Sequence[Row]
) -> list[Row] | None:
    """Carry out an order; the runs that became skips as others stand for them, ``None`` if it does not count."""
    if _weight(runs) > LARGE and not await tasks.stands(link, order):
        return None
    async with ahead(link, builder, runs) as written:
        return await transact(link, partial(_fire, order=order, written=written, skips=skips), *_beside(written.left))


async def _fire(unit: Unit, order: FireOrder, written: Ahead, skips: Sequence[Row]) -> list[Row] | None:
    written.opened.clear()
    unit.fresh = written.fresh
    merged = await tasks.carry_out(unit, order, written.left, skips)
    if merged is not None:
        await written.open(unit, {row.id for row in merged})
    return merged


async def join(
    link: Link, builder: Builder, task: str, before: Mapping[str, str], after: Mapping[str, str], runs: Sequence[New]
) -> bool:
    """Write the runs of a join's new flow, if what it has taken is still ``before``."""
    async with ahead(link, builder, runs) as written:

        async def work(unit: Unit) -> bool:
            written.opened.clear()
            unit.fresh = written.fresh
            joined = await graphs.join(unit, task, before, after, written.left)
            if joined:
                await written.open(unit)
            return joined

        return await transact(link, work)


async def sweep(link: Link, node_id: str, busy: Collection[str]) -> int:
    """Forget what was written ahead by nodes that are none any more, and by this one but for ``busy``; of how many."""
    owners, nodes = await link.ask(("HGETALL", "stages"), ("ZRANGE", "nodes", 0, -1))
    others = set(nodes) - {node_id}
    left = [stage for stage, owner in owners.items() if owner not in others and stage not in busy]
    for stage in left:
        await _drop(link, stage, owners[stage])
    return len(left)


async def _drop(link: Link, stage: str, owner: str) -> None:
    """Forget the runs of a stage, unless it was opened; from the first step on it cannot be."""
    done = await link.carry_out([Changes([("field", "stages", stage, owner)], [("call", "HSET", "stages", stage, "")])])
    if done.answers[0] is None:
        return
    while True:
        (ids,) = await link.ask(("SRANDMEMBER", f"staged:{stage}", _SWEPT))
        if not ids:
            break
        await link.carry_out([Changes([], [("unstage", stage, ids)])])
    await link.carry_out([Changes([], [("call", "HDEL", "stages", stage)])])


def _members(new: Sequence[New]) -> list[New]:
    """Those of the runs that nothing but what is below their flow's beginning has to do with: they come ahead of it."""
    found = []
    for one in new:
        row, terms = one.row, terms_of(one.row.terms)
        below = row.flow not in (None, row.id) and one.needs is not None and '"gate"' not in (row.edges or "")
        if below and terms.once is None and terms.idempotency is None:
            found.append(one)
    return found


def _weight(new: Sequence[New]) -> int:
    return sum(1 + len(one.needs or ()) for one in new)


def _pieces(new: Sequence[New]) -> Iterator[list[New]]:
    """Runs some at a time, by how much is to be written of them."""
    piece: list[New] = []
    for one in new:
        if piece and _weight(piece) + _weight([one]) > LARGE:
            yield piece
            piece = []
        piece.append(one)
    if piece:
        yield piece


def _batches(new: Sequence[New]) -> list[Sequence[New]]:
    """Runs of one submit that are written one after another: those of a flow together.

    All are one where those of one flow need those of another, or backfill: then all that was fired is looked at.
    """
    flow_of = {one.row.id: one.row.flow or one.row.id for one in new}
    apart = not any(terms_of(one.row.terms).backfill for one in new[:1]) and all(
        flow_of.get(need.id, flow_of[one.row.id]) == flow_of[one.row.id] for one in new for need in one.needs or ()
    )
    if len(new) <= LARGE or not apart:
        return [new]
    flows: dict[str, list[New]] = {}
    for one in new:
        flows.setdefault(flow_of[one.row.id], []).append(one)
    batches: list[list[New]] = []
    for flow in flows.values():
        if not batches or len(batches[-1]) + len(flow) > LARGE:
            batches.append([])
        batches[-1] += flow
    return list(batches)


def _beside(new: Sequence[New]) -> tuple[list[str], list[str], list[str]]:
    """What matters where new runs come: the runs that they need, their keys, and what stands for them."""
    _own, keys, texts = looks_at([one.row for one in new])
    made = {one.row.id for one in new}
    return [need.id for one in new for need in one.needs or () if need.id not in made], keys, texts
