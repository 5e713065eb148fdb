"""Why a fire ran, did not run or waits, from the records alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from asyncsched.clock import to_us
from asyncsched.edges import Edges
from asyncsched.evidence import Case, Room, listed, places_of
from asyncsched.links import Links
from asyncsched.policy import Policy
from asyncsched.reasons import account, in_the_way
from asyncsched.retry import NO_RETRY
from asyncsched.run import Raised, Run, RunStatus, SkipReason, Succeeded, Terms, settle

SECOND = 1_000_000
T0_US = to_us(datetime(2026, 1, 1, 12, tzinfo=UTC))


def second(number: float) -> int:
    return T0_US + round(number * SECOND)


def a_run(name: str = "r", at: float | None = 0, *, made: float | None = None, **terms: Any) -> Run[Any]:
    created_us = second(made if made is not None else at or 0)
    return Run(name, "t", created_us, created_us, None if at is None else second(at), terms=Terms(**terms))


def a_skip(reason: SkipReason, at: float = 0, *, made: float | None = None, stands_for: int = 1) -> Run[Any]:
    run = a_run(reason, at, made=made)
    run.stands_for = stands_for
    run.become(RunStatus.SKIPPED)
    run.reason, run.finished_us = reason, run.created_us
    return run


def begun(run: Run[Any], at: float) -> Run[Any]:
    run.start("node", second(at))
    return run


def ended(run: Run[Any], began: float, end: float, error: Exception | None = None) -> Run[Any]:
    begun(run, began)
    outcome = Succeeded(None) if error is None else Raised(error)
    run.apply(settle(outcome, run.attempt, NO_RETRY, second(end)))
    return run


def a_case(*runs: Run[Any], now: float = 60, policy: Policy | None = None, **more: Any) -> Case:
    now_us = second(now)
    return Case(
        policy=policy or Policy(),
        zone=ZoneInfo("UTC"),
        now_us=now_us,
        runs=runs,
        places=places_of(runs, now_us),
        **more,
    )


def said(case: Case, run: Run[Any]) -> str:
    return account(case, run).says


def test_a_run_that_has_ended_tells_how_late_it_was_how_long_it_took_and_what_came_out() -> None:
    found = account(a_case(), ended(a_run(), 0, 4.2))
    assert (found.says, found.late, found.took) == ("on time, took 4.2 s", timedelta(0), timedelta(seconds=4.2))
    assert said(a_case(), ended(a_run(), 90, 91)) == "1m30s late, took 1 s"
    failed = account(a_case(), ended(a_run(), 0, 1, OSError("gone\nfor good")))
    assert (failed.says, failed.error) == ("on time, took 1 s: OSError: gone", "OSError: gone")


def test_a_run_that_was_cancelled_before_it_started_says_so() -> None:
    run = a_run()
    run.become(RunStatus.CANCELLED)
    run.reason, run.finished_us = "it was cancelled by hand", second(1)
    assert said(a_case(), run) == "had not started: it was cancelled by hand"


def test_an_instant_of_another_day_is_told_with_its_day() -> None:
    case = a_case(now=86_400)
    assert case.when(second(0.25)) == "Thu  1 Jan 12:00:00.25 UTC"
    assert case.when(second(86_400.5)) == "12:00:00.5"


@pytest.mark.parametrize(
    ("policy", "late", "words", "cure"),
    [
        ({"missed": "skip"}, 5, "missed='skip' runs no late fire", "missed='latest' makes one run for all of them"),
        ({"missed": "skip", "grace": "3s"}, 5, "which is more than grace='3s'", "a longer grace=; tasks.backfill"),
        (
            {"missed": "all", "missed_limit": 2},
            5,
            "more than missed_limit=2 had been missed",
            "a greater missed_limit=",
        ),
        ({}, 5, "it was looked at 5 s late", "tasks.backfill"),
    ],
)
def test_a_missed_fire_tells_which_option_decided(policy: dict[str, Any], late: float, words: str, cure: str) -> None:
    found = account(a_case(policy=Policy.of(policy)), a_skip(SkipReason.MISSED, 0, made=late))
    assert words in found.says
    assert found.cure is not None
    assert found.cure.startswith(cure)


def test_an_overlap_names_the_run_that_was_in_the_way() -> None:
    first, second_run = ended(a_run("a", 0), 0, 15), begun(a_run("b", 20), 20)
    replayed = begun(a_run("0", -60, made=0, backfill=True), 0)
    skips = [a_skip(SkipReason.OVERLAP, at) for at in (10, 30)]
    runs = (first, second_run, replayed, *skips)
    assert [in_the_way(runs, skip) for skip in skips] == [first, second_run]
    assert said(a_case(*runs), skips[0]) == "the run for 12:00:00 had not ended"
    assert in_the_way(skips, skips[0]) is None
    assert said(a_case(*skips), skips[0]) == "an earlier run had not ended"
    queued = a_case(*runs, policy=Policy(overlap="queue_one"))
    assert said(queued, skips[0]) == "the run for 12:00:00 had not ended, and another one waited already"


def test_places_are_held_by_those_that_run_or_will_be_tried_again_then_by_those_that_came_first() -> None:
    again = ended(a_run("z", limit_key="k", limit=2), 0, 1)
    again.status, again.finished_us = RunStatus.PENDING, None
    waiting = [a_run(name, limit_key="k", limit=2) for name in ("b", "a")]
    later = a_run("0", 90, limit_key="k", limit=2)
    over = ended(a_run("1", limit_key="k", limit=2), 0, 1)
    places = places_of([*waiting, again, later, over, a_run("free")], second(60))
    assert places == {"k": [again, waiting[1]]}
    case = a_case(*waiting, again)
    assert [account(case, run).waits_for for run in waiting] == ["limit", "start"]
    assert said(case, waiting[0]) == (
        "waits for a place: at most 2 runs of its task at once, "
        "and there is the run for 12:00:00 (PENDING), the run for 12:00:00 (PENDING)"
    )


def test_what_is_under_way_itself_takes_no_place_of_its_own() -> None:
    run = a_run()
    room = Room(queues={"default": 1}, max_running=1, under_way=[run])
    assert account(a_case(run, room=room), run).waits_for == "start"
    other = begun(a_run("other"), 0)
    room = Room(queues={"default": 1}, under_way=[run, other])
    assert account(a_case(run, room=room), run).waits_for == "queue"


def test_what_decided_among_upstreams_is_named() -> None:
    good, bad = ended(a_run("good"), 0, 1), ended(a_run("bad"), 0, 1, ValueError("no"))
    good.task, bad.task = "good", "bad"
    skip = a_skip(SkipReason.RULE)
    missing = a_skip(SkipReason.UPSTREAM_FAILED)
    for run in (skip, missing):
        run.edges = Edges("f", ("good", "bad"))
    case = a_case(upstreams={"good": good, "bad": bad})
    assert said(case, missing) == "it needs bad, which failed: ValueError: no"
    good.status, good.reason = RunStatus.SKIPPED, "paused"
    assert said(case, skip) == "rule='all_success' asks that all of its upstreams ran, and good (paused) was skipped"
    assert said(a_case(), missing) == "what it needs had failed"  # nobody has kept the runs that it needed


def test_a_dependency_names_those_that_had_not_succeeded_by_then() -> None:
    skip = a_skip(SkipReason.DEPENDENCY, 10)
    links = Links(needs=("a", "b"))
    for succeeded, lacking in (
        ({"a": None, "b": second(5)}, "a"),
        ({"a": second(5), "b": second(11)}, "b"),
        ({"a": second(5), "b": second(5)}, "a, b"),  # it has succeeded since, and nobody can tell when it was the first
    ):
        case = a_case(skip, links=links, succeeded=succeeded)
        assert said(case, skip) == f"it depends on {lacking}, which had not succeeded yet"


def test_of_many_names_a_few_are_told() -> None:
    assert listed([]) == ""
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d"]) == "a, b, c and 1 other"
    assert listed(list("abcdef")) == "a, b, c and 3 others"
