"""Blocked runs, what they need and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from asyncsched import crash_points
from asyncsched.graph import Tally
from asyncsched.run import RunStatus
from asyncsched.stores._durable.marred import row_said
from asyncsched.stores._durable.orders import Decided, New
from asyncsched.stores._durable.rows import COLUMNS, Row, terms_of
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.met import still_met
from asyncsched.stores._postgres.transaction import Transaction
from asyncsched.stores._postgres.unit import Unit, lock_runs, locks_of

_STATUSES = {status.value: status for status in RunStatus}
_SELECT = ", ".join(f"r.{name}" for name in Row._fields)


@crash_points.after("followers", len)
async def followers(db: Database, run_ids: Sequence[str] | None) -> list[tuple[Row, Tally]]:
    """The blocked runs that need one of these; with ``None`` all that need one which has ended."""
    which = "n.status IS NOT NULL" if run_ids is None else "n.upstream = ANY($1::text[])"
    found = await db.rows(
        f"SELECT {_SELECT} FROM asyncsched.runs r WHERE r.state = 3 AND r.id IN "
        f"(SELECT n.run FROM asyncsched.needs n WHERE {which}) ORDER BY r.seq",
        *(() if run_ids is None else (list(run_ids),)),
    )
    rows = list(map(Row._make, found))
    if not rows:
        return []
    needed = await db.rows(
        "SELECT run, status, reason FROM asyncsched.needs WHERE run = ANY($1::text[])", [row.id for row in rows]
    )
    by_run: dict[str, list[tuple[RunStatus, str | None]]] = {row.id: [] for row in rows}
    for run_id, status, reason in needed:
        by_run[run_id].append((_STATUSES.get(status, RunStatus.PENDING), reason))
    return [(row, Tally.of(by_run[row.id])) for row in rows]


@crash_points.unit("settle", any)
async def settle(db: Transaction, decisions: Sequence[Decided]) -> list[Row | None]:
    """Let blocked runs be ready, or end; each as it then stands, ``None`` if its decision did not count."""
    await db.lock({lock for one in decisions for lock in locks_of(terms_of(one.row.terms))})
    tasks = sorted({one.row.task for one in decisions if one.met is not None})
    for task in tasks:  # who fires one of them without seeing this has counted too few
        await db.execute("UPDATE asyncsched.tasks SET touched = pg_current_xact_id() WHERE id = $1", task)
    blocked = {row.id: row for row in await lock_runs(db, [one.row.id for one in decisions], "state = 3")}
    unit = Unit(db)
    done = [await _settle(unit, one, blocked) for one in decisions]
    await unit.close()
    return done


async def _settle(unit: Unit, decided: Decided, blocked: dict[str, Row]) -> Row | None:
    row, ready, sources, met = decided
    before = blocked.get(row.id)
    if before is None or before.token != row.token - 1:
        return None
    if met is not None and not await still_met(unit.db, row.task, met):
        return None
    del blocked[row.id]
    if not ready:
        return None if await unit.end(row, "= 3") is None else row
    admitted = row._replace(due_at=max(row.due_at, unit.now_us))
    await unit.db.execute("UPDATE asyncsched.runs SET edges = $1 WHERE id = $2", row.edges, row.id)
    await unit.admit(admitted)
    if sources is not None:  # their results are kept until it has ended
        await unit.db.execute("DELETE FROM asyncsched.needs WHERE run = $1", row.id)
        await unit.db.many(
            "INSERT INTO asyncsched.needs (upstream, run, status) VALUES ($1, $2, 'SUCCESS')",
            [(source, row.id) for source in sources],
        )
    return admitted


async def lookback(db: Database, tasks: Collection[str]) -> dict[str, tuple[Row | None, list[Row]]]:
    """Of each task its last success and its runs that have not ended."""
    return {task: (await _last_success(db, task), await _unfinished(db, task)) for task in tasks}


async def _last_success(db: Database, task: str) -> Row | None:
    marked = await db.value("SELECT succeeded FROM asyncsched.marks WHERE task = $1", task)
    last = None if marked is None else row_said(marked)
    if last is not None:
        return last
    kept = await db.row(
        f"SELECT {COLUMNS} FROM asyncsched.history WHERE task = $1 AND status = 'SUCCESS' ORDER BY seq DESC LIMIT 1",
        task,
    )
    return None if kept is None else Row._make(kept)


async def _unfinished(db: Database, task: str) -> list[Row]:
    found = await db.rows(f"SELECT {COLUMNS} FROM asyncsched.runs WHERE task = $1 ORDER BY seq", task)
    return list(map(Row._make, found))


async def offers(db: Database, task: str, upstreams: Mapping[str, str]) -> tuple[dict[str, str], list[Row]]:
    """What the join took last, and the ended runs of its upstreams in later flows."""
    taken = _taken(await db.value("SELECT taken FROM asyncsched.marks WHERE task = $1", task))
    ended = []
    for upstream, root in upstreams.items():
        found = await db.rows(
            f"SELECT {COLUMNS} FROM asyncsched.history WHERE task = $1 AND flow > $2 ORDER BY seq",
            *(upstream, taken.get(root, "")),
        )
        ended += list(map(Row._make, found))
    return taken, ended


async def join(
    db: Transaction, task: str, before: Mapping[str, str], after: Mapping[str, str], runs: Sequence[New]
) -> bool:
    """Write the runs of a join's new flow, if what it has taken is still ``before``."""
    await db.lock({f"join/{task}", *(lock for new in runs for lock in locks_of(terms_of(new.row.terms)))})
    if _taken(await db.value("SELECT taken FROM asyncsched.marks WHERE task = $1", task)) != before:
        return False
    await db.execute(
        "INSERT INTO asyncsched.marks (task, taken) VALUES ($1, $2) "
        "ON CONFLICT (task) DO UPDATE SET taken = excluded.taken",
        *(task, json.dumps(after)),
    )
    unit = Unit(db)
    for new in runs:
        await unit.submit(new)
    await unit.close()
    return True


def _taken(text: str | None) -> dict[str, str]:
    try:
        said = {} if text is None else json.loads(text)
    except (ValueError, TypeError, RecursionError):
        said = None
    if isinstance(said, dict) and all(isinstance(flow, str) for flow in said.values()):
        return said
    return {}
