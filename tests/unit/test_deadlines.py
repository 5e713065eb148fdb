"""By when runs must have started or ended, and when a task has failed too often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.deadlines import (
    bounds_of,
    lapse,
    lapses_us,
    passed,
    run_ends_us,
    streak_change,
    warn_longer_us,
    warn_not_started_us,
)
from asyncsched.policy import DEFAULT_POLICY, Policy
from asyncsched.run import Run, RunStatus, Settled, SkipReason, Terms

SECOND = 1_000_000
START = 1_767_225_600 * SECOND


@pytest.mark.parametrize(
    ("ask", "option"),
    [
        (warn_not_started_us, "warn_not_started"),
        (warn_longer_us, "warn_longer"),
    ],
)
def test_each_bound_counts_from_its_instant_and_none_is_never(
    ask: Callable[[Policy, int], int | None], option: str
) -> None:
    assert ask(DEFAULT_POLICY, START) is None
    assert ask(Policy.of({option: "1m30s"}), START) == START + 90 * SECOND


def waiting(first_us: int | None = None, **options: Any) -> Run[Any]:
    """A run that was due at the start and waits, since ``first_us`` between two attempts."""
    run: Run[Any] = Run("r", "t", START - SECOND, START, terms=Terms(bounds=bounds_of(Policy.of(options))))
    if first_us is not None:
        run.start("n1", first_us)
        run.apply(Settled(RunStatus.PENDING, first_us, due_us=first_us + 99, error=OSError("once")))
    return run


@pytest.mark.parametrize(
    ("first_s", "options", "lapses_s"),
    [
        (None, {}, None),
        (None, {"timeout": "1s"}, None),
        (None, {"expires": "1m30s"}, 90),
        (None, {"run_timeout": "5s"}, None),  # which begins with the first attempt
        (None, {"run_timeout": "5s", "expires": "7s"}, 7),
        (20, {"run_timeout": "5s", "expires": "7s"}, 25),
        (20, {"expires": "7s"}, None),  # a run that has begun expires no more
    ],
)
def test_a_run_waits_for_its_first_attempt_and_for_further_ones_up_to_its_bounds(
    first_s: int | None, options: dict[str, Any], lapses_s: int | None
) -> None:
    run = waiting(None if first_s is None else START + first_s * SECOND, **options)
    assert lapses_us(run) == (None if lapses_s is None else START + lapses_s * SECOND)
    if lapses_s is None:
        assert lapse(run, START + 10**12) is None
    else:
        assert lapse(run, START + lapses_s * SECOND - 1) is None
        assert lapse(run, START + lapses_s * SECOND) is not None


def test_a_run_that_has_not_begun_is_skipped_and_one_that_has_fails() -> None:
    assert lapse(waiting(expires="1s"), START + SECOND) == Settled(
        RunStatus.SKIPPED, START + SECOND, reason=SkipReason.EXPIRED
    )
    run = waiting(START, run_timeout="1m")
    settled = lapse(run, START + 60 * SECOND)
    assert settled is not None
    assert (settled.status, type(settled.error)) == (RunStatus.FAILED, TimeoutError)
    assert str(settled.error) == "the run took longer than run_timeout='1m', over 1 attempt(s)"
    assert settled.error is not None
    assert settled.error.__cause__ is run.error


def test_a_run_is_out_of_time_counted_from_its_first_attempt() -> None:
    assert run_ends_us(waiting(run_timeout="1m")) is None
    assert run_ends_us(waiting(START + 5, expires="1m")) is None
    assert run_ends_us(waiting(START + 5, run_timeout="1m")) == START + 5 + 60 * SECOND
    assert bounds_of(DEFAULT_POLICY) is None


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
