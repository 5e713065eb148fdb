"""The exchange of a node with the PostgreSQL store: what ended, what is to be started, what is to stop."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from asyncsched import crash_points
from asyncsched.deadlines import lapses_us
from asyncsched.errors import StoreError
from asyncsched.run import Run
from asyncsched.stores._base import Ack, Cycled
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
from asyncsched.stores._postgres.stroke import NOTHING, Ends, Stroke, ends_of, strike, successes
from asyncsched.stores._postgres.tasks import cancel, stop
from asyncsched.stores._postgres.transaction import Transaction
from asyncsched.stores._postgres.unit import free, prune
from asyncsched.values import Values

log = logging.getLogger("asyncsched.stores")

# A task may have more in the history than it keeps, by such a part of that: to look for them at each end would cost
# more than the end itself.
_SURPLUS = 16


class ExchangeDesk(Presence):
    """Acknowledges, claims and cancels, at a PostgreSQL store."""

    def _begin(self) -> None:
        super()._begin()
        self._unsure, self._doubtful = False, frozenset()
        self._unserved: set[str] = set()
        """Tasks of which runs wait that this node does not serve."""
        self._limits: dict[str, int] = {}
        self._surplus: Counter[str] = Counter()
        """How many runs of each task have ended here since what it does not keep was forgotten."""
        self._forgotten: dict[str, int] = {}
        """Up to which place in the history it was."""
        self._delayed = True
        """Whether runs may wait for their instants: none did when it was last looked."""

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
        if self._unsure:
            await self._release()
        asked = Claim(self._id, self._node, self._claimable(limit), queues, groups, self.serves)
        try:
            accepted, lapsed, claimed, special = await self._acknowledge(acks, asked)
        except BaseException:
            self._doubtful |= {(ack.run.id, ack.token) for ack in acks}
            self._unsure = True
            raise
        self._doubtful = frozenset()
        try:
            claimed, upstreams = await self._claim(asked, claimed, special=special or groups is not None)
        except StoreError:
            if not acks and not lapsed:
                raise
            now_us = acks[0].settled.at_us if acks else 0  # those counted: it is asked again at once, and then told
            return self._told(accepted, [], self._lapsed(lapsed), None if self._in_doubt else now_us)
        unreadable: list[tuple[Row, str]] = []
        await self._arrivals.wait(row.id for row in claimed.rows)
        over = self._lapsed(lapsed)
        started = self._begin_all(claimed.rows, upstreams, unreadable)
        next_us = claimed.now_us if claimed.more else claimed.next_us
        if self._in_doubt:
            next_us = None  # who is trusted again asks
        cycled = self._told(accepted, started, over, next_us, claimed.lapses_us)
        if unreadable:
            await self._park(unreadable)
        return cycled

    async def _acknowledge(
        self, acks: Sequence[Ack], asked: Claim
    ) -> tuple[list[Ack], list[Row], Claimed | None, bool]:
        """Let the store know what ended, and claim if nothing else is to be done first.

        Which counted, which runs have waited too long, what was claimed, and whether what was not has to be claimed
        within a transaction.
        """
        values = self._known.values
        ends = successes(acks, values)
        rows = [] if ends else [_settled_row(ack, values) for ack in acks]
        alone = [place for place, row in enumerate(rows) if row.flow is None and free(acks[place].run.terms)]
        claims = (ends is not None or len(alone) == len(acks)) and asked.groups is None
        done = await self._strike(ends or ends_of([rows[place] for place in alone]), asked, claims=claims)
        told = range(len(acks)) if ends else alone
        counted = {place: False for n, place in enumerate(told) if n not in done.missed}
        await self._forget(acks[place].run.task for place in counted if ends or plain.is_end(rows[place]))
        rest = [place for place in range(len(acks)) if place not in counted]
        lapsed: list[Row] = []
        if rest:
            rows = rows or [_settled_row(ack, values) for ack in acks]
            found, stopped = await self._write(lambda db: acknowledge(db, [rows[place] for place in rest]))
            counted |= {place: needed for place, needed in zip(rest, found, strict=True) if needed is not None}
            lapsed += stopped
            await self._recount(rows, [place for place in rest if place not in counted], counted)
        if done.waking:
            await self._write(wake)
        if done.lapsing:
            lapsed += await self._write(lapse_due)
        accepted = self._settled(acks, counted)
        if done.tell or rest or lapsed:
            self._changed()
        claimed = done.claimed
        if claimed is not None and rest:  # their ends may have let others be ready
            claimed = claimed._replace(more=True)
        return accepted, lapsed, claimed, done.special or done.waking or bool(rest)

    async def _strike(self, ends: Ends, asked: Claim, *, claims: bool) -> Stroke:
        unserved = self._unserved = {task for task in self._unserved if not asked.serves(task)}
        wanted = (asked.owner, asked.node, asked.limit, unserved, asked.queues)
        wakes, low_us = self._delayed, self._low_us
        done = await self._read(lambda db: strike(db, ends, *wanted, claims=claims, wakes=wakes, low_us=low_us))
        if done.due and not wakes:
            await self._read(lambda db: strike(db, NOTHING, *wanted, claims=False, wakes=True))
        self._delayed = done.claimed is None or done.claimed.next_us is not None
        return done

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

    async def _forget(self, tasks: Iterable[str]) -> None:
        """Forget what tasks do not keep of which so many have ended here."""
        surplus, limits = self._surplus, self._limits
        surplus.update(tasks)
        over = [task for task, count in surplus.items() if count > limits.get(task, HISTORY_LIMIT) // _SURPLUS]
        if over:
            for task in over:
                del surplus[task]
            # What is gone and cannot be cleared away is passed over; else one looks from the first.
            low = None if self._low_us is None else self._forgotten
            self._forgotten |= await self._read(lambda db: prune(db, over, low))

    async def _claim(self, asked: Claim, claimed: Claimed | None, *, special: bool) -> tuple[Claimed, dict[str, Row]]:
        """Start what is ready, unless that was done; with the runs that those need."""
        try:
            if claimed is None and special:
                claimed = await self._write(lambda db: claim(db, asked))
            elif claimed is None or not all(asked.serves(row.task) for row in claimed.rows):
                first = claimed
                claimed = await self._read(lambda db: self._claim_plainly(db, asked, first))
            self._check_trust(claimed.rows)
        except BaseException:
            self._unsure = True
            raise
        if not claimed.alive and self._pulse is not None:
            self._pulse.renew()
        needing = [row for row in claimed.rows if row.edges is not None]
        if not needing:
            return claimed, {}
        try:
            return claimed, await self._read(lambda db: upstreams_of(db, needing))
        except BaseException:
            self._unsure = True
            raise

    async def _claim_plainly(self, db: Database, asked: Claim, claimed: Claimed | None) -> Claimed:
        """Claim in one statement; what turns out to be others' is given back at once, and not asked for again."""
        unserved = self._unserved
        mine: list[Row] = []
        left = None if asked.queues is None else dict(asked.queues)
        while True:
            if claimed is None:
                wanted = (asked.owner, asked.node, asked.limit - len(mine), unserved, left)
                claimed = await plain.claim(db, *wanted, self._low_us)
            others = [row for row in claimed.rows if not asked.serves(row.task)]
            mine += [row for row in claimed.rows if asked.serves(row.task)]
            if not others:
                return claimed._replace(rows=mine)
            await plain.undo(db, [(row.id, row.token, _lapses_us(row)) for row in others])
            unserved.update(row.task for row in others)
            if left is not None:
                for row in claimed.rows:
                    left[bare_run(row).terms.queue] -= row.task not in unserved
            claimed = None

    async def _park(self, unreadable: list[tuple[Row, str]]) -> None:
        try:
            await self._write(lambda db: park(db, unreadable))
        except StoreError:  # the others have been claimed, and are to be known of; these are handed back
            self._unsure = True
        self._changed()

    async def _release(self) -> None:
        """Give back what was claimed for this node, and never came to be known here."""
        here, node_id = list(self._known.here), self._id
        self._unsure = False
        try:
            await self._write(lambda db: release(db, node_id, here))
        except BaseException:
            self._unsure = True
            raise

    async def cancel(self, run_ids: Collection[str], reason: str) -> list[Run[Any]]:
        asked, node_id = list(run_ids), self._id

        async def work(db: Transaction) -> tuple[list[Row], list[Row]]:
            ended = await cancel(db, asked, reason)
            return ended, await stop(db, asked, reason, node_id)

        ended, stopping = await self._write(work)
        if ended or stopping:
            self._changed()
        return [*self._take_ended(ended), *self._known.take_all(stopping, {})]


def _settled_row(ack: Ack, values: Callable[[str], Values]) -> Row:
    return settled_row(ack.run, ack.token, ack.settled, values(ack.run.task))


def _lapses_us(row: Row) -> int | None:
    """When a run lapses that was claimed and waits again."""
    run = bare_run(row)
    if row.attempt == 1:
        run.first_us = None
    return lapses_us(run)
