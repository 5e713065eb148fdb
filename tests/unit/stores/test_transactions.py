"""Connections of others: told apart by their modules, and never left in another state than they came in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from asyncsched.errors import MisuseError, StoreError
from asyncsched.stores import MemoryStore
from asyncsched.stores._drivers import driver_connection, driver_of
from asyncsched.stores._sqlite.transactions import enlisted


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


class Wrapped:
    """As SQLAlchemy's connections look from outside."""

    def __init__(self, inner: object) -> None:
        self.connection = self
        self.driver_connection = inner
        self.begun = 0

    def in_transaction(self) -> bool:
        return self.begun > 0

    def begin(self) -> None:
        self.begun += 1


Wrapped.__module__ = "sqlalchemy.engine.base"


async def test_a_wrapper_gives_the_drivers_own_and_begins_what_is_to_be_committed(own: sqlite3.Connection) -> None:
    wrapped = Wrapped(own)
    for _ in range(2):
        assert await driver_connection(wrapped) is own
    assert wrapped.begun == 1
    assert await driver_connection(own) is own


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


async def test_a_store_without_transactions_says_what_to_do(own: sqlite3.Connection) -> None:
    with pytest.raises(MisuseError, match=r"memory takes part in no transaction: leave connection=Connection out"):
        await MemoryStore().submit_within(own, [])
