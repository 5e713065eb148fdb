"""The fires of a past range."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.backfill import BACKFILL_LIMIT, fires_between, reaching_back
from asyncsched.clock import from_us, to_us
from asyncsched.errors import ConfigError, TriggerError
from asyncsched.triggers import Binding, Cron, Every, Never
from asyncsched.triggers._base import InstantTrigger

SECOND = 1_000_000
START = to_us(datetime(2026, 1, 1, tzinfo=UTC))
EVERY_SECOND = Every("1s", from_us(START))


def test_the_last_five_seconds_are_five_fires_oldest_first() -> None:
    now = START + 100 * SECOND
    assert fires_between(EVERY_SECOND, now - 5 * SECOND, now) == [START + at * SECOND for at in range(95, 100)]


def test_a_day_of_hours_is_twenty_four_whatever_the_order_of_asking() -> None:
    trigger = Cron("0 * * * *").bind(Binding(zone="UTC", anchor_us=0))
    day = fires_between(trigger, START, START + 86_400 * SECOND)
    assert len(day) == 24
    half = START + 43_200 * SECOND
    assert fires_between(trigger, START, half) + fires_between(trigger, half, START + 86_400 * SECOND) == day


@settings(max_examples=1_000)
@given(st.integers(1, 1_000), st.integers(-500, 500), st.integers(0, 2_000), st.integers(0, 50))
def test_the_fires_of_a_range_are_those_of_the_model_or_too_many(
    period: int, start: int, length: int, limit: int
) -> None:
    trigger = Every(timedelta(microseconds=period), from_us(START))
    start_us, end_us = START + start, START + start + length
    expected = [at_us for at_us in range(START, end_us, period) if at_us >= start_us]
    if len(expected) > limit:
        with pytest.raises(ConfigError, match=f"more than {limit} fires from .*take smaller ranges"):
            fires_between(trigger, start_us, end_us, limit)
    else:
        assert fires_between(trigger, start_us, end_us, limit) == expected


def test_ten_thousand_are_the_most() -> None:
    assert len(fires_between(EVERY_SECOND, START, START + BACKFILL_LIMIT * SECOND)) == 10_000
    with pytest.raises(ConfigError, match=r"more than 10,000 fires .*end before 2026-01-01 02:46:40\+00:00"):
        fires_between(EVERY_SECOND, START, START + BACKFILL_LIMIT * SECOND + 1)


def test_what_has_no_fires_gives_none() -> None:
    assert fires_between(Never(), START, START + SECOND) == []
    assert fires_between(EVERY_SECOND, START, START) == []


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"from 2026-01-01 00:00:01.*give a start that is before the end"):
        fires_between(EVERY_SECOND, START + SECOND, START)


def test_a_trigger_that_stands_still_is_an_error_and_no_endless_loop() -> None:
    class Stuck(InstantTrigger):
        def next_us(self, after_us: int) -> int | None:
            return START

    with pytest.raises(TriggerError, match="not later"):
        fires_between(Stuck(), START, START + SECOND)


def test_an_interval_without_a_start_reaches_back_on_its_own_grid() -> None:
    declared = Every("1h")
    bound = declared.bind(Binding(zone="UTC", anchor_us=START, key=None))
    for start in (START - 1, START - 3_600 * SECOND, START - 86_400 * SECOND):
        reaching = reaching_back(declared, bound, start)
        assert fires_between(reaching, start, START)[-1:] == ([] if start == START - 1 else [START - 3_600 * SECOND])
        assert reaching.next_us(START) == bound.next_us(START)
    assert (
        len(fires_between(reaching_back(declared, bound, START - 86_400 * SECOND), START - 86_400 * SECOND, START))
        == 24
    )
    assert reaching_back(declared, bound, START) is bound


def test_a_grid_that_was_given_begins_where_it_was_said_to_begin() -> None:
    assert reaching_back(EVERY_SECOND, EVERY_SECOND, START - SECOND) is EVERY_SECOND
    cron = Cron("0 * * * *").bind(Binding(zone="UTC", anchor_us=START))
    assert reaching_back(Cron("0 * * * *"), cron, START - SECOND) is cron
