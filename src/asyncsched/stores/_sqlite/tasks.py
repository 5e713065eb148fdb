"""Where tasks stand, within a transaction: what code declares, what operators change, what fires move."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from asyncsched.errors import StoreError, TriggerError
from asyncsched.run import RunStatus, Settled
from asyncsched.stores._base import Amendment, Declared, Standing
from asyncsched.stores._sqlite.rows import COLUMNS, Row, terms_of
from asyncsched.stores._sqlite.unit import HISTORY_LIMIT, New, Unit, any_row
from asyncsched.triggers import Trigger

log = logging.getLogger("asyncsched.stores")

_STANDING = "id, declaration, trigger, next_at, version, history_limit, paused_until_at, skip_at, made"


class Declaration(NamedTuple):
    """A declared task as its columns."""

    task: str
    declaration: str
    trigger: str | None
    next_us: int | None
    history_limit: int


class Order(NamedTuple):
    """One task's due fires as rows."""

    task: str
    version: int
    was_us: int | None
    next_us: int | None
    runs: Sequence[New]
    skips: Sequence[Row]
    counted: int


def declaration_of(declared: Declared) -> Declaration:
    """The task as its columns.

    Raises:
        StoreError: its trigger has no JSON.
    """
    try:
        declaration = json.dumps(_encode(declared.declaration), sort_keys=True)
        trigger = None if declared.trigger is None else json.dumps(declared.trigger.to_json())
    except (TypeError, ValueError) as error:
        cure = "its fields must be JSON values, dates, datetimes, timedeltas or triggers"
        raise StoreError(f"the trigger of task {declared.task!r} cannot be stored: {error}; {cure}") from error
    return Declaration(declared.task, declaration, trigger, declared.next_us, declared.history_limit)


def standing_of(found: tuple[Any, ...], known: tuple[Declared, Declaration] | None = None) -> Standing:
    """Where a task stands, as its columns say. One whose trigger cannot be read has none.

    known: what was just declared of it, in both forms: what is as there need not be read.
    """
    task, declaration, text, next_us, version, history_limit, paused_until_us, skip_us, made = found
    trigger = None
    declared: object
    try:
        if known is not None and text == known[1].trigger:
            trigger = known[0].trigger
        else:
            trigger = None if text is None else Trigger.from_json(json.loads(text))
        same = known is not None and declaration == known[1].declaration
        declared = known[0].declaration if known is not None and same else _decode(json.loads(declaration))
    except (TriggerError, ValueError, AttributeError) as error:
        log.warning("task %s: its stored trigger cannot be read, it does not fire: %s", task, error)
        declared = None
    return Standing(task, declared, trigger, next_us, version, history_limit, paused_until_us, skip_us, made)


def _encode(value: object) -> Any:
    if isinstance(value, Trigger):
        return value.to_json()
    return [_encode(item) for item in value] if isinstance(value, tuple) else value


def _decode(value: Any) -> object:
    if isinstance(value, dict):
        return Trigger.from_json(value)
    return tuple(map(_decode, value)) if isinstance(value, list) else value


def reconcile(
    db: sqlite3.Connection, now_us: int, declared: Sequence[Declaration]
) -> tuple[list[tuple[Any, ...]], list[str], list[str]]:
    """Add what is new, re-arm what is declared differently: where all stand, what was added, what changed."""
    standings: list[tuple[Any, ...]] = []
    added: list[str] = []
    changed: list[str] = []
    for one in declared:
        known = standing(db, one.task)
        if known is None or known[1] != one.declaration:
            (added if known is None else changed).append(one.task)
            known = put(db, now_us, one)
        standings.append(known)
    return standings, added, changed


def put(db: sqlite3.Connection, now_us: int, declared: Declaration) -> tuple[Any, ...]:
    """Add the task, or replace it; where it stands."""
    task, declaration, trigger, next_us, history_limit = declared
    before = db.execute("SELECT history_limit FROM asyncsched_tasks WHERE id = ?", (task,)).fetchone()
    (known,) = db.execute(
        "INSERT INTO asyncsched_tasks (id, declaration, trigger, next_at, version, history_limit) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET declaration = excluded.declaration, "
        "trigger = excluded.trigger, next_at = excluded.next_at, version = excluded.version, "
        f"history_limit = excluded.history_limit, skip_at = NULL, made = 0 RETURNING {_STANDING}",
        (task, declaration, trigger, next_us, _edit(db), history_limit),
    ).fetchall()
    if history_limit < (HISTORY_LIMIT if before is None else before[0]):
        Unit(db, now_us).prune(task)
    return tuple(known)


