"""Cron against croniter, in the dialect that both share and away from changes of the clock.

Where croniter is known to differ (a-a, wrapped steps, LW, L-n, mixed lists of #, very rare dates) it is not asked.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from croniter import CroniterBadDateError, croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.errors import TriggerError
from asyncsched.triggers import Cron

MONTHS = ["JAN", "feb", "Mar", "APR", "may", "JUN", "jul", "aug", "SEP", "OCT", "nov", "DEC"]
WEEKDAYS = ["SUN", "mon", "Tue", "WED", "thu", "FRI", "sat"]


def items(low: int, high: int, names: list[str] | None = None) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    value = number.map(str) | (st.sampled_from(names) if names else st.nothing())
    rising = st.tuples(number, number).filter(lambda ends: ends[0] < ends[1])
    ranges = rising.map(lambda ends: f"{ends[0]}-{ends[1]}")
    stepped = rising.flatmap(
        lambda ends: st.integers(1, ends[1] - ends[0]).map(lambda step: f"{ends[0]}-{ends[1]}/{step}")
    )
    return value | ranges | stepped


def fields(low: int, high: int, names: list[str] | None = None) -> st.SearchStrategy[str]:
    lists = st.lists(items(low, high, names), min_size=1, max_size=4).map(",".join)
    return st.just("*") | st.integers(1, high - low).map("*/{}".format) | lists


DAYS_OF_MONTH = fields(1, 31) | st.just("L")
DAYS_OF_WEEK = fields(0, 6, WEEKDAYS)
NTH_WEEKDAY = st.tuples(st.integers(0, 6), st.integers(1, 5)).map("{0[0]}#{0[1]}".format)
NTH = st.tuples(st.just("*"), fields(1, 12, MONTHS), NTH_WEEKDAY)
DAYS = st.tuples(DAYS_OF_MONTH, fields(1, 12, MONTHS), DAYS_OF_WEEK) | NTH
FIVE = st.tuples(fields(0, 59), fields(0, 23), DAYS.map(" ".join)).map(" ".join)
SIX = st.tuples(fields(0, 59), FIVE).map(" ".join)
LINES = FIVE | SIX
STARTS = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1))


def judged(line: str, start: datetime, count: int) -> list[datetime]:
    """The next fires by croniter within a few years; it looks for rarer ones for seconds."""
    other = croniter(
        line, start, ret_type=datetime, second_at_beginning=True, implement_cron_bug=True, max_years_between_matches=3
    )
    found: list[datetime] = []
    with suppress(CroniterBadDateError):
        found.extend(other.get_next() for _ in range(count))
    return found


@settings(max_examples=500, deadline=None, derandomize=True)
@given(LINES, STARTS, st.sampled_from(["UTC", "Asia/Kathmandu", "America/Phoenix"]))
def test_the_same_fires_as_croniter(line: str, start: datetime, zone: str) -> None:
    aware = start.replace(tzinfo=ZoneInfo(zone))
    try:
        cron = Cron(line, tz=zone)
    except TriggerError:
        assert judged(line, aware, 1) == []
        return
    expected = judged(line, aware, 4)
    assert list(islice(cron.upcoming(aware), 4))[: len(expected)] == expected


@settings(max_examples=200, deadline=None, derandomize=True)
@given(LINES, st.integers(0, 30 * 86400))
def test_the_same_fires_as_croniter_between_two_changes_of_the_clock(line: str, seconds: int) -> None:
    zone = ZoneInfo("Europe/Berlin")
    start = (datetime(2025, 4, 1, tzinfo=UTC) + timedelta(seconds=seconds)).astimezone(zone)
    end = datetime(2025, 10, 25, tzinfo=zone)
    expected = [fire for fire in judged(line, start, 3) if fire < end]
    if expected:
        assert list(islice(Cron(line, tz="Europe/Berlin").upcoming(start), 3))[: len(expected)] == expected


@settings(max_examples=200, deadline=None, derandomize=True)
@given(LINES)
def test_what_croniter_reads_is_read(line: str) -> None:
    assert croniter.is_valid(line, second_at_beginning=True)
    try:
        Cron(line, tz="UTC")
    except TriggerError as error:
        assert "ever" in str(error), f"{line}: only a line that never fires may be refused"  # noqa: PT017


PLACES = ["minute", "hour", "day", "month", "weekday"]
WRONG = [
    ("minute", ["60", "-1", "5-", "1-2-3", "*/0", "a", "5-60", "", "1,,2", "?", "MON", "JAN"]),
    ("hour", ["24", "-1", "5-", "1-2-3", "*/0", "a", "5-24", "1,,2", "?", "MON", "FEB"]),
    ("day", ["32", "-1", "5-", "1-2-3", "*/0", "a", "5-32", "1,,2", "0", "MON", "JAN"]),
    ("month", ["13", "-1", "5-", "1-2-3", "*/0", "a", "5-13", "1,,2", "0", "MON", "?"]),
    ("weekday", ["8", "-1", "5-", "1-2-3", "*/0", "a", "5-8", "1,,2", "JAN", "5#6", "5#0"]),
]


@pytest.mark.parametrize(("place", "text"), [(place, text) for place, texts in WRONG for text in texts])
def test_what_croniter_refuses_is_refused(place: str, text: str) -> None:
    parts = ["0", "0", "1", "1", "*"]
    parts[PLACES.index(place)] = text
    line = " ".join(parts)
    assert not croniter.is_valid(line, second_at_beginning=True)
    with pytest.raises(TriggerError):
        Cron(line, tz="UTC")
