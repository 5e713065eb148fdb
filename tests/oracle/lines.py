"""A cron line as predicates over wall-clock dates and times, item by item as the manual's tables say it.

No caches, no arithmetic tricks: a date is asked one item after another. Lines are taken to be valid.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

DayTest = Callable[[date], bool]

MONTHS = {
    name: number
    for number, long in enumerate(
        [
            "january",
            "february",
            "march",
            "april",
            "may",
            "june",
            "july",
            "august",
            "september",
            "october",
            "november",
            "december",
        ],
        start=1,
    )
    for name in (long, long[:3])
}
WEEKDAYS = {
    name: number
    for number, long in enumerate(["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"])
    for name in (long, long[:3])
}
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True)
class Line:
    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    years: frozenset[int]
    days_of_month: tuple[DayTest, ...]
    days_of_week: tuple[DayTest, ...]
    both: bool
    wildcard: bool

    def has_date(self, day: date) -> bool:
        if day.year not in self.years or day.month not in self.months:
            return False
        in_month = any(test(day) for test in self.days_of_month)
        in_week = any(test(day) for test in self.days_of_week)
        return (in_month and in_week) if self.both else (in_month or in_week)

    def has_wall(self, wall: datetime) -> bool:
        in_day = wall.hour in self.hours and wall.minute in self.minutes and wall.second in self.seconds
        return in_day and self.has_date(wall.date())


def read_line(text: str, *, dialect: str = "unix", days: str = "crontab") -> Line:
    parts = NICKNAMES.get(text.strip(" \t").lower(), text).replace("\t", " ").split(" ")
    parts = [part for part in parts if part]
    if len(parts) == 5:
        parts = ["0", *parts]
    if len(parts) == 6:
        parts = [*parts, "*"]
    second, minute, hour, day_of_month, month, day_of_week, year = parts
    wanted_both = day_of_week.startswith("+")
    day_of_week = day_of_week.removeprefix("+")
    starred = day_of_month[0] in "*?" or day_of_week[0] in "*?"
    return Line(
        seconds=_numbers(second, 0, 59, int),
        minutes=_numbers(minute, 0, 59, int),
        hours=_numbers(hour, 0, 23, int),
        months=_numbers(month, 1, 12, _month),
        years=_numbers(year, 1970, 2199, int),
        days_of_month=tuple(_day_of_month(item) for item in day_of_month.split(",")),
        days_of_week=tuple(_day_of_week(item, dialect) for item in day_of_week.split(",")),
        both=wanted_both or {"crontab": starred, "both": True, "either": False}[days],
        wildcard=any(field.startswith("*") for field in (second, minute, hour)),
    )


def _numbers(field: str, low: int, high: int, read: Callable[[str], int]) -> frozenset[int]:
    return frozenset(number for item in field.split(",") for number in _sequence(item, low, high, read))


def _sequence(item: str, low: int, high: int, read: Callable[[str], int]) -> Sequence[int]:
    body, slash, step = item.partition("/")
    if body in ("*", "?"):
        run = list(range(low, high + 1))
    elif "-" in body:
        first, last = (read(end) for end in body.split("-"))
        run = list(range(first, last + 1)) if first <= last else [*range(first, high + 1), *range(low, last + 1)]
    elif slash:
        run = list(range(read(body), high + 1))
    else:
        run = [read(body)]
    return run[:: int(step or 1)]


def _month(text: str) -> int:
    return MONTHS.get(text.lower()) or int(text)


def _day_of_month(item: str) -> DayTest:
    item = item.upper()
    if item == "L":
        return lambda day: day.day == _length(day)
    if item == "LW":
        return lambda day: day.day == _nearest_workday(day, _length(day))
    if item.startswith("L-") and item.endswith("W"):
        return lambda day: day.day == _nearest_workday(day, _length(day) - int(item[2:-1]))
    if item.startswith("L-"):
        return lambda day: day.day == _length(day) - int(item[2:])
    if item.endswith("W"):
        return lambda day: day.day == _nearest_workday(day, int(item[:-1]))
    numbers = _sequence(item, 1, 31, int)
    return lambda day: day.day in numbers


def _length(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def _nearest_workday(day: date, number: int) -> int | None:
    return _nearest_workday_of(day.replace(day=1), number)


@lru_cache(maxsize=10_000)
def _nearest_workday_of(first: date, number: int) -> int | None:
    if not 1 <= number <= _length(first):
        return None
    workdays = [n for n in range(1, _length(first) + 1) if first.replace(day=n).isoweekday() <= 5]
    return min(workdays, key=lambda n: abs(n - number))


def _day_of_week(item: str, dialect: str) -> DayTest:
    item = item.upper()

    def read(text: str) -> int:
        if text.lower() in WEEKDAYS:
            return WEEKDAYS[text.lower()]
        return int(text) - 1 if dialect == "quartz" else int(text) % 7

    if "#" in item:
        weekday, _, which = item.partition("#")
        if which != "L":
            return lambda day: _weekday(day) == read(weekday) and (day.day - 1) // 7 + 1 == int(which)
        item = weekday + "L"
    if item.startswith("L"):
        item = item[1:] + "L"
    if item.endswith("L"):
        return lambda day: _weekday(day) == read(item[:-1]) and (day + timedelta(days=7)).month != day.month
    if item.partition("/")[0] == "0-7" and dialect == "unix":
        item = item.replace("0-7", "*")
    numbers = _sequence(item, 0, 6, read)
    return lambda day: _weekday(day) in numbers


def _weekday(day: date) -> int:
    return day.isoweekday() % 7
