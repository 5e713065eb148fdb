"""Transactions in which runs work at a PostgreSQL store: the end of a run is part of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from asyncsched import crash_points
from asyncsched.errors import MisuseError, StoreError
from asyncsched.run import Run, Settled
from asyncsched.stores._base import Ack
from asyncsched.stores._durable.orders import Claim
from asyncsched.stores._durable.rows import Row, settled_row
from asyncsched.stores._postgres.claims import acknowledge, already
from asyncsched.stores._postgres.connection import TROUBLES, Database, store_error, work_pool
from asyncsched.stores._postgres.plain import Claimed
from asyncsched.stores._postgres.transaction import transact
from asyncsched.stores._postgres.transactions import TransactionDesk
from asyncsched.stores._within import RunTransaction

_FAILED, _VIOLATED = "25P02", "23"
"""The states of a transaction in which an error was caught, and of a constraint that was to hold only at its end."""


@dataclass(slots=True)
class _Ended:
    """How a run has ended within its transaction.

    needed: whether others need it; ``None``: nobody here knows whether that was committed.
    """

    row: Row
    settled: Settled
    needed: bool | None = None


class WorkDesk(TransactionDesk):
    """Gives runs transactions to work in, by connections of their own: what the store itself does waits for none."""

    transacts = True

    def _begin(self) -> None:
        super()._begin()
        self._work_pool: Any = None
        self._ends: dict[tuple[str, int], _Ended] = {}
        """The ends that were written by transactions of runs, by run and token, until they are acknowledged."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[RunTransaction]:
        if self._pool is None:
            raise MisuseError(f"{self._address} is not open: enter the scheduler first")
        if self._work_pool is None:
            self._work_pool = await work_pool(self._address)  # which connects to nothing yet
        pool = self._work_pool
        try:
            connection = await pool.acquire()
            transaction = connection.transaction(isolation="read_committed")
            await transaction.start()
        except TROUBLES as error:
            raise store_error(self._address, error) from error
        work = _Work(self, connection, transaction)
        try:
            yield work
        finally:
            with suppress(*TROUBLES):  # what is not committed the server forgets by itself
                if not work.over:
                    await transaction.rollback()
            with suppress(*TROUBLES):
                await pool.release(connection)

    async def end_work(self, work: _Work, run: Run[Any], token: int, settled: Settled) -> bool:
        """``RunTransaction.end``."""
        row = settled_row(run, token, settled, self._known.values(run.task))
        database = Database(work.connection, self._address.schema)
        try:
            done, _stopped = await transact(database, lambda db: acknowledge(db, [row]))
        except TROUBLES as error:
            if getattr(error, "sqlstate", None) == _FAILED:
                cure = "what may fail there goes in `async with tx.transaction():`, then the rest counts"
                raise StoreError(
                    f"the transaction of run {run.id} has failed before, and was caught: {cure}"
                ) from error
            raise store_error(self._address, error) from error
        if done[0] is None:
            return False
        ended = self._ends[row.id, token] = _Ended(row, settled)
        await self._commit(work)
        self._committed(ended, needed=done[0])
        return True

    @crash_points.before("finish-before-commit")
    async def _commit(self, work: _Work) -> None:
        try:
            await work.transaction.commit()
        except TROUBLES as error:
            if str(getattr(error, "sqlstate", None)).startswith(_VIOLATED):
                raise
            raise store_error(self._address, error) from error
        work.over = True

    @crash_points.before("finish-after-commit")
    def _committed(self, ended: _Ended, *, needed: bool) -> None:
        ended.needed = needed
        self._changed()

    async def _acknowledge(
        self, acks: Sequence[Ack], asked: Claim
    ) -> tuple[list[Ack], list[Row], Claimed | None, bool]:
        if not self._ends:
            return await super()._acknowledge(acks, asked)
        ends = {place: self._ends.get((ack.run.id, ack.token)) for place, ack in enumerate(acks)}
        sure = {place for place, end in ends.items() if end is not None and end.needed is not None}
        rest = [ack for place, ack in enumerate(acks) if place not in sure]
        accepted, lapsed, claimed, special = await super()._acknowledge(rest, asked)
        counted = {(ack.run.id, ack.token) for ack in accepted}
        doubted = {
            place: end
            for place, end in ends.items()
            if end is not None and place not in sure and (acks[place].run.id, acks[place].token) not in counted
        }
        if doubted:  # a commit was not answered, and what is known of the attempt here does not count: so that may have
            known = await self._read(lambda db: already(db, [end.row for end in doubted.values()]))
            sure |= {place for place, end in doubted.items() if (end.row.id, end.row.token) in known}
        told = {place: end for place, end in ends.items() if end is not None and place in sure}
        settled = [acks[place]._replace(settled=end.settled) for place, end in told.items()]
        done = self._settled(settled, dict(enumerate(end.needed is not False for end in told.values())))
        for ack in acks:
            self._ends.pop((ack.run.id, ack.token), None)
        return [*accepted, *done], lapsed, claimed, special

    async def _stop(self) -> None:
        await super()._stop()
        pool, self._work_pool = self._work_pool, None
        if pool is not None:
            if pool.get_idle_size() == pool.get_size():
                with suppress(Exception):
                    await pool.close()
            else:  # something goes on that was told to stop
                pool.terminate()


class _Work(RunTransaction):
    """One connection, for as long as an attempt takes."""

    def __init__(self, desk: WorkDesk, connection: Any, transaction: Any) -> None:
        self.connection = connection
        self.transaction = transaction
        self.over = False
        """Whether it is committed."""
        self._desk = desk

    async def end(self, run: Run[Any], token: int, settled: Settled) -> bool:
        ending = asyncio.ensure_future(self._desk.end_work(self, run, token, settled))
        try:
            return await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait([ending])
            raise
