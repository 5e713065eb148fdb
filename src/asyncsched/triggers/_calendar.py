"""Every n years, months, weeks or days, at times of day: "the last Friday of every month at 09:00"."""

from __future__ import annotations

import re
from bisect import bisect_left
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import date, datetime
from functools import cached_property
from typing import Literal, NamedTuple, Self, get_args

from asyncsched.clock import from_us
from asyncsched.errors import TriggerError
from asyncsched.triggers._base import Binding
from asyncsched.triggers._daytime import LAST_DAY, DayTrigger, checked_choice, listed, skipping
from asyncsched.triggers._fields import MONTHS, WEEKDAYS
from asyncsched.triggers._wall import FIRST_YEAR, LAST_YEAR
from asyncsched.triggers._words import ordinal
from asyncsched.zone import load_zone

Overflow = Literal["skip", "clamp"]
UNITS = ("years", "months", "weeks", "days")
NTH_WORDS = ("first", "second", "third", "fourth", "fifth")
_LARGEST = 10_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DATE = "([0-9]{1,2})(?:st|nd|rd|th)?"
_NTH = {word: place for place, name in enumerate(NTH_WORDS, 1) for word in (name, ordinal(place))} | {"last": -1}
_WEEKDAY_NUMBERS = {key: number for number, name in enumerate(WEEKDAYS) for key in (name.lower(), name[:3].lower())}
_MONTH_NUMBERS = {key: number for number, name in enumerate(MONTHS, 1) for key in (name.lower(), name[:3].lower())}
_WORKDAYS = (1, 2, 3, 4, 5)


class _Rule(NamedTuple):
    """One item of ``on``: which day of a month, or of a week."""

    month: int
    """1-12; 0 is whichever month it is."""
    what: Literal["date", "day", "weekday"] | int
    """``date`` is the n-th day, ``day`` a day counted as ``nth``, ``weekday`` Monday to Friday; a number a weekday."""
    nth: int
    """From 1 on; -1 is the last; 0 where weeks are counted."""

    def days(self, year: int, month: int, overflow: Overflow) -> int | None:
        """The day of that month, or ``None`` if it has no such day."""
        first, length = monthrange(year, month)
        if self.what == "date":
            return self.nth if self.nth <= length else length if overflow == "clamp" else None
        if self.what == "day":
            wanted = list(range(1, length + 1))
        elif self.what == "weekday":
            wanted = [day for day in range(1, length + 1) if (first + day) % 7 in _WORKDAYS]
        else:
            wanted = list(range((self.what - first) % 7 or 7, length + 1, 7))
        if self.nth > len(wanted):
            return None
        return wanted[self.nth - 1 if self.nth > 0 else -1]

    def text(self) -> str:
        """The rule as ``on=`` reads it."""
        month = MONTHS[self.month - 1].lower() if self.month else ""
        if self.what == "date":
            return f"{self.nth} {month}" if month else ordinal(self.nth)
        name = self.what if isinstance(self.what, str) else WEEKDAYS[self.what].lower()
        nth = {0: "", -1: "last "}.get(self.nth) or NTH_WORDS[self.nth - 1] + " " if self.nth else ""
        return f"{nth}{name}" + (f" of {month}" if month else "")

    def said(self) -> str:
        """The rule in a sentence: with an article where it takes one."""
        return self.text() if (self.what == "date" and self.month) or not self.nth else f"the {self.text()}"

    def order(self) -> tuple[int, bool, bool, int, str]:
        """Where it stands among others: dates first, the last ones last, weeks from Monday."""
        place = str((self.what - 1) % 7) if isinstance(self.what, int) else self.what
        return self.month, self.what != "date", self.nth < 0, self.nth, place


