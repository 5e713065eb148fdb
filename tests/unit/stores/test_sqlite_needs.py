"""How a SQLite file is asked about runs that need others: by what has ended, however many there are."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest

from asyncsched.stores._sqlite import graphs, schema

MANY = 2_000


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        schema.migrate(db, 5)
        yield db


def blocked_runs(db: sqlite3.Connection, told: set[int]) -> None:
    """So many runs that each need one of their own, of which these have heard that it ended."""
    columns = (
        "seq, id, task, created_at, due_at, stands_for, status, attempt, token, queue, priority, arrived_at, maker"
    )
    db.executemany(
        f"INSERT INTO asyncsched_runs ({columns}, state) "
        "VALUES (?, ?, 't', 0, 0, 1, 'PENDING', 0, 0, 'q', 0, 0, 'm', 3)",
        [(number, f"r{number}") for number in range(MANY)],
    )
    db.executemany(
        "INSERT INTO asyncsched_needs VALUES (?, ?, ?, NULL)",
        [(f"u{number}", f"r{number}", "SUCCESS" if number in told else None) for number in range(MANY)],
    )


@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize("run_ids", [None, ["u7"]])
def test_who_needs_what_has_ended_is_found_by_indexes(
    db: sqlite3.Connection, run_ids: list[str] | None, analysed: bool
) -> None:
    blocked_runs(db, {7, 11})
    if analysed:
        db.execute("ANALYZE")
    queries: list[str] = []
    db.set_trace_callback(queries.append)
    found = graphs.followers(db, run_ids)
    db.set_trace_callback(None)
    assert [row.id for row, _tally in found] == (["r7", "r11"] if run_ids is None else ["r7"])
    steps = [detail for query in queries for *_ids, detail in db.execute(f"EXPLAIN QUERY PLAN {query}")]
    read_through = [step for step in steps if step.startswith("SCAN") and "asyncsched_needs_ended" not in step]
    assert read_through == []


def test_what_is_read_grows_with_what_has_ended_not_with_what_is_needed(db: sqlite3.Connection) -> None:
    blocked_runs(db, {7})
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1

    db.set_progress_handler(count, 10)  # of instructions
    assert len(graphs.followers(db, None)) == 1
    db.set_progress_handler(None, 0)
    assert turns * 10 < MANY
