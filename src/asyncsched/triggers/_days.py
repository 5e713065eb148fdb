"""Which days of which months a cron line wants.

Months are counted from January 1970. A month looks like one of 28: four lengths, seven weekdays to begin with.
So the wanted days are worked out at most 28 times for a line, however many years it runs.
"""

from __future__ import annotations

from bisect import bisect_left
from calendar import isleap
from itertools import accumulate

from asyncsched.triggers._fields import Dates, Line, Weekdays
from asyncsched.triggers._wall import FIRST_YEAR, LAST_YEAR

MONTH_COUNT = (LAST_YEAR - FIRST_YEAR + 1) * 12
_COMMON = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LENGTHS = [length + (length == 28 and isleap(year)) for year in range(FIRST_YEAR, LAST_YEAR + 1) for length in _COMMON]
MONTH_STARTS = [0, *accumulate(_LENGTHS)]
"""The first day of each month, in days after 1970-01-01; one more at the end."""
_THURSDAY = 4  # 1970-01-01


class WantedDays:
    """The days that the day fields of one line want, month by month."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._years = None if len(line.years) == LAST_YEAR - FIRST_YEAR + 1 else frozenset(line.years)
        self._months: dict[int, tuple[int, ...]] = {}
        self._next: dict[int, int | None] = {}
        self._shapes: dict[tuple[int, int], tuple[int, ...]] = {}

    def of(self, month: int) -> tuple[int, ...]:
        """The wanted days of the month, in order: 1 is its first."""
        days = self._months.get(month)
        if days is None:
            year = FIRST_YEAR + month // 12
            wanted = month % 12 + 1 in self._line.months and (self._years is None or year in self._years)
            days = self._months[month] = self._shape(month) if wanted else ()
        return days

    def next_month(self, month: int) -> int | None:
        """The first month from ``month`` on that has a wanted day."""
        if month not in self._next:
            self._next[month] = self._search(month)
        return self._next[month]

    def _search(self, month: int) -> int | None:
        years = self._line.years
        for place in range(bisect_left(years, FIRST_YEAR + month // 12), len(years)):
            january = (years[place] - FIRST_YEAR) * 12
            for number in self._line.months:
                found = january + number - 1
                if found >= month and self._shape(found):
                    return found
        return None

    def _shape(self, month: int) -> tuple[int, ...]:
        shape = (_LENGTHS[month], (MONTH_STARTS[month] + _THURSDAY) % 7)
        days = self._shapes.get(shape)
        if days is None:
            days = self._shapes[shape] = self._wanted(*shape)
        return days

    def _wanted(self, length: int, first: int) -> tuple[int, ...]:
        dates = _by_date(self._line.dates, length, first)
        weekdays = _by_weekday(self._line.weekdays, length, first)
        return tuple(sorted(dates & weekdays if self._line.together else dates | weekdays))


def _by_date(dates: Dates, length: int, first: int) -> set[int]:
    """The days that the day-of-month field wants in a month of this length and first weekday."""
    days = {day for day in dates.plain if day <= length}
    days.update(length - back for back in dates.last if back < length)
    days.update(_nearest(day, length, first) for day in dates.nearest if day <= length)
    days.update(_nearest(length - back, length, first) for back in dates.last_nearest if back < length)
    return days


def _nearest(day: int, length: int, first: int) -> int:
    """The Monday to Friday nearest to ``day``, without leaving the month."""
    weekday = (first + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day


def _by_weekday(weekdays: Weekdays, length: int, first: int) -> set[int]:
    """The days that the day-of-week field wants in a month of this length and first weekday."""
    days: set[int] = set()
    for weekday in weekdays.plain:
        days.update(range((weekday - first) % 7 + 1, length + 1, 7))
    for weekday, which in weekdays.nth:
        day = (weekday - first) % 7 + 1 + 7 * (which - 1)
        if day <= length:
            days.add(day)
    for weekday in weekdays.last:
        days.add(length - (first + length - 1 - weekday) % 7)
    return days
