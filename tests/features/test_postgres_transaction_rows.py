"""The rows of features about transactions that runs and their users share, on PostgreSQL."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from addresses import Place
from asyncsched import Registry, Scheduler, Transaction, injected
from asyncsched.errors import ConfigError, MisuseError, RunCancelled
from asyncsched.run import RunStatus
from contract.postgres_bench import server

Connected = Callable[[], AbstractAsyncContextManager[Any]]


class Begun:
    """A connection of asyncpg in a transaction, and after each end of that in the next one, as other drivers' are."""

    def __init__(self, own: asyncpg.Connection) -> None:
        self.own = own

    async def begin(self) -> None:
        self._transaction = self.own.transaction()
        await self._transaction.start()

    async def rollback(self) -> None:
        await self._transaction.rollback()
        await self.begin()

    async def commit(self) -> None:
        await self._transaction.commit()
        await self.begin()


@asynccontextmanager
async def by_asyncpg() -> AsyncIterator[Any]:
    own = await asyncpg.connect(server().url())
    begun = Begun(own)
    await begun.begin()
    try:
        yield begun
    finally:
        await own.close()


@asynccontextmanager
async def by_psycopg() -> AsyncIterator[Any]:
    with psycopg.connect(server().url()) as connection:
        yield connection


@asynccontextmanager
async def by_its_asyncio() -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(server().url()) as connection:
        yield connection


def url_of(driver: str) -> str:
    return server().url().replace("postgresql://", f"postgresql+{driver}://")


def by_sqlalchemy(opened: Callable[[Any], Any]) -> Connected:
    @asynccontextmanager
    async def connected() -> AsyncIterator[Any]:
        engine = create_engine(url_of("psycopg"))
        try:
            with opened(engine) as connection:
                yield connection
        finally:
            engine.dispose()

    return connected


def by_asynchronous_sqlalchemy(driver: str, opened: Callable[[Any], Any]) -> Connected:
    @asynccontextmanager
    async def connected() -> AsyncIterator[Any]:
        engine = create_async_engine(url_of(driver))
        try:
            async with opened(engine) as connection:
                yield connection
        finally:
            await engine.dispose()

    return connected


DRIVERS: dict[str, Connected] = {
    "asyncpg": by_asyncpg,
    "psycopg": by_psycopg,
    "psycopg asyncio": by_its_asyncio,
    "sqlalchemy Connection": by_sqlalchemy(lambda engine: engine.connect()),
    "sqlalchemy Session": by_sqlalchemy(Session),
    "sqlalchemy AsyncConnection, asyncpg": by_asynchronous_sqlalchemy("asyncpg", lambda engine: engine.connect()),
    "sqlalchemy AsyncSession, asyncpg": by_asynchronous_sqlalchemy("asyncpg", AsyncSession),
    "sqlalchemy AsyncConnection, psycopg": by_asynchronous_sqlalchemy("psycopg", lambda engine: engine.connect()),
    "sqlalchemy AsyncSession, psycopg": by_asynchronous_sqlalchemy("psycopg", AsyncSession),
}


async def settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def said(connection: Any, statement: str) -> None:
    given: Any = text(statement) if type(connection).__module__.startswith("sqlalchemy") else statement
    await settled(connection.execute(given))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place("postgres", tmp_path)


@pytest.fixture
def table(place: Place) -> str:
    """A table of the user's own."""
    name = f"users_of_{place.url.partition('schema=')[2].partition('&')[0]}"
    server().sql(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)")
    return name


def ids(table: str) -> list[int]:
    return [int(line) for line in server().sql(f"SELECT id FROM {table} ORDER BY id").split()]


