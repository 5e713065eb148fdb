"""Limits by key: each against a model that keeps everything."""

from __future__ import annotations

import inspect
import json
from collections import deque
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.errors import ArgumentsError, ConfigError
from asyncsched.limits import Cooldown, Debounce, Rate, Unique, check_key, key_of, limit_key, unique_key

SECOND = 1_000_000
MINUTE = 60 * SECOND

# --- rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/1m", Rate(10, MINUTE)),
        ("10/m", Rate(10, MINUTE)),
        ("1/500ms", Rate(1, SECOND // 2)),
        ("100/1h30m", Rate(100, 90 * MINUTE)),
        (" 5 / 2 minutes ", Rate(5, 2 * MINUTE)),
        ("3/second", Rate(3, SECOND)),
    ],
)
def test_a_rate_is_so_many_in_a_time(text: str, rate: Rate) -> None:
    assert Rate.of(text) == rate
    assert Rate.of(str(rate)) == Rate.of(rate) == rate


@pytest.mark.parametrize(
    "wrong", ["", "10", "10/", "0/1m", "10/0s", "-1/1m", "1.5/1m", "m/10", "10/1m/2", "10/1parsec", 10, None, True]
)
def test_what_is_no_rate_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="rate="):
        Rate.of(wrong)


@settings(max_examples=1_000)
@given(
    st.integers(1, 5),
    st.integers(1, 30),
    st.lists(st.integers(0, 12), min_size=1, max_size=40),
)
def test_a_rate_is_never_passed_and_nothing_waits_longer_than_it_must(count: int, period: int, gaps: list[int]) -> None:
    rate = Rate(count, period)
    starts: list[int] = []
    kept: deque[int] = deque(maxlen=count)
    now = 0
    for gap in gaps:
        now = max(now + gap, *starts[-1:], 0)
        at = rate.next_us(kept, now)
        assert at >= now
        # By counting: at every instant from now on, whether one more start would be one too many.
        fits = (moment for moment in range(now, now + period + 1) if within(starts, moment, period) < count)
        assert at == next(fits)
        assert rate.next_us(starts, now) == at
        nth = starts[-count] if len(starts) >= count else None
        assert rate.after_us(nth, now) == at
        starts.append(at)
        kept.append(at)
    assert max(within(starts, start, period) for start in starts) <= count


def within(starts: list[int], end: int, period: int) -> int:
    """How many starts there were in the stretch of one period up to ``end``, which is part of it."""
    return sum(end - period < start <= end for start in starts)


def test_twenty_five_at_once_are_ten_a_minute() -> None:
    rate = Rate.of("10/1m")
    starts: list[int] = []
    for _number in range(25):
        starts.append(rate.next_us(starts, 0 if not starts else starts[-1]))
    assert [starts.count(at) for at in (0, MINUTE, 2 * MINUTE)] == [10, 10, 5]


def test_a_clock_that_was_set_back_delays_a_start_by_a_period_at_most() -> None:
    assert Rate(1, MINUTE).next_us([10**15], 0) == MINUTE


# --- debounce


@settings(max_examples=1_000)
@given(st.integers(1, 20), st.lists(st.integers(0, 25), min_size=1, max_size=40))
def test_submits_close_to_one_another_are_one_run_after_the_last(wait: int, gaps: list[int]) -> None:
    debounce = Debounce(wait)
    submits, now = [], 0
    for gap in gaps:
        now += gap
        submits.append(now)
    runs: list[tuple[int, int]] = []  # when it is due, and which submit's arguments it has
    waiting = None
    for number, now in enumerate(submits):
        found = debounce.submit(waiting, now)
        if found.merged:
            runs[-1] = (found.due_us, number)
        else:
            runs.append((found.due_us, number))
        waiting = found.due_us
    last = [at == len(submits) - 1 or submits[at + 1] >= one + wait for at, one in enumerate(submits)]
    assert runs == [(one + wait, at) for at, one in enumerate(submits) if last[at]]


def test_ten_submits_in_two_seconds_are_due_five_after_the_last() -> None:
    debounce, due = Debounce.of("5s"), None
    merged = []
    for number in range(10):
        due, joined = debounce.submit(due, number * 200_000)
        merged.append(joined)
    assert (due, merged) == (6_800_000, [False] + [True] * 9)


def test_what_waits_for_a_clock_that_was_set_back_is_due_after_the_wait() -> None:
    assert Debounce(5).submit(10**15, 0) == (5, True)


# --- promised starts


@settings(max_examples=1_000)
@given(st.integers(1, 5), st.integers(1, 30), st.lists(st.integers(0, 12), max_size=20), st.integers(0, 6))
def test_what_may_start_at_any_time_counts_as_if_it_did_so_at_the_worst(
    count: int, period: int, gaps: list[int], promised: int
) -> None:
    rate, now, starts = Rate(count, period), 0, list[int]()
    for gap in gaps:
        now += gap
        starts.append(now)
    found = rate.next_us(starts, now, promised)
    if promised >= count:
        assert found is None
    else:
        assert found is not None
        # Whenever the promised ones start from now on, a start at this instant is within the rate, and none before is.
        late = [one for one in starts if one > found - period]
        assert len(late) + promised < count
        assert found == now or len([one for one in starts if one > found - 1 - period]) + promised >= count


# --- unique


