"""Connections of others: told apart by their modules, and never left in another state than they came in."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from asyncsched.clock import SystemClock
from asyncsched.errors import MisuseError, StoreError
from asyncsched.stores import MemoryStore
from asyncsched.stores._drivers import driver_connection, driver_of
from asyncsched.stores._sqlite.transactions import enlisted
from asyncsched.stores.sqlite import SQLiteStore


class Own(sqlite3.Connection):
    pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (a INTEGER)")
    return path


@pytest.fixture
def own(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as db:
        yield db


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        (number,) = db.execute("SELECT count(*) FROM t").fetchone()
    return int(number)


def test_a_driver_is_known_by_its_module_also_behind_a_class_of_the_users(path: Path) -> None:
    with closing(sqlite3.connect(path, factory=Own)) as db:
        assert driver_of(db) == "sqlite3"
    assert driver_of(path) == "pathlib"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


async def test_sqlalchemy_gives_the_drivers_own_and_begins_what_is_to_be_committed(engine: Engine) -> None:
    with engine.connect() as wrapped:
        own = wrapped.connection.driver_connection
        for _ in range(2):
            assert await driver_connection(wrapped) is own
        assert wrapped.in_transaction()
        assert await driver_connection(own) is own
        with Session(wrapped) as session:
            assert await driver_connection(session) is own


@pytest.fixture
async def async_engine(path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    yield engine
    await engine.dispose()


async def test_the_asyncio_part_of_sqlalchemy_gives_the_drivers_own_too(async_engine: AsyncEngine) -> None:
    async with async_engine.connect() as wrapped:
        own: Any = await driver_connection(wrapped)
        assert driver_of(own) == "aiosqlite"
        assert wrapped.in_transaction()
        async with AsyncSession(wrapped) as session:
            assert await driver_connection(session) is own
    with pytest.raises(MisuseError, match=r"AsyncConnection cannot be used as it stands .*closed"):
        await driver_connection(wrapped)
    with pytest.raises(MisuseError, match="has not been started"):
        await driver_connection(async_engine.connect())


async def test_what_is_no_connection_of_sqlalchemy_is_refused(engine: Engine) -> None:
    for given in (engine, sessionmaker(engine)):
        with pytest.raises(MisuseError, match=f"{type(given).__name__} of SQLAlchemy is no connection: give"):
            await driver_connection(given)
    with engine.connect() as wrapped, wrapped.begin() as transaction:
        with pytest.raises(MisuseError, match="RootTransaction of SQLAlchemy is no connection"):
            await driver_connection(transaction)
        wrapped.commit()
        with pytest.raises(MisuseError, match=r"cannot be used as it stands .*closed transaction"):
            await driver_connection(wrapped)
    with pytest.raises(MisuseError, match=r"Connection cannot be used as it stands .*closed"):
        await driver_connection(wrapped)
    with Session() as session, pytest.raises(MisuseError, match="not bound"):
        await driver_connection(session)


def test_what_is_done_is_part_of_the_users_transaction(own: sqlite3.Connection, path: Path) -> None:
    with enlisted(own, str(path)):
        own.execute("INSERT INTO t VALUES (1)")
    assert (own.in_transaction, count(path)) == (True, 0)
    own.rollback()
    assert count(path) == 0
    with enlisted(own, str(path)):
        own.execute("INSERT INTO t VALUES (1)")
    own.commit()
    assert count(path) == 1


def insert(own: sqlite3.Connection, path: Path, number: int, trouble: str) -> None:
    with enlisted(own, str(path)):
        own.execute("INSERT INTO t VALUES (?)", (number,))
        own.execute(trouble)
        raise KeyError(number)


def test_a_failure_undoes_its_own_and_nothing_else(own: sqlite3.Connection, path: Path) -> None:
    own.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(StoreError, match="no such table"):
        insert(own, path, 2, "INSERT INTO nowhere VALUES (2)")
    with pytest.raises(KeyError):
        insert(own, path, 3, "SELECT 1")
    own.commit()
    assert own.execute("SELECT a FROM t").fetchall() == [(1,)]


def test_factories_of_the_user_are_set_aside(own: sqlite3.Connection, path: Path) -> None:
    def rows(_cursor: object, row: tuple[Any, ...]) -> dict[str, Any]:
        return {"row": row}

    own.row_factory, own.text_factory = rows, bytes
    with enlisted(own, str(path)):
        assert own.execute("SELECT 'x'").fetchone() == ("x",)
    assert (own.row_factory, own.text_factory) == (rows, bytes)


def test_a_connection_that_commits_by_itself_needs_a_transaction(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        with pytest.raises(MisuseError, match="execute BEGIN IMMEDIATE first"), enlisted(db, str(path)):
            pytest.fail("it was let through")
        db.execute("BEGIN IMMEDIATE")
        with enlisted(db, str(path)):
            db.execute("INSERT INTO t VALUES (1)")
        db.execute("COMMIT")
    assert count(path) == 1


def test_a_file_is_the_same_by_whatever_name(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with closing(sqlite3.connect(link)) as db, enlisted(db, str(path)):
        pass


def test_a_connection_that_was_closed_says_so(own: sqlite3.Connection, path: Path) -> None:
    own.close()
    with pytest.raises(MisuseError, match="closed"), enlisted(own, str(path)):
        pytest.fail("it was let through")


def test_a_connection_that_only_reads_says_so(path: Path) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        with pytest.raises(MisuseError, match=r"may only read .*: open it without mode=ro"), enlisted(db, str(path)):
            db.execute("INSERT INTO t VALUES (1)")
        db.rollback()
    assert count(path) == 0


def test_a_connection_of_another_thread_says_so(path: Path) -> None:
    with ThreadPoolExecutor(1) as thread:
        db = thread.submit(sqlite3.connect, path).result()
        with pytest.raises(MisuseError, match="make it with check_same_thread=False"), enlisted(db, str(path)):
            pytest.fail("it was let through")
        thread.submit(db.close).result()


def test_a_file_that_was_deleted_is_not_the_stores(own: sqlite3.Connection, path: Path) -> None:
    path.unlink()
    with pytest.raises(MisuseError, match=r"is one to .*app.db, and the store is in"), enlisted(own, str(path)):
        pytest.fail("it was let through")


def test_a_savepoint_of_the_user_is_undone_with_all_that_is_in_it(own: sqlite3.Connection, path: Path) -> None:
    own.execute("INSERT INTO t VALUES (1)")
    own.execute("SAVEPOINT mine")
    with enlisted(own, str(path)):
        own.execute("INSERT INTO t VALUES (2)")
    own.execute("ROLLBACK TO mine")
    with enlisted(own, str(path)):
        own.execute("INSERT INTO t VALUES (3)")
    own.commit()
    assert own.execute("SELECT a FROM t").fetchall() == [(1,), (3,)]


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path)
    await store.open("n1", SystemClock())
    yield store
    await store.close()


async def test_a_connection_of_aiosqlite_must_be_open(store: SQLiteStore, path: Path) -> None:
    async with aiosqlite.connect(path) as own:
        await store.submit_within(own, [])
        with pytest.raises(MisuseError, match="Cursor is no connection to SQLite: give one of"):
            await store.submit_within(await own.cursor(), [])
    with pytest.raises(MisuseError, match=r"is not open .*: open it first"):
        await store.submit_within(own, [])


async def test_what_comes_from_elsewhere_is_refused(store: SQLiteStore, own: sqlite3.Connection, path: Path) -> None:
    for given in (own.cursor(), str(path)):
        with pytest.raises(MisuseError, match=f"{type(given).__name__} is no connection to SQLite: give one of"):
            await store.submit_within(given, [])


async def test_a_store_without_transactions_says_what_to_do(own: sqlite3.Connection) -> None:
    with pytest.raises(MisuseError, match=r"memory takes part in no transaction: leave connection=Connection out"):
        await MemoryStore().submit_within(own, [])
