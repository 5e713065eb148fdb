"""The runs that a process knows of a file: each found by its id, with those that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from asyncsched.clock import SystemClock
from asyncsched.ids import RunIds
from asyncsched.run import Edges, Run
from asyncsched.signature import Signature
from asyncsched.stores._durable.known import KnownRuns
from asyncsched.stores._durable.rows import Row, row_of

_ids = RunIds(Random(7))


class OneByOne(dict[str, Row]):
    """Rows that are looked up, and never gone through: of many flows each would read those of all others."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("all of them were read")

    keys = values = items = __iter__  # type: ignore[assignment]


def a_row(known: KnownRuns, task: str, edges: Edges | None = None) -> Row:
    now_us = SystemClock().now_us()
    run: Run[Any] = Run(_ids.make(now_us), task, now_us, now_us)
    run.edges = Edges(run.id) if edges is None else edges
    return row_of(run, known.values(task))


def test_of_many_flows_each_run_is_given_what_it_needs_itself() -> None:
    known = KnownRuns()
    roots = [a_row(known, "root") for _ in range(20)]
    followers = [a_row(known, "follower", Edges(root.id, (root.id,))) for root in roots]
    runs = known.take_all(followers, OneByOne({root.id: root for root in roots}))
    for run, root in zip(runs, roots, strict=True):
        assert run.edges is not None
        assert [one.id for one in run.edges.upstreams] == [root.id]


def test_of_removed_tasks_it_is_known_how_their_values_are_stored_while_runs_are_under_way_and_not_for_ever() -> None:
    def work(number: int) -> int:
        return number

    known, signature = KnownRuns(), Signature(work)
    known.declare("long", signature, 5)
    waiting = a_row(known, "long")
    known.take(waiting, {})
    under_way = waiting._replace(status="RUNNING", token=1, attempt=1, node="n", started_at=waiting.due_at)
    run = known.start(under_way, {})
    known.remove("long")
    for number in range(5_000):
        known.declare(f"t{number}", signature, 5)
        known.recent.add(Run(_ids.make(1), f"t{number}", 1, 1))
        known.remove(f"t{number}")
    known.declare("t4999", signature, 5)
    assert known.values("long")._signature is known.values("t4999")._signature is signature
    assert len(known._signatures) <= 1_002
    assert not known.recent.of("t0")
    assert known.recent.of("t4999")
    assert run.task == "long"