@dataclass(frozen=True)
class Calendar(DayTrigger):
    """Every n years, months, weeks or days, at times of day.

    The k-th year, month, week (from Monday) or day is counted from the one that holds ``start``, never from the
    previous fire: monthly from 31 January there are 31 March and 31 May, never 28 March.

    at: the time or times of day, ``"HH:MM[:SS]"``, midnight if not given.
    years, months, weeks, days: exactly one of them, 1-10000.
    on: the day or days of each. With ``weeks`` names of weekdays. With ``months`` a day number (``31``, ``"15th"``),
        ``"last day"``, or the ``first`` to ``fifth`` or ``last`` weekday of a name, as in ``"last friday"``, or of
        Monday to Friday, as in ``"last weekday"``. With ``years`` any of those and a month: ``"25 december"``,
        ``"last friday of november"``. With ``days`` none. Left out it is the day of ``start``.
    start: the date from which is counted; nothing fires before it. Left open it is the date, in the zone, on which
        the task is first registered (1970-01-01 if asked before that). It stays open, without beginning, where
        nothing is counted: every single year, month or week with ``on``.
    overflow: what becomes of a day number that a month does not have: ``"skip"`` drops it, ``"clamp"`` takes the
        last day of that month. A fifth Friday that is not there is always dropped, as is a date that the zone
        never had.
    """

    _: KW_ONLY
    years: int = 0
    months: int = 0
    weeks: int = 0
    days: int = 0
    on: str | int | Sequence[str | int] = ()
    start: date | None = None
    overflow: Overflow = "skip"

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_choice("overflow", self.overflow, get_args(Overflow))
        counts = {unit: getattr(self, unit) for unit in UNITS}
        given = [unit for unit in UNITS if counts[unit] != 0]
        count = counts[given[0]] if len(given) == 1 else 0
        if not isinstance(count, int) or not 1 <= count <= _LARGEST:
            shown = ", ".join(f"{unit}={counts[unit]!r}" for unit in given) or "no unit"
            raise TriggerError(f"{shown}: give exactly one of {', '.join(UNITS)}, from 1 to {_LARGEST}")
        on = (self.on,) if isinstance(self.on, str | int) else self.on
        rules = sorted({_rule(item, given[0]) for item in on}, key=_Rule.order)
        object.__setattr__(self, "on", tuple(rule.text() for rule in rules))
        self._check_start()
        if self.overflow == "skip":
            self._check_dates(rules)

    def _check_start(self) -> None:
        start = self.start
        if start is not None and (
            not isinstance(start, date) or isinstance(start, datetime) or not FIRST_YEAR <= start.year <= LAST_YEAR
        ):
            raise TriggerError(f"start={start!r}: give a date in {FIRST_YEAR}-{LAST_YEAR}")

    def _check_dates(self, rules: list[_Rule]) -> None:
        """Refuse what never comes."""
        for rule in rules:
            # 2000 began with a leap February, and every month is as long as it gets.
            if rule.month and rule.what == "date" and rule.days(2000, rule.month, "skip") is None:
                raise TriggerError(f"on={rule.text()!r}: {MONTHS[rule.month - 1]} has no such day")
        if self.start is not None and self._next_day(0) is None:
            raise TriggerError(f"{self.describe()!r} matches no date up to {LAST_YEAR}")

    @cached_property
    def _unit(self) -> tuple[str, int]:
        """The unit that is counted, and how many make a step."""
        return next((unit, getattr(self, unit)) for unit in UNITS if getattr(self, unit))

    @cached_property
    def _first(self) -> int:
        """The first day that may count, in days after 1970-01-01."""
        return 0 if self.start is None else self.start.toordinal() - _EPOCH_DAY

    @cached_property
    def _rules(self) -> list[_Rule]:
        unit, start = self._unit[0], date.fromordinal(self._first + _EPOCH_DAY)
        assert isinstance(self.on, tuple)  # made so in the beginning
        if self.on or unit == "days":
            return [_rule(text, unit) for text in self.on]
        if unit == "weeks":
            return [_Rule(0, start.isoweekday() % 7, 0)]
        return [_Rule(start.month if unit == "years" else 0, "date", start.day)]

    def _open(self) -> bool:
        """Whether a date of registration has a say."""
        return self.start is None and (self._unit[1] > 1 or not self.on)

    def bind(self, binding: Binding) -> Self:
        bound = super().bind(binding)
        if not bound._open():
            return bound
        return replace(bound, start=from_us(binding.anchor_us).astimezone(load_zone(bound.zone)).date())

    def _next_day(self, day: int) -> int | None:
        unit, step = self._unit
        day = max(day, self._first)
        begin = _period(unit, self._first)
        # The first counted period that does not end before ``day``.
        period = begin - (begin - _period(unit, day)) // step * step
        last = _period(unit, LAST_DAY)
        while period <= last:
            days = self._days_of(unit, period)
            place = bisect_left(days, day)
            if place < len(days):
                return days[place]
            period += step
        return None

    def _days_of(self, unit: str, period: int) -> list[int]:
        """The wanted days of one year, month, week or day, in order."""
        if unit == "days":
            return [period]
        if unit == "weeks":
            assert all(isinstance(rule.what, int) for rule in self._rules)
            return [period * 7 - 3 + (int(rule.what) - 1) % 7 for rule in self._rules]
        found = set()
        for rule in self._rules:
            year, month = (period, rule.month) if unit == "years" else (period // 12, period % 12 + 1)
            day = rule.days(year, month, self.overflow)
            if day is not None:
                found.add(date(year, month, day).toordinal() - _EPOCH_DAY)
        return sorted(found)

    def describe(self) -> str:
        unit, step = self._unit
        name = unit[:-1] if step == 1 else unit
        # Without a day it is counted, and said with its number, from the day of the start.
        text = f"every {name}" if step == 1 and self.on else f"every {step} {name}"
        if self.on:
            text += " on " + listed([rule.said() for rule in self._rules])
        text += f" {self._at_times()}"
        if self.start is not None:
            text += f" from {self.start.isoformat()}"
        text = self._in_zone(text)
        if self.overflow == "clamp":
            text += ", or on the last day of a shorter month"
        return text + skipping(self.gap, self.overlap)

    def _said(self) -> bool:
        return super()._said() and self.overflow == "skip"


def _period(unit: str, day: int) -> int:
    """The number of the year, month, week or day that holds ``day``."""
    if unit == "days":
        return day
    if unit == "weeks":
        return (day + 3) // 7  # 1970-01-01 was a Thursday
    found = date.fromordinal(min(day, LAST_DAY + 366) + _EPOCH_DAY)
    return found.year if unit == "years" else found.year * 12 + found.month - 1


def _rule(item: str | int, unit: str) -> _Rule:
    """What one item of ``on`` says.

    Raises:
        TriggerError: nothing that can be where this ``unit`` is counted.
    """
    words = [word for word in str(item).lower().split() if word not in ("the", "of", "on")]
    if unit == "weeks" and len(words) == 1 and words[0] in _WEEKDAY_NUMBERS:
        return _Rule(0, _WEEKDAY_NUMBERS[words[0]], 0)
    months = [word for word in words if word in _MONTH_NUMBERS]
    rest = [word for word in words if word not in _MONTH_NUMBERS]
    if unit in ("months", "years") and len(months) == (unit == "years"):
        month = _MONTH_NUMBERS[months[0]] if months else 0
        number = re.fullmatch(_DATE, rest[0]) if len(rest) == 1 else None
        if number and 1 <= int(number[1]) <= 31:
            return _Rule(month, "date", int(number[1]))
        if len(rest) == 2 and rest[0] in _NTH:
            nth, what = _NTH[rest[0]], rest[1]
            if what == "day" and nth > 0:
                return _Rule(month, "date", nth)
            if what in ("day", "weekday"):
                return _Rule(month, "day" if what == "day" else "weekday", nth)
            if what in _WEEKDAY_NUMBERS:
                return _Rule(month, _WEEKDAY_NUMBERS[what], nth)
    right = {
        "years": "such as '25 december' or 'last friday of november'",
        "months": "a number from 1 to 31, 'last day', 'first monday', 'last weekday'",
        "weeks": "a weekday such as 'monday'",
        "days": "nothing: every day counts",
    }
    raise TriggerError(f"on={item!r}: with {unit} stands {right[unit]}")
