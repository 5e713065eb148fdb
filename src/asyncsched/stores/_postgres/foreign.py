"""Connections of users to the database of a PostgreSQL store: of asyncpg, of psycopg, and SQLAlchemy's on either.

Each answers here as one of asyncpg does, which is what the statements of the store are sent by.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from asyncsched.errors import MisuseError, StoreError
from asyncsched.stores._drivers import driver_connection, driver_of
from asyncsched.stores._postgres.address import Address
from asyncsched.stores._postgres.connection import store_error

_NOT_THERE = ("42P01", "3F000", "42883", "42703")
"""There is no such table, schema, function or column."""
_FAILED, _READ_ONLY = "25P02", "25006"
_IN_THE_WAY = ("40001", "40P01", "55P03")


async def foreign_connection(given: object, address: Address) -> Any:
    """The user's connection, as one of asyncpg's, in a transaction; or one that begins it with its next statement.

    Raises:
        MisuseError: it is of another driver, closed, or would commit each statement by itself.
    """
    own: Any = await driver_connection(given)
    driver, name = driver_of(own), type(given).__name__
    if driver == "asyncpg" and hasattr(type(own), "fetch"):
        try:
            closed, begun = own.is_closed(), own.is_in_transaction()
        except Exception as error:  # a pool has it back
            raise MisuseError(f"connection={name} cannot be used any more: {error}") from error
        _check(name, closed=closed, begun=begun)
        return own
    if driver == "psycopg" and hasattr(type(own), "autocommit"):
        idle = own.info.transaction_status.name == "IDLE"
        _check(name, closed=own.closed, begun=not (own.autocommit and idle))
        return PsycopgConnection(own)
    cure = f"give one of asyncpg, of psycopg, or of SQLAlchemy on one of these two, to {address}"
    raise MisuseError(f"connection={name} is no connection to PostgreSQL that is known here: {cure}")


def _check(name: str, *, closed: bool, begun: bool) -> None:
    if closed:
        raise MisuseError(f"connection={name} is closed: submit before that, and before the commit")
    if not begun:
        cure = "begin one, as by `async with connection.transaction():`, or leave connection= out"
        raise MisuseError(
            f"connection={name} has no transaction open, and would commit each statement by itself: {cure}"
        )


class PsycopgConnection:
    """One of psycopg's, which is asked on a thread where it waits for its answers by blocking."""

    def __init__(self, own: Any) -> None:
        from psycopg import AsyncRawCursor, RawCursor  # it is there: the connection is one of its objects
        from psycopg.rows import tuple_row

        self._own = own
        self._row_factory = tuple_row
        self._waits = inspect.iscoroutinefunction(type(own).execute)
        self._cursor: Callable[..., Any] = AsyncRawCursor if self._waits else RawCursor

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        rows, _status = await self._ask(statement, values)
        return rows

    async def fetchrow(self, statement: str, *values: Any) -> Any | None:
        rows, _status = await self._ask(statement, values)
        return rows[0] if rows else None

    async def fetchval(self, statement: str, *values: Any) -> Any:
        rows, _status = await self._ask(statement, values)
        return rows[0][0] if rows else None

    async def execute(self, statement: str, *values: Any) -> str:
        _rows, status = await self._ask(statement, values)
        return status

    async def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        given = list(rows)
        if self._waits:
            async with self._cursor(self._own, row_factory=self._row_factory) as cursor:
                await cursor.executemany(statement, given)
            return

        def work() -> None:
            with self._cursor(self._own, row_factory=self._row_factory) as cursor:
                cursor.executemany(statement, given)

        await _on_a_thread(work)

    async def _ask(self, statement: str, values: Sequence[Any]) -> tuple[list[Any], str]:
        """The rows of the answer, and what the server says that it did."""
        given = values or None
        if self._waits:
            async with self._cursor(self._own, row_factory=self._row_factory) as cursor:
                await cursor.execute(statement, given)
                return [] if cursor.description is None else await cursor.fetchall(), cursor.statusmessage or ""

        def work() -> tuple[list[Any], str]:
            with self._cursor(self._own, row_factory=self._row_factory) as cursor:
                cursor.execute(statement, given)
                return [] if cursor.description is None else cursor.fetchall(), cursor.statusmessage or ""

        answer: tuple[list[Any], str] = await _on_a_thread(work)
        return answer


async def _on_a_thread(work: Callable[[], Any]) -> Any:
    """What ``work`` gives. Whoever is cancelled meanwhile has the connection back only when it is over."""
    # Not on the loop: what it waits for there may be a transaction of the store's that goes on only by the loop.
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


@asynccontextmanager
async def savepoint(connection: Any, name: str = "asyncsched") -> AsyncIterator[None]:
    """Of what is done in the block nothing stays if it raises; the transaction goes on."""
    await connection.execute(f"SAVEPOINT {name}")
    try:
        yield
    except BaseException:
        with suppress(Exception):  # the connection may be gone
            await roll_back(connection, name)
        raise
    await connection.execute(f"RELEASE SAVEPOINT {name}")


async def roll_back(connection: Any, name: str) -> None:
    """Undo what was done since the savepoint, and forget it; what was locked since then no longer is."""
    await connection.execute(f"ROLLBACK TO SAVEPOINT {name}")
    await connection.execute(f"RELEASE SAVEPOINT {name}")


def foreign_error(given: object, address: Address, error: BaseException) -> BaseException:
    """What went wrong on a connection of the user's, and what to do; the error itself if it is none of a driver's."""
    if driver_of(error) not in ("asyncpg", "psycopg"):
        return error
    state, name = getattr(error, "sqlstate", None) or "", type(given).__name__
    if state in _NOT_THERE:
        return elsewhere(given, address)
    if state == _READ_ONLY:
        return MisuseError(f"connection={name} may only read in this transaction: begin one that may write ({error})")
    if state == _FAILED:
        cure = "it does nothing any more: roll back, and do it again"
        return StoreError(f"{address}: the transaction of connection={name} has failed before, {cure}")
    if state in _IN_THE_WAY:
        return StoreError(f"{address}: another transaction is in the way: roll back, and do it again ({error})")
    return store_error(address, error)


def elsewhere(given: object, address: Address) -> MisuseError:
    """It is a connection to something else."""
    cure = "connect to the database of the store, or name that one in Scheduler('postgresql://...')"
    return MisuseError(f"connection={type(given).__name__} is one to another database than {address}: {cure}")
