"""Times of day in a zone: what Once, Daily and Calendar are made from."""

from __future__ import annotations

import re
from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, date, datetime, time, tzinfo
from functools import cached_property
from typing import Self, get_args

from asyncsched.clock import SECOND_US, from_us, to_us
from asyncsched.errors import TriggerError
from asyncsched.triggers._base import Binding, InstantTrigger
from asyncsched.triggers._fields import WEEKDAYS, parse_line
from asyncsched.triggers._wall import DAY, FIRST_YEAR, LAST_YEAR, Gap, Overlap, Timeline, next_instant, timeline
from asyncsched.zone import zone_name

LAST_DAY = (date(LAST_YEAR, 12, 31) - date(1970, 1, 1)).days
"""The last day on which anything fires, in days after 1970-01-01."""
END_US = (LAST_DAY + 1) * DAY * SECOND_US
LONGEST = 256
"""Longer texts than this are no sentences: ``when`` refuses them, and ``str`` writes JSON."""
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")


def instant_us(naive: datetime, zone: str) -> int:
    """The instant at which the clock of ``zone`` shows ``naive``, in microseconds since the epoch.

    ``fold`` picks the pass of a doubled time; one that was jumped over is the first instant after.
    """
    line = timeline(zone)
    wall, micros = divmod(to_us(naive.replace(tzinfo=UTC)), SECOND_US)
    readings = line.readings(wall)
    if readings:
        return readings[-1 if naive.fold else 0] * SECOND_US + micros
    return line.first_showing(wall) * SECOND_US


def checked_moment(name: str, moment: datetime) -> datetime:
    """``moment`` in UTC, or as it is if it is naive.

    Raises:
        TriggerError: it is no datetime, or a naive one outside 1970-2199.
    """
    if not isinstance(moment, datetime):
        raise TriggerError(f"{name}={moment!r}: give a datetime")
    if moment.tzinfo is not None:
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise TriggerError(f"{name}={moment.isoformat(' ')!r}: a naive datetime lies in {FIRST_YEAR}-{LAST_YEAR}")
    return moment


def moment_text(moment: datetime) -> str:
    """``moment`` as short as ISO 8601 allows: ``2027-01-01 00:00`` if naive, else ``2027-01-01T00:00Z``."""
    whole_minute = not (moment.second or moment.microsecond)
    text = moment.isoformat("T" if moment.tzinfo else " ", "minutes" if whole_minute else "auto")
    return text.replace("+00:00", "Z")


def clock_seconds(value: str | time) -> int:
    """The time of day in seconds since midnight.

    Raises:
        TriggerError: it is no time of day on a 24-hour clock, in whole seconds.
    """
    if isinstance(value, time) and not value.microsecond and value.tzinfo is None:
        return value.hour * 3600 + value.minute * 60 + value.second
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    hour, minute, second = (int(part or 0) for part in found.groups()) if found else (99, 0, 0)
    if hour > 23 or minute > 59 or second > 59:
        cure = "; for one instant of one day there is when(Once(...))" if isinstance(value, datetime) else ""
        raise TriggerError(f"time of day {value!r}: write HH:MM or HH:MM:SS, 00:00 to 23:59:59, such as '19:00'{cure}")
    return hour * 3600 + minute * 60 + second


def clock_text(seconds: int) -> str:
    """The time of day ``seconds`` after midnight, ``HH:MM``, with ``:SS`` where there are any."""
    minutes, second = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}" + (f":{second:02}" if second else "")


def weekday_numbers(text: str) -> tuple[int, ...]:
    """The weekdays that a cron day-of-week text such as ``"mon-fri"`` or ``"sat,sun"`` names, Sunday is 0.

    Raises:
        TriggerError: it is none, or names days of the month with ``#`` or ``L``.
    """
    if not isinstance(text, str) or not text or " " in text or text[0] in "*?+":
        raise TriggerError(f"weekdays {text!r}: give names such as 'mon-fri' or 'sat,sun'")
    line = parse_line(f"0 0 * * {text}")
    if line.weekdays.nth or line.weekdays.last or line.spread:
        raise TriggerError(f"weekdays {text!r}: plain names and ranges only; for '{text}' take a Cron or a Calendar")
    return line.weekdays.plain


