"""Whether to try again, and how long to wait first."""

import pickle
import subprocess
import sys
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.errors import ConfigError
from asyncsched.retry import NO_RETRY, Retry, RetryAfter

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
        ({"cap": 5}, "cap=5"),
        ({"on": ()}, r"on=\(\)"),
        ({"on": ERROR}, "on=.*an exception class"),
        ({"on": (ValueError, "KeyError")}, "on=.*an exception class"),
        ({"on": [ValueError]}, "on=.*an exception class"),
        ({"on": int}, "on=.*an exception class"),
        ({"on": "ValueError"}, "on=.*a function of the exception"),
        ({"on": (ValueError, bool)}, "on=.*an exception class"),
        ({"jitter": 1.5}, "jitter=1.5.*a share of the wait from 0 to 1"),
        ({"jitter": -0.1}, "jitter=-0.1"),
        ({"jitter": True}, "jitter=True"),
        ({"jitter": float("nan")}, "jitter=nan"),
        ({"jitter": "5"}, "jitter='5' is not a duration"),
        ({"jitter": None}, "jitter=None"),
        ({"stop_after": 60}, "stop_after=60"),
        ({"stop_after": "0s"}, "stop_after='0s'.*more than zero"),
        ({"stop_after": "1h"}, "without a wait: give attempts="),
        ({"stop_after": "1h", "wait": "1s", "cap": "0s"}, "without a wait: give attempts="),
        ({"step": -1}, "step=-1"),
    ],
)
def test_a_wrong_argument_is_refused_by_its_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Retry(**options)


def test_texts_and_single_classes_are_kept_as_what_they_mean() -> None:
    assert Retry(wait="10s", cap="5m", on=ValueError) == Retry(
        wait=timedelta(seconds=10), cap=timedelta(minutes=5), on=(ValueError,)
    )


def test_nothing_given_is_three_tries_at_once_without_a_bound_in_time() -> None:
    assert Retry() == Retry(attempts=3) == Retry(attempts=None, cap=None, on=None, stop_after=None)
    assert (Retry().attempts, Retry().stop_after) == (3, None)


def test_a_step_is_added_to_each_later_wait() -> None:
    assert waits(Retry(attempts=5, wait="1s", step="1s"), 4) == [at * SECOND for at in (1, 2, 3, 4)]
    assert waits(Retry(attempts=9, wait="1s", step="2s", cap="4s"), 4) == [at * SECOND for at in (1, 3, 4, 4)]


# --- against a model in exact fractions


@settings(max_examples=1_000)
@given(
    st.integers(1, 12),
    st.integers(0, 100 * SECOND),
    st.sampled_from([1, 1.5, 2, 3, 10]),
    st.integers(0, 10 * SECOND),
    st.none() | st.integers(0, 1_000 * SECOND),
    st.none() | st.integers(1, 2_000 * SECOND),
    st.lists(st.integers(0, 50 * SECOND), min_size=13, max_size=13),
)
def test_waits_are_those_of_the_model(
    attempts: int, wait: int, factor: float, step: int, cap: int | None, stop_after: int | None, took: list[int]
) -> None:
    retry = Retry(
        attempts=attempts, wait=us(wait), factor=factor, step=us(step), cap=None if cap is None else us(cap),
        stop_after=None if stop_after is None else us(stop_after),
    )  # fmt: skip
    found, expected = [], []
    elapsed = 0
    for attempt in range(1, attempts + 1):
        elapsed += took[attempt]
        found.append(retry.delay_us(attempt, ERROR, key="run", elapsed_us=elapsed))
        exact = int(Fraction(wait) * Fraction(factor) ** (attempt - 1)) + step * (attempt - 1)
        delay = min(exact, 3_650 * 86_400 * SECOND if cap is None else cap)
        if attempt == attempts or (stop_after is not None and elapsed + delay > stop_after):
            expected.append(None)
            break
        expected.append(delay)
        elapsed += delay
    assert found == expected


def us(count: int) -> timedelta:
    return timedelta(microseconds=count)


# --- jitter


