"""What the store is asked about runs: by id, by filter, by task, and what others have done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from asyncsched.run import FINAL
from asyncsched.stores._base import RunFilter
from asyncsched.stores._durable.rows import COLUMNS, Row, needs_of
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.pile import bounded

AT_ONCE = 500
"""So many runs are asked for at a time."""
# The instant of a run; and, of runs that were made at once, which is the newer.
_INSTANT, _AGE = "coalesce(scheduled_at, created_at)", "created_at DESC, coalesce(scheduled_at, due_at) DESC, id DESC"


async def find(db: Database, wanted: RunFilter) -> list[Row]:
    """The runs that fit, newest first."""
    where, values = _conditions(wanted)
    parts = [f"(SELECT {COLUMNS} FROM asyncsched.{table}{where} ORDER BY {_AGE} LIMIT $1)" for table in _tables(wanted)]
    if not parts:
        return []
    query = f"SELECT * FROM ({' UNION ALL '.join(parts)}) AS found ORDER BY {_AGE} LIMIT $1"
    return list(map(Row._make, await db.rows(query, wanted.limit, *values)))


def _tables(wanted: RunFilter) -> list[str]:
    """Where such runs are: the history may be long, and those that have not ended are not there."""
    live = wanted.status is None or not FINAL.issuperset(wanted.status)
    ended = wanted.status is None or not FINAL.isdisjoint(wanted.status)
    return ["runs"] * live + ["history"] * ended


def _conditions(wanted: RunFilter) -> tuple[str, list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []

    def need(condition: str, value: Any) -> None:
        values.append(value)
        conditions.append(condition.format(f"${len(values) + 1}"))

    if wanted.task is not None:
        need("task = {}", wanted.task)
    if wanted.flow is not None:
        need("coalesce(flow, id) = {}", wanted.flow)
    if wanted.status is not None:
        need("status = ANY({}::text[])", [status.value for status in wanted.status])
    if wanted.reason is not None:
        need("reason = ANY({}::text[])", [str(reason) for reason in wanted.reason])
    if wanted.tasks is not None:
        need("task = ANY({}::text[])", list(wanted.tasks))
    if wanted.queue is not None:
        need("queue = {}", wanted.queue)
    if wanted.since_us is not None:
        need(f"{_INSTANT} >= {{}}", wanted.since_us)
    if wanted.until_us is not None:
        need(f"{_INSTANT} < {{}}", wanted.until_us)
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values


async def unfinished(db: Database, tasks: Collection[str]) -> list[Row]:
    """The runs of these tasks that have not ended, newest first."""
    found = await db.rows(
        f"SELECT {COLUMNS} FROM asyncsched.runs WHERE task = ANY($1::text[]) ORDER BY {_AGE}", list(tasks)
    )
    return list(map(Row._make, found))


async def last_ended(db: Database, tasks: Sequence[str], most: int) -> dict[str, list[Row]]:
    """The latest ended runs of each of these tasks, at most so many of each, oldest first."""
    columns = ", ".join(f"h.{name}" for name in Row._fields)
    rows = await db.rows(
        f"SELECT {columns} FROM unnest($1::text[]) AS e(task) CROSS JOIN LATERAL (SELECT * FROM asyncsched.history o "
        # As for ``prune``: not by the index of the places alone.
        "WHERE o.task >= e.task AND o.task <= e.task ORDER BY o.task DESC, o.seq DESC LIMIT $2) AS h ORDER BY h.seq",
        *(list(tasks), most),
    )
    found: dict[str, list[Row]] = {}
    for row in map(Row._make, rows):
        found.setdefault(row.task, []).append(row)
    return found


async def upstreams_of(db: Database, rows: Iterable[Row]) -> dict[str, Row]:
    """The runs that these need, as far as they are kept."""
    needs = {need for row in rows if row.edges is not None for need in needs_of(row)}
    if not needs:
        return {}
    found = await db.rows(
        f"SELECT {COLUMNS} FROM asyncsched.runs WHERE id = ANY($1::text[]) UNION ALL "
        f"SELECT {COLUMNS} FROM asyncsched.history WHERE id = ANY($1::text[])",
        list(needs),
    )
    return {row.id: row for row in map(Row._make, found)}


class Cursor(NamedTuple):
    """Up to where the runs of fires have been looked at.

    base: all up to there are known. seen: the last that was seen; and as soon as no transaction is under way that is
    older than ``xmax``, nothing before it can appear any more.
    """

    base: int
    seen: int
    xmax: int


class Abroad(NamedTuple):
    """What others have done.

    ended: those of the runs asked for that have ended; ``None`` for one that is no longer kept.
    made: the runs of fires that others have written since; those that were told before may be among them.
    stops: why runs that this node has under way are to stop, by their ids.
    edited: the tasks that have a later version than was asked for.
    edits: the version that was given last; nodes that come or go count too.
    ready: whether any run waits that may be claimed, or that has waited too long.
    next_us: when the next one may be.
    alone: whether there is no other node.
    """

    ended: dict[str, Row | None]
    made: list[Row]
    cursor: Cursor
    stops: dict[str, str]
    edited: list[str]
    edits: int
    now_us: int
    ready: bool
    next_us: int | None
    alone: bool


_SIGHT = (
    "SELECT asyncsched.now_us(), pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin, "
    "pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax, "
    "coalesce((SELECT value FROM asyncsched.counts WHERE name = 'edits'), 0) AS edits, "
    "(SELECT array_agg(ARRAY[id, stop]) FROM asyncsched.runs WHERE owner = $1 AND stop IS NOT NULL) AS stops, "
    "coalesce((SELECT max(seq) FROM asyncsched.runs WHERE scheduled_at IS NOT NULL AND seq > $2), $2) AS last, "
    "(SELECT min(queue) FROM asyncsched.runs WHERE state = 0) IS NOT NULL AS ready, "
    "least((SELECT min(due_at) FROM asyncsched.runs WHERE state = 2), "
    "(SELECT min(wake_at) FROM asyncsched.keys WHERE wake_at IS NOT NULL), "
    "(SELECT min(lapses_at) FROM asyncsched.runs WHERE lapses_at IS NOT NULL)) AS next_us, "
    "NOT EXISTS (SELECT 1 FROM asyncsched.nodes WHERE id <> $1) AS alone"
)


async def look_abroad(
    db: Database, run_ids: Sequence[str], cursor: Cursor, node_id: str, edits: int, low_us: int | None
) -> Abroad:
    """What others have done about these runs and this node's, and which they have written.

    low_us: nothing is ready that is due before, if that is known.
    """
    sight, low = (_SIGHT, ()) if low_us is None else (bounded(_SIGHT, 3), (low_us,))
    found = await db.row(sight, node_id, cursor.base, *low)
    now_us, xmin, xmax, newest, stops, last, ready, next_us, alone = found  # type: ignore[misc]
    made, edited = [], []
    if last > cursor.base:
        made = await db.rows(
            f"SELECT {COLUMNS} FROM asyncsched.runs WHERE seq > $1 AND seq <= $2 AND scheduled_at IS NOT NULL "
            "AND maker <> $3 ORDER BY seq",
            *(cursor.base, last, node_id),
        )
    if newest != edits:
        edited = await db.rows("SELECT id FROM asyncsched.tasks WHERE version > $1", edits)
    return Abroad(
        await ended_among(db, run_ids),
        list(map(Row._make, made)),
        _moved(cursor, last, xmin, xmax),
        dict(stops or ()),
        [task for (task,) in edited],
        newest,
        now_us,
        ready or (next_us is not None and next_us <= now_us),
        next_us,
        alone,
    )


def _moved(cursor: Cursor, last: int, xmin: int, xmax: int) -> Cursor:
    if xmin >= cursor.xmax:  # all that were under way then are over
        return Cursor(cursor.seen, last, xmax)
    return cursor


async def ended_among(db: Database, run_ids: Sequence[str]) -> dict[str, Row | None]:
    """Those of these runs that have ended; ``None`` for one of which nothing is known."""
    if not run_ids:
        return {}
    live = await db.rows("SELECT id FROM asyncsched.runs WHERE id = ANY($1::text[])", list(run_ids))
    alive = {run_id for (run_id,) in live}
    found: dict[str, Row | None] = {run_id: None for run_id in run_ids if run_id not in alive}
    if found:
        rows = await db.rows(f"SELECT {COLUMNS} FROM asyncsched.history WHERE id = ANY($1::text[])", list(found))
        for row in map(Row._make, rows):
            found[row.id] = row
    return found
