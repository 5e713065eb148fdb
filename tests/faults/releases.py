"""Other versions of the library, made for a test: copies of this one that know more than it does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import asyncsched
from asyncsched.stores._postgres.schema import STEPS as POSTGRES_STEPS
from asyncsched.stores._redis.schema import STEPS as REDIS_STEPS
from asyncsched.stores._sqlite.schema import STEPS as SQLITE_STEPS
from asyncsched.version import VERSION

HERE = Path(asyncsched.__file__).parent
NEXT = "99.1.0"
"""The version after this one."""
_TABLES = (
    *("counts", "nodes", "tasks", "rosters", "serving", "runs", "history"),
    *("keys", "standing", "idempotency", "needs", "marks"),
)


def next_release(folder: Path, *, alone: bool = False, changes: Mapping[str, tuple[str, str]] | None = None) -> Path:
    """The library as it will be, for ``PYTHONPATH``: its schemas have one more step, which adds columns and a table.

    alone: no older version may use a place that has seen the step.
    changes: what else is otherwise, by the file: what stands there, and what stands there instead.
    """
    package = folder / "asyncsched"
    shutil.copytree(HERE, package)
    _change(package / "version.py", f'"{VERSION}"', f'"{NEXT}"')
    for number, kind in ((len(SQLITE_STEPS) + 1, "sqlite"), (len(POSTGRES_STEPS) + 1, "postgres")):
        step = package / f"stores/_{kind}/steps/{number:04}_colours.sql"
        step.write_text(_step(kind, number, number if alone else number - 1))
    least = len(REDIS_STEPS) + alone
    more = f'STEPS += (Step("{len(REDIS_STEPS) + 1:04} colours", "{NEXT}", {least}, ()),)\n'
    redis = package / "stores/_redis/schema.py"
    _change(redis, '_KEY = "steps"\n', f'{more}_KEY = "steps"\n')
    _change(redis, "STEPS: Final = ", "STEPS = ")
    for file, (before, after) in (changes or {}).items():
        _change(package / file, before, after)
    return folder


def _step(kind: str, number: int, least: int) -> str:
    prefix, column = ("asyncsched_", "TEXT") if kind == "sqlite" else ("asyncsched.", "text")
    statements = [f"ALTER TABLE {prefix}{table} ADD COLUMN colour {column};" for table in _TABLES]
    statements.append(f"CREATE TABLE {prefix}colours (name {column} PRIMARY KEY, since bigint NOT NULL);")
    head = f"-- {number:04} colours\n-- since {NEXT}, usable by libraries that know step {least}\n"
    return head + "\n".join(statements) + "\n"


def _change(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert text.count(before) == 1, f"{file.name} has {before!r} {text.count(before)} times"
    file.write_text(text.replace(before, after))
