"""The checker itself: what is wrong on purpose is found, and what is right is let through."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asyncsched.clock import from_us
from asyncsched.triggers import Every, Once

from .invariants import (
    Evidence,
    Execution,
    Fires,
    Record,
    acknowledged_in,
    executions_in,
    recoveries_us,
    sqlite_damage,
    sqlite_records,
    sqlite_watermarks,
    violations,
)

SECOND = 1_000_000
GRID = Every("1s")
RECORD = Record("a", "work", "SUCCESS", 1, 2, None, 1, None, "1", live=False)
BEGUN = Execution("a", 1, "w0", 10, 20)


def fire(at_s: int, *, status: str = "SKIPPED", stands_for: int = 1, **more: Any) -> Record:
    record = Record(f"f{at_s}", "tick", status, 0, 1, at_s * SECOND, stands_for, None, None, live=False)
    return record._replace(**more)


FIRES = Fires("tick", GRID, 10 * SECOND, 13 * SECOND)
WELL = Evidence(
    acknowledged={"a"},
    records=[RECORD, fire(10), fire(11), fire(12)],
    executions=[BEGUN],
    fires=[FIRES],
    fenced={"work"},
    recovery_us=SECOND,
)


def test_what_is_right_is_let_through() -> None:
    assert violations(WELL) == []


def test_i1_an_acknowledged_run_that_is_nowhere_is_found() -> None:
    assert violations(replace(WELL, acknowledged={"a", "b", "c"})) == [
        "I1: 2 acknowledged runs are nowhere: b, c",
    ]


def test_i1_a_run_that_is_still_live_is_not_lost() -> None:
    waits = RECORD._replace(id="b", status="PENDING", attempt=0, token=0, live=True)
    assert violations(replace(WELL, acknowledged={"a", "b"}, records=[*WELL.records, waits])) == []


def test_i2_a_run_that_ended_twice_is_found() -> None:
    again = RECORD._replace(status="FAILED", attempt=0, result=None)
    assert violations(replace(WELL, records=[*WELL.records, again])) == ["I2: 1 runs ended more than once: a"]


def test_i2_a_run_that_has_ended_and_is_live_is_found() -> None:
    still = RECORD._replace(live=True, attempt=0)
    assert violations(replace(WELL, records=[*WELL.records, still])) == ["I2: 1 runs have ended and are live: a"]


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([fire(10), fire(12)], ["I3: task tick: 1 of 3 fires are missing, among 11000000"]),
        ([], ["I3: task tick: 3 of 3 fires are missing, among 10000000, 11000000, 12000000"]),
        ([fire(10), fire(11, stands_for=2)], []),
        ([fire(12, stands_for=3)], []),
        ([fire(12, stands_for=2)], ["I3: task tick: 1 of 3 fires are missing, among 10000000, 11000000"]),
        (
            [fire(10), fire(11), fire(12), fire(11, id="other")],
            ["I3: task tick: 1 fires were made more than once: 11000000"],
        ),
        (
            [fire(10), fire(11), fire(12), fire(13)],
            ["I3: task tick: 1 fires are none of its trigger up to its watermark: 13000000"],
        ),
        (
            [fire(10), fire(11), fire(12), fire(11, id="other", scheduled_us=11 * SECOND + 1)],
            ["I3: task tick: 1 fires are none of its trigger up to its watermark: 11000001"],
        ),
        (
            [fire(10), fire(11), fire(9)],
            [
                "I3: task tick: 1 fires are none of its trigger up to its watermark: 9000000",
                "I3: task tick: 1 of 3 fires are missing, among 12000000",
            ],
        ),
        ([fire(10), fire(11), fire(12), fire(11, id="other", retry_of="f11")], []),
    ],
)
def test_i3_fires_that_are_missing_doubled_or_foreign_are_found(records: list[Record], found: list[str]) -> None:
    assert violations(replace(WELL, records=[RECORD, *records])) == found


def test_i3_a_task_without_further_fires_must_have_had_all() -> None:
    once = Fires("tick", Once(from_us(10 * SECOND)), 10 * SECOND, None)
    assert violations(replace(WELL, fires=[once], records=[RECORD, fire(10)])) == []
    assert violations(replace(WELL, fires=[once], records=[RECORD])) == [
        "I3: task tick: 1 of 1 fires are missing, among 10000000"
    ]


def test_i4_a_token_that_was_given_out_twice_is_found() -> None:
    twice = replace(WELL, executions=[BEGUN, BEGUN._replace(worker="w1", began_us=30, ended_us=40)], deaths={"w9": 5})
    assert violations(twice) == ["I4: 1 attempts began more than once: a token 1"]


def test_i4_more_executions_than_deaths_explain_are_found() -> None:
    cut = [BEGUN._replace(token=token, ended_us=None, worker="w9") for token in (1, 3, 5)]
    records = [RECORD._replace(token=8, result="7"), *WELL.records[1:]]
    many = replace(WELL, records=records, executions=[*cut, BEGUN._replace(token=7)], deaths={"w9": 5}, in_flight=2)
    assert violations(many) == ["I4: 3 executions beyond the attempts that count, and 1 deaths explain 2"]
    assert violations(replace(many, in_flight=3)) == []


def test_i5_where_nothing_was_killed_each_attempt_is_one_execution() -> None:
    both = [BEGUN, Execution("b", 1, "w0", 10, 20)]
    assert violations(replace(WELL, executions=both)) == [
        "I4: 1 executions beyond the attempts that count, and 0 deaths explain 0",
        "I5: nothing was killed, and there are 2 executions of 1 attempts",
    ]
    skipped = replace(WELL, fenced=(), executions=[])
    assert violations(skipped) == ["I5: nothing was killed, and there are 0 executions of 1 attempts"]


def test_i6_an_end_that_others_had_overtaken_is_found() -> None:
    overtaken = replace(WELL, executions=[BEGUN, BEGUN._replace(token=3, worker="w1")], deaths={"w0": 15})
    assert violations(overtaken) == ["I6: 1 runs were ended by an execution that others had overtaken: a"]


def test_i6_the_result_of_another_execution_is_found() -> None:
    first, second = BEGUN, BEGUN._replace(token=3, worker="w1")
    records = [RECORD._replace(token=4, result="1"), *WELL.records[1:]]
    stale = replace(WELL, records=records, executions=[first, second], deaths={"w0": 15})
    assert violations(stale) == ["I6: 1 runs have the result of another execution than the one that ended them: a"]


def test_i6_a_success_that_nobody_carried_out_is_found() -> None:
    for executions in ([], [BEGUN._replace(ended_us=None)]):
        unreal = violations(replace(WELL, executions=executions, deaths={"w0": 15}))
        assert unreal == ["I6: 1 runs succeeded, and nobody carried them out to the end: a"]


def test_i7_a_run_that_began_again_too_late_is_found() -> None:
    cut, again = BEGUN._replace(ended_us=None), Execution("a", 3, "w1", 2 * SECOND, 2 * SECOND + 5)
    records = [RECORD._replace(token=4, result="3"), *WELL.records[1:]]
    late = replace(WELL, records=records, executions=[again, cut], deaths={"w0": 15})
    assert list(recoveries_us(late)) == [2 * SECOND - 15]
    assert violations(late) == ["I7: what a dead worker ran began again after 2.000 s (p99 of 1)"]
    assert violations(replace(late, recovery_us=2 * SECOND)) == []


def test_i8_two_at_once_under_one_key_are_found() -> None:
    records = [RECORD, RECORD._replace(id="b"), *WELL.records[1:]]
    held = [BEGUN._replace(key="k"), Execution("b", 1, "w1", 19, 30, "k")]
    assert violations(replace(WELL, records=records, executions=held)) == [
        "I8: key k: 1 times two ran at once: a and b"
    ]
    for other in (held[1]._replace(key="other"), held[1]._replace(began_us=20)):
        assert violations(replace(WELL, records=records, executions=[held[0], other])) == []


def test_i8_who_was_killed_held_its_key_as_long_as_it_surely_lived() -> None:
    records = [RECORD._replace(token=4, result="3"), RECORD._replace(id="b"), *WELL.records[1:]]
    cut, again = BEGUN._replace(ended_us=None, key="k"), Execution("a", 3, "w1", 50, 60, "k")
    held = [cut, again, Execution("b", 1, "w1", 20, 30, "k")]
    evidence = replace(WELL, records=records, executions=held, deaths={"w0": 25})
    assert violations(evidence) == ["I8: key k: 1 times two ran at once: a and b"]
    assert violations(replace(evidence, deaths={"w0": 20})) == []


def test_notes_that_were_cut_off_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    (tmp_path / "acknowledged-w0").write_text("a\nb\n")
    (tmp_path / "acknowledged-w1").write_text("c\nha")
    (tmp_path / "effects-w0").write_text("began a 1 10 -\nended a 1 20\nbegan b 1 30 k\nended b 1")
    assert acknowledged_in(tmp_path) == {"a", "b", "c"}
    assert executions_in(tmp_path) == [BEGUN, Execution("b", 1, "w0", 30, None, "k")]


def a_file(path: Path, *statements: str) -> None:
    columns = "id, task, status, attempt, token, scheduled_at, stands_for, retry_of, result"
    with contextlib.closing(sqlite3.connect(path)) as db:
        for table in ("runs", "history"):
            db.execute(f"CREATE TABLE asyncsched_{table} ({columns})")
        db.execute("CREATE TABLE asyncsched_tasks (id, next_at)")
        db.execute("CREATE TABLE asyncsched_nodes (id)")
        db.execute("CREATE TABLE asyncsched_needs (run)")
        for statement in statements:
            db.execute(statement)
        db.commit()


def test_a_file_that_was_spoiled_by_hand_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    ended = "INSERT INTO asyncsched_history VALUES ('a', 'work', 'SUCCESS', 1, 2, NULL, 1, NULL, '1')"
    fired = "INSERT INTO asyncsched_history VALUES ('f', 'tick', 'SKIPPED', 0, 1, 10000000, 1, NULL, NULL)"
    lives = "INSERT INTO asyncsched_runs VALUES ('a', 'work', 'RUNNING', 1, 3, NULL, 1, NULL, NULL)"
    a_file(path, ended, ended, fired, lives, "INSERT INTO asyncsched_tasks VALUES ('tick', 12000000)")
    assert sqlite_watermarks(path) == {"tick": 12 * SECOND}
    fires = Fires("tick", GRID, 10 * SECOND, 12 * SECOND)
    spoiled = replace(WELL, acknowledged={"a", "b"}, records=sqlite_records(path), fires=[fires], deaths={"w9": 5})
    assert violations(spoiled) == [
        "I1: 1 acknowledged runs are nowhere: b",
        "I2: 1 runs ended more than once: a",
        "I2: 1 runs have ended and are live: a",
        "I3: task tick: 1 of 2 fires are missing, among 11000000",
    ]


def test_what_is_left_in_and_beside_a_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    lives = "INSERT INTO asyncsched_runs VALUES ('a', 'work', 'RUNNING', 1, 3, NULL, 1, NULL, NULL)"
    a_file(path, lives, "INSERT INTO asyncsched_nodes VALUES ('n')", "INSERT INTO asyncsched_needs VALUES ('a')")
    (tmp_path / "jobs.db-node-n").touch()
    assert sqlite_damage(path) == [
        "1 nodes that have not left",
        "1 needs of nobody",
        "run a of work has not ended: RUNNING, attempt 1",
        "jobs.db-node-n is left",
    ]
