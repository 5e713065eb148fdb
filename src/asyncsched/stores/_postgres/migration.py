"""The schema of a store that is not open here: looked at, and brought up to date by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from asyncsched.errors import MisuseError, StoreError
from asyncsched.stores._migrates import Migrates, SchemaState
from asyncsched.stores._postgres.connection import TROUBLES, Database, check_server, connect, sessionless, store_error
from asyncsched.stores._postgres.presence import Presence
from asyncsched.stores._postgres.schema import migrate, missing, script, seen

T = TypeVar("T")


class SchemaDesk(Presence, Migrates):
    """What a store does about its schema beside opening."""

    async def schema(self) -> SchemaState:
        async def work(db: Database) -> SchemaState:
            lacking = await missing(db, self._address)
            names = await seen(db)
            return SchemaState(names, tuple(step.name for step in lacking), script(lacking, db.schema))

        return await self._apart(work)

    async def migrate(self, *, backup: Path | None = None) -> tuple[str, ...]:
        if backup is not None:
            raise StoreError(f"{self._address}: a copy is made by pg_dump, not here: leave the backup out")

        async def work(db: Database) -> tuple[str, ...]:
            return tuple(step.name for step in await migrate(db, self._address))

        return await self._apart(work)

    async def _apart(self, work: Callable[[Database], Awaitable[T]]) -> T:
        """What ``work`` gives, on a connection of its own."""
        if self._pool is not None:
            raise MisuseError(f"{self._address} is open here: its schema is what it needs")
        try:
            connection = await connect(self._address, "schema")
        except StoreError as error:
            address = sessionless(self._address, error)
            if address is None:
                raise
            self._address = address
            connection = await connect(address, "schema")
        try:
            database = Database(connection, self._address.schema)
            await check_server(database, self._address)
            return await work(database)
        except TROUBLES as error:
            raise store_error(self._address, error) from error
        finally:
            await connection.close()
