"""The tables of the PostgreSQL store, and how they came to be: numbered steps, each applied once.

The steps are the files in ``steps``. Instants are whole microseconds since the epoch. All is in one schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from asyncsched import crash_points
from asyncsched.errors import StoreError
from asyncsched.stores._durable.steps import Applied, Step, read_step, wrong_steps
from asyncsched.stores._postgres.address import Address
from asyncsched.stores._postgres.connection import BUSY, Database
from asyncsched.stores._postgres.plain import WALL_US

_TABLE = (
    "CREATE TABLE IF NOT EXISTS asyncsched.migrations (number integer PRIMARY KEY, name text NOT NULL, "
    "checksum text NOT NULL, applied_at bigint NOT NULL, since text NOT NULL, least integer NOT NULL)"
)
# A look into the catalogue as it is: what names are resolved by may be older than the lock.
_IS_THERE = "SELECT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'migrations')"
# "CREATE SCHEMA IF NOT EXISTS" needs the right to make one even where it is there, made for its owner by somebody else.
_MAKE = """DO $$ BEGIN IF to_regnamespace('{0}') IS NULL THEN CREATE SCHEMA "{0}"; END IF; END $$"""
# Nodes may be at work in the tables that are changed. All are locked before any is, so that nothing is half done while
# one of them is waited for; and not for longer than they can stand, for behind who waits so all others wait.
_ALONE = """DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = '{0}' ORDER BY tablename LOOP
        EXECUTE format('LOCK TABLE "{0}".%I IN ACCESS EXCLUSIVE MODE', name);
    END LOOP; END $$"""
_PATIENCE_MS, _TRIES = 500, 100
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('{}/schema', 0))"


def _read_steps() -> tuple[Step, ...]:
    found = sorted(files("asyncsched.stores._postgres").joinpath("steps").iterdir(), key=lambda file: file.name)
    return tuple(read_step(file.read_text(encoding="utf-8")) for file in found if file.name.endswith(".sql"))


STEPS = _read_steps()


async def seen(db: Database) -> tuple[str, ...]:
    """The names of the steps that the schema has seen, first to last."""
    return tuple(one.name for one in await _applied(db))


async def missing(db: Database, address: Address) -> Sequence[Step]:
    """The steps that the schema has not seen.

    Raises:
        StoreError: it is newer than this version of the library can use, or one that was changed by hand.
    """
    applied = await _applied(db)
    if wrong := wrong_steps(STEPS, applied):
        raise StoreError(f"{address}: {wrong}")
    return STEPS[len(applied) :]


@crash_points.transaction
async def migrate(db: Database, address: Address, *, allowed: bool = True) -> Sequence[Step]:
    """Bring the schema to what this version of the library needs; the steps that were applied, mostly none.

    Two nodes that start together make one schema: the second waits, and finds it.

    Raises:
        StoreError: a step is missing and may not be applied, or as ``missing`` says.
    """
    needed = await missing(db, address)
    if not needed:
        return ()
    if not allowed:
        names = ", ".join(repr(step.name) for step in needed)
        raise StoreError(
            f"{address}: its schema lacks step{'s' * (len(needed) > 1)} {names}, and the store is told not to migrate: "
            "run 'asyncsched migrate --store' with the URL of a user who may"
        )
    for left in reversed(range(_TRIES)):
        try:
            async with db.connection.transaction():
                await db.execute("SET LOCAL lock_timeout = '60s'")
                await db.execute("SET LOCAL statement_timeout = 0")
                await db.execute(_LOCK.format(db.schema))
                await db.execute(f"SET LOCAL lock_timeout = '{_PATIENCE_MS}ms'")
                return await _apply(db, await missing(db, address))
        except BUSY:
            if not left:
                raise
    raise AssertionError("unreachable")


@crash_points.unit("migrate", len)
async def _apply(db: Database, needed: Sequence[Step]) -> Sequence[Step]:
    for statement in _work(needed, db.schema):
        await db.execute(statement)
    return needed


def script(needed: Sequence[Step], schema: str) -> str:
    """What ``migrate`` would do where these steps are missing, as a script for ``psql``; empty if none."""
    if not needed:
        return ""
    statements = ["BEGIN", _LOCK.format(schema), *_work(needed, schema), "COMMIT"]
    return "".join(f"{statement};\n" for statement in statements).replace("asyncsched.", f'"{schema}".')


def _work(needed: Sequence[Step], schema: str) -> list[str]:
    """All statements, those that note what was done included."""
    statements: list[str] = []
    if needed and needed[0] is STEPS[0]:
        statements += [_MAKE.format(schema), _TABLE]
    elif needed:
        statements.append(_ALONE.format(schema))
    for number, step in enumerate(needed, len(STEPS) - len(needed) + 1):
        statements += step.statements
        statements.append(
            "INSERT INTO asyncsched.migrations (number, name, checksum, applied_at, since, least) VALUES "
            f"({number}, '{step.name}', '{step.checksum}', {WALL_US}, '{step.since}', {step.least})"
        )
    return statements


async def _applied(db: Database) -> list[Applied]:
    found: list[Any] = []
    if await db.value(_IS_THERE, db.schema):
        found = await db.rows("SELECT number, name, checksum, since, least FROM asyncsched.migrations ORDER BY number")
    return [Applied(*row) for row in found]
