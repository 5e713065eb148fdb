"""The store's side on the event loop: its connections, and the runs that are known here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, TypeVar

from asyncsched.errors import MisuseError, StoreError
from asyncsched.stores._durable.known import KnownRuns
from asyncsched.stores._postgres.address import Address
from asyncsched.stores._postgres.connection import TROUBLES, Database, refused, store_error
from asyncsched.stores._postgres.joining import Joining
from asyncsched.stores._postgres.plain import Columns, insert
from asyncsched.stores._postgres.transaction import Transaction, transact

T = TypeVar("T")


class Desk:
    """A PostgreSQL schema, as one node works at it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._known = KnownRuns()
        self._pool: Any = None
        self._inserting: Joining[Columns] = Joining(self._insert_all, refused)
        self._arriving: dict[str, asyncio.Future[Any]] = {}
        """Runs that are being written, by their ids: nobody here may be told that they run before whoever made them."""

    async def _read(self, work: Callable[[Database], Awaitable[T]]) -> T:
        """What ``work`` finds, each statement by itself."""
        pool = self._pool
        if pool is None:
            raise MisuseError(f"{self._address} is not open: enter the scheduler first")
        try:
            async with pool.acquire() as connection:
                return await work(Database(connection, self._address.schema))
        except TROUBLES as error:
            if self._pool is None:  # while it was under way
                raise StoreError(f"{self._address}: it has been closed") from error
            raise store_error(self._address, error) from error

    async def _write(self, work: Callable[[Transaction], Awaitable[T]], locks: Collection[str] = ()) -> T:
        """What ``work`` gives, once what it did is committed; it may be done again if it has to be."""
        return await self._read(lambda database: transact(database, work, locks))

    async def _insert_all(self, given: list[Columns]) -> None:
        """Write runs that were handed in by several."""
        columns = given[0]
        if len(given) > 1:
            columns = [[value for one in given for value in one[place]] for place in range(len(columns))]
        await self._read(lambda database: insert(database, columns))

    async def _arrive(self, run_ids: Iterable[str], written: Awaitable[T]) -> T:
        """What ``written`` gives; these runs arrive until then."""
        future = asyncio.ensure_future(written)
        ids = list(run_ids)
        for run_id in ids:
            self._arriving[run_id] = future
        try:
            return await future
        finally:
            for run_id in ids:
                self._arriving.pop(run_id, None)

    async def _arrived(self, run_ids: Iterable[str]) -> None:
        """Return once those that make these runs have been told that they are written."""
        arriving = {self._arriving[run_id] for run_id in run_ids if run_id in self._arriving}
        if arriving:
            await asyncio.wait(arriving)
