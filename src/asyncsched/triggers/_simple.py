"""Intervals, times of day, one-offs, and never.

An interval lives on the absolute timeline and never looks at a wall clock; the others are wall times in a zone.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Self, get_args

from asyncsched.clock import SECOND_US, from_us, to_us
from asyncsched.duration import format_duration, parse_duration
from asyncsched.errors import TriggerError
from asyncsched.triggers._base import Binding, InstantTrigger
from asyncsched.triggers._daytime import (
    END_US,
    DayTrigger,
    ZonedTrigger,
    checked_choice,
    checked_moment,
    instant_us,
    listed,
    moment_text,
    skipping,
    weekday_numbers,
    weekday_text,
)
from asyncsched.triggers._fields import WEEKDAYS
from asyncsched.triggers._wall import Overlap

_NO_TIME, _US = timedelta(0), timedelta(microseconds=1)
_LONGEST_PERIOD = timedelta(days=36_525)
_UNIT_WORDS = {"h": "hour", "m": "minute", "s": "second"}


def next_on_grid(first_us: int, period_us: int, after_us: int) -> int | None:
    """The earliest ``first_us + k * period_us``, k >= 0, strictly after ``after_us``; ``None`` past the year 2199."""
    found = first_us
    if after_us >= first_us:
        found += ((after_us - first_us) // period_us + 1) * period_us
    return found if found < END_US else None


class Never(InstantTrigger):
    """No instant at all: the task runs only when it is asked to."""

    def next_us(self, after_us: int) -> int | None:  # noqa: ARG002
        return None

    def describe(self) -> str:
        return "never"

    def __str__(self) -> str:
        return self.describe()


@dataclass(frozen=True)
class Every(InstantTrigger):
    """The instants ``start + k * period``, k >= 0: exact, without drift, whatever the wall clocks do.

    period: a timedelta or its text, more than zero, to the microsecond, at most 100 years. 24 hours are not a
        day: for the same time of day take a Daily or a Calendar.
    start: where the grid begins. Naive: in the task's zone. Left open it is where the task is first
        registered; a trigger asked before that counts from 1970-01-01T00:00Z.
    """

    period: timedelta | str
    start: datetime | None = None

    def __post_init__(self) -> None:
        period = self.period
        if isinstance(period, str):
            period = parse_duration(period)
            object.__setattr__(self, "period", period)
        if not isinstance(period, timedelta):
            raise TriggerError(f"period={period!r}: give a timedelta or a text such as '1h30m'")
        if not _NO_TIME < period <= _LONGEST_PERIOD:
            raise TriggerError(f"period={format_duration(period)!r}: more than zero, at most 100 years")
        if self.start is not None:
            start = checked_moment("start", self.start)
            object.__setattr__(self, "start", start)
            if start.tzinfo is not None:
                object.__setattr__(self, "grid_us", (to_us(start), period // _US))

    @cached_property
    def grid_us(self) -> tuple[int, int]:
        """The first instant and the period, in microseconds."""
        assert isinstance(self.period, timedelta)
        period = self.period // _US
        if self.start is None:
            return 0, period
        return (to_us(self.start) if self.start.tzinfo else instant_us(self.start, "UTC")), period

    def next_us(self, after_us: int) -> int | None:
        first_us, period_us = self.grid_us
        # As next_on_grid, in place: asked for at every fire.
        found = first_us if after_us < first_us else after_us + period_us - (after_us - first_us) % period_us
        return found if found < END_US else None

    def bind(self, binding: Binding) -> Self:
        if self.start is None:
            if type(self) is Every:
                return self._begun(binding.anchor_us)
            return replace(self, start=from_us(binding.anchor_us))  # an heir may have more fields
        if self.start.tzinfo is None:
            return replace(self, start=from_us(instant_us(self.start, binding.zone)))
        return self

    def _begun(self, start_us: int) -> Self:
        """The same on the grid that begins there; what was checked is not checked again, for every task is bound."""
        assert isinstance(self.period, timedelta)
        begun, put = object.__new__(type(self)), object.__setattr__
        put(begun, "period", self.period)
        put(begun, "start", from_us(start_us))
        # Worked out when it is first asked for it would cost a dict of its own.
        put(begun, "grid_us", (start_us, self.period // _US))
        return begun

    def describe(self) -> str:
        assert isinstance(self.period, timedelta)
        text = format_duration(self.period)
        if self.period % timedelta(hours=1) == timedelta(0):
            text = f"{self.period // timedelta(hours=1)}h"
        found = re.fullmatch("([0-9]+)([hms])", text)
        if found:
            unit = _UNIT_WORDS[found[2]]
            text = unit if found[1] == "1" else f"{found[1]} {unit}s"
        return f"every {text}" + ("" if self.start is None else f" from {moment_text(self.start)}")

    def __str__(self) -> str:
        # A sentence has no word for fold.
        return super().__str__() if self.start is not None and self.start.fold else self.describe()


# So that CPython keeps all names of attributes once for all intervals: it does as far as the first few have them.
Every(timedelta(1))._begun(0)


@dataclass(frozen=True)
class Once(ZonedTrigger):
    """One instant.

    at: aware: that instant. Naive: in the trigger's zone, where ``fold`` picks the pass of a doubled time, and
        one that was jumped over, or whose whole date was, is the first instant after.
    overlap: picks the pass in place of ``fold``; ``"both"`` is two instants.
    """

    at: datetime
    _: KW_ONLY
    overlap: Overlap | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        at = checked_moment("at", self.at)
        overlap = self.overlap or ("last" if at.fold else "first")
        checked_choice("overlap", overlap, get_args(Overlap))
        # The pass stands in ``overlap`` alone: datetimes that differ in fold only are equal.
        object.__setattr__(self, "at", at.replace(fold=0))
        object.__setattr__(self, "overlap", overlap)

    @cached_property
    def _instants(self) -> list[int]:
        if self.at.tzinfo is not None:
            return [to_us(self.at)]
        wall, micros = divmod(to_us(self.at.replace(tzinfo=UTC)), SECOND_US)
        readings = self._line.readings(wall)
        if not readings:
            return [] if self.gap == "skip" else [self._line.first_showing(wall) * SECOND_US]
        if self.overlap != "both":
            readings = [readings[0 if self.overlap == "first" else -1]]
        return [instant * SECOND_US + micros for instant in readings]

    def next_us(self, after_us: int) -> int | None:
        return next((instant for instant in self._instants if instant > after_us), None)

    def describe(self) -> str:
        text = self._in_zone(f"once at {moment_text(self.at)}")
        return text + skipping(self.gap, self.overlap or "first")

    def _said(self) -> bool:
        return super()._said() and self.overlap == "first"


@dataclass(frozen=True)
class Daily(DayTrigger):
    """Times of day, every day or on some weekdays: the cron line ``SS MM HH * * days`` for each time.

    days: the weekdays as cron writes them, ``"mon-fri"`` or ``"sat,sun"``; ``None`` is every day.
    """

    days: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.days is not None:
            numbers = weekday_numbers(self.days)
            object.__setattr__(self, "days", weekday_text(numbers) if len(numbers) < 7 else None)

    @cached_property
    def _waits(self) -> list[int]:
        """For each weekday the number of days until the next wanted one."""
        wanted = range(7) if self.days is None else weekday_numbers(self.days)
        return [min((day - today) % 7 for day in wanted) for today in range(7)]

    def _next_day(self, day: int) -> int:
        return day + self._waits[(day + 4) % 7]  # 1970-01-01 was a Thursday

    def describe(self) -> str:
        known = {None: "day", "mon-fri": "weekday", "sat,sun": "weekend"}
        days = known.get(self.days)
        if days is None:
            assert self.days is not None
            # From Monday on, Sunday last.
            numbers = sorted(weekday_numbers(self.days), key=lambda number: (number - 1) % 7)
            days = listed([WEEKDAYS[number].lower() for number in numbers])
        return self._in_zone(f"every {days} {self._at_times()}") + skipping(self.gap, self.overlap)
