"""A file of the SQLite store as the library wrote it whose schema had one step: rows of every kind, to be migrated."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from asyncsched.stores._sqlite import schema

# 21 November 2026, 15:20 UTC.
NOW_US = 1_795_274_400_000_000
HOUR_US = 3_600_000_000
HOURLY = '[{"kind": "Every", "period": {"duration": "1h"}, "start": null}, "UTC"]'
GRID = '{"kind": "Every", "period": {"duration": "1h"}, "start": {"datetime": "2026-11-21T15:20:00+00:00"}}'
UP, DOWN = "01a1feb1-5a80-7da9-a55c-4479c9a6fd4d", "01a1feb1-5a80-7da9-a55c-4479c9a6fd4e"
FLOW_OF_THREE = '{"needs":["01a1feb1-5a80-7da9-a55c-4479c9a6fd4d"],"blocked":true}'
ERROR = json.dumps(
    {"type": "ValueError", "message": "no money", "traceback": "Traceback\n  ...\nValueError: no money\n"}
)
_RUN = (
    *("id", "task", "created_at", "due_at", "scheduled_at", "stands_for", "terms", "args", "status", "reason"),
    *("attempt", "token", "node", "first_at", "started_at", "finished_at", "result", "error", "notes", "retry_of"),
    *("flow", "edges"),
)


def run(number: int, task: str, status: str, **more: Any) -> dict[str, Any]:
    """The columns of a run."""
    at_us = NOW_US + number
    base = {"id": f"01a1feb1-5a7e-7301-9e0b-{number:012}", "task": task, "created_at": at_us, "due_at": at_us}
    return base | {"stands_for": 1, "status": status, "attempt": 0, "token": 0} | more


def live(number: int, task: str, state: int, **more: Any) -> dict[str, Any]:
    """The columns of a run that has not ended. state: 0 ready, 1 running, 2 delayed, 3 blocked, 4 queued, 5 parked."""
    status = "RUNNING" if state == 1 else "PENDING"
    placed = {"state": state, "queue": "default", "priority": 0, "arrived_at": NOW_US + number, "maker": "gone"}
    return run(number, task, status) | placed | more


def ended(number: int, task: str, status: str, **more: Any) -> dict[str, Any]:
    """The columns of a run that has ended."""
    at_us = NOW_US + number
    times = {"first_at": at_us, "started_at": at_us, "finished_at": at_us + 2_000_000, "node": "vm:1"}
    return run(number, task, status) | times | {"attempt": 1, "token": 2} | more


def _upstream() -> dict[str, Any]:
    return ended(20, "up", "SUCCESS", id=UP, result="1", flow=UP, edges="{}")


def tables() -> dict[str, list[dict[str, Any]]]:
    """What is written into which table."""
    limited = {"terms": '{"limit_key":"slow/a"}', "args": '[["a"]]', "limit_key": "slow/a"}
    begun = {"first_at": NOW_US + 2, "started_at": NOW_US + 2, "node": "vm:1"}
    task = {"declaration": '""', "version": 1, "history_limit": 100, "made": 0}
    paused = {"paused_until_at": 2**62, "skip_at": NOW_US + HOUR_US}
    hourly = (
        task | paused | {"declaration": HOURLY, "trigger": GRID, "next_at": NOW_US + HOUR_US, "version": 6, "made": 7}
    )
    marked = json.dumps([_upstream().get(name) for name in _RUN])
    return {
        "counts": [{"name": "edits", "value": 6}],
        "nodes": [{"id": "gone", "name": "vm:1", "started_at": NOW_US}],
        "tasks": [
            *({"id": name} | task for name in ("bill", "down", "renamed:away", "slow", "up")),
            {"id": "hourly"} | hourly,
        ],
        "runs": [
            live(1, "bill", 0, args='[["ready"]]', queue="mail", priority=3, terms='{"priority":3,"queue":"mail"}'),
            live(2, "slow", 1, **limited, **begun, owner="gone", attempt=1, token=1, holds=1, lost=1),
            live(3, "bill", 2, args='[["later"]]', due_at=2**53, terms='{"once":["Unique",0],"once_key":"bill~u"}'),
            live(4, "down", 3, flow=UP, edges=FLOW_OF_THREE),
            live(5, "slow", 4, **limited),
            live(6, "bill", 5, args='{"not": "arguments"}', reason="parked, it cannot be read: so"),
            live(7, "renamed:away", 0, args='[[1],{"deep":{"er":[null,true,1.5,"ü"]}}]'),
        ],
        "history": [
            ended(11, "bill", "SUCCESS", args='[["x","2026-02-03"]]', result='"2026-01-02"', notes='{"pages": 3}'),
            ended(12, "bill", "FAILED", args='[["bad"]]', error=ERROR, attempt=3, token=6),
            ended(13, "hourly", "SKIPPED", scheduled_at=NOW_US - HOUR_US, stands_for=9, reason="missed"),
            ended(14, "bill", "CANCELLED", reason="by hand", retry_of="01a1feb1-5a7e-7301-9e0b-000000000012"),
            ended(15, "bill", "SUCCESS", result='!["Page","it is of type Page, which is no plain JSON"]'),
            _upstream(),
        ],
        "keys": [{"key": "bill/rate", "starts": f"[{NOW_US}]", "count": 3, "period": HOUR_US, "last_at": NOW_US}],
        "standing": [
            {"key": "bill~u", "run": "01a1feb1-5a7e-7301-9e0b-000000000003"},
            {"key": "bill~v", "run": "01a1feb1-5a7e-7301-9e0b-000000000011", "ended": "SUCCESS", "until_at": 2**53},
        ],
        "needs": [{"upstream": UP, "run": "01a1feb1-5a7e-7301-9e0b-000000000004", "status": "SUCCESS"}],
        "marks": [{"task": "up", "succeeded": marked}, {"task": "down", "taken": json.dumps([UP])}],
    }


def write_oldest(path: Path) -> None:
    """Write the file."""
    first = schema.STEPS[0]
    path.touch(0o600)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for statement in first.statements:
            db.execute(statement)
        db.execute(
            "CREATE TABLE asyncsched_migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, "
            "checksum TEXT NOT NULL, applied_at INTEGER NOT NULL)"
        )
        # As that library noted it: a step that was released is never changed again, not by a blank.
        note = (1, "0001 tasks, runs, history", "7e84d7d623c0957e", NOW_US)
        db.execute("INSERT INTO asyncsched_migrations VALUES (?, ?, ?, ?)", note)
        for table, written in tables().items():
            for row in written:
                marks = ", ".join("?" * len(row))
                columns = ", ".join(row)
                db.execute(f"INSERT INTO asyncsched_{table} ({columns}) VALUES ({marks})", tuple(row.values()))


def held(path: Path) -> dict[str, list[dict[str, Any]]]:
    """What the file holds of what ``write_oldest`` wrote, column by column: later columns and tables aside."""
    found: dict[str, list[dict[str, Any]]] = {}
    with contextlib.closing(sqlite3.connect(path)) as db:
        for table, written in tables().items():
            found[table] = []
            for row in written:
                columns = ", ".join(row)
                where = " AND ".join(f"{name} IS ?" for name in list(row)[:2])
                read = f"SELECT {columns} FROM asyncsched_{table} WHERE {where}"
                rest = db.execute(read, tuple(row.values())[:2]).fetchall()
                found[table] += [dict(zip(row, values, strict=True)) for values in rest]
            (count,) = db.execute(f"SELECT count(*) FROM asyncsched_{table}").fetchone()
            assert count == len(written), f"{table}: {count} rows, where {len(written)} were written"
    return found
