"""Windows of time in which nothing is started."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, time, tzinfo

from asyncsched.clock import SECOND_US, to_us
from asyncsched.errors import ConfigError
from asyncsched.triggers._daytime import (
    checked_moment,
    clock_seconds,
    clock_text,
    instant_us,
    moment_text,
    weekday_numbers,
    weekday_text,
)
from asyncsched.triggers._wall import DAY, timeline
from asyncsched.zone import zone_name

NEVER_US = sys.maxsize
_EVERY_DAY = frozenset(range(7))


@dataclass(frozen=True, slots=True)
class Blackout:
    """A window of time: each day, on some weekdays, or once.

    ``Blackout("02:00", "04:00")``, ``Blackout("22:00", "06:00", days="fri,sat")``,
    ``Blackout(datetime(2026, 12, 24, 12), datetime(2027, 1, 2))``.

    start, end: from ``start`` (included) to ``end`` (not included), both times of day or both datetimes. A time of
        day counts by what the clock shows: in both passes of a doubled hour, never in one that is jumped over. An
        end that is not later than the start is on the next day. A naive datetime is in the zone.
    days: the weekdays on which the window begins, as cron writes them; ``None`` is every day.
    tz: the zone; left open it is the task's.
    """

    start: time | str | datetime
    end: time | str | datetime
    _: KW_ONLY
    days: str | None = None
    tz: str | tzinfo | None = None
    _seconds: tuple[int, int] = field(init=False, repr=False, compare=False)
    _weekdays: frozenset[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, object] = {"tz": None if self.tz is None else zone_name(self.tz)}
        if isinstance(self.start, datetime) and isinstance(self.end, datetime):
            self._check_moments(self.start, self.end)
            found |= {"start": checked_moment("start", self.start), "end": checked_moment("end", self.end)}
            found |= {"_seconds": (0, 0), "_weekdays": _EVERY_DAY}
        elif isinstance(self.start, datetime) or isinstance(self.end, datetime):
            raise ConfigError(f"Blackout({self.start!r}, {self.end!r}): give two times of day, or two datetimes")
        else:
            seconds = clock_seconds(self.start), clock_seconds(self.end)
            weekdays = _EVERY_DAY if self.days is None else frozenset(weekday_numbers(self.days))
            found |= {"start": clock_text(seconds[0]), "end": clock_text(seconds[1])}
            found |= {"days": weekday_text(sorted(weekdays)) if weekdays != _EVERY_DAY else None}
            found |= {"_seconds": seconds, "_weekdays": weekdays}
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def _check_moments(self, start: datetime, end: datetime) -> None:
        if self.days is not None:
            raise ConfigError(f"Blackout({start}, {end}, days={self.days!r}): days= goes with times of day")
        if (start.tzinfo is None) != (end.tzinfo is None):
            raise ConfigError(f"Blackout({start}, {end}): both with a zone, or both without")
        before = start < end if start.tzinfo is None else to_us(start) < to_us(end)
        if not before:
            raise ConfigError(f"Blackout({start}, {end}): the start comes before the end")

    @classmethod
    def of(cls, value: Blackout | str) -> Blackout:
        """``value`` as a Blackout: itself, or the one that a text such as ``"fri,sat 22:00-06:00"`` says.

        Raises:
            ConfigError: it is neither.
        """
        if isinstance(value, Blackout):
            return value
        if isinstance(value, str):
            days, _, hours = value.strip().rpartition(" ")
            start, dash, end = hours.partition("-")
            if dash:
                return cls(start, end, days=days.strip() or None)
        raise ConfigError(
            f"blackout={value!r}: a Blackout(...), or a text such as '02:00-04:00', 'sat,sun 22:00-06:00'"
        )

    def look(self, at_us: int, zone: str) -> tuple[bool, int]:
        """Whether ``at_us`` lies within, and an instant up to which (not included) that stays so.

        ``zone`` is the name of the task's zone, for a window without one of its own.
        """
        name = self.tz if isinstance(self.tz, str) else zone
        if isinstance(self.start, datetime) and isinstance(self.end, datetime):
            start_us, end_us = (
                to_us(moment) if moment.tzinfo else instant_us(moment, zone_name(name))
                for moment in (self.start, self.end)
            )
            if at_us < start_us:
                return False, start_us
            return at_us < end_us, end_us if at_us < end_us else NEVER_US
        instant = at_us // SECOND_US
        stretch = timeline(zone_name(name)).at(instant)
        day, second = divmod(instant + stretch.offset, DAY)
        start, end = self._seconds
        today, yesterday = (day + 4) % 7 in self._weekdays, (day + 3) % 7 in self._weekdays  # 1970-01-01: Thursday
        if start < end:
            inside = today and start <= second < end
        else:
            inside = (today and second >= start) or (yesterday and second < end)
        edge = min(edge for edge in (start, end, DAY) if edge > second)
        return inside, min(instant + edge - second, stretch.end) * SECOND_US

    def __str__(self) -> str:
        if isinstance(self.start, datetime) and isinstance(self.end, datetime):
            text = f"{moment_text(self.start)} to {moment_text(self.end)}"
        else:
            text = f"{'' if self.days is None else self.days + ' '}{self.start}-{self.end}"
        return text if self.tz is None else f"{text} in {self.tz}"


def blackouts_of(value: Blackout | str | Iterable[Blackout | str] | None) -> tuple[Blackout, ...]:
    """The windows that the option ``blackout=`` says: none, one or several.

    Raises:
        ConfigError: something among them is no window.
    """
    if value is None:
        return ()
    if isinstance(value, Blackout | str):
        return (Blackout.of(value),)
    if not isinstance(value, Iterable):
        return (Blackout.of(value),)  # which refuses it
    return tuple(Blackout.of(item) for item in value)


def look_at(blackouts: Sequence[Blackout], at_us: int, zone: str) -> tuple[bool, int]:
    """Whether ``at_us`` lies within one of the windows, and an instant up to which that stays so."""
    inside, until_us = False, NEVER_US
    for blackout in blackouts:
        dark, changes_us = blackout.look(at_us, zone)
        inside = inside or dark
        until_us = min(until_us, changes_us)
    return inside, until_us


def blacked_out(blackouts: Sequence[Blackout], at_us: int, zone: str) -> bool:
    """Whether ``at_us`` lies within one of the windows; ``zone`` is the name of the task's zone."""
    return bool(blackouts) and look_at(blackouts, at_us, zone)[0]
