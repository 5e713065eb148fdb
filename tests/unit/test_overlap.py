"""What fires do while earlier runs are on their way: carried out step by step, against what each policy promises."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asyncsched.overlap import QUEUE_ALL_LIMIT, Verdict, most_met, overlap_verdict
from asyncsched.policy import Policy


@dataclass
class Outcome:
    """What became of fires, each told by its number: start and end of those that ran, and what did not."""

    ran: dict[int, tuple[int, int]] = field(default_factory=dict)
    skipped: list[int] = field(default_factory=list)
    cancelled: dict[int, int] = field(default_factory=dict)


def carried_out(overlap: str, fires: list[int], durations: list[int]) -> Outcome:
    """What an engine does that asks the verdict for each fire, and lets runs wait as the policy's limit says."""
    policy = Policy.of({"overlap": overlap})
    outcome = Outcome()
    running: dict[int, int] = {}  # the end of each
    waiting: list[int] = []

    def start(now: int) -> None:
        while waiting and (policy.limit is None or len(running) < policy.limit):
            number = waiting.pop(0)
            running[number] = now + durations[number]
            outcome.ran[number] = (now, running[number])

    def ends_until(now: int | None) -> None:
        while running:
            number, end = min(running.items(), key=lambda item: (item[1], item[0]))
            if now is not None and end > now:
                return
            del running[number]
            start(end)

    for number, now in enumerate(fires):
        ends_until(now)
        verdict = overlap_verdict(policy, len(running), len(waiting))
        if verdict == "skip":
            outcome.skipped.append(number)
            continue
        if verdict == "cancel":
            for before in (*running, *waiting):
                outcome.cancelled[before] = now
                outcome.ran.pop(before, None)
            running.clear()
            waiting.clear()
        assert (verdict == "run") <= (policy.overlap == "allow" or not (running or waiting))
        waiting.append(number)
        start(now)
    ends_until(None)
    return outcome


def promised(overlap: str, fires: list[int], durations: list[int]) -> Outcome:
    """The same by what is promised: each fire looks at what is known of those before it."""
    outcome = Outcome()
    ran = outcome.ran
    for number, now in enumerate(fires):
        starts, ends = [start for start, _ in ran.values()], [end for _, end in ran.values()]
        free_from = max([now, *ends])
        if overlap == "allow":
            ran[number] = (now, now + durations[number])
        elif overlap == "skip":
            if any(end > now for end in ends):
                outcome.skipped.append(number)
            else:
                ran[number] = (now, now + durations[number])
        elif overlap == "queue_one":
            if any(start > now for start in starts):
                outcome.skipped.append(number)
            else:
                ran[number] = (free_from, free_from + durations[number])
        elif overlap == "queue_all":
            ran[number] = (free_from, free_from + durations[number])
        else:
            for before in [before for before, (_, end) in ran.items() if end > now]:
                outcome.cancelled[before] = now
                del ran[before]
            ran[number] = (now, now + durations[number])
    return outcome


@settings(max_examples=1_000)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 20)), max_size=40),
    st.sampled_from(["skip", "allow", "queue_one", "queue_all", "cancel_previous"]),
)
def test_each_policy_does_what_it_promises(gaps_and_durations: list[tuple[int, int]], overlap: str) -> None:
    fires, durations, now = [], [], 0
    for gap, duration in gaps_and_durations:
        now += gap
        fires.append(now)
        durations.append(duration)
    outcome = carried_out(overlap, fires, durations)
    assert outcome == promised(overlap, fires, durations)
    assert sorted([*outcome.ran, *outcome.skipped, *outcome.cancelled]) == list(range(len(fires)))
    if overlap != "allow":
        spans = sorted(outcome.ran.values())
        assert all(one[1] <= other[0] for one, other in pairwise(spans))


# Ten fires a second apart, each of a run of 2.5 s, in half seconds.
TEN = [2 * second for second in range(1, 11)]


@pytest.mark.parametrize(
    ("overlap", "ran", "skipped", "cancelled"),
    [("skip", 4, 6, 0), ("allow", 10, 0, 0), ("queue_all", 10, 0, 0), ("cancel_previous", 1, 0, 9)],
)
def test_ten_fires_of_a_run_that_takes_two_and_a_half_intervals(
    overlap: str, ran: int, skipped: int, cancelled: int
) -> None:
    outcome = carried_out(overlap, TEN, [5] * 10)
    assert (len(outcome.ran), len(outcome.skipped), len(outcome.cancelled)) == (ran, skipped, cancelled)


def test_of_those_that_queue_one_by_one_the_second_is_skipped() -> None:
    fires = [5, 10, 15, 20, 25]
    outcome = carried_out("queue_one", fires, [7] * 5)
    assert [start for start, _ in outcome.ran.values()] == [5, 12, 19, 26]
    assert [fires[number] for number in outcome.skipped] == [25]


def verdict(overlap: str, running: int, waiting: int, **options: Any) -> Verdict:
    return overlap_verdict(Policy.of({"overlap": overlap, **options}), running, waiting)


@pytest.mark.parametrize("overlap", ["skip", "allow", "queue_one", "queue_all", "cancel_previous"])
def test_a_fire_alone_runs(overlap: str) -> None:
    assert verdict(overlap, 0, 0) == "run"


@pytest.mark.parametrize(
    ("overlap", "running", "waiting", "expected"),
    [
        ("skip", 0, 1, "skip"),
        ("allow", 9, 9, "run"),
        ("queue_one", 0, 1, "wait"),  # the one that waits is about to start
        ("queue_one", 0, 2, "skip"),
        ("queue_one", 5, 0, "wait"),  # after they were allowed to overlap
        ("queue_one", 1, 1, "skip"),
        ("queue_all", 1, QUEUE_ALL_LIMIT - 1, "wait"),
        ("queue_all", 1, QUEUE_ALL_LIMIT, "skip"),
        ("queue_all", 0, QUEUE_ALL_LIMIT, "wait"),
        ("queue_all", 0, QUEUE_ALL_LIMIT + 1, "skip"),
        ("cancel_previous", 0, 1, "cancel"),
        ("cancel_previous", 1, 0, "cancel"),
    ],
)
def test_what_a_fire_does_beside_others(overlap: str, running: int, waiting: int, expected: str) -> None:
    assert verdict(overlap, running, waiting) == expected


def test_the_most_that_wait_are_a_thousand() -> None:
    outcome = carried_out("queue_all", [0] * 1_500, [1] * 1_500)
    assert (len(outcome.ran), len(outcome.skipped)) == (1_001, 499)


@given(st.sampled_from(["skip", "allow"]), *[st.integers(0, 5)] * 4)
def test_beyond_what_matters_more_runs_change_nothing(
    overlap: str, running: int, waiting: int, others_running: int, others_waiting: int
) -> None:
    most = most_met(Policy.of({"overlap": overlap}))
    assume(min(running + waiting, most) == min(others_running + others_waiting, most))
    assert verdict(overlap, running, waiting) == verdict(overlap, others_running, others_waiting)


@pytest.mark.parametrize("overlap", ["queue_one", "queue_all", "cancel_previous"])
def test_where_runs_queue_or_are_cancelled_each_of_them_matters(overlap: str) -> None:
    assert most_met(Policy.of({"overlap": overlap})) > QUEUE_ALL_LIMIT + 1
