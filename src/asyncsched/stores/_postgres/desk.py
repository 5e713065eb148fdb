"""The store's side on the event loop: its connections, and the runs that are known here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

from asyncsched.errors import MisuseError, StoreError
from asyncsched.stores._durable.answers import Answers
from asyncsched.stores._durable.arrivals import Arrivals
from asyncsched.stores._postgres.address import Address
from asyncsched.stores._postgres.connection import STUCK, TROUBLES, Database, store_error
from asyncsched.stores._postgres.transaction import Transaction, transact

T = TypeVar("T")


class Desk(Answers):
    """A PostgreSQL schema, as one node works at it."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self._address = address
        self._pool: Any = None
        self._at_hand: Any = None
        """A connection that nobody uses at the moment: to give it back to the pool takes two more turns of the loop."""
        self._arrivals = Arrivals()

    async def _read(self, work: Callable[[Database], Awaitable[T]]) -> T:
        """What ``work`` finds, each statement by itself."""
        pool = self._pool
        if pool is None:
            raise MisuseError(f"{self._address} is not open: enter the scheduler first")
        try:
            connection = await self._take_connection(pool)
            try:
                answer = await work(Database(connection, self._address.schema))
            except BaseException as error:
                if isinstance(error, STUCK):
                    connection.terminate()  # its release would wait for an answer that may never come
                await pool.release(connection)
                raise
            if self._at_hand is None and self._pool is pool:
                self._at_hand = connection
            else:
                await pool.release(connection)
            return answer
        except TROUBLES as error:
            if self._pool is None:  # while it was under way
                raise StoreError(f"{self._address}: it has been closed") from error
            raise store_error(self._address, error) from error

    async def _take_connection(self, pool: Any) -> Any:
        connection, self._at_hand = self._at_hand, None
        if connection is not None and connection.is_closed():
            await pool.release(connection)
            connection = None
        return await pool.acquire() if connection is None else connection

    async def _write(self, work: Callable[[Transaction], Awaitable[T]], locks: Collection[str] = ()) -> T:
        """What ``work`` gives, once what it did is committed; it may be done again if it has to be."""
        return await self._read(lambda database: transact(database, work, locks))