def test_a_run_that_succeeded_is_unique_for_so_long_after_it_in_both_directions_of_a_clock() -> None:
    unique = Unique(10)
    assert [unique.holds(100, now) for now in (90, 91, 100, 109, 110)] == [False, True, True, True, False]
    assert not unique.holds(None, 100)
    assert not Unique().holds(100, 100)


# --- cooldown


@settings(max_examples=1_000)
@given(st.integers(1, 20), st.lists(st.integers(0, 25), min_size=1, max_size=40))
def test_a_submit_soon_after_a_run_was_made_is_that_run(wait: int, gaps: list[int]) -> None:
    cooldown = Cooldown(wait)
    now, made, given_run = 0, None, []
    for gap in gaps:
        now += gap
        if not cooldown.holds(made, now):
            made = now
        given_run.append((now, made))
    runs = sorted({made for _now, made in given_run if made is not None})
    assert runs[0] == given_run[0][0]
    assert all(other - one >= wait for one, other in pairwise(runs))
    assert all(made is not None and 0 <= now - made < wait for now, made in given_run)


def test_three_submits_in_ten_seconds_are_one_run_and_after_a_minute_there_is_another() -> None:
    cooldown = Cooldown.of("1m")
    assert [cooldown.holds(made, now * SECOND) for made, now in ((None, 0), (0, 5), (0, 10), (0, 61))] == [
        False, True, True, False,
    ]  # fmt: skip
    assert not cooldown.holds(0, MINUTE)


def test_a_clock_that_was_set_back_far_ends_a_cooldown_and_one_that_is_a_little_behind_does_not() -> None:
    cooldown = Cooldown.of("1m")
    assert cooldown.holds(SECOND, 0)
    assert not cooldown.holds(3_600 * SECOND, 0)


@pytest.mark.parametrize("kind", [Debounce, Cooldown])
def test_a_limit_is_made_of_a_duration_of_more_than_nothing(kind: type[Debounce] | type[Cooldown]) -> None:
    made = kind.of(timedelta(seconds=5))
    assert made == kind.of("5s") == kind.of(made) == kind(5 * SECOND)
    for wrong in (5, "0s", "soon", None):
        with pytest.raises(ConfigError, match=f"{kind.__name__.lower()}="):
            kind.of(wrong)  # type: ignore[arg-type]


# --- keys


def send(customer: Any, *lines: str, urgent: bool = False, **rest: Any) -> None: ...


SEND = inspect.signature(send)


class Colour(Enum):
    RED = 1


class Size(StrEnum):
    BIG = "big"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("acme", "acme"),
        ("", ""),
        (7, "7"),
        (1.5, "1.5"),
        (None, "None"),
        (True, "True"),
        (Colour.RED, "1"),
        (Size.BIG, "big"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("in/a.step"), "in/a.step"),
    ],
)
def test_a_key_is_the_text_of_a_parameter_s_value(value: Any, text: str) -> None:
    assert key_of("customer", SEND.bind(value)) == text
    assert key_of("customer", SEND.bind(customer=value, urgent=True)) == text


def test_a_key_is_the_default_where_nothing_is_given() -> None:
    assert key_of("urgent", SEND.bind("acme")) == "False"


def test_a_key_may_be_made_of_all_arguments() -> None:
    def key(customer: str, *lines: str, urgent: bool = False, **rest: Any) -> str:
        return f"{customer}:{len(lines)}:{urgent}:{json.dumps(rest)}"

    assert key_of(key, SEND.bind("acme", "a", "b", urgent=True, x=1)) == 'acme:2:True:{"x": 1}'
    with pytest.raises(ZeroDivisionError):
        key_of(lambda customer: 1 // 0, SEND.bind("acme"))


@pytest.mark.parametrize("value", [["acme"], {"id": 1}, ("a", 1), object(), {1}, lambda: 1])
def test_what_has_no_text_of_its_own_is_no_key(value: Any) -> None:
    with pytest.raises(ArgumentsError, match=r"key='customer' is .*give a text or a number"):
        key_of("customer", SEND.bind(value))
    with pytest.raises(ArgumentsError, match="a function of the arguments that makes one"):
        key_of(lambda customer: value, SEND.bind("acme"))


def test_a_key_names_a_parameter_of_the_function() -> None:
    check_key("customer", SEND.parameters)
    check_key("urgent", SEND.parameters)
    check_key(len, SEND.parameters)
    with pytest.raises(ConfigError, match=r"key='custommer': .*its parameters are customer, urgent"):
        check_key("custommer", SEND.parameters)
    with pytest.raises(ConfigError, match="key='lines'"):
        check_key("lines", SEND.parameters)
    with pytest.raises(ConfigError, match=r"key='a': .*it has no parameter with a name"):
        check_key("a", {})
    with pytest.raises(ConfigError, match="key=5: the name of a parameter, or a function"):
        check_key(5, SEND.parameters)  # type: ignore[arg-type]


def test_limits_of_two_tasks_are_apart_whatever_their_keys() -> None:
    # No id has a slash, so nothing after the first one can be mistaken for a part of it.
    assert len({limit_key("a", "b/c"), limit_key("a.b", "c"), limit_key("a", "b"), limit_key("a", "")}) == 4
    assert len({unique_key("a", "b~c"), unique_key("a.b", "c"), unique_key("a", "b"), limit_key("a", "b"), "a"}) == 5
