"""Calendar: every n years, months, weeks or days."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from asyncsched.clock import to_us
from asyncsched.errors import TriggerError
from asyncsched.triggers import Binding, Calendar, Cron, Trigger
from effort import lines_of

T0 = datetime(2025, 1, 1, tzinfo=UTC)


def dates(trigger: Trigger, count: int, start: datetime = T0) -> list[str]:
    return [f"{fire:%Y-%m-%d}" for fire in islice(trigger.upcoming(start), count)]


def calendar(**fields: Any) -> Calendar:
    return Calendar(fields.pop("at", "09:00"), tz="UTC", **fields)


def test_the_31st_is_counted_from_the_anchor() -> None:
    start = date(2025, 1, 31)
    assert dates(calendar(months=1, start=start), 4) == ["2025-01-31", "2025-03-31", "2025-05-31", "2025-07-31"]
    clamped = calendar(months=1, start=start, overflow="clamp")
    assert dates(clamped, 4) == ["2025-01-31", "2025-02-28", "2025-03-31", "2025-04-30"]
    assert dates(calendar(months=1, on=31), 40) == dates(Cron("0 9 31 * *", tz="UTC"), 40)


def test_a_leap_day_comes_every_four_years_or_is_clamped() -> None:
    start = date(2024, 2, 29)
    assert dates(calendar(years=1, start=start), 2) == ["2028-02-29", "2032-02-29"]
    assert dates(calendar(years=1, start=start, overflow="clamp"), 2) == ["2025-02-28", "2026-02-28"]


def test_weeks_begin_on_monday_and_are_counted_from_the_one_of_the_start() -> None:
    assert dates(calendar(weeks=2, on=["sunday", "Tue"], start=date(2025, 1, 2)), 5) == [
        "2025-01-05", "2025-01-14", "2025-01-19", "2025-01-28", "2025-02-02",
    ]  # fmt: skip
    assert dates(calendar(weeks=3, start=date(2025, 1, 2)), 2) == ["2025-01-02", "2025-01-23"]


def test_days_are_counted_and_not_hours() -> None:
    trigger = Calendar("09:00", days=10, start=date(2024, 3, 5), tz="America/New_York")
    assert [str(fire) for fire in islice(trigger.upcoming(datetime(2024, 3, 6, tzinfo=UTC)), 2)] == [
        "2024-03-15 09:00:00-04:00",
        "2024-03-25 09:00:00-04:00",
    ]


@pytest.mark.parametrize(
    ("on", "line"),
    [
        ("last day", "L"), ("last weekday", "LW"), (15, "15"), (("1st", 15), "1,15"),
        ("last friday", "* * 5L"), ("first monday", "* * 1#1"), ("fifth sunday", "* * 0#5"), ("2nd tue", "* * 2#2"),
    ],
)  # fmt: skip
def test_days_of_every_month_are_those_of_a_cron_line(on: Any, line: str) -> None:
    days = line if "*" in line else f"{line} * *"
    assert dates(calendar(months=1, on=on), 60) == dates(Cron(f"0 9 {days}", tz="UTC"), 60)


def test_days_of_a_year() -> None:
    thanksgiving = calendar(years=1, on=["fourth thursday of november", "december 25"])
    assert dates(thanksgiving, 4) == ["2025-11-27", "2025-12-25", "2026-11-26", "2026-12-25"]
    assert thanksgiving == calendar(years=1, on=("25 dec", "4th THU of Nov"))


def wanted_weekdays(day: date) -> bool:
    return day.isoweekday() in (1, 7) and (day - date(2024, 12, 30)).days // 7 % 3 == 0


def wanted_month_ends(day: date) -> bool:
    months = (day.year - 2025) * 12 + day.month - 1
    return months % 5 == 0 and day.day == min(30, monthrange(day.year, day.month)[1])


def wanted_second_weekday(day: date) -> bool:
    workdays = [d for d in range(1, day.day + 1) if date(day.year, day.month, d).isoweekday() < 6]
    return (day.year * 12 + day.month - 2025 * 12 - 1) % 2 == 0 and day.isoweekday() < 6 and len(workdays) == 2


@pytest.mark.parametrize(
    ("trigger", "wanted"),
    [
        (calendar(weeks=3, on=("mon", "sun"), start=date(2025, 1, 1)), wanted_weekdays),
        (calendar(months=5, on=30, start=date(2025, 1, 1), overflow="clamp"), wanted_month_ends),
        (calendar(months=2, on="second weekday", start=date(2025, 1, 1)), wanted_second_weekday),
        (calendar(days=17, start=date(2025, 1, 1)), lambda day: (day - date(2025, 1, 1)).days % 17 == 0),
        (
            calendar(years=3, on="1 march", start=date(2025, 1, 1)),
            lambda d: d.year % 3 == 0 and (d.month, d.day) == (3, 1),
        ),
    ],
)
def test_a_calendar_is_what_looking_at_every_day_finds(trigger: Calendar, wanted: Callable[[date], bool]) -> None:
    days = (date(2025, 1, 1) + timedelta(days=n) for n in range(3653))
    found = [fire.date() for fire in trigger.between(T0, datetime(2035, 1, 2, tzinfo=UTC))]
    assert found == [day for day in days if wanted(day)]


def test_nothing_fires_before_the_start() -> None:
    assert dates(calendar(months=1, on=(1, 20), start=date(2030, 5, 10)), 2) == ["2030-05-20", "2030-06-01"]


def test_an_open_start_is_bound_only_where_something_is_counted() -> None:
    anchor = Binding(zone="Asia/Tokyo", anchor_us=to_us(datetime(2025, 5, 4, 20, tzinfo=UTC)))
    assert Calendar("09:00", weeks=2, on="monday").bind(anchor).start == date(2025, 5, 5)
    assert Calendar("09:00", months=1).bind(anchor).start == date(2025, 5, 5)
    assert Calendar("09:00", months=1, on="last day").bind(anchor) == Calendar(
        "09:00", months=1, on="last day", tz="Asia/Tokyo"
    )
    bound = Calendar("09:00", days=3).bind(anchor)
    assert bound.bind(Binding(zone="UTC", anchor_us=0)) == bound


def test_a_date_that_the_zone_never_had_is_no_date() -> None:
    apia = Calendar("12:00", days=1, start=date(2011, 12, 29), tz="Pacific/Apia")
    assert dates(apia, 2, datetime(2011, 12, 29, 12, tzinfo=UTC)) == ["2011-12-29", "2011-12-31"]


def test_times_of_a_calendar_follow_the_clock_of_the_zone() -> None:
    monthly = Calendar(["02:30", "03:00"], months=1, on="second sunday", tz="America/New_York")
    fires = list(islice(monthly.upcoming(datetime(2024, 3, 1, tzinfo=UTC)), 3))
    assert [str(fire) for fire in fires] == [
        "2024-03-10 03:00:00-04:00",
        "2024-04-14 02:30:00-04:00",
        "2024-04-14 03:00:00-04:00",
    ]
    skipping = Calendar("02:30", months=1, on="second sunday", tz="America/New_York", gap="skip")
    assert dates(skipping, 1, datetime(2024, 3, 1, tzinfo=UTC)) == ["2024-04-14"]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({}, "exactly one"),
        ({"months": 1, "weeks": 1}, "exactly one"),
        ({"months": -1}, "exactly one"),
        ({"months": 1.5}, "exactly one"),
        ({"days": 10_001}, "exactly one"),
        ({"months": 1, "on": 32}, "on=32"),
        ({"months": 1, "on": "sixth monday"}, "sixth"),
        ({"months": 1, "on": "25 december"}, "december"),
        ({"months": 1, "on": ""}, "on=''"),
        ({"years": 1, "on": "25"}, "december"),
        ({"years": 1, "on": "30 february"}, "no such day"),
        ({"weeks": 1, "on": "last friday"}, "weekday"),
        ({"days": 1, "on": "monday"}, "nothing"),
        ({"months": 1, "overflow": "wrap"}, "overflow"),
        ({"months": 1, "start": datetime(2025, 1, 1)}, "start="),
        ({"months": 1, "start": date(1969, 1, 1)}, "start="),
        ({"months": 12, "on": 30, "start": date(2025, 2, 1)}, "no date"),
        ({"years": 4, "on": "29 february", "start": date(2025, 1, 1)}, "no date"),
        ({"months": 1, "at": "9"}, "time of day"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(TriggerError, match=match):
        calendar(**fields)


def test_the_last_date_is_in_2199() -> None:
    assert dates(calendar(years=100, on="31 december", start=date(1999, 1, 1)), 9) == ["2099-12-31", "2199-12-31"]
    assert calendar(days=1).next_after(datetime.max.replace(tzinfo=UTC)) is None


def test_rare_dates_are_found_at_once() -> None:
    rare = calendar(years=3, on="fifth monday of february", start=date(1998, 1, 1))
    found, lines = lines_of(lambda: dates(rare, 9))
    assert found == ["2112-02-29", "2196-02-29"]
    assert lines < 25_000


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (calendar(months=1, on="last friday"), "every month on the last friday at 09:00 in UTC"),
        (Calendar(months=2, on=(31, "first monday")), "every 2 months on the 31st and the first monday at 00:00"),
        (
            Calendar("08:00", weeks=2, on="mon", start=date(2026, 11, 23)),
            "every 2 weeks on monday at 08:00 from 2026-11-23",
        ),
        (Calendar(years=1, on="25 december"), "every year on 25 december at 00:00"),
        (Calendar(days=3), "every 3 days at 00:00"),
        (Calendar(months=1), "every 1 month at 00:00"),
        (
            Calendar(months=1, on=31, overflow="clamp"),
            "every month on the 31st at 00:00, or on the last day of a shorter month",
        ),
    ],
)
def test_words(trigger: Calendar, words: str) -> None:
    assert trigger.describe() == words
