"""A task that bears another id than before takes over what was kept of it, within a transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from asyncsched.renaming import renamed_key, renamed_names, renamed_terms
from asyncsched.run import Terms
from asyncsched.stores._durable.rows import Row, terms_again, terms_of
from asyncsched.stores._sqlite.roster import edit

# Tables that keep something by a key that begins with the id of a task; and whether they keep an ended run as JSON.
_KEYED = (("asyncsched_keys", False), ("asyncsched_standing", True), ("asyncsched_idempotency", True))


def rename(db: sqlite3.Connection, before: str, task: str) -> bool:
    """Keep under its id of today what is kept of the task that had the id ``before``; whether it stood there.

    That is also so if only live runs of it were found.
    """
    stood = db.execute("SELECT 1 FROM asyncsched_tasks WHERE id = ?", (before,)).fetchone() is not None
    if stood:
        db.execute("UPDATE OR IGNORE asyncsched_tasks SET id = ?, version = ? WHERE id = ?", (task, edit(db), before))
        db.execute("DELETE FROM asyncsched_tasks WHERE id = ?", (before,))
    live = _rename_runs(db, before, task)
    ended = db.execute("UPDATE asyncsched_history SET task = ? WHERE task = ?", (task, before)).rowcount
    if stood or live or ended:
        for table, keeps_run in _KEYED:
            _rename_keys(db, table, before, task, keeps_run=keeps_run)
        _rename_marks(db, before, task)
    return stood or live > 0


def _rename_runs(db: sqlite3.Connection, before: str, task: str) -> int:
    """Let the live runs be of the task; how many there are."""
    bound = db.execute(
        "SELECT seq, terms, limit_key FROM asyncsched_runs WHERE task = ? AND (terms IS NOT NULL OR limit_key NOTNULL)",
        (before,),
    )
    moved = [
        (terms_again(text, renamed_terms(terms_of(text), before, task)), renamed_key(key, before, task), seq)
        for seq, text, key in bound.fetchall()
    ]
    db.executemany("UPDATE asyncsched_runs SET terms = ?, limit_key = ? WHERE seq = ?", moved)
    return db.execute("UPDATE asyncsched_runs SET task = ? WHERE task = ?", (task, before)).rowcount


def _rename_keys(db: sqlite3.Connection, table: str, before: str, task: str, *, keeps_run: bool) -> None:
    ended = "ended" if keeps_run else "NULL"
    # No id has a / or a ~: these are the keys that the id alone, or the id and one of them, begins.
    found = db.execute(
        f"SELECT key, {ended} FROM {table} WHERE key = ?1 OR (key >= ?1 || '/' AND key < ?1 || '0') "
        "OR (key >= ?1 || '~' AND key < ?1 || char(127)) OR key = '~backfill/' || ?1",
        (before,),
    )
    for key, text in found.fetchall():
        there = renamed_key(key, before, task)
        db.execute(f"UPDATE OR REPLACE {table} SET key = ? WHERE key = ?", (there, key))
        if text is not None:
            db.execute(f"UPDATE {table} SET ended = ? WHERE key = ?", (_renamed_row(text, before, task), there))


def _rename_marks(db: sqlite3.Connection, before: str, task: str) -> None:
    """Let the last success, and what joins took last, be known by today's id."""
    db.execute("UPDATE OR IGNORE asyncsched_marks SET task = ? WHERE task = ?", (task, before))
    db.execute("DELETE FROM asyncsched_marks WHERE task = ?", (before,))
    marks = db.execute(
        "SELECT task, succeeded, taken FROM asyncsched_marks WHERE task = ? OR instr(taken, ?)",
        (task, json.dumps(before)),
    )
    for of, succeeded, taken in marks.fetchall():
        flows = None if taken is None else json.dumps(renamed_names(json.loads(taken), before, task))
        row = _renamed_row(succeeded, before, task) if of == task and succeeded is not None else succeeded
        db.execute("UPDATE asyncsched_marks SET succeeded = ?, taken = ? WHERE task = ?", (row, flows, of))


def _renamed_row(text: str, before: str, task: str) -> str:
    """An ended run, as it is kept as JSON."""
    row = Row(*json.loads(text))
    terms: Terms = renamed_terms(terms_of(row.terms), before, task)
    return json.dumps(row._replace(task=task, terms=terms_again(row.terms, terms)))


def take_over(db: sqlite3.Connection, aliases: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Rename each alias to its task; those under which a task was found."""
    return [(alias, task) for alias, task in aliases if rename(db, alias, task)]
