"""Moments, waits, errors and counts in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from asyncsched.phrases import coming_words, error_words, moment_words, number_words, wait_words

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 20, 12, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("wait", "words"),
    [
        (timedelta(0), "0 ms"),
        (timedelta(microseconds=1999), "1 ms"),
        (timedelta(milliseconds=999), "999 ms"),
        (timedelta(seconds=1), "1 s"),
        (timedelta(seconds=4.21), "4.2 s"),
        (timedelta(seconds=9.96), "10 s"),
        (timedelta(seconds=59.4), "59 s"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(hours=23, seconds=1), "23h1s"),
        (timedelta(days=2, hours=3, seconds=4), "2d3h"),
        (timedelta(seconds=-1), "0 ms"),
    ],
)
def test_a_wait_is_as_exact_as_people_care(wait: timedelta, words: str) -> None:
    assert wait_words(wait) == words


def test_a_moment_shows_seconds_and_fractions_where_there_are_any() -> None:
    assert moment_words(NOON) == "Fri 20 Nov 2026 12:00:00 CET"
    assert moment_words(NOON, year=False, seconds=False) == "Fri 20 Nov 12:00 CET"
    assert moment_words(NOON + timedelta(seconds=1.25), seconds=False) == "Fri 20 Nov 2026 12:00:01.25 CET"
    assert moment_words(NOON + timedelta(microseconds=1_002_345)) == "Fri 20 Nov 2026 12:00:01.002 CET"
    assert moment_words(datetime(2026, 6, 7, 1, tzinfo=BERLIN)) == "Sun  7 Jun 2026 01:00:00 CEST"


def test_what_comes_soon_is_told_by_how_long_it_takes_and_what_comes_late_by_when() -> None:
    assert coming_words(NOON + timedelta(seconds=10), NOON + timedelta(milliseconds=3)) == "in 10 s"
    assert coming_words(NOON + timedelta(hours=21), NOON) == "Sat 21 Nov 09:00 CET"
    assert coming_words(NOON.replace(year=2027), NOON) == "Sat 20 Nov 2027 12:00 CET"
    assert coming_words(NOON, NOON.astimezone(UTC)) == "in 0 ms"


def test_an_error_is_one_line() -> None:
    assert error_words(ConnectionError("refused\nby peer")) == "ConnectionError: refused"
    assert error_words(KeyError()) == "KeyError"


def test_a_number_of_one_has_no_s() -> None:
    assert [number_words(count, "run") for count in (0, 1, 2_000)] == ["0 runs", "1 run", "2,000 runs"]