@pytest.mark.feature("PQ3")
@pytest.mark.parametrize("driver", DRIVERS)
async def test_pq3_on_postgres_in_a_transaction_of_each_driver_a_rollback_leaves_no_run_and_a_commit_one(
    place: Place, table: str, driver: str
) -> None:
    registry, welcomed = Registry(), []

    @registry.task
    async def welcome(user: int) -> None:
        welcomed.append(user)

    async with place.scheduler(registry) as scheduler, asyncio.timeout(60), DRIVERS[driver]() as connection:
        own = getattr(connection, "own", connection)
        runs: list[str] = []
        for users, how in ((10, {}), (20, {"unique": "user"}), (30, {"idempotency_key": "user"})):
            for user, end in ((users + 1, connection.rollback), (users + 2, connection.commit)):
                await said(own, f"INSERT INTO {table} VALUES ({user})")
                run = await welcome.using(connection=own, **how).submit(user)
                assert [one.id for one in await scheduler.runs.list()] == runs  # nobody sees what is not committed
                await settled(end())
            await run
            runs.insert(0, run.id)
            assert [(one.id, one.status) for one in await scheduler.runs.list()] == [
                (run_id, "SUCCESS") for run_id in runs
            ]
    assert (welcomed, ids(table)) == ([12, 22, 32], [12, 22, 32])


@pytest.mark.feature("PQ3")
async def test_pq3_on_postgres_without_a_transaction_or_elsewhere_is_refused_and_says_what_would_be_right(
    place: Place, table: str, tmp_path: Path
) -> None:
    registry = Registry()

    @registry.task
    async def welcome(user: int) -> None: ...

    server().sql("CREATE DATABASE elsewhere")
    alone = await asyncpg.connect(server().url())
    closed = await asyncpg.connect(server().url())
    await closed.close()
    elsewhere = await asyncpg.connect(server().url("elsewhere"))
    reading = await asyncpg.connect(server().url())
    cases: list[tuple[object, str]] = [
        (alone, "has no transaction open"),
        (closed, "is closed"),
        (elsewhere, "is one to another database than"),
        (reading, "may only read in this transaction"),
        (sqlite3.connect(tmp_path / "jobs.db"), "give one of asyncpg, of psycopg, or of SQLAlchemy"),
        (object(), "give one of asyncpg, of psycopg, or of SQLAlchemy"),
        (psycopg.connect(server().url(), autocommit=True), "has no transaction open"),
    ]
    try:
        async with place.scheduler(registry) as scheduler, elsewhere.transaction(), reading.transaction(readonly=True):
            await elsewhere.execute("SELECT 1")
            for connection, why in cases:
                with pytest.raises(MisuseError, match=why):
                    await welcome.using(connection=connection).submit(1)
            assert await elsewhere.fetchval("SELECT 2") == 2  # the transaction stands as it was
            assert await scheduler.runs.list() == []
    finally:
        for connection in (alone, elsewhere, reading):
            await connection.close()
        for connection, _why in cases[-3::2]:
            connection.close()  # type: ignore[attr-defined]
        server().sql("DROP DATABASE elsewhere")


@pytest.mark.feature("LS22")
async def test_ls22_what_a_run_writes_in_its_transaction_is_there_with_its_success_or_not_at_all(
    place: Place, table: str
) -> None:
    registry = Registry()

    @registry.task
    async def enter(user: int, *, fails: bool, tx: Transaction = injected) -> int:
        await tx.execute(f"INSERT INTO {table} VALUES ($1)", user)
        if fails:
            raise ValueError(user)
        return user

    async with place.scheduler(registry) as scheduler, asyncio.timeout(60):
        failed = await enter.submit(1, fails=True)
        with pytest.raises(ValueError, match="1"):
            await failed
        good = await enter.submit(2, fails=False)
        assert await good == 2
        assert ids(table) == [2]
        stored = {run.id: (run.status, run.result) for run in await scheduler.runs.list()}
        assert stored == {failed.id: (RunStatus.FAILED, None), good.id: (RunStatus.SUCCESS, 2)}
        runs = [await enter.submit(number, fails=False) for number in range(3, 23)]  # more than there are connections
        assert [await run for run in runs] == list(range(3, 23))
    assert ids(table) == list(range(2, 23))


