"""The tables of the SQLite store, and how they came to be: numbered steps, each applied once.

Instants are whole microseconds since the epoch. All names begin with ``asyncsched_``, so that the file may be the
program's own.
"""

from __future__ import annotations

import hashlib
import sqlite3
from typing import NamedTuple

from asyncsched.errors import StoreError


class Step(NamedTuple):
    """One change of the schema, in single statements."""

    name: str
    statements: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """Tells whether what was applied under this name is what the library has."""
        return hashlib.sha256("\n".join(self.statements).encode()).hexdigest()[:16]


# What both the live runs and the history tell of a run, in the order of ``rows.COLUMNS``.
_RUN = """
    id TEXT NOT NULL UNIQUE, task TEXT NOT NULL, created_at INTEGER NOT NULL, due_at INTEGER NOT NULL,
    scheduled_at INTEGER, stands_for INTEGER NOT NULL, terms TEXT, args TEXT, status TEXT NOT NULL, reason TEXT,
    attempt INTEGER NOT NULL, token INTEGER NOT NULL, node TEXT, first_at INTEGER, started_at INTEGER,
    finished_at INTEGER, result TEXT, error TEXT, notes TEXT, retry_of TEXT, flow TEXT, edges TEXT"""

_FIRST = Step(
    "0001 tasks, runs, history",
    (
        "CREATE TABLE asyncsched_counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE asyncsched_nodes (id TEXT PRIMARY KEY, name TEXT NOT NULL, started_at INTEGER NOT NULL)",
        # declaration, trigger: JSON. next_at: the watermark. taken: what a join took last.
        """CREATE TABLE asyncsched_tasks (
            id TEXT PRIMARY KEY, declaration TEXT NOT NULL, trigger TEXT, next_at INTEGER, version INTEGER NOT NULL,
            history_limit INTEGER NOT NULL, paused_until_at INTEGER, skip_at INTEGER, made INTEGER NOT NULL DEFAULT 0)
            WITHOUT ROWID""",
        # Live rows only. state: see rows.py. holds: 1 a place under its key, 2 a start promised by its rate.
        # maker, owner: the node that wrote it, and that runs it. lost: how many of them vanished.
        f"""CREATE TABLE asyncsched_runs (seq INTEGER PRIMARY KEY AUTOINCREMENT, {_RUN},
            state INTEGER NOT NULL, queue TEXT NOT NULL, priority INTEGER NOT NULL, grouped TEXT, limit_key TEXT,
            arrived_at INTEGER NOT NULL, lapses_at INTEGER, maker TEXT NOT NULL, owner TEXT,
            lost INTEGER NOT NULL DEFAULT 0, holds INTEGER NOT NULL DEFAULT 0)""",
        "CREATE INDEX asyncsched_runs_ready ON asyncsched_runs (queue, priority DESC, due_at, seq) WHERE state = 0",
        "CREATE INDEX asyncsched_runs_running ON asyncsched_runs (owner) WHERE state = 1",
        "CREATE INDEX asyncsched_runs_delayed ON asyncsched_runs (due_at) WHERE state = 2",
        "CREATE INDEX asyncsched_runs_task ON asyncsched_runs (task)",
        "CREATE INDEX asyncsched_runs_lapsing ON asyncsched_runs (lapses_at) WHERE lapses_at IS NOT NULL",
        """CREATE INDEX asyncsched_runs_queued
            ON asyncsched_runs (limit_key, started_at IS NULL, priority DESC, arrived_at, seq) WHERE state = 4""",
        "CREATE INDEX asyncsched_runs_holding ON asyncsched_runs (limit_key) WHERE holds != 0",
        f"CREATE TABLE asyncsched_history (seq INTEGER PRIMARY KEY AUTOINCREMENT, {_RUN})",
        "CREATE INDEX asyncsched_history_task ON asyncsched_history (task, seq)",
        "CREATE INDEX asyncsched_history_age ON asyncsched_history (created_at)",
        # The starts that a rate looks back at. wake_at: when the next may start, if nothing else happens before.
        """CREATE TABLE asyncsched_keys (key TEXT PRIMARY KEY, starts TEXT NOT NULL, count INTEGER NOT NULL,
            period INTEGER NOT NULL, last_at INTEGER, wake_at INTEGER) WITHOUT ROWID""",
        # Which run stands for several submits. ended: it, where it has ended; it then stands until until_at.
        """CREATE TABLE asyncsched_standing (key TEXT PRIMARY KEY, run TEXT NOT NULL, ended TEXT, until_at INTEGER)
            WITHOUT ROWID""",
        "CREATE INDEX asyncsched_standing_until ON asyncsched_standing (until_at) WHERE until_at IS NOT NULL",
        # Who needs whom, until the one that needs has ended; status and reason once the upstream has.
        """CREATE TABLE asyncsched_needs (upstream TEXT NOT NULL, run TEXT NOT NULL, status TEXT, reason TEXT,
            PRIMARY KEY (upstream, run)) WITHOUT ROWID""",
        "CREATE INDEX asyncsched_needs_run ON asyncsched_needs (run)",
        # Of each task in a graph: its last success, as a row of history; of a join: the flows that it took last.
        "CREATE TABLE asyncsched_marks (task TEXT PRIMARY KEY, succeeded TEXT, taken TEXT) WITHOUT ROWID",
    ),
)
STEPS = (_FIRST,)


def migrate(db: sqlite3.Connection, now_us: int) -> None:
    """Bring the schema to what this version of the library needs; nothing if it is there already.

    Two processes that start together make one schema: the second waits, and finds it.

    Raises:
        StoreError: the file has a newer schema, or one that was changed by hand.
    """
    if len(_applied(db)) == len(STEPS) and not _wrong(_applied(db)):
        return
    db.execute("BEGIN EXCLUSIVE")
    try:
        db.execute(
            "CREATE TABLE IF NOT EXISTS asyncsched_migrations "
            "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL)"
        )
        applied = _applied(db)
        if wrong := _wrong(applied):
            raise StoreError(wrong)
        for number in range(len(applied), len(STEPS)):
            step = STEPS[number]
            for statement in step.statements:
                db.execute(statement)
            row = (number + 1, step.name, step.checksum, now_us)
            db.execute("INSERT INTO asyncsched_migrations VALUES (?, ?, ?, ?)", row)
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _applied(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Name and checksum of each step that the file has seen."""
    there = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'asyncsched_migrations'").fetchone()
    return db.execute("SELECT name, checksum FROM asyncsched_migrations ORDER BY number").fetchall() if there else []


def _wrong(applied: list[tuple[str, str]]) -> str | None:
    """Why this library cannot use a schema that has seen these steps."""
    if len(applied) > len(STEPS):
        return (
            f"its schema is newer than this version of asyncsched: it has seen step {applied[-1][0]!r}, and the last "
            f"one known here is {STEPS[-1].name!r}. Install the version that wrote it, or a later one"
        )
    for (name, checksum), step in zip(applied, STEPS, strict=False):
        if (name, checksum) != (step.name, step.checksum):
            return f"its schema is not that of asyncsched: step {name!r} differs from {step.name!r} here"
    return None
