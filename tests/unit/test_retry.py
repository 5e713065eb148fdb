"""Whether to try again, and how long to wait first."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsched.errors import ConfigError
from asyncsched.retry import NO_RETRY, Retry

SECOND = 1_000_000
ERROR = ValueError()


def waits(retry: Retry, attempts: int) -> list[int | None]:
    return [retry.delay_us(attempt, ERROR) for attempt in range(1, attempts + 1)]


def test_each_wait_is_longer_by_the_factor() -> None:
    retry = Retry(attempts=5, wait="1s", factor=2)
    assert waits(retry, 5) == [SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND, None]


def test_no_wait_is_longer_than_the_cap() -> None:
    retry = Retry(attempts=4, wait=timedelta(seconds=10), factor=3, cap="25s")
    assert waits(retry, 4) == [10 * SECOND, 25 * SECOND, 25 * SECOND, None]
    assert Retry(wait="1m", cap="5s").delay_us(1, ERROR) == 5 * SECOND


def test_without_a_factor_the_wait_is_constant_and_without_a_wait_there_is_none() -> None:
    assert waits(Retry(attempts=4, wait="2s"), 4) == [2 * SECOND, 2 * SECOND, 2 * SECOND, None]
    assert waits(Retry(), 3) == [0, 0, None]


@given(
    st.integers(1, 10**6),
    st.timedeltas(timedelta(0), timedelta(days=10_000)),
    st.floats(1, allow_nan=False, allow_infinity=True) | st.integers(1, 10**400),
    st.timedeltas(timedelta(0)),
    st.lists(st.integers(1, 10**6 + 1), min_size=2, max_size=5).map(sorted),
)
def test_waits_never_shrink_never_pass_the_cap_and_end(
    attempts: int, wait: timedelta, factor: float, cap: timedelta, tried: list[int]
) -> None:
    retry = Retry(attempts=attempts, wait=wait, factor=factor, cap=cap)
    delays = [retry.delay_us(attempt, ERROR) for attempt in tried]
    going_on = [delay for delay in delays if delay is not None]
    assert delays == [*going_on, *[None] * (len(delays) - len(going_on))]
    assert len(going_on) == sum(attempt < attempts for attempt in tried)
    assert going_on == sorted(going_on)
    assert all(0 <= delay <= cap // timedelta(microseconds=1) for delay in going_on)


def test_a_slow_growth_goes_on_until_the_cap() -> None:
    retry = Retry(attempts=1_000, wait="1s", factor=1.05, cap="1d")
    assert retry.delay_us(100, ERROR) == int(SECOND * 1.05**99)
    assert retry.delay_us(999, ERROR) == 86_400 * SECOND


def test_only_the_named_errors_are_tried_again() -> None:
    one, two = Retry(on=ConnectionError), Retry(on=(KeyError, TimeoutError))
    assert one.delay_us(1, ConnectionResetError()) == 0
    assert one.delay_us(1, ERROR) is None
    assert (two.delay_us(1, TimeoutError()), two.delay_us(1, KeyError()), two.delay_us(1, ERROR)) == (0, 0, None)


def test_what_is_no_exception_of_the_function_s_is_not_tried_again() -> None:
    assert Retry().delay_us(1, SystemExit()) is None
    assert Retry().delay_us(1, KeyboardInterrupt()) is None
    assert Retry(on=BaseException).delay_us(1, SystemExit()) == 0


def test_a_number_is_so_many_tries_after_the_first() -> None:
    assert Retry.of(3) == Retry(attempts=4)
    assert Retry.of(0) == NO_RETRY
    assert Retry.of(None) is NO_RETRY
    assert Retry.of(retry := Retry(attempts=7)) is retry
    assert waits(Retry.of(2), 3) == [0, 0, None]


@pytest.mark.parametrize("value", [-1, True, False, 2.0, "3", [1]])
def test_what_is_no_number_of_tries_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"retry=.*Retry\(\.\.\.\)"):
        Retry.of(value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attempts": 0}, r"attempts=0.*from 1 on"),
        ({"attempts": True}, "attempts=True"),
        ({"attempts": 2.5}, "attempts=2.5"),
        ({"attempts": "3"}, "attempts='3'"),
        ({"wait": 5}, "wait=5"),
        ({"wait": "-1s"}, "is not a duration"),
        ({"wait": timedelta(seconds=-1)}, "wait=.*zero or more"),
        ({"factor": 0.5}, "factor=0.5.*at least 1"),
        ({"factor": float("nan")}, "factor=nan"),
        ({"factor": "2"}, "factor='2'"),
        ({"factor": True}, "factor=True"),
        ({"cap": "soon"}, "is not a duration"),
        ({"cap": None}, "cap=None"),
        ({"on": ()}, r"on=\(\)"),
        ({"on": ERROR}, "on=.*an exception class"),
        ({"on": (ValueError, "KeyError")}, "on=.*an exception class"),
        ({"on": [ValueError]}, "on=.*an exception class"),
        ({"on": int}, "on=.*an exception class"),
    ],
)
def test_a_wrong_argument_is_refused_by_its_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Retry(**options)


def test_texts_and_single_classes_are_kept_as_what_they_mean() -> None:
    assert Retry(wait="10s", cap="5m", on=ValueError) == Retry(
        wait=timedelta(seconds=10), cap=timedelta(minutes=5), on=(ValueError,)
    )
