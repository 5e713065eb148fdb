"""Windows in which nothing is started, read on wall clocks."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.blackout import Blackout, blacked_out, blackouts_of, look_at
from asyncsched.clock import to_us
from asyncsched.errors import ConfigError

BERLIN = "Europe/Berlin"
SECOND = 1_000_000


def at(text: str, zone: str = BERLIN, fold: int = 0) -> int:
    return to_us(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold))


def dark(window: Blackout, text: str, zone: str = BERLIN, fold: int = 0) -> bool:
    return blacked_out((window,), at(text, zone, fold), zone)


NIGHT = Blackout("02:00", "04:00")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("01:59:59.999999", False), ("02:00", True), ("03:59:59.999999", True), ("04:00", False), ("14:00", False)],
)
def test_a_window_of_each_day_includes_its_start_and_not_its_end(text: str, expected: bool) -> None:
    assert dark(NIGHT, f"2026-06-01 {text}") is expected


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    weekend = Blackout("22:00", "06:00", days="fri,sat")
    told = {
        "2026-06-04 23:00": False,  # a Thursday
        "2026-06-05 05:00": False,
        "2026-06-05 22:00": True,
        "2026-06-06 05:59": True,
        "2026-06-06 06:00": False,
        "2026-06-07 05:59": True,
        "2026-06-07 22:00": False,
    }
    assert {text: dark(weekend, text) for text in told} == told


def test_a_window_that_ends_when_it_begins_is_a_whole_day() -> None:
    assert dark(Blackout("00:00", "00:00", days="sun"), "2026-06-07 23:59:59")
    assert not dark(Blackout("00:00", "00:00", days="sun"), "2026-06-08 00:00")
    assert dark(Blackout("06:00", "06:00", days="sun"), "2026-06-08 05:59")


def test_in_spring_the_hour_that_is_jumped_over_is_not_missed() -> None:
    assert not dark(NIGHT, "2026-03-29 01:59:59")
    assert dark(NIGHT, "2026-03-29 03:00")  # what comes after 01:59:59
    assert not dark(Blackout("02:00", "03:00"), "2026-03-29 03:00")


def test_in_autumn_both_passes_of_an_hour_are_dark() -> None:
    assert dark(NIGHT, "2026-10-25 02:30", fold=0)
    assert dark(NIGHT, "2026-10-25 02:30", fold=1)
    early = Blackout("02:00", "02:10")
    assert [dark(early, "2026-10-25 02:05", fold=fold) for fold in (0, 1)] == [True, True]
    assert [dark(early, "2026-10-25 02:15", fold=fold) for fold in (0, 1)] == [False, False]


def test_the_zone_is_its_own_or_the_task_s() -> None:
    instant = at("2026-06-01 03:00", "Asia/Seoul")
    assert blacked_out((NIGHT,), instant, "Asia/Seoul")
    assert not blacked_out((NIGHT,), instant, "UTC")
    assert blacked_out((Blackout("02:00", "04:00", tz="Asia/Seoul"),), instant, "UTC")


def test_a_window_of_dates_is_once() -> None:
    feast = Blackout(datetime(2026, 12, 24, 12), datetime(2027, 1, 2))
    assert [dark(feast, text) for text in ("2026-12-24 11:59", "2026-12-24 12:00", "2027-01-01 23:59", "2027-01-02")
            ] == [False, True, True, False]  # fmt: skip
    assert blacked_out((feast,), at("2026-12-24 12:00", "UTC"), "UTC")
    aware = Blackout(datetime(2026, 12, 24, 12, tzinfo=UTC), datetime(2027, 1, 2, tzinfo=UTC))
    assert not dark(aware, "2026-12-24 12:30")
    assert dark(aware, "2026-12-24 13:00")


def test_no_window_is_no_darkness_and_no_zone_is_read() -> None:
    assert not blacked_out((), 0, "no zone at all")


ZONES = st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC"])
SECONDS = st.integers(0, 86_399) | st.sampled_from([0, 3_600, 7_200, 10_800, 86_399])
DAYS = st.sampled_from([None, "mon", "sat,sun", "mon-fri"])


@settings(max_examples=1_000)
@given(
    st.lists(st.tuples(SECONDS, SECONDS, DAYS), min_size=1, max_size=3),
    ZONES,
    st.datetimes(datetime(2010, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
    | st.timedeltas(timedelta(0), timedelta(days=2)).map(lambda past: datetime(2026, 3, 28, tzinfo=UTC) + past)
    | st.timedeltas(timedelta(0), timedelta(days=2)).map(lambda past: datetime(2026, 10, 24, tzinfo=UTC) + past),
)
def test_a_window_holds_what_the_clock_shows_and_stays_so_until_it_says(
    windows: list[tuple[int, int, str | None]], zone: str, moment: datetime
) -> None:
    made = [Blackout(clock(start), clock(end), days=days) for start, end, days in windows]
    local = ZoneInfo(zone)
    inside, until_us = look_at(made, to_us(moment), zone)
    assert inside == any(shows(window, moment.astimezone(local)) for window in windows)
    assert until_us > to_us(moment)
    for share in (0, 1, 2, 3):
        between = to_us(moment) + (until_us - 1 - to_us(moment)) * share // 3
        shown = datetime.fromtimestamp(between // SECOND, UTC).astimezone(local)
        assert inside == any(shows(window, shown) for window in windows)


def clock(second: int) -> time:
    return time(second // 3600, second // 60 % 60, second % 60)


def shows(window: tuple[int, int, str | None], local: datetime) -> bool:
    start, end, days = window
    wanted = {None: range(7), "mon": (0,), "sat,sun": (5, 6), "mon-fri": range(5)}[days]
    reading = local.hour * 3600 + local.minute * 60 + local.second
    today, yesterday = local.weekday() in wanted, (local.weekday() - 1) % 7 in wanted
    if start < end:
        return today and start <= reading < end
    return (today and reading >= start) or (yesterday and reading < end)


# --- what it is made of


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("02:00-04:00", NIGHT),
        ("sat,sun 22:00-06:00", Blackout("22:00", "06:00", days="sat,sun")),
        ("mon-fri 09:00-17:30", Blackout(time(9), time(17, 30), days="mon-fri")),
        ("mon-sun 02:00-04:00", NIGHT),
    ],
)
def test_a_text_says_a_window(text: str, window: Blackout) -> None:
    assert Blackout.of(text) == window
    assert Blackout.of(str(window)) == window
    assert blackouts_of(text) == blackouts_of(window) == blackouts_of([text]) == (window,)


def test_windows_are_none_one_or_several() -> None:
    assert blackouts_of(None) == blackouts_of([]) == ()
    assert blackouts_of((NIGHT, "12:00-13:00")) == (NIGHT, Blackout("12:00", "13:00"))


def test_a_window_says_what_it_is() -> None:
    assert str(Blackout("02:00", "04:00:30", days="sat", tz=ZoneInfo(BERLIN))) == "sat 02:00-04:00:30 in Europe/Berlin"
    assert str(Blackout(datetime(2026, 12, 24, 12), datetime(2027, 1, 2))) == "2026-12-24 12:00 to 2027-01-02 00:00"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blackout("2", "04:00"), "time of day '2'"),
        (lambda: Blackout("02:00", "24:00"), "time of day '24:00'"),
        (lambda: Blackout("02:00", datetime(2026, 1, 1)), "two times of day, or two datetimes"),
        (lambda: Blackout(datetime(2026, 1, 1), datetime(2026, 1, 1)), "the start comes before the end"),
        (lambda: Blackout(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2)), "both with a zone, or both without"),
        (lambda: Blackout(datetime(2026, 1, 1), datetime(2026, 1, 2), days="mon"), "days='mon'.* times of day"),
        (lambda: Blackout("02:00", "04:00", days="someday"), "someday"),
        (lambda: Blackout("02:00", "04:00", tz="Mars/Olympus"), "unknown time zone"),
        (lambda: Blackout.of("night"), "blackout='night': a Blackout.*such as '02:00-04:00'"),
        (lambda: blackouts_of(5), "blackout=5"),
        (lambda: blackouts_of([None]), "blackout=None"),
    ],
)
def test_what_is_no_window_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
