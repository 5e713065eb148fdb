"""The exchange of a node with the Redis store: what ended, what is to be started, what is to stop."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from asyncsched import crash_points
from asyncsched.errors import StoreError
from asyncsched.run import Run, RunStatus, Settled
from asyncsched.stores._base import Ack, Cycled
from asyncsched.stores._durable.orders import Claim
from asyncsched.stores._durable.rows import Row, settled_row
from asyncsched.stores._redis.acks import acknowledge, is_plain, missed_of, plain_ends
from asyncsched.stores._redis.claims import TOGETHER, Claiming, Seen, do_chores, park
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.lookups import kept_among, upstreams_of
from asyncsched.stores._redis.presence import Presence
from asyncsched.stores._redis.records import ENDED, RUNNING, looks_at
from asyncsched.stores._redis.rescue import release
from asyncsched.stores._redis.transaction import chunks
from asyncsched.stores._redis.unit import Unit, transact

log = logging.getLogger("asyncsched.stores")

_AT_ONCE = 200
_SERVED = 50  # tasks that a look is told of
_ROUNDS = 50  # of chores before a claim: so many times two hundred runs that are due at once


class ExchangeDesk(Presence):
    """Acknowledges, claims and cancels, at a Redis store."""

    def _begin(self) -> None:
        super()._begin()
        self._unsure, self._doubtful = False, frozenset()
        self._served: dict[str, None] = {}

    @crash_points.before("before-finish", lambda _self, acks, *_: acks)
    @crash_points.within("finish-before-commit", lambda _self, acks, *_: acks)
    @crash_points.within("claim-before-commit", lambda _self, _acks, limit, *_: limit)
    @crash_points.after("finish-after-commit", lambda cycled: cycled.accepted)
    @crash_points.after("claim-after-commit", lambda cycled: cycled.claimed)
    async def cycle(
        self,
        acks: Sequence[Ack],
        limit: int,
        queues: Mapping[str, int] | None = None,
        groups: Mapping[str, int] | None = None,
    ) -> Cycled:
        link = self._server
        if self._unsure:
            await self._release(link)
        asked = Claim(self._id, self._node, self._claimable(limit), queues, groups, self.serves)
        claiming = Claiming(link, asked, [task for task in self._served if asked.serves(task)])
        accepted, lapsed, look = await self._settle(acks, claiming)
        try:
            seen, more = await self._claim(claiming, lapsed, look)
            self._check_trust(claiming.claimed)
            rows = [kept.row for kept in claiming.claimed]
            upstreams = await upstreams_of(link, rows)
        except BaseException as error:
            self._unsure = True
            if accepted and isinstance(error, StoreError):  # those counted: it is asked again at once, and then told
                return self._told(accepted, [], self._lapsed(lapsed), acks[0].settled.at_us)
            self._elsewhere += self._lapsed(lapsed)
            raise
        if not seen.alive and self._pulse is not None:
            self._pulse.renew()
        self._remember([row.task for row in rows])
        await self._arrivals.wait(row.id for row in rows)
        if accepted or lapsed or rows:
            self._changed()
        unreadable: list[tuple[Row, str]] = []
        wrong = {kept.row.id: kept.wrong for kept in claiming.claimed if kept.wrong is not None}
        over = self._lapsed(lapsed)
        started = self._begin_all(rows, upstreams, unreadable, wrong)
        next_us = seen.now_us if more else seen.next_us
        if self._in_doubt:
            next_us = None  # who is trusted again asks
        cycled = self._told(accepted, started, over, next_us, seen.lapses_us)
        if unreadable:
            await self._park(link, unreadable)
        return cycled

    async def _park(self, link: Link, unreadable: list[tuple[Row, str]]) -> None:
        try:
            await transact(link, lambda unit: park(unit, unreadable))
        except StoreError:  # the others have been claimed, and are to be known of; these are handed back
            self._unsure = True
        self._changed()

    async def _release(self, link: Link) -> None:
        """Give back what was claimed for this node, and never came to be known here."""
        self._unsure = False
        try:
            await release(link, self._id, list(self._known.here))
        except BaseException:
            self._unsure = True
            raise

    def _remember(self, tasks: Sequence[str]) -> None:
        """Know some of the tasks that this node serves: the latest."""
        for task in tasks:
            self._served.pop(task, None)
            self._served[task] = None
        while len(self._served) > _SERVED:
            del self._served[next(iter(self._served))]

    async def _claim(self, claiming: Claiming, lapsed: list[Row], look: Seen | StoreError | None) -> tuple[Seen, bool]:
        """See to what time has brought, then start what is ready."""
        if isinstance(look, StoreError):
            raise look
        seen = look or await claiming.look()
        for _ in range(_ROUNDS):
            if not seen.has_chores:
                break
            lapsed += await do_chores(self._server, seen)
            seen = await claiming.look()
        seen, more = await claiming.carry_out(seen)
        if claiming.decided and seen.lapses_us is not None:  # that may be one of those that were claimed
            seen = (await claiming.look())._replace(alive=seen.alive)
        return seen, more

    async def _settle(
        self, acks: Sequence[Ack], claiming: Claiming
    ) -> tuple[list[Ack], list[Row], Seen | StoreError | None]:
        """Acknowledge; which counted, which runs ended instead of waiting, and what a look has found or met meanwhile.

        Where runs only end, the first look goes to the server with them; otherwise there was none.
        """
        rows = [settled_row(ack.run, ack.token, ack.settled, self._known.values(ack.run.task)) for ack in acks]
        together = 0 < len(rows) <= _AT_ONCE and all(map(is_plain, rows))
        counted: dict[int, bool] = {}
        look: Seen | StoreError | None = None
        try:
            if together:
                missed, look = await self._end_and_look(rows, claiming)
                counted = {place: False for place in range(len(rows)) if place not in missed}
            else:
                ends = [place for place, row in enumerate(rows) if is_plain(row)]
                for piece in chunks(ends, _AT_ONCE):
                    missed = missed_of(await self._server.carry_out([plain_ends([rows[place] for place in piece])]))
                    counted |= {place: False for number, place in enumerate(piece) if number not in missed}
            lapsed: list[Row] = []
            if len(counted) < len(rows):
                look = None  # it has not seen what becomes of the others
                lapsed = await self._acknowledge(rows, counted)
        except BaseException:
            self._doubtful |= {(ack.run.id, ack.token) for ack in acks}
            self._unsure = self._unsure or together
            raise
        self._doubtful = frozenset()
        return self._settled(acks, counted), lapsed, look

    async def _end_and_look(self, rows: Sequence[Row], claiming: Claiming) -> tuple[set[int], Seen | StoreError]:
        """End runs, and look; the places of those that did not end, and what the look has found or met."""
        done, said = await self._server.stroke(plain_ends(rows), claiming.looking())
        look: Seen | StoreError
        try:
            look = await claiming.look(said)
        except StoreError as error:
            look = error
        return missed_of(done), look

    async def _acknowledge(self, rows: Sequence[Row], counted: dict[int, bool]) -> list[Row]:
        """Tell what became of the attempts that do not count yet; the runs that end instead of waiting."""
        link = self._server
        stopped: list[Row] = []
        rest = [place for place in range(len(rows)) if place not in counted]
        for start in range(0, len(rest), TOGETHER):
            piece = rest[start : start + TOGETHER]
            some = [rows[place] for place in piece]
            found = await transact(link, partial(acknowledge, rows=some), *looks_at(some))
            for place, (still, needed, ended) in zip(piece, found, strict=True):
                stopped += [] if ended is None else [ended]
                if still:
                    counted[place] = needed
        await self._recount(rows, counted)
        return stopped

    async def _recount(self, rows: Sequence[Row], counted: dict[int, bool]) -> None:
        """Find those ends that counted before, of which this node was not told: the answer was lost."""
        doubtful = self._doubtful
        asked = [
            place
            for place, row in enumerate(rows)
            if place not in counted and (row.id, row.token - 1) in doubtful and row.status != RunStatus.PENDING.value
        ]
        if asked:
            kept = {one.row.id: one for one in await kept_among(self._server, [rows[place].id for place in asked])}
            for place in asked:
                row, found = rows[place], kept.get(rows[place].id)
                if found is not None and found.state == ENDED and found.row.token == row.token:
                    counted[place] = True

    async def cancel(self, run_ids: Collection[str], reason: str) -> list[Run[Any]]:
        link, node_id = self._server, self._id
        cancelled: list[Run[Any]] = []
        for piece in chunks(run_ids):
            ended, stopping = await transact(
                link, partial(_cancel, run_ids=piece, reason=reason, node_id=node_id), piece
            )
            cancelled += [*self._take_ended(ended), *self._known.take_all(stopping, {})]
        if cancelled:
            self._changed()
        return cancelled


async def _cancel(unit: Unit, run_ids: Sequence[str], reason: str, node_id: str) -> tuple[list[Row], list[Row]]:
    """End those of the runs that wait, let other nodes stop those that run there."""
    await unit.load(run_ids)
    ended, stopping = [], []
    for run_id in run_ids:
        kept = await unit.run(run_id)
        if kept is None or not kept.live:
            continue
        if kept.state != RUNNING:
            row = await unit.end_waiting(kept.row, Settled(RunStatus.CANCELLED, unit.now_us, reason=reason))
            ended += [] if row is None else [row]
        elif kept.owner != node_id:
            if kept.stop is None:
                kept.stop = reason
                unit.change("set", run_id, ["stop", reason], [], None)
                unit.call("HSET", f"st:{kept.owner}", run_id, reason)
            stopping.append(kept.row)
    return ended, stopping
