"""One transaction: what is decided in it is decided by locks that it took before it looked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

from asyncsched import crash_points
from asyncsched.stores._postgres.connection import AGAIN, STUCK, Database

T = TypeVar("T")
# So often a transaction is begun anew that came upon locks it did not know of, or was given up for another one.
_TRIES = 20

_NOW = "SELECT asyncsched.now_us()"
# The locks of all stores at a database are one set of numbers: so the schema is part of what is hashed.
_LOCK = (
    "WITH wanted AS MATERIALIZED (SELECT DISTINCT hashtextextended($2 || name, 0) AS number "
    "FROM unnest($1::text[]) AS name), "
    "taken AS MATERIALIZED (SELECT pg_advisory_xact_lock(number) FROM (SELECT number FROM wanted ORDER BY number) w) "
    "SELECT count(*), asyncsched.now_us() FROM taken"
)


class MoreLocks(Exception):
    """A transaction has come upon things that it must have locked before it locked others."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__(names)
        self.names = names


class Transaction(Database):
    """A connection within a transaction, and what is locked there.

    now_us: the store's clock, after the locks were taken.
    """

    now_us: int

    def __init__(self, database: Database) -> None:
        super().__init__(database.connection, database.schema)
        self._locked: set[str] = set()
        self._changes = False

    async def begin(self, locks: Collection[str]) -> None:
        """Take these locks, then look at the clock."""
        if not locks:
            self.now_us = await self.value(_NOW)
            return
        taken = await self.row(_LOCK, list(locks), f"{self.schema}/")
        assert taken is not None
        self._locked.update(locks)
        self.now_us = taken[1]

    async def lock(self, names: Iterable[str]) -> None:
        """Go on only with these locked: all locks are taken at once, in one order, before any row is.

        Raises:
            MoreLocks: they are not; the transaction begins anew.
        """
        missing = {name for name in names if name not in self._locked}
        if not missing:
            return
        if self._locked or self._changes:
            raise MoreLocks(missing)
        await self.begin(missing)

    async def change(self, statement: str, *values: Any) -> list[Any]:
        """What a statement returns that locks rows or changes them."""
        self._changes = True
        return await self.rows(statement, *values)

    async def execute(self, statement: str, *values: Any) -> int:
        self._changes = True
        return await super().execute(statement, *values)

    async def many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        self._changes = True
        await super().many(statement, rows)


@crash_points.transaction
async def transact(database: Database, work: Callable[[Transaction], Awaitable[T]], locks: Collection[str] = ()) -> T:
    """Let ``work`` be done in a transaction that begins with these locks; it may be done again if it has to be."""
    wanted = set(locks)
    for left in reversed(range(_TRIES)):
        try:
            async with database.connection.transaction():
                transaction = Transaction(database)
                try:
                    await transaction.begin(wanted)
                    return await work(transaction)
                except STUCK:
                    database.connection.terminate()  # to roll back would wait for an answer that may never come
                    raise
        except MoreLocks as more:
            wanted.update(more.names)
            if not left:
                raise
        except AGAIN:
            if not left:
                raise
    raise AssertionError("unreachable")


def of_key(limit_key: str) -> str:
    """The lock of who waits for a limit, and of who has a place there."""
    return f"key/{limit_key}"


def of_once(once_key: str) -> str:
    """The lock of which run stands for several submits."""
    return f"once/{once_key}"


def of_given(key: str) -> str:
    """The lock of an idempotency key."""
    return f"given/{key}"


def of_backfill(task: str) -> str:
    """The lock of those who make up for fires of a task."""
    return f"backfill/{task}"
