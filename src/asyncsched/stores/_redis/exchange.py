"""The exchange of a node with the Redis store: what ended, what is to be started, what is to stop."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from asyncsched.deadlines import lapse
from asyncsched.run import FINAL, Run, RunStatus, Settled
from asyncsched.stores._base import Ack, Cycled
from asyncsched.stores._durable.marred import PARKED_AS
from asyncsched.stores._durable.orders import Claim
from asyncsched.stores._durable.rows import Row, settled_row
from asyncsched.stores._redis.claims import TOGETHER, Choice, Seen, acknowledge, do_chores, is_plain, park, plain_end
from asyncsched.stores._redis.lookups import kept_among, upstreams_of
from asyncsched.stores._redis.presence import Presence
from asyncsched.stores._redis.records import ENDED, RUNNING, Kept
from asyncsched.stores._redis.rescue import release
from asyncsched.stores._redis.transaction import chunks
from asyncsched.stores._redis.unit import Unit, looks_at, transact

log = logging.getLogger("asyncsched.stores")

_ROUNDS = 50  # of chores before a claim: so many times two hundred runs that are due at once


class ExchangeDesk(Presence):
    """Acknowledges, claims and cancels, at a Redis store."""

    _unsure = False
    """Whether runs may have been claimed of which this node was not told: the answer was lost."""
    _doubtful: frozenset[tuple[str, int]] = frozenset()
    """The ends, by run and token, that may have counted without this node's being told."""

    def _begin(self) -> None:
        super()._begin()
        self._unsure, self._doubtful = False, frozenset()

    async def cycle(
        self,
        acks: Sequence[Ack],
        limit: int,
        queues: Mapping[str, int] | None = None,
        groups: Mapping[str, int] | None = None,
    ) -> Cycled:
        link = self._server
        if self._unsure:
            await release(link, self._id, list(self._known.here))
            self._unsure = False
        try:
            accepted, lapsed = await self._acknowledge(acks)
        except BaseException:
            self._doubtful |= {(ack.run.id, ack.token) for ack in acks}
            raise
        self._doubtful = frozenset()
        choice = Choice(link, Claim(self._id, self._node, limit, queues, groups, self.serves))
        try:
            seen, more = await self._claim(choice, lapsed)
        except BaseException:
            self._unsure = True
            self._elsewhere += [run for row in lapsed for run in self._lapsed(row)]
            raise
        if not seen.alive and self._pulse is not None:
            self._pulse.renew()
        rows = [kept.row for kept in choice.claimed]
        upstreams = await upstreams_of(link, rows)
        await self._arrived(row.id for row in rows)
        if accepted or lapsed or rows:
            self._changed()
        unreadable: list[tuple[Row, str]] = []
        cycled = self._told(accepted, choice.claimed, upstreams, lapsed, unreadable)
        if unreadable:
            await transact(link, lambda unit: park(unit, unreadable))
        return cycled._replace(next_due_us=seen.now_us if more else seen.next_us, lapses_us=seen.lapses_us)

    async def _claim(self, choice: Choice, lapsed: list[Row]) -> tuple[Seen, bool]:
        """See to what time has brought, then start what is ready."""
        seen = await choice.look()
        for _ in range(_ROUNDS):
            if not (seen.lapsing or seen.due or seen.waking or seen.ahead or seen.fading):
                break
            lapsed += await do_chores(self._server, seen)
            seen = await choice.look()
        seen, more = await choice.carry_out(seen)
        if choice.claimed and seen.lapses_us is not None:  # that may be one of those that were claimed
            seen = (await choice.look())._replace(alive=seen.alive)
        return seen, more

    async def _acknowledge(self, acks: Sequence[Ack]) -> tuple[list[Ack], list[Row]]:
        """Let the store know what became of attempts; which counted, and which runs ended instead of waiting."""
        link, values = self._server, self._known.values
        rows = [settled_row(ack.run, ack.token, ack.settled, values(ack.run.task)) for ack in acks]
        counted: dict[int, bool] = {}
        ends = [place for place, row in enumerate(rows) if is_plain(row)]
        for start in range(0, len(ends), 200):
            piece = ends[start : start + 200]
            done = await link.carry_out([plain_end(rows[place]) for place in piece])
            counted |= {place: False for place, answer in zip(piece, done.answers, strict=True) if answer is not None}
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
        return self._settled(acks, counted), stopped

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

    def _settled(self, acks: Sequence[Ack], counted: Mapping[int, bool]) -> list[Ack]:
        """Bring the runs up to date whose acknowledgements counted; these."""
        accepted = []
        for place in sorted(counted):
            ack = acks[place]
            accepted.append(ack)
            run = ack.run
            if run.token == ack.token:  # else somebody here has looked it up meanwhile
                run.apply(ack.settled)
            if counted[place]:
                self._known.matter([run])
            if run.status in FINAL:
                if run.edges is not None:
                    run.edges.upstreams = ()
                self._known.ended(run)
            else:
                self._known.again(run)
        return accepted

    def _told(
        self,
        accepted: list[Ack],
        claimed: Sequence[Kept],
        upstreams: Mapping[str, Row],
        lapsed: Sequence[Row],
        unreadable: list[tuple[Row, str]],
    ) -> Cycled:
        """Bring the runs up to date of which an exchange tells."""
        over, self._elsewhere = self._elsewhere, []
        for row in lapsed:
            over += self._lapsed(row)
        found, self._found = self._found, []
        started = []
        for kept in claimed:
            row = kept.row
            known = self._known.counts(row.id)
            try:
                started.append(self._known.start(row, upstreams))
                found += [] if known else started[-1:]
            except Exception as error:
                log.error("run %s of task %s cannot be read, it is put aside: %s", row.id, row.task, error)
                unreadable.append((row, f"{PARKED_AS}: {error}"))
        return Cycled(accepted, started, None, tuple(over), None, tuple(found), self._notice())

    def _lapsed(self, row: Row) -> list[Run[Any]]:
        """The run that has waited too long, as it ended; none if it cannot be read."""
        run = self._known.get(row.id)
        if run is not None and run.token == row.token - 1 and row.finished_at is not None:
            settled = lapse(run, row.finished_at)
            if settled is not None:
                run.apply(settled)
        return self._take_ended([row])

    def _take_ended(self, rows: Sequence[Row]) -> list[Run[Any]]:
        """The runs of these rows, which have just ended here."""
        unknown = {row.id for row in rows if not self._known.counts(row.id)}
        ended = self._known.show_all(rows, {})
        for run in ended:
            self._known.ended(run)
        self._found += [run for run in ended if run.id in unknown]
        return ended

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
