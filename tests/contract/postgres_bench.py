"""The bench on which the PostgreSQL store is tried: one server for each test process, one schema for each bench."""

from __future__ import annotations

import atexit
import itertools
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg

import servers
from asyncsched.stores import Store
from asyncsched.stores.postgres import PostgresStore
from asyncsched.testing.store_contract import START_US, SharedBench

_numbers = itertools.count(1)
_TABLES = (
    "counts", "history", "idempotency", "keys", "marks", "needs", "nodes", "rosters", "runs", "serving", "standing",
    "tasks",
)  # fmt: skip
# Schemas that are there and used by nobody, by server: to make one takes longer than most tests.
_free: dict[str, list[str]] = {}


@cache
def server(binaries: Path | None = None) -> servers.Postgres:
    """The server of this test process, which ends with it."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(servers.postgres(binaries))


class PostgresBench(SharedBench):
    """A schema whose clock is moved by hand, and nodes of this process that may vanish as killed processes do."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._schema: str | None = None
        self._admin: Any = None
        self._open: list[PostgresStore] = []

    async def enter(self, node: str) -> Store:
        await self._vanish()
        return await self.beside(node)

    async def beside(self, node: str) -> Store:
        await self._prepare()
        assert self._schema is not None
        store = PostgresStore(self._url, schema=self._schema)
        self._open.append(store)
        await store.open(node, self.clock)
        return store

    async def advance(self, us: int) -> None:
        await super().advance(us)
        await self._prepare()
        await self._admin.execute(f"UPDATE {self._schema}.hand SET moved = $1", self.clock.moved_us)

    async def _prepare(self) -> None:
        """Have a schema whose instants are those of a clock that stands still."""
        if self._schema is not None:
            return
        self._admin = await asyncpg.connect(self._url)
        free = _free.setdefault(self._url, [])
        if free:
            self._schema = free.pop()
            emptied = [*(f"DELETE FROM {self._schema}.{table}" for table in _TABLES)]
            await self._admin.execute("; ".join([*emptied, f"UPDATE {self._schema}.hand SET moved = 0"]))
            return
        self._schema = f"bench{next(_numbers)}"
        await PostgresStore(self._url, schema=self._schema).migrate()
        await self._admin.execute(
            f"CREATE TABLE {self._schema}.hand (moved bigint NOT NULL); INSERT INTO {self._schema}.hand VALUES (0); "
            f"CREATE OR REPLACE FUNCTION {self._schema}.now_us() RETURNS bigint LANGUAGE sql VOLATILE "
            f"AS 'SELECT {START_US} + moved FROM {self._schema}.hand'"
        )

    async def _vanish(self) -> None:
        """Let the nodes that are there vanish, as killed processes do, and be taken for dead at once."""
        for store in self._open:
            if store._pool is not None:
                store._leaving = True
                await store._stop()
        self._open.clear()
        if self._admin is not None:
            await self._admin.execute(f"DELETE FROM {self._schema}.nodes")

    async def clear(self) -> None:
        await self._vanish()
        if self._admin is not None:
            assert self._schema is not None
            _free[self._url].append(self._schema)
            await self._admin.close()
            self._schema = self._admin = None