def amend(db: sqlite3.Connection, task: str, version: int, amendment: Amendment) -> tuple[Any, ...] | None:
    """Write what an operator changed, on this version; where the task stands then."""
    db.execute(
        "UPDATE asyncsched_tasks SET version = ?, paused_until_at = ?, skip_at = ? WHERE id = ? AND version = ?",
        (_edit(db), *amendment, task, version),
    )
    return standing(db, task)


def drop(db: sqlite3.Connection, now_us: int, task: str, reason: str) -> list[Row]:
    """Forget the task; those of its runs that waited, cancelled."""
    db.execute("DELETE FROM asyncsched_tasks WHERE id = ?", (task,))
    db.execute("DELETE FROM asyncsched_marks WHERE task = ?", (task,))
    waiting = db.execute("SELECT id FROM asyncsched_runs WHERE task = ? AND state != 1 ORDER BY seq", (task,))
    return cancel(db, now_us, [run_id for (run_id,) in waiting.fetchall()], reason)


def cancel(db: sqlite3.Connection, now_us: int, run_ids: Collection[str], reason: str) -> list[Row]:
    """End those of the runs that wait."""
    unit = Unit(db, now_us)
    cancelled = []
    for run_id in run_ids:
        found = db.execute(f"SELECT {COLUMNS} FROM asyncsched_runs WHERE id = ? AND state != 1", (run_id,)).fetchone()
        if found is not None:
            ended = unit.end_waiting(Row._make(found), Settled(RunStatus.CANCELLED, now_us, reason=reason))
            cancelled += [] if ended is None else [ended]
    unit.close()
    return cancelled


def standing(db: sqlite3.Connection, task: str) -> tuple[Any, ...] | None:
    """Where the task stands, as columns."""
    found: tuple[Any, ...] | None = db.execute(
        f"SELECT {_STANDING} FROM asyncsched_tasks WHERE id = ?", (task,)
    ).fetchone()
    return found


def fire(db: sqlite3.Connection, now_us: int, orders: Sequence[Order]) -> tuple[set[str], list[Row]]:
    """Carry out the orders that count: their tasks, and the runs that became skips as others stand for them."""
    unit = Unit(db, now_us)
    won, merged = set(), []
    for task, version, was_us, next_us, runs, skips, counted in orders:
        if was_us is not None and was_us > now_us:
            continue
        moved = db.execute(
            "UPDATE asyncsched_tasks SET next_at = ?, made = made + ? WHERE id = ? AND version = ? AND next_at IS ?",
            (next_us, counted, task, version, was_us),
        )
        if not moved.rowcount:
            continue
        won.add(task)
        unwritten = None
        for new in runs:
            if unwritten is not None and new.row.flow == unwritten:
                continue  # below one that is not run
            if (skip := unit.fire(new)) is not None:
                merged.append(skip)
                unwritten = skip.id
        for row in skips:
            unit.record(row)
    unit.close()
    return won, merged


def submit(db: sqlite3.Connection, now_us: int, runs: Sequence[New]) -> list[tuple[Row, bool] | None]:
    """Write the runs; for each the other one that stands for it, if any, and whether that took over from it."""
    unit = Unit(db, now_us)
    found: list[tuple[Row, bool] | None] = []
    merged: dict[str, Row] = {}
    fired = _fired(db, runs[0].row.task) if runs and terms_of(runs[0].row.terms).backfill else None
    for new in runs:
        row = new.row
        stands = merged.get(row.flow or row.id) if merged else None
        if stands is None and fired is not None and row.scheduled_at is not None:
            earlier = fired.setdefault((row.task, row.scheduled_at), row.id)
            stands = None if earlier == row.id else any_row(db, earlier)
        answer = unit.submit(new) if stands is None else (stands, False)
        if answer is not None:
            merged[row.id] = answer[0]
        found.append(answer)
    unit.close()
    return found


def _fired(db: sqlite3.Connection, task: str) -> dict[tuple[str, int | None], str]:
    """The runs of the fires of a task: their ids, by task and instant."""
    found = db.execute(
        "SELECT task, scheduled_at, id FROM asyncsched_runs WHERE task = ?1 UNION ALL "
        "SELECT task, scheduled_at, id FROM asyncsched_history WHERE task = ?1 AND status != 'SKIPPED'",
        (task,),
    )
    return {(of, at_us): run_id for of, at_us, run_id in found}


def _edit(db: sqlite3.Connection) -> int:
    """The next version of whatever task: one that is dropped and comes back never has a version that it had before."""
    (value,) = db.execute(
        "INSERT INTO asyncsched_counts VALUES ('edits', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 "
        "RETURNING value"
    ).fetchall()[0]
    return int(value)
