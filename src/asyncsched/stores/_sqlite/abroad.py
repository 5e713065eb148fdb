"""What has become of runs at other nodes, as this one must know it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from asyncsched.stores._durable.rows import COLUMNS, Row
from asyncsched.stores._sqlite.roster import edited_since, last_edit

AT_ONCE = 500
"""So many runs are asked for at a time: half a millisecond."""


class Abroad(NamedTuple):
    """What others have done.

    ended: those of the runs asked for that have ended; ``None`` for one that is no longer kept.
    made: the runs of fires that others have written since.
    last: up to where runs have been looked at.
    stops: why runs that this node has under way are to stop, by their ids.
    edited: the tasks that have a later version than was asked for.
    edits: the version that was given last; nodes that come or go count too.
    """

    ended: dict[str, Row | None]
    made: list[Row]
    last: int
    stops: dict[str, str]
    edited: list[str]
    edits: int


def look_abroad(db: sqlite3.Connection, run_ids: Sequence[str], since: int, node_id: str, edits: int) -> Abroad:
    """What others have done about these runs and this node's, and which they have written later than ``since``."""
    new = db.execute(
        f"SELECT seq, {COLUMNS} FROM asyncsched_runs WHERE seq > ? AND scheduled_at IS NOT NULL AND maker != ? "
        "ORDER BY seq LIMIT ?",
        (since, node_id, AT_ONCE),
    ).fetchall()
    last = new[-1][0] if len(new) == AT_ONCE else last_written(db)
    stops = db.execute("SELECT id, stop FROM asyncsched_runs WHERE owner = ? AND stop IS NOT NULL", (node_id,))
    return Abroad(
        ended_among(db, run_ids),
        [Row._make(one[1:]) for one in new],
        last,
        dict(stops.fetchall()),
        edited_since(db, edits) if (newest := last_edit(db)) != edits else [],
        newest,
    )


def last_written(db: sqlite3.Connection) -> int:
    """The place of the last run that was ever written."""
    found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'asyncsched_runs'").fetchone()
    return 0 if found is None else int(found[0])


def ended_among(db: sqlite3.Connection, run_ids: Sequence[str]) -> dict[str, Row | None]:
    """Those of these runs that have ended; ``None`` for one of which nothing is known."""
    asked = json.dumps(run_ids)
    query = "SELECT id FROM asyncsched_runs WHERE id IN (SELECT value FROM json_each(?))"
    live = {run_id for (run_id,) in db.execute(query, (asked,))}
    found: dict[str, Row | None] = {run_id: None for run_id in run_ids if run_id not in live}
    if found:
        gone = json.dumps(list(found))
        query = f"SELECT {COLUMNS} FROM asyncsched_history WHERE id IN (SELECT value FROM json_each(?))"
        for row in map(Row._make, db.execute(query, (gone,))):
            found[row.id] = row
    return found
