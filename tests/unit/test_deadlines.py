"""By when runs must have started or ended, and when a task has failed too often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.deadlines import (
    expires_us,
    passed,
    run_ends_us,
    streak_change,
    warn_longer_us,
    warn_not_started_us,
)
from asyncsched.policy import DEFAULT_POLICY, Policy

SECOND = 1_000_000
START = 1_767_225_600 * SECOND


@pytest.mark.parametrize(
    ("ask", "option"),
    [
        (expires_us, "expires"),
        (warn_not_started_us, "warn_not_started"),
        (warn_longer_us, "warn_longer"),
        (run_ends_us, "run_timeout"),
    ],
)
def test_each_bound_counts_from_its_instant_and_none_is_never(
    ask: Callable[[Policy, int], int | None], option: str
) -> None:
    assert ask(DEFAULT_POLICY, START) is None
    assert ask(Policy.of({option: "1m30s"}), START) == START + 90 * SECOND


@pytest.mark.parametrize(
    ("by", "happened", "now", "expected"),
    [
        (None, None, 10**9, False),
        (10, None, 9, False),
        (10, None, 10, True),
        (10, 9, 50, False),
        (10, 10, 50, False),
        (10, 11, 50, True),
    ],
)
def test_whether_a_bound_was_passed(by: int | None, happened: int | None, now: int, expected: bool) -> None:
    assert passed(by, happened, now) is expected


@settings(max_examples=1_000)
@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5))
def test_failures_in_a_row_are_told_once_and_once_that_they_are_over(ends: list[bool], most: int) -> None:
    policy = Policy.of({"warn_failures": most})
    streak = 0
    told: list[Any] = []
    for number, failed in enumerate(ends):
        before, streak = streak, streak + 1 if failed else 0
        change = streak_change(policy, before, streak)
        was, is_now = (all(ends[max(0, end - most) : end]) and end >= most for end in (number, number + 1))
        assert change == (None if was == is_now else "failing" if is_now else "recovered")
        told += [change] if change else []
    assert told == ["failing", "recovered"] * (len(told) // 2) + ["failing"] * (len(told) % 2)


def test_nobody_is_told_of_failures_who_did_not_ask() -> None:
    assert streak_change(DEFAULT_POLICY, 99, 100) is None
    assert streak_change(DEFAULT_POLICY, 100, 0) is None
