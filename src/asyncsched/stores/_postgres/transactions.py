"""Transactions of users at a PostgreSQL store: runs that are written in them, and what comes of those."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from asyncsched.errors import MisuseError, StoreError
from asyncsched.run import Run
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._postgres import plain
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.exchange import ExchangeDesk
from asyncsched.stores._postgres.foreign import elsewhere, foreign_connection, foreign_error, savepoint
from asyncsched.stores._postgres.within import Enlisted, check_terms, enlist, submit

log = logging.getLogger("asyncsched.stores")

# So soon it is asked whether a transaction is over; then each time after twice as long, as others look once a second.
_SOON_US, _LATE_US = 2_000, 1_000_000
_OVER = (
    "SELECT number, status = 'committed' FROM (SELECT number, pg_xact_status(number::text::xid8) AS status "
    "FROM unnest($1::bigint[]) AS given(number)) AS found WHERE status IS DISTINCT FROM 'in progress'"
)


class TransactionDesk(ExchangeDesk):
    """Writes runs by connections of the user, and looks for them once they are committed."""

    def _begin(self) -> None:
        super()._begin()
        self._open: dict[int, list[Run[Any]]] = {}
        """Transactions of users, by number, that may not be over; with the runs that were written in each."""
        self._following = False
        self._patience_us = _SOON_US

    async def submit_within(self, connection: object, runs: Sequence[Run[Any]]) -> list[Run[Any]]:
        if self._pool is None:
            raise MisuseError(f"{self._address} is not open: enter the scheduler first")
        check_terms(runs)
        own = await foreign_connection(connection, self._address)
        for run in runs:
            self._known.hold(run)
        try:
            async with savepoint(own):
                enlisted, answer = await self._submit_by(Database(own, self._address.schema), connection, runs)
        except Exception as error:
            told = foreign_error(connection, self._address, error)
            if told is error:
                raise
            raise told from error
        written = [run for run, other in zip(runs, answer, strict=True) if other is None]
        for run in written:
            self._watch(run, written=False)
        if written:
            self._follow(enlisted.number, written)
        return [run if other is None else self._stands(other) for run, other in zip(runs, answer, strict=True)]

    async def _submit_by(
        self, db: Database, connection: object, runs: Sequence[Run[Any]]
    ) -> tuple[Enlisted, Sequence[Row | None]]:
        enlisted = await enlist(db, self._id)
        if not enlisted.known:
            node_id = self._id
            if await self._read(lambda own: own.value("SELECT 1 FROM asyncsched.nodes WHERE id = $1", node_id)):
                raise elsewhere(connection, self._address)
            raise StoreError(f"{self._address}: this node was taken for dead just now, and comes anew: do it again")
        known = self._known
        if all(map(plain.plain, runs)):
            await plain.insert(db, plain.columns_of(runs, known.values, known.node_id))
            return enlisted, [None] * len(runs)
        return enlisted, await submit(db, enlisted.now_us, [known.new(run) for run in runs])

    def _follow(self, number: int, runs: Sequence[Run[Any]]) -> None:
        """Look at the runs as soon as the transaction is over, if it is committed."""
        self._open.setdefault(number, []).extend(runs)
        self._patience_us = _SOON_US
        if not self._following:
            self._following = True
            self._ask_whether_over()

    def _ask_whether_over(self) -> None:
        pulse, numbers = self._pulse, list(self._open)
        if pulse is None:
            self._following = False
            return
        pulse.ask(lambda db: db.rows(_OVER, numbers), self._heard_what_is_over, self._patience_us)
        self._patience_us = min(2 * self._patience_us, _LATE_US)

    def _heard_what_is_over(self, over: Sequence[tuple[int, bool]] | None, error: BaseException | None) -> None:
        if error is not None:
            log.debug("whether transactions are over cannot be asked: %s", error)  # the lease tells of the trouble
        committed = False
        for number, counts in over or ():
            runs = self._open.pop(number, ())
            if counts:
                committed = True
                self._uncommitted.difference_update(runs)
        if committed:
            self._look_elsewhere()
            self._changed()
        if self._open:
            self._ask_whether_over()
        else:
            self._following = False