@settings(max_examples=1_000)
@given(
    st.integers(0, 3_600 * SECOND),
    st.floats(0, 1) | st.integers(0, 100 * SECOND),
    st.integers(1, 1_000),
    st.text(max_size=40),
)
def test_jitter_makes_a_wait_longer_by_less_than_itself_and_always_by_the_same(
    wait: int, jitter: float, attempt: int, key: str
) -> None:
    share = isinstance(jitter, float)
    retry = Retry(attempts=2_000, wait=us(wait), jitter=jitter if share else us(int(jitter)))
    delay = retry.delay_us(attempt, ERROR, key=key)
    most = int(wait * jitter) if share else int(jitter)
    assert delay is not None
    assert wait <= delay <= wait + max(0, most - 1)
    again = Retry(attempts=2_000, wait=us(wait), jitter=jitter if share else us(int(jitter)))
    assert again.delay_us(attempt, KeyError(), key=key, elapsed_us=5) == delay


def test_jitter_differs_from_run_to_run_and_from_attempt_to_attempt() -> None:
    retry = Retry(attempts=2_000, wait="1s", jitter=0.5, cap="1s")
    by_run = [retry.delay_us(1, ERROR, key=f"run {number}") or 0 for number in range(1_000)]
    by_attempt = [retry.delay_us(attempt, ERROR, key="run") or 0 for attempt in range(1, 1_001)]
    for delays in (by_run, by_attempt):
        assert len(set(delays)) > 990
        quarters = [sum(SECOND + part <= delay < SECOND + part + 125_000 for delay in delays)
                    for part in range(0, 500_000, 125_000)]  # fmt: skip
        assert sum(quarters) == 1_000
        assert min(quarters) > 200


def test_another_process_makes_the_same_jitter() -> None:
    program = "from asyncsched.retry import Retry; print(Retry(jitter='1h').delay_us(1, ValueError(), key='a run'))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={})
    assert int(told.stdout) == Retry(jitter="1h").delay_us(1, ERROR, key="a run")


# --- when it ends


def test_no_attempt_begins_later_than_the_bound_in_time() -> None:
    retry = Retry(attempts=100, wait="10s", stop_after="60s")
    assert retry.delay_us(3, ERROR, elapsed_us=50 * SECOND) == 10 * SECOND
    assert retry.delay_us(3, ERROR, elapsed_us=50 * SECOND + 1) is None


def test_a_bound_in_time_alone_is_as_many_tries_as_there_is_time_for() -> None:
    retry = Retry(wait="1s", stop_after="1d")
    assert retry.delay_us(80_000, ERROR, elapsed_us=80_000 * SECOND) == SECOND
    assert Retry(attempts=5, stop_after="1d").delay_us(5, ERROR) is None


# --- what is tried again


def test_a_function_of_the_exception_says_whether_to_try_again() -> None:
    retry = Retry(on=lambda error: "busy" in str(error))
    assert retry.delay_us(1, OSError("server busy")) == 0
    assert retry.delay_us(1, OSError("no such table")) is None
    assert Retry(on=lambda error: True).delay_us(1, SystemExit()) is None


def test_a_function_that_fails_over_the_exception_ends_the_run_and_leaves_a_note_on_it() -> None:
    def broken(error: BaseException) -> bool:
        raise LookupError("no table")

    error = ValueError("bad")
    assert Retry(on=broken).delay_us(1, error) is None
    (note,) = error.__notes__
    assert "broken" in note
    assert "LookupError('no table')" in note


# --- a run that asks for its delay


def test_a_run_may_ask_for_its_delay_which_is_taken_as_it_is() -> None:
    retry = Retry(attempts=3, wait="1h", cap="5s", jitter="1h", on=KeyError)
    assert retry.delay_us(1, RetryAfter("10s")) == 10 * SECOND
    assert retry.delay_us(2, RetryAfter(timedelta(0))) == 0


def test_an_attempt_that_asks_for_a_delay_counts() -> None:
    assert Retry(attempts=3).delay_us(3, RetryAfter("10s")) is None
    assert NO_RETRY.delay_us(1, RetryAfter("10s")) is None
    assert Retry(stop_after="1m", attempts=9).delay_us(1, RetryAfter("61s")) is None


def test_no_asked_delay_is_longer_than_the_calendar() -> None:
    assert Retry().delay_us(1, RetryAfter(timedelta.max)) == timedelta(days=3650) // us(1)


@pytest.mark.parametrize("wrong", [10, "soon", "-1s", timedelta(-1), None])
def test_what_is_no_delay_is_refused_where_it_is_raised(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="delay="):
        RetryAfter(wrong)


def test_what_asks_for_a_delay_comes_back_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(RetryAfter("1m30s")))
    assert (error.delay, str(error)) == (timedelta(seconds=90), "to be tried again after 1m30s")
