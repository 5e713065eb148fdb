"""The tables of the SQLite store, and how they came to be: numbered steps, each applied once.

The steps are the files in ``steps``. Instants are whole microseconds since the epoch. All names begin with
``asyncsched_``, so that the file may be the program's own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from asyncsched import crash_points
from asyncsched.errors import StoreError
from asyncsched.stores._durable.steps import Applied, Step, read_step, wrong_steps

# Whoever comes second waits for the first one's whole migration, of a large file too: milliseconds.
_PATIENCE_MS, _USUAL_MS = 60_000, 5_000


def _read_steps() -> tuple[Step, ...]:
    found = sorted(
        (file for file in files("asyncsched.stores._sqlite").joinpath("steps").iterdir()), key=lambda file: file.name
    )
    return tuple(read_step(file.read_text(encoding="utf-8")) for file in found if file.name.endswith(".sql"))


STEPS = _read_steps()


def seen(db: sqlite3.Connection) -> tuple[str, ...]:
    """The names of the steps that the file has seen, first to last."""
    return tuple(one.name for one in _applied(db))


def missing(db: sqlite3.Connection) -> Sequence[Step]:
    """The steps that the file has not seen.

    Raises:
        StoreError: the file has a newer schema that this version of the library cannot use, or one that was changed
            by hand.
    """
    applied = _applied(db)
    if wrong := wrong_steps(STEPS, applied):
        raise StoreError(f"SQLite store {_path(db)}: {wrong}")
    return STEPS[len(applied) :]


@crash_points.transaction
def migrate(db: sqlite3.Connection, now_us: int, *, allowed: bool = True) -> Sequence[Step]:
    """Bring the schema to what this version of the library needs; the steps that were applied, mostly none.

    Two processes that start together make one schema: the second waits, and finds it.

    Args:
        db: not in a transaction.
        now_us: what is noted as the instant, in microseconds since the epoch.
        allowed: if not, a step that is missing is an error, and nothing is applied.

    Raises:
        StoreError: a step is missing and may not be applied, or as ``missing`` says.
    """
    needed = missing(db)
    if not needed:
        return ()
    if not allowed:
        path = _path(db)
        raise StoreError(
            f"SQLite store {path}: its schema lacks {_listed(needed)}, and the store is told not to migrate: "
            f"run 'asyncsched migrate --store sqlite:///{quote(path, safe='/:')}' first"
        )
    db.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
    db.execute("BEGIN EXCLUSIVE")
    try:
        needed = missing(db)
        _apply(db, needed, now_us)
    except BaseException:
        if db.in_transaction:  # SQLite may have undone it itself, as on a full disk
            db.execute("ROLLBACK")
        raise
    finally:
        db.execute(f"PRAGMA busy_timeout = {_USUAL_MS}")
    db.execute("COMMIT")
    return needed


@crash_points.unit("migrate")
def _apply(db: sqlite3.Connection, needed: Sequence[Step], now_us: int) -> None:
    for statement in _work(needed, str(now_us)):
        db.execute(statement)


def script(needed: Sequence[Step]) -> str:
    """What ``migrate`` would do where these steps are missing, as a script for the ``sqlite3`` tool; empty if none."""
    statements = ["BEGIN EXCLUSIVE", *_work(needed, "1000000 * CAST(strftime('%s', 'now') AS INTEGER)"), "COMMIT"]
    return "".join(f"{statement};\n" for statement in statements) if needed else ""


def _work(needed: Sequence[Step], now: str) -> Iterator[str]:
    """All statements, those that note what was done included; ``now`` is an expression."""
    if not needed:
        return
    yield (
        "CREATE TABLE IF NOT EXISTS asyncsched_migrations "
        "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL)"
    )
    for number, step in enumerate(needed, len(STEPS) - len(needed) + 1):
        yield from step.statements
        columns = "(number, name, checksum, applied_at)"
        yield f"INSERT INTO asyncsched_migrations {columns} VALUES ({number}, '{step.name}', '{step.checksum}', {now})"
    # After all of them: the second step is what makes these columns.
    for number, step in enumerate(STEPS, 1):
        yield f"UPDATE asyncsched_migrations SET since = '{step.since}', least = {step.least} WHERE number = {number}"


def _applied(db: sqlite3.Connection) -> list[Applied]:
    columns = {name for (name,) in db.execute("SELECT name FROM pragma_table_info('asyncsched_migrations')")}
    if not columns:
        return []
    later = "since, least" if "least" in columns else "NULL, NULL"
    rows = db.execute(f"SELECT number, name, checksum, {later} FROM asyncsched_migrations ORDER BY number")
    return [Applied(*row) for row in rows]


def _listed(steps: Sequence[Step]) -> str:
    return f"step{'s' * (len(steps) > 1)} {', '.join(repr(step.name) for step in steps)}"


def _path(db: sqlite3.Connection) -> str:
    """The file of the connection, as SQLite resolved it."""
    path: str = db.execute("PRAGMA database_list").fetchone()[2]
    return Path(path).as_posix()
