"""A task that bears another id than before takes over what was kept of it, within a transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence

from asyncsched.renaming import renamed_key, renamed_names, renamed_terms
from asyncsched.stores._durable.rows import Row, terms_again, terms_of
from asyncsched.stores._postgres.roster import edit
from asyncsched.stores._postgres.transaction import Transaction
from asyncsched.stores._postgres.unit import locks_of

# Tables that keep something by a key that begins with the id of a task; and whether they keep an ended run as JSON.
_KEYED = (("keys", False), ("standing", True), ("idempotency", True))


async def take_over(db: Transaction, aliases: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Rename each alias to its task; those under which a task was found."""
    return [(alias, task) for alias, task in aliases if await _rename(db, alias, task)]


async def _rename(db: Transaction, before: str, task: str) -> bool:
    """Keep under its id of today what is kept of the task that had the id ``before``; whether it stood there.

    That is also so if only live runs of it were found.
    """
    stood = await db.row("SELECT 1 FROM asyncsched.tasks WHERE id = $1", before) is not None
    if stood:
        there = await db.row("SELECT 1 FROM asyncsched.tasks WHERE id = $1", task) is not None
        version = await edit(db)
        if there:
            await db.execute("DELETE FROM asyncsched.tasks WHERE id = $1", before)
        else:
            await db.execute("UPDATE asyncsched.tasks SET id = $1, version = $2 WHERE id = $3", task, version, before)
    live = await _rename_runs(db, before, task)
    ended = await db.execute("UPDATE asyncsched.history SET task = $1 WHERE task = $2", task, before)
    if stood or live or ended:
        for table, keeps_run in _KEYED:
            await _rename_keys(db, table, before, task, keeps_run=keeps_run)
        await _rename_marks(db, before, task)
    return stood or live > 0


async def _rename_runs(db: Transaction, before: str, task: str) -> int:
    """Let the live runs be of the task; how many there are."""
    terms = await db.rows("SELECT DISTINCT terms FROM asyncsched.runs WHERE task = $1 AND terms IS NOT NULL", before)
    await db.lock({lock for (text,) in terms for lock in locks_of(terms_of(text))})
    found = await db.change(
        "SELECT id, terms, limit_key FROM asyncsched.runs WHERE task = $1 ORDER BY id FOR UPDATE", before
    )
    await db.many(
        "UPDATE asyncsched.runs SET task = $1, terms = $2, limit_key = $3 WHERE id = $4",
        [
            (task, _renamed_terms(text, before, task), renamed_key(key, before, task), run_id)
            for run_id, text, key in found
        ],
    )
    return len(found)


async def _rename_keys(db: Transaction, table: str, before: str, task: str, *, keeps_run: bool) -> None:
    ended = "ended" if keeps_run else "NULL"
    # No id has a / or a ~: these are the keys that the id alone, or the id and one of them, begins.
    found = await db.rows(
        f"SELECT key, {ended} FROM asyncsched.{table} WHERE key = $1 OR (key >= $1 || '/' AND key < $1 || '0') "
        "OR (key >= $1 || '~' AND key < $1 || chr(127)) OR key = '~backfill/' || $1",
        before,
    )
    for key, text in found:
        there = renamed_key(key, before, task)
        await db.execute(f"DELETE FROM asyncsched.{table} WHERE key = $1 AND $1 <> $2", there, key)
        await db.execute(f"UPDATE asyncsched.{table} SET key = $1 WHERE key = $2", there, key)
        if text is not None:
            said = _renamed_row(text, before, task)
            await db.execute(f"UPDATE asyncsched.{table} SET ended = $1 WHERE key = $2", said, there)


async def _rename_marks(db: Transaction, before: str, task: str) -> None:
    """Let the last success, and what joins took last, be known by today's id."""
    await db.execute(
        "UPDATE asyncsched.marks SET task = $1 WHERE task = $2 "
        "AND NOT EXISTS (SELECT 1 FROM asyncsched.marks WHERE task = $1)",
        *(task, before),
    )
    await db.execute("DELETE FROM asyncsched.marks WHERE task = $1", before)
    marks = await db.rows(
        "SELECT task, succeeded, taken FROM asyncsched.marks WHERE task = $1 OR strpos(taken, $2) > 0",
        *(task, json.dumps(before)),
    )
    for of, succeeded, taken in marks:
        flows = None if taken is None else json.dumps(renamed_names(json.loads(taken), before, task))
        row = _renamed_row(succeeded, before, task) if of == task and succeeded is not None else succeeded
        await db.execute("UPDATE asyncsched.marks SET succeeded = $1, taken = $2 WHERE task = $3", row, flows, of)


def _renamed_row(text: str, before: str, task: str) -> str:
    """An ended run, as it is kept as JSON."""
    row = Row(*json.loads(text))
    return json.dumps(row._replace(task=task, terms=_renamed_terms(row.terms, before, task)))


def _renamed_terms(text: str | None, before: str, task: str) -> str | None:
    return terms_again(text, renamed_terms(terms_of(text), before, task))
