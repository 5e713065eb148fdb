"""Where tasks stand, within a transaction: what code declares, what operators change, what fires move."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from asyncsched import crash_points
from asyncsched.overrides import Overrides
from asyncsched.run import RunStatus, Settled
from asyncsched.stores._base import Amendment
from asyncsched.stores._durable.orders import HISTORY_LIMIT, New, Order
from asyncsched.stores._durable.rows import COLUMNS, Row, terms_of
from asyncsched.stores._durable.tasks import STANDING, Declaration, Found, overrides_of, stored_as
from asyncsched.stores._sqlite.met import still_met
from asyncsched.stores._sqlite.renames import take_over
from asyncsched.stores._sqlite.roster import edit, enrol, forget, unpark
from asyncsched.stores._sqlite.unit import Unit, any_row

log = logging.getLogger("asyncsched.stores")


def reconcile(db: sqlite3.Connection, now_us: int, declared: Sequence[Declaration], node_id: str) -> Found:
    """Take over what has another id by now, add what is new, re-arm what is declared differently."""
    renamed = take_over(db, [(alias, one.task) for one in declared if one.aliases for alias in one.aliases])
    standings: list[tuple[Any, ...]] = []
    added: list[str] = []
    changed: list[str] = []
    stored = {known[0]: known for known in standing_among(db, [one.task for one in declared])}
    for one in declared:
        known = stored.get(one.task)
        if known is None or known[1] != one.declaration:
            if known is None:
                added.append(one.task)
            elif not _fires_otherwise(known):
                changed.append(one.task)
            known = _put(db, now_us, one)
        standings.append(known)
    return Found(standings, added, changed, renamed, _declare(db, now_us, declared, standings, node_id))


def put(db: sqlite3.Connection, now_us: int, declared: Declaration, node_id: str) -> tuple[tuple[Any, ...], str]:
    """Add the task, or replace it; where it stands, and the digest of a list of it alone."""
    standing = _put(db, now_us, declared)
    return standing, _declare(db, now_us, [declared], [standing], node_id)


def _declare(
    db: sqlite3.Connection,
    now_us: int,
    declared: Sequence[Declaration],
    standings: Sequence[tuple[Any, ...]],
    node_id: str,
) -> str:
    """Let the node declare these tasks, whose parked runs are tried again; the digest of their list."""
    pairs = zip(declared, standings, strict=True)
    others = [(one.metadata, one.task) for one, known in pairs if known[10] != one.metadata]
    db.executemany("UPDATE asyncsched_tasks SET metadata = ? WHERE id = ?", others)
    tasks = [one.task for one in declared]
    unpark(db, now_us, tasks)
    return enrol(db, node_id, tasks)


def _fires_otherwise(known: tuple[Any, ...]) -> bool:
    """Whether an operator has put another trigger in place of what code declares."""
    return known[9] is not None and overrides_of(known[0], known[9]).trigger is not None


def _put(db: sqlite3.Connection, now_us: int, declared: Declaration) -> tuple[Any, ...]:
    """Add the task, or replace it; where it stands. The watermark of another trigger stands with it."""
    task, declaration, trigger, next_us, history_limit, _aliases, _metadata = declared
    said = None if trigger is None else stored_as(task, trigger.to_json())
    before = standing(db, task)
    if before is not None and _fires_otherwise(before):
        next_us = before[3]
    (known,) = db.execute(
        "INSERT INTO asyncsched_tasks (id, declaration, trigger, next_at, version, history_limit) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET declaration = excluded.declaration, "
        "trigger = excluded.trigger, next_at = excluded.next_at, version = excluded.version, "
        f"history_limit = excluded.history_limit, skip_at = NULL, made = 0 RETURNING {STANDING}",
        (task, declaration, said, next_us, edit(db), history_limit),
    ).fetchall()
    if history_limit < (HISTORY_LIMIT if before is None else before[5]):
        Unit(db, now_us).prune(task)
    return tuple(known)


def amend(db: sqlite3.Connection, task: str, version: int, amendment: Amendment) -> tuple[Any, ...] | None:
    """Write what an operator changed, on this version; where the task stands then."""
    paused_until_us, skip_us, overrides, next_us = amendment
    changed: dict[str, int | str | None] = {
        "version": edit(db),
        "paused_until_at": paused_until_us,
        "skip_at": skip_us,
    }
    if overrides is not None:
        changed |= {"overrides": _overrides_text(overrides), "next_at": next_us}
    db.execute(
        f"UPDATE asyncsched_tasks SET {', '.join(f'{name} = ?' for name in changed)} WHERE id = ? AND version = ?",
        (*changed.values(), task, version),
    )
    return standing(db, task)


def _overrides_text(overrides: Overrides) -> str | None:
    said = overrides.to_json()
    return json.dumps(said) if said else None


def drop(db: sqlite3.Connection, now_us: int, task: str, reason: str) -> list[Row]:
    """Forget the task; those of its runs that waited, cancelled."""
    db.execute("DELETE FROM asyncsched_tasks WHERE id = ?", (task,))
    forget(db, task)
    db.execute("DELETE FROM asyncsched_marks WHERE task = ?", (task,))
    waiting = db.execute("SELECT id FROM asyncsched_runs WHERE task = ? AND state != 1 ORDER BY seq", (task,))
    return cancel(db, now_us, [run_id for (run_id,) in waiting.fetchall()], reason)


def stop(db: sqlite3.Connection, run_ids: Collection[str], reason: str, node_id: str) -> list[Row]:
    """Tell other nodes than this one to stop those of the runs that are under way there; these."""
    stopping: list[Row] = []
    for run_id in run_ids:
        found = db.execute(
            "UPDATE asyncsched_runs SET stop = coalesce(stop, ?) WHERE id = ? AND state = 1 AND owner != ? "
            f"RETURNING {COLUMNS}",
            (reason, run_id, node_id),
        ).fetchall()
        stopping += map(Row._make, found)
    return stopping


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
        f"SELECT {STANDING} FROM asyncsched_tasks WHERE id = ?", (task,)
    ).fetchone()
    return found


def standing_among(db: sqlite3.Connection, tasks: Collection[str]) -> list[tuple[Any, ...]]:
    """Where those of the tasks stand that are kept, in the order in which they are asked for."""
    query = f"SELECT {STANDING} FROM asyncsched_tasks WHERE id IN (SELECT value FROM json_each(?))"
    found = {stands[0]: stands for stands in db.execute(query, (json.dumps(list(tasks)),))}
    return [found[task] for task in tasks if task in found]


@crash_points.unit("fire", lambda done: done[0])
def fire(db: sqlite3.Connection, now_us: int, orders: Sequence[Order]) -> tuple[set[str], list[Row]]:
    """Carry out the orders that count: their tasks, and the runs that became skips as others stand for them."""
    unit = Unit(db, now_us)
    won, merged = set(), []
    for task, version, was_us, next_us, runs, skips, counted, met in orders:
        if was_us is not None and was_us > now_us:
            continue
        if met is not None and not still_met(db, now_us, task, met):
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


@crash_points.unit("submit", lambda done: None in done)
def submit(db: sqlite3.Connection, now_us: int, runs: Sequence[New]) -> list[Row | None]:
    """Write the runs; for each the other one that stands for it, if any."""
    unit = Unit(db, now_us)
    found: list[Row | None] = []
    merged: dict[str, Row] = {}
    fired = _fired(db, runs[0].row.task) if runs and terms_of(runs[0].row.terms).backfill else None
    for new in runs:
        row = new.row
        stands = merged.get(row.flow or row.id) if merged else None
        if stands is None and fired is not None and row.scheduled_at is not None:
            earlier = fired.setdefault((row.task, row.scheduled_at), row.id)
            stands = None if earlier == row.id else any_row(db, earlier)
        if stands is None:
            stands = unit.submit(new)
        if stands is not None:
            merged[row.id] = stands
        found.append(stands)
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
