"""What has become of runs at other nodes, as this one must know it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from asyncsched.errors import RunFailed
from asyncsched.run import Run, RunStatus, Settled
from asyncsched.stores._sqlite.rows import COLUMNS, Row

AT_ONCE = 500
"""So many runs are asked for at a time: half a millisecond."""


def ended_among(db: sqlite3.Connection, run_ids: Sequence[str]) -> dict[str, Row | None]:
    """Those of the runs that have ended; ``None`` for one that is no longer kept."""
    asked = json.dumps(run_ids)
    live = {
        run_id
        for (run_id,) in db.execute(
            "SELECT id FROM asyncsched_runs WHERE id IN (SELECT value FROM json_each(?))", (asked,)
        )
    }
    found: dict[str, Row | None] = {run_id: None for run_id in run_ids if run_id not in live}
    if found:
        gone = json.dumps(list(found))
        query = f"SELECT {COLUMNS} FROM asyncsched_history WHERE id IN (SELECT value FROM json_each(?))"
        for row in map(Row._make, db.execute(query, (gone,))):
            found[row.id] = row
    return found


def lose(run: Run[object], now_us: int) -> None:
    """Let a run be over that ended elsewhere, nobody knows how: its task keeps no history of it."""
    message = f"run {run.id} of {run.task!r} ended at another node, and what became of it is no longer kept"
    if run.status is RunStatus.PENDING:
        run.become(RunStatus.RUNNING)
    run.apply(Settled(RunStatus.FAILED, now_us, error=RunFailed(message, run_id=run.id)))
