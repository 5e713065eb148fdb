"""The rows of features about runs that are submitted in a transaction of the caller's own."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from asyncsched import Registry, Scheduler
from asyncsched.errors import MisuseError

Connected = Callable[[Path], AbstractAsyncContextManager[Any]]


@asynccontextmanager
async def by_sqlite3(path: Path) -> AsyncIterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection:
        yield connection


@asynccontextmanager
async def by_aiosqlite(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    async with aiosqlite.connect(path) as connection:
        yield connection


def by_sqlalchemy(opened: Callable[[Any], Any]) -> Connected:
    @asynccontextmanager
    async def connected(path: Path) -> AsyncIterator[Any]:
        engine = create_engine(f"sqlite:///{path}")
        try:
            with opened(engine) as connection:
                yield connection
        finally:
            engine.dispose()

    return connected


def by_its_asyncio(opened: Callable[[Any], Any]) -> Connected:
    @asynccontextmanager
    async def connected(path: Path) -> AsyncIterator[Any]:
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        try:
            async with opened(engine) as connection:
                yield connection
        finally:
            await engine.dispose()

    return connected


DRIVERS = {
    "sqlite3": by_sqlite3,
    "aiosqlite": by_aiosqlite,
    "sqlalchemy Connection": by_sqlalchemy(lambda engine: engine.connect()),
    "sqlalchemy Session": by_sqlalchemy(Session),
    "sqlalchemy AsyncConnection": by_its_asyncio(lambda engine: engine.connect()),
    "sqlalchemy AsyncSession": by_its_asyncio(AsyncSession),
}


async def said(connection: Any, statement: str) -> None:
    """Let the connection carry out the statement, as its driver wants it: some ask for ``text``, some for ``await``."""
    given: Any = text(statement) if type(connection).__module__.startswith("sqlalchemy") else statement
    await settled(connection.execute(given))


async def settled(value: Any) -> None:
    if inspect.isawaitable(value):
        await value


@pytest.mark.feature("PQ3")
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("own_data", [True, False], ids=["with data", "alone"])
async def test_pq3_in_a_transaction_of_each_driver_a_rollback_leaves_no_run_and_a_commit_one(
    tmp_path: Path, driver: str, own_data: bool
) -> None:
    registry, path, welcomed = Registry(), tmp_path / "app.db", []

    @registry.task
    async def welcome(user: int) -> None:
        welcomed.append(user)

    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)")
    async with Scheduler(f"sqlite:///{path}", registry=registry) as scheduler, asyncio.timeout(30):
        async with DRIVERS[driver](path) as connection:
            for user, end in ((1, connection.rollback), (2, connection.commit)):
                if own_data:
                    await said(connection, f"INSERT INTO users VALUES ({user})")
                run = await welcome.using(connection=connection).submit(user)
                assert await scheduler.runs.list() == []  # nobody sees what is not committed
                await settled(end())
            await run
        assert [(one.id, one.status) for one in await scheduler.runs.list()] == [(run.id, "SUCCESS")]
    assert welcomed == [2]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT id FROM users").fetchall() == ([(2,)] if own_data else [])


@pytest.mark.feature("PQ3")
async def test_pq3_a_run_is_submitted_now_or_for_later_or_within_the_transaction_of_the_caller(tmp_path: Path) -> None:
    registry, path, started = Registry(), tmp_path / "app.db", []

    @registry.task
    async def welcome(user: int) -> None:
        started.append((user, datetime.now(UTC)))

    async with Scheduler(f"sqlite:///{path}", registry=registry) as scheduler, asyncio.timeout(30):
        at = datetime.now(UTC) + timedelta(milliseconds=300)
        later = await welcome.using(at=at).submit(0)
        with closing(sqlite3.connect(path)) as own:
            own.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)")
            own.execute("INSERT INTO users VALUES (1)")
            await welcome.using(connection=own).submit(1)
            own.rollback()
            own.execute("INSERT INTO users VALUES (2)")
            run = await welcome.using(connection=own).submit(2)
            assert await scheduler.runs.list(status="PENDING") == [later]  # nobody sees what is not committed
            own.commit()
            await run
            users = own.execute("SELECT id FROM users").fetchall()
        await later
    assert sorted(user for user, _when in started) == [0, 2]
    assert users == [(2,)]
    assert min(when for user, when in started if user == 0) >= at


@pytest.mark.feature("PQ3")
@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/jobs.db"])
async def test_pq3_a_connection_to_elsewhere_is_refused_and_says_what_would_be_right(url: str, tmp_path: Path) -> None:
    registry = Registry()

    @registry.task
    async def welcome(user: int) -> None: ...

    elsewhere = [
        sqlite3.connect(tmp_path / "other.db"),
        sqlite3.connect(":memory:"),
        sqlite3.connect(tmp_path / "jobs.db", isolation_level=None),
        object(),
    ]
    async with Scheduler(url.format(tmp_path), registry=registry) as scheduler:
        for connection in elsewhere:
            with pytest.raises(MisuseError, match=r"connect|sqlite|BEGIN"):
                await welcome.using(connection=connection).submit(1)
        assert await scheduler.runs.list() == []
    for connection in elsewhere[:3]:
        connection.close()
