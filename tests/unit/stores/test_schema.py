"""The schema of a SQLite file: steps read from files, each applied once, whole or not at all."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest

from asyncsched import Registry, Scheduler
from asyncsched.clock import SystemClock
from asyncsched.errors import ConfigError, MisuseError, StoreError
from asyncsched.stores._sqlite import schema
from asyncsched.stores.sqlite import SQLiteStore, store_at
from oldest import held, tables, write_oldest

HEAD = "-- 0007 a thing\n-- since 1.2.3, usable by libraries that know step 6\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def shape(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """All tables and indexes with the statements that made them."""
    return db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()


def ledger(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    columns = "number, name, checksum, since, least"
    return db.execute(f"SELECT {columns} FROM asyncsched_migrations ORDER BY number").fetchall()


def test_a_step_is_its_head_and_its_statements() -> None:
    step = schema.read_step(
        HEAD + "\n-- why\nCREATE TABLE a (x TEXT DEFAULT ';',\n    -- inside\n  y);\n\n"
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END;\n"
    )
    assert step[:3] == ("0007 a thing", "1.2.3", 6)
    assert step.statements == (
        "CREATE TABLE a (x TEXT DEFAULT ';',\n    -- inside\n  y)",
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "CREATE TABLE a (x)\n", "not complete"),
        ("CREATE TABLE a (x);\n", "begins with its name"),
        ("-- 0007 it's\n-- since 1, usable by libraries that know step 6\n", "begins with its name"),
    ],
)
def test_what_is_no_step_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        schema.read_step(text)


def test_the_files_are_numbered_named_as_they_say_and_part_of_the_package() -> None:
    names = sorted(file.name for file in files("asyncsched.stores._sqlite").joinpath("steps").iterdir())
    said = [re.sub(r"\W+", "_", step.name) + ".sql" for step in schema.STEPS]
    assert names == said
    assert [int(step.name[:4]) for step in schema.STEPS] == [*range(1, len(schema.STEPS) + 1)]
    assert all(1 <= step.least <= number for number, step in enumerate(schema.STEPS, 1))


def test_a_step_that_was_released_is_as_it_was() -> None:
    assert schema.STEPS[0].checksum == "7e84d7d623c0957e", "a file that has seen it would be refused: add a step"


def test_what_is_missing_is_applied_once_and_noted(path: Path) -> None:
    with database(path) as db:
        assert schema.missing(db) == schema.STEPS
        assert schema.migrate(db, 5) == schema.STEPS
        assert schema.migrate(db, 6) == ()
        assert schema.missing(db) == ()
        assert schema.seen(db) == tuple(step.name for step in schema.STEPS)
        assert ledger(db) == [
            (number, step.name, step.checksum, step.since, step.least) for number, step in enumerate(schema.STEPS, 1)
        ]
        assert db.execute("SELECT DISTINCT applied_at FROM asyncsched_migrations").fetchall() == [(5,)]


def test_an_older_file_ends_with_the_tables_of_a_new_one(path: Path, tmp_path: Path) -> None:
    write_oldest(path)
    with database(path) as old, database(tmp_path / "new.db") as new:
        assert schema.migrate(old, 5) == schema.STEPS[1:]
        schema.migrate(new, 5)
        assert shape(old) == shape(new)
        assert ledger(old) == ledger(new)
    assert held(path) == tables()


def test_the_script_does_what_the_library_does(path: Path, tmp_path: Path) -> None:
    for number, prepare in enumerate((Path.touch, write_oldest)):
        one, two = tmp_path / f"one{number}", tmp_path / f"two{number}"
        prepare(one)
        prepare(two)
        with database(one) as by_script, database(two) as by_library:
            by_script.executescript(schema.script(schema.missing(by_script)))
            schema.migrate(by_library, 5)
            assert shape(by_script) == shape(by_library)
            assert ledger(by_script) == ledger(by_library)
            assert schema.script(schema.missing(by_script)) == ""


def test_where_it_may_not_be_applied_the_error_says_how_to_do_it(path: Path) -> None:
    write_oldest(path)
    with database(path) as db:
        before = shape(db)
        with pytest.raises(StoreError, match=f"asyncsched migrate --store sqlite:///{re.escape(str(path))}'"):
            schema.migrate(db, 5, allowed=False)
        assert shape(db) == before
        schema.migrate(db, 5)
        assert schema.migrate(db, 6, allowed=False) == ()


def test_a_step_that_fails_leaves_nothing_behind(path: Path) -> None:
    with database(path) as db:
        db.execute("CREATE TABLE asyncsched_standing (mine)")
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            schema.migrate(db, 5)
        assert [name for name, _sql in shape(db)] == ["asyncsched_standing"]
        assert not db.in_transaction
        db.execute("DROP TABLE asyncsched_standing")
        assert schema.migrate(db, 5) == schema.STEPS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE asyncsched_migrations SET checksum = 'x' WHERE number = 2", "is not that of asyncsched: step '0002"),
        ("UPDATE asyncsched_migrations SET name = '0001 other' WHERE number = 1", "step '0001 other' differs"),
        ("INSERT INTO asyncsched_migrations VALUES (99, '0099 much later', 'x', 0, '7.5', 99)", "Install version 7.5,"),
        ("INSERT INTO asyncsched_migrations VALUES (99, '0099 much later', 'x', 0, NULL, NULL)", "that wrote it"),
    ],
)
def test_a_schema_of_others_is_refused_and_left_alone(path: Path, change: str, words: str) -> None:
    with database(path) as db:
        schema.migrate(db, 5)
        db.execute(change)
        before = db.execute("SELECT * FROM asyncsched_migrations").fetchall()
        for verb in (schema.missing, lambda db: schema.migrate(db, 6)):
            with pytest.raises(StoreError, match=words) as refused:
                verb(db)
        assert str(path) in str(refused.value)
        assert db.execute("SELECT * FROM asyncsched_migrations").fetchall() == before


async def test_a_newer_file_that_this_library_may_use_is_used(path: Path) -> None:
    known = len(schema.STEPS)
    with database(path) as db:
        schema.migrate(db, 5)
        later = (known + 1, "0099 one more column", "x", 0, "9.0", known)
        db.execute("INSERT INTO asyncsched_migrations VALUES (?, ?, ?, ?, ?, ?)", later)
        db.execute("ALTER TABLE asyncsched_runs ADD COLUMN of_the_future TEXT")
        assert schema.migrate(db, 6, allowed=False) == ()
    assert (await SQLiteStore(path).schema()).seen[-1] == "0099 one more column"


async def test_to_look_makes_and_changes_nothing(path: Path) -> None:
    store = SQLiteStore(path)
    state = await store.schema()
    assert (state.seen, state.missing) == ((), tuple(step.name for step in schema.STEPS))
    assert not path.exists()
    write_oldest(path)
    before = path.read_bytes()
    state = await store.schema()
    assert state.seen == ("0001 tasks, runs, history",)
    assert state.to_json() == {"seen": list(state.seen), "missing": [step.name for step in schema.STEPS[1:]]}
    assert path.read_bytes() == before


async def test_migrating_by_hand_makes_the_file_and_keeps_a_copy(path: Path, tmp_path: Path) -> None:
    store, copy = SQLiteStore(path), tmp_path / "copy.db"
    write_oldest(path)
    assert await store.migrate(backup=copy) == tuple(step.name for step in schema.STEPS[1:])
    assert held(path) == held(copy) == tables()
    assert copy.stat().st_mode & 0o777 == 0o600
    with database(copy) as db:
        assert schema.seen(db) == ("0001 tasks, runs, history",)
    assert await store.migrate(backup=tmp_path / "none.db") == ()
    assert not (tmp_path / "none.db").exists(), "nothing was applied"
    assert await SQLiteStore(tmp_path / "new.db").migrate() == tuple(step.name for step in schema.STEPS)


@pytest.mark.parametrize(("name", "words"), [("jobs.db", "such a file already"), ("no/where.db", "name a file in")])
async def test_without_its_copy_nothing_is_applied(path: Path, tmp_path: Path, name: str, words: str) -> None:
    write_oldest(path)
    with pytest.raises(StoreError, match=words):
        await SQLiteStore(path).migrate(backup=tmp_path / name)
    assert (await SQLiteStore(path).schema()).seen == ("0001 tasks, runs, history",)


async def test_what_is_no_database_is_told(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)
    for verb in (SQLiteStore(path).schema, SQLiteStore(path).migrate):
        with pytest.raises(StoreError, match="not an SQLite database"):
            await verb()


async def test_an_open_store_has_the_schema_that_it_needs(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open("n", SystemClock())
    try:
        with pytest.raises(MisuseError, match="is open here"):
            await store.schema()
    finally:
        await store.close()


async def test_a_url_may_forbid_it(path: Path) -> None:
    scheduler = Scheduler(f"sqlite:///{path}?migrate=no", registry=Registry())
    with pytest.raises(StoreError, match="run 'asyncsched migrate"):
        await scheduler.start()
    await store_at(f"sqlite:///{path}?migrate=no").migrate()
    async with scheduler:
        pass
    with pytest.raises(ConfigError, match="migrate='maybe'"):
        store_at(f"sqlite:///{path}?migrate=maybe")
