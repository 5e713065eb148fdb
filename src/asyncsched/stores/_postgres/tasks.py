"""Where tasks stand, within a transaction: what code declares, what operators change, what fires move."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from asyncsched.errors import StoreError
from asyncsched.run import RunStatus, Settled
from asyncsched.stores._base import Amendment
from asyncsched.stores._durable.orders import HISTORY_LIMIT, New, Order
from asyncsched.stores._durable.rows import COLUMNS, Row, terms_of
from asyncsched.stores._durable.tasks import STANDING, Declaration, Found, overrides_of
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.met import still_met
from asyncsched.stores._postgres.renames import take_over
from asyncsched.stores._postgres.roster import edit, enrol, forget, unpark
from asyncsched.stores._postgres.transaction import Transaction, of_backfill
from asyncsched.stores._postgres.unit import Unit, lock_runs, locks_of, prune

DECLARING = "declaring"
"""The lock of those who declare tasks, and of who looks which are declared by nobody."""
_PUT = (
    "INSERT INTO asyncsched.tasks (id, declaration, trigger, next_at, version, history_limit) "
    "SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) "
    "ON CONFLICT (id) DO UPDATE SET declaration = excluded.declaration, trigger = excluded.trigger, "
    "next_at = excluded.next_at, version = excluded.version, history_limit = excluded.history_limit, skip_at = NULL, "
    f"made = 0 RETURNING {STANDING}"
)


async def reconcile(db: Transaction, declared: Sequence[Declaration], node_id: str) -> Found:
    """Take over what has another id by now, add what is new, re-arm what is declared differently."""
    renamed = await take_over(db, [(alias, one.task) for one in declared if one.aliases for alias in one.aliases])
    added: list[str] = []
    changed: list[str] = []
    stored = {known[0]: known for known in await standing_among(db, [one.task for one in declared])}
    differing = []
    for one in declared:
        known = stored.get(one.task)
        if known is None or known[1] != one.declaration:
            differing.append(one)
            if known is None:
                added.append(one.task)
            elif not _fires_otherwise(known):
                changed.append(one.task)
    stored |= {known[0]: known for known in await _put(db, differing, stored)}
    standings = [stored[one.task] for one in declared]
    return Found(standings, added, changed, renamed, await _declare(db, declared, standings, node_id))


async def put(db: Transaction, declared: Declaration, node_id: str) -> tuple[tuple[Any, ...], str]:
    """Add the task, or replace it; where it stands, and the digest of a list of it alone."""
    before = await standing(db, declared.task)
    (found,) = await _put(db, [declared], {} if before is None else {declared.task: before})
    return found, await _declare(db, [declared], [found], node_id)


async def _declare(
    db: Transaction, declared: Sequence[Declaration], standings: Sequence[tuple[Any, ...]], node_id: str
) -> str:
    """Let the node declare these tasks, whose parked runs are tried again; the digest of their list."""
    pairs = zip(declared, standings, strict=True)
    others = [(one.task, one.metadata) for one, known in pairs if known[10] != one.metadata]
    if others:
        await db.execute(
            "UPDATE asyncsched.tasks k SET metadata = v.metadata "
            "FROM unnest($1::text[], $2::text[]) AS v(id, metadata) "
            "WHERE k.id = v.id AND k.id = ANY($1::text[])",
            *map(list, zip(*others, strict=True)),
        )
    tasks = [one.task for one in declared]
    await unpark(db, tasks)
    return await enrol(db, node_id, tasks)


async def _put(
    db: Transaction, declared: Sequence[Declaration], before: dict[str, tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Add the tasks, or replace them; where they stand. The watermark of another trigger stands with it."""
    if not declared:
        return []
    last = await edit(db, len(declared))
    rows, fewer = [], []
    for version, one in enumerate(declared, last - len(declared) + 1):
        known = before.get(one.task)
        next_us = known[3] if known is not None and _fires_otherwise(known) else one.next_us
        rows.append((one.task, one.declaration, _trigger_text(one), next_us, version, one.history_limit))
        if one.history_limit < (HISTORY_LIMIT if known is None else known[5]):
            fewer.append(one.task)
    found = [tuple(one) for one in await db.change(_PUT, *map(list, zip(*rows, strict=True)))]
    if fewer:
        await prune(db, fewer)
    return found


def _fires_otherwise(known: tuple[Any, ...]) -> bool:
    """Whether an operator has put another trigger in place of what code declares."""
    return known[9] is not None and overrides_of(known[0], known[9]).trigger is not None


def _trigger_text(declared: Declaration) -> str | None:
    try:
        return None if declared.trigger is None else json.dumps(declared.trigger.to_json(), sort_keys=True)
    except (TypeError, ValueError) as error:
        cure = "its fields must be JSON values, dates, datetimes, timedeltas or triggers"
        raise StoreError(f"the trigger of task {declared.task!r} cannot be stored: {error}; {cure}") from error


async def amend(db: Transaction, task: str, version: int, amendment: Amendment) -> tuple[Any, ...] | None:
    """Write what an operator changed, on this version; where the task stands then."""
    paused_until_us, skip_us, overrides, next_us = amendment
    said = None if overrides is None else overrides.to_json()
    await db.execute(
        "UPDATE asyncsched.tasks SET version = $3, paused_until_at = $4, skip_at = $5, "
        "overrides = CASE WHEN $6::boolean THEN $7 ELSE overrides END, "
        "next_at = CASE WHEN $6::boolean THEN $8 ELSE next_at END WHERE id = $1 AND version = $2",
        *(task, version, await edit(db), paused_until_us, skip_us),
        *(overrides is not None, json.dumps(said) if said else None, next_us),
    )
    return await standing(db, task)