@pytest.mark.feature("LS22")
async def test_ls22_an_attempt_that_is_out_of_time_or_cancelled_leaves_nothing_and_frees_its_connection(
    place: Place, table: str
) -> None:
    registry, begun = Registry(), asyncio.Event()

    @registry.task(timeout="200ms")
    async def too_slow(tx: Transaction = injected) -> None:
        await tx.execute(f"INSERT INTO {table} VALUES (1)")
        await tx.execute("SELECT pg_sleep(60)")

    @registry.task
    async def endless(tx: Transaction = injected) -> None:
        await tx.execute(f"INSERT INTO {table} VALUES (2)")
        begun.set()
        await asyncio.Event().wait()

    async with place.scheduler(registry) as scheduler, asyncio.timeout(60):
        for _ in range(5):  # more than there are connections
            with pytest.raises(TimeoutError, match="took longer than timeout='200ms'"):
                await (await too_slow.submit())
        stopped = await endless.submit()
        await begun.wait()
        await scheduler.runs.cancel(stopped.id)
        with pytest.raises(RunCancelled):
            await stopped
        await scheduler.idle()
        assert {run.status for run in await scheduler.runs.list()} == {RunStatus.FAILED, RunStatus.CANCELLED}
    assert ids(table) == []


PAYING = """
import asyncio, sys
from asyncsched import Registry, Scheduler, Transaction, injected

registry = Registry()
url, table = sys.argv[1:]

@registry.task(id="pay")
async def pay(user: int, tx: Transaction = injected) -> int:
    await tx.execute(f"INSERT INTO {table} VALUES ($1)", user)
    return user

async def main() -> None:
    async with Scheduler(url, registry=registry):
        await (await pay.submit(7))

asyncio.run(main())
"""


@pytest.mark.feature("LS22")
@pytest.mark.parametrize("point", ["mid-task", "finish-before-commit", "finish-after-commit"])
async def test_ls22_a_process_that_is_killed_before_the_commit_leaves_neither_and_the_run_is_run_again(
    place: Place, table: str, point: str
) -> None:
    registry = Registry()

    @registry.task(id="pay")
    async def pay(user: int, tx: Transaction = injected) -> int:
        await tx.execute(f"INSERT INTO {table} VALUES ($1)", user)
        return user

    died = await asyncio.to_thread(
        lambda: subprocess.run(
            [sys.executable, "-c", PAYING, place.url, table],
            env={**os.environ, "ASYNCSCHED_CRASH_AT": point},
            capture_output=True,
            timeout=60,
        )
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    schema = place.url.partition("schema=")[2].partition("&")[0]
    committed = point == "finish-after-commit"
    while server().sql("SELECT 1 FROM pg_stat_activity WHERE application_name = 'asyncsched work'"):
        await asyncio.sleep(0.05)  # the server is still to hear of it
    assert ids(table) == [7] * committed
    assert server().sql(f"SELECT status FROM {schema}.runs").split() == ["RUNNING"] * (not committed)
    assert server().sql(f"SELECT status FROM {schema}.history").split() == ["SUCCESS"] * committed
    server().sql(f"DELETE FROM {schema}.nodes")  # else the lease has to run out first
    async with place.scheduler(registry) as scheduler, asyncio.timeout(60):
        (run,) = await scheduler.runs.list()
        assert await run == 7
    assert ids(table) == [7]


@pytest.mark.feature("LS22")
async def test_ls22_where_there_is_no_such_transaction_the_scheduler_says_so_when_it_starts(
    place: Place, tmp_path: Path
) -> None:
    asking = Registry()

    @asking.task(id="enter")
    async def enter(tx: Transaction = injected) -> None: ...

    for store in ("memory://", f"sqlite:///{tmp_path / 'jobs.db'}"):
        with pytest.raises(ConfigError, match=r"task 'enter': parameter 'tx' needs a Transaction, .* use Scheduler"):
            async with Scheduler(store, registry=asking):
                pass
    blocking = Registry()

    @blocking.task(id="block")
    def block(tx: Transaction = injected) -> None: ...

    with pytest.raises(ConfigError, match="is for the event loop, and it is run by 'thread': make it a coroutine"):
        async with place.scheduler(blocking):
            pass
