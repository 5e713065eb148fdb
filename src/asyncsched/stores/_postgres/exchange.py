"""The exchange of a node with the PostgreSQL store: what ended, what is to be started, what is to stop."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from asyncsched.deadlines import lapse, lapses_us
from asyncsched.errors import StoreError
from asyncsched.run import FINAL, Run
from asyncsched.stores._base import Ack, Cycled
from asyncsched.stores._durable.marred import PARKED_AS
from asyncsched.stores._durable.orders import HISTORY_LIMIT, Claim
from asyncsched.stores._durable.rows import Row, bare_run, settled_row
from asyncsched.stores._postgres import plain
from asyncsched.stores._postgres.claims import acknowledge, already, claim, lapse_due
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.lookups import upstreams_of
from asyncsched.stores._postgres.places import wake
from asyncsched.stores._postgres.plain import Claimed
from asyncsched.stores._postgres.presence import Presence
from asyncsched.stores._postgres.rescue import park, release
from asyncsched.stores._postgres.tasks import cancel, stop
from asyncsched.stores._postgres.transaction import Transaction
from asyncsched.stores._postgres.unit import prune

log = logging.getLogger("asyncsched.stores")

# A task may have more in the history than it keeps, by such a part of that: to look for them at each end would cost
# more than the end itself.
_SURPLUS = 16


class ExchangeDesk(Presence):
    """Acknowledges, claims and cancels, at a PostgreSQL store."""

    _unsure = False
    """Whether runs may have been claimed of which this node was not told: the answer was lost."""
    _doubtful: frozenset[tuple[str, int]] = frozenset()
    """The ends, by run and token, that may have counted without this node's being told."""

    def _begin(self) -> None:
        super()._begin()
        self._unsure, self._doubtful = False, frozenset()
        self._unserved: set[str] = set()
        """Tasks of which runs wait that this node does not serve."""
        self._limits: dict[str, int] = {}
        self._surplus: Counter[str] = Counter()
        """How many runs of each task have ended here since what it does not keep was forgotten."""

    async def cycle(
        self,
        acks: Sequence[Ack],
        limit: int,
        queues: Mapping[str, int] | None = None,
        groups: Mapping[str, int] | None = None,
    ) -> Cycled:
        if self._unsure:
            await self._release()
        try:
            accepted, lapsed, special = await self._acknowledge(acks)
        except BaseException:
            self._doubtful |= {(ack.run.id, ack.token) for ack in acks}
            raise
        self._doubtful = frozenset()
        asked = Claim(self._id, self._node, limit, queues, groups, self.serves)
        try:
            claimed, upstreams = await self._claim(asked, special=special or groups is not None)
        except StoreError:
            if not acks and not lapsed:
                raise
            now_us = acks[0].settled.at_us if acks else 0  # those counted: it is asked again at once, and then told
            return self._told(accepted, Claimed(True, True, now_us, now_us, None, ()), {}, lapsed, [])
        unreadable: list[tuple[Row, str]] = []
        await self._arrived(row.id for row in claimed.rows)
        cycled = self._told(accepted, claimed, upstreams, lapsed, unreadable)
        if unreadable:
            await self._write(lambda db: park(db, unreadable))
        return cycled

    async def _acknowledge(self, acks: Sequence[Ack]) -> tuple[list[Ack], list[Row], bool]:
        """Let the store know what ended; which counted, which runs have waited too long, and how to claim."""
        values = self._known.values
        rows = [settled_row(ack.run, ack.token, ack.settled, values(ack.run.task)) for ack in acks]
        ends = [place for place, row in enumerate(rows) if plain.is_end(row) and row.flow is None]
        node_id = self._id
        done = await self._read(lambda db: plain.finish(db, [rows[place] for place in ends], node_id))
        counted: dict[int, bool] = {ends[place]: False for place in done.ended}
        await self._forget(acks[place].run.task for place in counted)
        rest = [place for place in range(len(rows)) if place not in counted]
        lapsed: list[Row] = []
        if rest:
            found, stopped = await self._write(lambda db: acknowledge(db, [rows[place] for place in rest]))
            counted |= {place: needed for place, needed in zip(rest, found, strict=True) if needed is not None}
            lapsed += stopped
            await self._recount(rows, [place for place in rest if place not in counted], counted)
        if done.waking:
            await self._write(wake)
        if done.lapsing:
            lapsed += await self._write(lapse_due)
        accepted = self._settled(acks, counted)
        if done.of_others or rest or lapsed:
            self._changed()
        return accepted, lapsed, done.special or done.waking or bool(rest)

    async def _recount(self, rows: Sequence[Row], refused: Sequence[int], counted: dict[int, bool]) -> None:
        """Find those ends that counted before, of which this node was not told: the answer was lost."""
        doubtful = self._doubtful
        ends = [
            place
            for place in refused
            if (rows[place].id, rows[place].token - 1) in doubtful and plain.is_end(rows[place])
        ]
        if ends:
            known = await self._read(lambda db: already(db, [rows[place] for place in ends]))
            counted |= {place: True for place in ends if (rows[place].id, rows[place].token) in known}

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

    async def _forget(self, tasks: Iterable[str]) -> None:
        """Forget what tasks do not keep of which so many have ended here."""
        surplus, limits = self._surplus, self._limits
        surplus.update(tasks)
        over = [task for task, count in surplus.items() if count > limits.get(task, HISTORY_LIMIT) // _SURPLUS]
        if over:
            for task in over:
                del surplus[task]
            await self._write(lambda db: prune(db, over))

    async def _claim(self, asked: Claim, *, special: bool) -> tuple[Claimed, dict[str, Row]]:
        """Start what is ready; with the runs that those need."""
        try:
            if special:
                claimed = await self._write(lambda db: claim(db, asked))
            else:
                claimed = await self._read(lambda db: self._claim_plainly(db, asked))
        except BaseException:
            self._unsure = True
            raise
        if not claimed.alive and self._pulse is not None:
            self._pulse.renew()
        needing = [row for row in claimed.rows if row.edges is not None]
        if not needing:
            return claimed, {}
        return claimed, await self._read(lambda db: upstreams_of(db, needing))

    async def _claim_plainly(self, db: Database, asked: Claim) -> Claimed:
        """Claim in one statement; what turns out to be others' is given back at once, and not asked for again."""
        unserved = self._unserved = {task for task in self._unserved if not asked.serves(task)}
        mine: list[Row] = []
        left = None if asked.queues is None else dict(asked.queues)
        while True:
            claimed = await plain.claim(db, asked.owner, asked.node, asked.limit - len(mine), unserved, left)
            others = [row for row in claimed.rows if not asked.serves(row.task)]
            mine += [row for row in claimed.rows if asked.serves(row.task)]
            if not others:
                return claimed._replace(rows=mine)
            await plain.undo(db, [(row.id, row.token, _lapses_us(row)) for row in others])
            unserved.update(row.task for row in others)
            if left is not None:
                for row in claimed.rows:
                    left[bare_run(row).terms.queue] -= row.task not in unserved

    async def _release(self) -> None:
        """Give back what was claimed for this node, and never came to be known here."""
        here, node_id = list(self._known.here), self._id
        await self._write(lambda db: release(db, node_id, here))
        self._unsure = False

    def _told(
        self,
        accepted: list[Ack],
        claimed: Claimed,
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
        for row in claimed.rows:
            known = self._known.counts(row.id)
            try:
                started.append(self._known.start(row, upstreams))
                found += [] if known else started[-1:]
            except Exception as error:
                log.error("run %s of task %s cannot be read, it is put aside: %s", row.id, row.task, error)
                unreadable.append((row, f"{PARKED_AS}: {error}"))
        next_us = claimed.now_us if claimed.more else claimed.next_us
        return Cycled(accepted, started, next_us, tuple(over), claimed.lapses_us, tuple(found), self._notice())

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
        asked, node_id = list(run_ids), self._id

        async def work(db: Transaction) -> tuple[list[Row], list[Row]]:
            ended = await cancel(db, asked, reason)
            return ended, await stop(db, asked, reason, node_id)

        ended, stopping = await self._write(work)
        if ended or stopping:
            self._changed()
        return [*self._take_ended(ended), *self._known.take_all(stopping, {})]


def _lapses_us(row: Row) -> int | None:
    """When a run lapses that was claimed and waits again."""
    run = bare_run(row)
    if row.attempt == 1:
        run.first_us = None
    return lapses_us(run)
