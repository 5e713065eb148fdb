"""Durations as people write them."""

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsched.duration import as_duration, format_duration, parse_duration
from asyncsched.errors import ConfigError, DurationError


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("5s", timedelta(seconds=5)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("90 s", timedelta(seconds=90)),
        ("  2 weeks 1 day ", timedelta(days=15)),
        ("1.5h", timedelta(minutes=90)),
        ("0.000001s", timedelta(microseconds=1)),
        ("250ms", timedelta(milliseconds=250)),
        ("3us", timedelta(microseconds=3)),
        ("1W 2D 3H 4M 5S 6MS 7US", timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5, microseconds=6_007)),
        ("2 hrs 1 min 1 sec", timedelta(hours=2, minutes=1, seconds=1)),
        ("1 minute 1 millisecond 1 microsecond", timedelta(minutes=1, microseconds=1_001)),
        ("0s", timedelta(0)),
    ],
)
def test_a_duration_is_numbers_with_their_units(text: str, meant: timedelta) -> None:
    assert parse_duration(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "5", "s", "-5s", "+5s", "5s 5s", "5s 1m", "1m1h", "five s", "5 parsecs", "1h,30m", "1e3s", "1.s",
        ".5s", "٥s", "5s!", "1h\x00", "9999999999999s", "999999999999w", "1s" + " " * 100,
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused_and_shown(text: str) -> None:
    with pytest.raises(DurationError, match="is not a duration") as caught:
        parse_duration(text)
    assert repr(text)[:20] in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_fraction_that_is_finer_than_a_microsecond_is_refused() -> None:
    assert parse_duration("0.5ms") == timedelta(microseconds=500)
    for text in ("0.5us", "0.0001ms", "0.00025ms"):
        with pytest.raises(DurationError, match="finer than a microsecond"):
            parse_duration(text)


@given(st.timedeltas(min_value=timedelta(0)))
def test_what_is_written_reads_back_the_same(duration: timedelta) -> None:
    text = format_duration(duration)
    if duration < timedelta(days=10**6):
        assert len(text) < 30
    assert parse_duration(text) == duration


@given(st.text(max_size=120) | st.text("0123456789. wdhmsu", max_size=30))
def test_a_text_is_a_duration_or_refused_and_nothing_else(text: str) -> None:
    with suppress(DurationError):
        assert parse_duration(text) >= timedelta(0)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(hours=1, minutes=30), "1h30m"),
        (timedelta(days=14), "14d"),
        (timedelta(seconds=90, microseconds=1_002), "1m30s1ms2us"),
        (timedelta(seconds=-5), "-5s"),
    ],
)
def test_a_duration_is_written_by_its_largest_units(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


def test_an_argument_is_a_timedelta_or_its_text() -> None:
    assert as_duration("timeout", "5s") == timedelta(seconds=5)
    assert as_duration("timeout", timedelta(seconds=5)) == timedelta(seconds=5)
    assert as_duration("timeout", "0s", zero=True) == timedelta(0)


@pytest.mark.parametrize("value", [5, 5.0, None, True, b"5s", ["5s"]])
def test_an_argument_without_a_unit_is_refused_by_its_name(value: object) -> None:
    with pytest.raises(DurationError, match=r"timeout=.*give a timedelta or a text") as caught:
        as_duration("timeout", value)  # type: ignore[arg-type]
    assert isinstance(caught.value, ConfigError)


@pytest.mark.parametrize(
    ("value", "zero", "least"),
    [
        ("0s", False, "more than zero"),
        (timedelta(0), False, "more than zero"),
        (timedelta(seconds=-1), False, "more than zero"),
        (timedelta(microseconds=-1), True, "zero or more"),
    ],
)
def test_an_argument_that_is_too_small_is_refused_by_its_name(value: timedelta | str, zero: bool, least: str) -> None:
    with pytest.raises(DurationError, match=f"grace=.*{least}"):
        as_duration("grace", value, zero=zero)