async def drop(db: Transaction, task: str, reason: str) -> list[Row]:
    """Forget the task; those of its runs that waited, cancelled."""
    waiting = await db.rows("SELECT id FROM asyncsched.runs WHERE task = $1 AND state <> 1 ORDER BY seq", task)
    rows = await lock_runs(db, [run_id for (run_id,) in waiting], "state <> 1")
    await db.execute("DELETE FROM asyncsched.tasks WHERE id = $1", task)
    await forget(db, task)
    await db.execute("DELETE FROM asyncsched.marks WHERE task = $1", task)
    return await _cancel(db, rows, reason)


async def cancel(db: Transaction, run_ids: Collection[str], reason: str) -> list[Row]:
    """End those of the runs that wait."""
    return await _cancel(db, await lock_runs(db, list(run_ids), "state <> 1"), reason)


async def _cancel(db: Transaction, rows: Sequence[Row], reason: str) -> list[Row]:
    unit = Unit(db)
    settled = Settled(RunStatus.CANCELLED, db.now_us, reason=reason)
    cancelled = await unit.end_waiting([(row, settled) for row in rows])
    await unit.close()
    return cancelled


async def stop(db: Transaction, run_ids: Collection[str], reason: str, node_id: str) -> list[Row]:
    """Tell other nodes than this one to stop those of the runs that are under way there; these."""
    found = await db.change(
        "UPDATE asyncsched.runs SET stop = coalesce(stop, $1) WHERE id = ANY(ARRAY(SELECT id FROM asyncsched.runs "
        f"WHERE id = ANY($2::text[]) AND state = 1 AND owner <> $3 ORDER BY id FOR UPDATE)) RETURNING {COLUMNS}",
        *(reason, list(run_ids), node_id),
    )
    by_id = {row.id: row for row in map(Row._make, found)}
    return [by_id[run_id] for run_id in run_ids if run_id in by_id]


async def standing(db: Database, task: str) -> tuple[Any, ...] | None:
    """Where the task stands, as columns."""
    found = await db.row(f"SELECT {STANDING} FROM asyncsched.tasks WHERE id = $1", task)
    return None if found is None else tuple(found)


async def standing_among(db: Database, tasks: Collection[str]) -> list[tuple[Any, ...]]:
    """Where those of the tasks stand that are kept, in the order in which they are asked for."""
    asked = list(tasks)
    rows = await db.rows(f"SELECT {STANDING} FROM asyncsched.tasks WHERE id = ANY($1::text[])", asked)
    found = {stands[0]: tuple(stands) for stands in rows}
    return [found[task] for task in asked if task in found]


async def fire(db: Transaction, orders: Sequence[Order]) -> tuple[set[str], list[Row]]:
    """Carry out the orders that count: their tasks, and the runs that became skips as others stand for them."""
    await db.lock({lock for one in orders for new in one.runs for lock in locks_of(terms_of(new.row.terms))})
    unit = Unit(db)
    won, merged = set(), []
    for task, version, was_us, next_us, runs, skips, counted, met in orders:
        if was_us is not None and was_us > db.now_us:
            continue
        named = (task, version, was_us)
        stands = await db.change(
            "SELECT 1 FROM asyncsched.tasks WHERE id = $1 AND version = $2 AND next_at IS NOT DISTINCT FROM $3::bigint "
            "FOR UPDATE",
            *named,
        )
        if not stands or (met is not None and not await still_met(db, task, met)):
            continue
        await db.execute(
            "UPDATE asyncsched.tasks SET next_at = $2, made = made + $3 WHERE id = $1", task, next_us, counted
        )
        won.add(task)
        unwritten = None
        for new in runs:
            if unwritten is not None and new.row.flow == unwritten:
                continue  # below one that is not run
            if (skip := await unit.fire(new)) is not None:
                merged.append(skip)
                unwritten = skip.id
        for row in skips:
            await unit.record(row)
    await unit.close()
    return won, merged


async def submit(db: Transaction, runs: Sequence[New]) -> list[Row | None]:
    """Write the runs; for each the other one that stands for it, if any."""
    terms = [terms_of(new.row.terms) for new in runs]
    backfilled = of_backfill(runs[0].row.task) if runs and terms[0].backfill else None
    await db.lock({lock for one in terms for lock in locks_of(one)} | ({backfilled} if backfilled else set()))
    unit = Unit(db)
    found: list[Row | None] = []
    merged: dict[str, Row] = {}
    fired = await _fired(db, runs[0].row.task) if backfilled else None
    for new in runs:
        row = new.row
        stands = merged.get(row.flow or row.id) if merged else None
        if stands is None and fired is not None and row.scheduled_at is not None:
            earlier = fired.setdefault((row.task, row.scheduled_at), row.id)
            stands = None if earlier == row.id else await unit.written(earlier)
        if stands is None:
            stands = await unit.submit(new)
        if stands is not None:
            merged[row.id] = stands
        found.append(stands)
    await unit.close()
    return found


async def _fired(db: Transaction, task: str) -> dict[tuple[str, int | None], str]:
    """The runs of the fires of a task: their ids, by task and instant. No other node makes any meanwhile."""
    await db.change("SELECT 1 FROM asyncsched.tasks WHERE id = $1 FOR UPDATE", task)
    found = await db.rows(
        "SELECT task, scheduled_at, id FROM asyncsched.runs WHERE task = $1 UNION ALL "
        "SELECT task, scheduled_at, id FROM asyncsched.history WHERE task = $1 AND status <> 'SKIPPED'",
        task,
    )
    return {(of, at_us): run_id for of, at_us, run_id in found}