def weekday_text(numbers: Sequence[int]) -> str:
    """The shortest text of these weekdays, from Monday on, three or more in a row as a range: ``mon-fri,sun``."""
    runs: list[list[int]] = []
    for number in sorted((number - 1) % 7 for number in set(numbers)):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    names = [[WEEKDAYS[(number + 1) % 7][:3].lower() for number in run] for run in runs]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(run) for run in names)


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def checked_choice(name: str, value: str | None, allowed: Sequence[str]) -> None:
    """Refuse a ``value`` that is not one of ``allowed``.

    Raises:
        TriggerError: it is not.
    """
    if value not in allowed:
        raise TriggerError(f"{name}={value!r} is unknown: one of {', '.join(allowed)} is allowed")


def skipping(gap: Gap, overlap: Overlap) -> str:
    """In words, what happens where the clock is changed, if it is not the usual."""
    passes = {"first": "", "both": ", in both passes of a doubled hour", "last": ", in the last pass of a doubled hour"}
    return (", but not when the clock jumps over it" if gap == "skip" else "") + passes[overlap]


@dataclass(frozen=True, eq=False, repr=False)  # each heir makes its own
class ZonedTrigger(InstantTrigger):
    """A trigger on the wall clock of a zone.

    tz: the zone, stored by name. Left open it is the task's, then the scheduler's, then the system's.
    gap: what becomes of a time that the clock jumps over: ``"after"``, the instant the gap ends, or ``"skip"``.
    """

    _: KW_ONLY
    tz: str | tzinfo | None = None
    gap: Gap = "after"

    def __post_init__(self) -> None:
        if self.tz is not None:
            object.__setattr__(self, "tz", zone_name(self.tz))
        checked_choice("gap", self.gap, get_args(Gap))

    @cached_property
    def zone(self) -> str:
        """The name of the zone that counts."""
        return zone_name("local" if self.tz is None else self.tz)

    @cached_property
    def _line(self) -> Timeline:
        return timeline(self.zone)

    def bind(self, binding: Binding) -> Self:
        return replace(self, tz=binding.zone) if self.tz is None else self

    def _shown(self, instant_us: int) -> datetime:
        return from_us(instant_us).astimezone(self._line.zone)

    def _in_zone(self, text: str) -> str:
        return text if self.tz is None else f"{text} in {self.tz}"

    def _said(self) -> bool:
        """Whether ``describe`` says all there is, in words that ``when`` reads."""
        return self.gap == "after"

    def __str__(self) -> str:
        text = self.describe()
        return text if self._said() and len(text) <= LONGEST else super().__str__()


@dataclass(frozen=True, eq=False, repr=False)  # each heir makes its own
class DayTrigger(ZonedTrigger):
    """Times of day on some days: what Daily and Calendar have in common.

    at: the time or times of day, ``"HH:MM[:SS]"`` on a 24-hour clock.
    overlap: which pass of a doubled time counts.
    """

    at: str | time | Sequence[str | time] = "00:00"
    _: KW_ONLY
    overlap: Overlap = "first"

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_choice("overlap", self.overlap, get_args(Overlap))
        at = (self.at,) if isinstance(self.at, str | time) else self.at
        if not isinstance(at, Sequence) or not at:
            raise TriggerError(f"at={self.at!r}: give one time of day or more, such as '09:00'")
        object.__setattr__(self, "at", tuple(clock_text(second) for second in sorted({clock_seconds(t) for t in at})))

    @abstractmethod
    def _next_day(self, day: int) -> int | None:
        """The first wanted day from ``day`` on, in days after 1970-01-01; days that no zone has are fine."""

    @cached_property
    def _seconds(self) -> list[int]:
        return [clock_seconds(text) for text in self._clock_texts]

    @property
    def _clock_texts(self) -> tuple[str, ...]:
        assert isinstance(self.at, tuple)  # made so in the beginning
        return tuple(str(text) for text in self.at)

    def _next_wall(self, wall: int) -> int | None:
        today, second = divmod(max(wall, 0), DAY)
        day = self._next_day(today)
        if day is not None and day == today:
            place = bisect_left(self._seconds, second)
            if place < len(self._seconds):
                return day * DAY + self._seconds[place]
            day = self._next_day(today + 1)
        return None if day is None or day > LAST_DAY else day * DAY + self._seconds[0]

    def next_us(self, after_us: int) -> int | None:
        after = after_us // SECOND_US
        found = next_instant(self._line, after, self._next_wall, gap=self.gap, overlap=self.overlap)
        return None if found is None else found * SECOND_US

    def _at_times(self) -> str:
        return "at " + listed(self._clock_texts)

    def _said(self) -> bool:
        return super()._said() and self.overlap == "first"
