"""Instants in microseconds, and the machine's clocks."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsched.clock import EPOCH, Clock, SystemClock, from_us, to_us

ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-11))])


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=ZONES))
def test_a_moment_survives_as_microseconds(moment: datetime) -> None:
    assert from_us(to_us(moment)) == moment
    assert from_us(to_us(moment)).tzinfo is UTC


@given(st.integers(min_value=-(10**16), max_value=10**17))
def test_microseconds_survive_as_a_moment(moment_us: int) -> None:
    assert to_us(from_us(moment_us)) == moment_us


def test_the_epoch_is_zero() -> None:
    assert to_us(EPOCH) == 0
    assert to_us(datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == 0
    assert to_us(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1


def test_a_naive_moment_is_no_instant() -> None:
    with pytest.raises(TypeError, match="naive"):
        to_us(datetime(2026, 1, 1))


def test_the_system_clock_shows_the_machine_s_own_readings() -> None:
    clock = SystemClock()
    wall = [time.time_ns() // 1000, clock.now_us(), time.time_ns() // 1000]
    steady = [time.monotonic_ns() // 1000, clock.steady_us(), time.monotonic_ns() // 1000]
    assert steady == sorted(steady)
    assert wall[0] - 1_000_000 <= wall[1] <= wall[2] + 1_000_000


def test_now_is_the_wall_clock_in_utc() -> None:
    class Stopped(Clock):
        def now_us(self) -> int:
            return 1_500_000

        def steady_us(self) -> int:
            return 0

    assert Stopped().now() == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert Stopped().now().tzinfo is UTC


def test_a_clock_leaves_the_wait_to_the_engine_unless_it_says_otherwise() -> None:
    assert SystemClock().alarm(lambda: None) is None
