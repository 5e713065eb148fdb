"""A cron line as a trigger.

What the numbers and signs mean is ``_fields``, which days they are ``_days``, and what happens on the days that
do not have 24 hours ``_wall``. Here a line steps from one wanted wall time to the next.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, tzinfo
from functools import cached_property, lru_cache
from typing import Any, Self, get_args
from zoneinfo import ZoneInfo

from asyncsched.clock import SECOND_US
from asyncsched.errors import TriggerError
from asyncsched.triggers._base import Binding, InstantTrigger, moment_us
from asyncsched.triggers._days import MONTH_COUNT, MONTH_STARTS, WantedDays
from asyncsched.triggers._fields import Days, Dialect, Line, parse_line, split_line
from asyncsched.triggers._interchange import croniter_parts, make_croniter
from asyncsched.triggers._wall import DAY, FIRST_YEAR, LAST_YEAR, Gap, Overlap, next_instant, timeline
from asyncsched.triggers._words import words_of_line
from asyncsched.zone import load_zone, zone_name

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_CHOICES = {"dialect": get_args(Dialect), "days": get_args(Days), "gap": get_args(Gap), "overlap": get_args(Overlap)}
_GAP_WORDS = {"after": "", "skip": ", but not when the clock jumps over it"}
_OVERLAP_WORDS = {
    "first": "",
    "both": ", in both passes of a doubled hour",
    "last": ", in the last pass of a doubled hour",
}

Reading = tuple[int, int, int, int, int]
"""What a clock shows: months after January 1970, day from 1, hour, minute, second."""


class _WallTimes:
    """The wanted wall times of one line, without a zone."""

    __slots__ = (
        "days", "first", "hour_set", "hours", "last_hour", "last_minute", "last_second", "line", "minute_set",
        "minutes", "seconds",
    )  # fmt: skip

    def __init__(self, line: Line) -> None:
        self.line = line
        self.days = WantedDays(line)
        self.seconds, self.minutes, self.hours = line.seconds, line.minutes, line.hours
        self.hour_set, self.minute_set = frozenset(line.hours), frozenset(line.minutes)
        self.first = (line.hours[0], line.minutes[0], line.seconds[0])
        self.last_hour, self.last_minute, self.last_second = line.hours[-1], line.minutes[-1], line.seconds[-1]

    def after(self, month: int, day: int, hour: int, minute: int, second: int) -> Reading | None:
        """The earliest wanted reading later than the given one; ``None`` if there is none to the end of 2199."""
        days = self.days.of(month)
        place = bisect_left(days, day)
        if place < len(days) and days[place] == day:
            if hour in self.hour_set:
                if second < self.last_second and minute in self.minute_set:
                    return month, day, hour, minute, self.seconds[bisect_right(self.seconds, second)]
                if minute < self.last_minute:
                    return month, day, hour, self.minutes[bisect_right(self.minutes, minute)], self.first[2]
            if hour < self.last_hour:
                return month, day, self.hours[bisect_right(self.hours, hour)], self.first[1], self.first[2]
            place += 1
        if place == len(days):
            later = self.days.next_month(month + 1)
            if later is None:
                return None
            month, days, place = later, self.days.of(later), 0
        return month, days[place], *self.first

    def next_wall(self, wall: int) -> int | None:
        """The smallest wanted wall second that is ``wall`` or later."""
        day, clock = divmod(wall - 1, DAY)
        month = bisect_right(MONTH_STARTS, day) - 1
        if month >= MONTH_COUNT:
            return None
        if month < 0:
            month, day, clock = 0, -1, 0
        minutes, second = divmod(clock, 60)
        found = self.after(month, day - MONTH_STARTS[month] + 1, minutes // 60, minutes % 60, second)
        if found is None:
            return None
        month, day, hour, minute, second = found
        return (MONTH_STARTS[month] + day - 1) * DAY + hour * 3600 + minute * 60 + second


@lru_cache(maxsize=1024)
def _wall_times(expression: str, dialect: Dialect, days: Days, key: str | None) -> _WallTimes:
    """The wall times of a checked line.

    Raises:
        TriggerError: the line is wrong, or no date from 1970 to 2199 ever matches it.
    """
    line = parse_line(expression, dialect, days, key)
    times = _WallTimes(line)
    dates = line.dates.plain
    common = dates and dates[0] <= 28 and (not line.together or len(line.weekdays.plain) == 7)
    if not common and times.days.next_month(0) is None:
        _, _, _, day, month, weekday, year = line.texts
        raise TriggerError(
            f"no date in {FIRST_YEAR}-{LAST_YEAR} ever matches {expression!r}: "
            f"day of month {day!r}, month {month!r}, day of week {weekday!r}, year {year!r} never meet"
        )
    return times


@lru_cache(maxsize=4096)
def _odd_days(zone: ZoneInfo, year: int) -> frozenset[int]:
    """The days of ``year`` (month * 32 + day) on which the clock of ``zone`` is changed, or whose midnights are.

    On every other day each reading is shown exactly once, one after another.
    """
    line = timeline(zone.key)
    begin, end = ((date(y, 1, 1).toordinal() - _EPOCH_DAY) * DAY for y in (year, year + 1))
    odd = set()
    stretch = line.at(begin - 2 * DAY)
    while stretch.end < end + 2 * DAY:
        after = line.at(stretch.end)
        if after.offset != stretch.offset:
            readings = sorted((stretch.end + stretch.offset, stretch.end + after.offset))
            for number in range(readings[0] // DAY, readings[1] // DAY + 1):
                day = date.fromordinal(_EPOCH_DAY + number)
                if day.year == year:
                    odd.add(day.month * 32 + day.day)
        stretch = after
    return frozenset(odd)


def _keyless(expression: str) -> str:
    return f"cron line {expression!r} has an H, which is spread from a task's id: give it to a task with an id, or key="


@dataclass(frozen=True, init=False)
class Cron(InstantTrigger):
    """The instants that a cron line names.

    Five fields (minute, hour, day of month, month, day of week), six (seconds first) or seven (year last), or a
    nickname such as ``@daily``. A line whose minute, hour or written seconds field begins with ``*`` fires at
    every instant with a matching reading; every other one fires once for each matching wall time, at the first
    instant that shows it or, where the clock jumps over it, at the instant after the jump.

    expression: the line.
    tz: the name of its zone; left open it is the task's, then the scheduler's, then the system's.
    dialect: ``"quartz"`` counts weekdays 1-7 from Sunday, and a day must match both day fields.
    days: ``"crontab"`` wants both day fields where one begins with ``*`` or ``?``, else either; ``"both"``
        always both; ``"either"`` either, where both say something: a lone ``*`` or ``?`` does not.
    gap: ``"skip"`` drops fixed wall times that the clock jumps over.
    overlap: which pass of a doubled hour fixed wall times fire in.
    key: the task's id that ``H`` is spread from.
    """

    expression: str
    tz: str | None
    dialect: Dialect
    days: Days
    gap: Gap
    overlap: Overlap
    key: str | None

    def __init__(
        self,
        expression: str,
        *,
        tz: str | tzinfo | None = None,
        dialect: Dialect = "unix",
        days: Days = "crontab",
        gap: Gap = "after",
        overlap: Overlap = "first",
        key: str | None = None,
    ) -> None:
        """A cron trigger, checked in full.

        Raises:
            TriggerError: the line is wrong, or no date ever matches it.
            TimeZoneError: there is no such zone.
        """
        options = {"dialect": dialect, "days": days, "gap": gap, "overlap": overlap}
        for name, allowed in _CHOICES.items():
            if options[name] not in allowed:
                raise TriggerError(f"{name}={options[name]!r} is unknown: one of {', '.join(allowed)} is allowed")
        if key is not None and not isinstance(key, str):
            raise TriggerError(f"key={key!r} is not a text: give the id of a task")
        values = {
            "expression": " ".join(split_line(expression)),
            "tz": None if tz is None else zone_name(tz),
            **options,
            "key": key,
        }
        vars(self).update(values)  # frozen for everybody else
        self._times  # noqa: B018 - read now, so that a wrong line is found here

    @cached_property
    def _times(self) -> _WallTimes:
        return _wall_times(self.expression, self.dialect, self.days, self.key)

    @cached_property
    def _zone(self) -> ZoneInfo:
        if self._times.line.spread and self.key is None:
            raise TriggerError(_keyless(self.expression))
        return load_zone(self.tz or "local")

    def bind(self, binding: Binding) -> Self:
        """This trigger with its zone and, where the line has an ``H``, its key filled in.

        Raises:
            TriggerError: the line has an ``H`` and there is no id to spread it from.
        """
        key = self.key
        if key is None and self._times.line.spread:
            if binding.key is None:
                raise TriggerError(_keyless(self.expression))
            key = binding.key
        tz = binding.zone if self.tz is None else self.tz
        return self if (tz, key) == (self.tz, self.key) else replace(self, tz=tz, key=key)

    def next_us(self, after_us: int) -> int | None:
        line, times, after = timeline(self._zone.key), self._times, after_us // SECOND_US
        if times.line.wildcard:
            found = next_instant(line, after, times.next_wall, gap="skip", overlap="both")
        else:
            found = next_instant(line, after, times.next_wall, gap=self.gap, overlap=self.overlap)
        return None if found is None else found * SECOND_US

    def next_after(self, moment: datetime) -> datetime | None:
        # Most steps lead from one ordinary day to another, or stay in one. There the clock is plain arithmetic,
        # done on the datetime's own numbers in a third of the time.
        zone, year = self._zone, moment.year
        if moment.tzinfo is zone and FIRST_YEAR <= year <= LAST_YEAR:
            month, day = moment.month, moment.day
            if month * 32 + day not in _odd_days(zone, year):
                since = (year - FIRST_YEAR) * 12 + month - 1
                found = self._times.after(since, day, moment.hour, moment.minute, moment.second)
                if found is None:
                    return None
                later, on, hour, minute, second = found
                if on == day and later == since:
                    return datetime(year, month, day, hour, minute, second, 0, zone)
                year, month = FIRST_YEAR + later // 12, later % 12 + 1
                if month * 32 + on not in _odd_days(zone, year):
                    return datetime(year, month, on, hour, minute, second, 0, zone)
        return super().next_after(moment)

    def _shown(self, instant_us: int) -> datetime:
        return datetime.fromtimestamp(instant_us // SECOND_US, self._zone)

    def describe(self) -> str:
        """This trigger as a sentence, with its zone at the end."""
        line = self._times.line
        text = words_of_line(line, keyless=line.spread and self.key is None)
        if not line.wildcard:
            text += _GAP_WORDS[self.gap] + _OVERLAP_WORDS[self.overlap]
        return text if self.tz is None else f"{text} ({self.tz})"

    def __str__(self) -> str:
        """The line, the line and its zone, or JSON where there is more to say: ``when`` reads each back."""
        plain = Cron(self.expression, tz=self.tz)
        if self != plain:
            return super().__str__()
        return self.expression if self.tz is None else f"{self.expression} in {self.tz}"

    @classmethod
    def from_croniter(cls, source: Any) -> Self:
        """The trigger that fires when this croniter does, away from changes of the clock.

        Its zone is that of the croniter's start; one that started from a naive time or a number leaves it open.
        Its place, direction and ``max_years_between_matches`` are of the iteration, not of the line.

        Raises:
            TriggerError: croniter reads the line in another way than this library, or draws from it at random.
            TimeZoneError: its zone has no name.
        """
        return cls(**croniter_parts(source))

    def to_croniter(self, start: datetime) -> Any:
        """A croniter that fires when this trigger does, away from changes of the clock, set to the aware ``start``.

        Raises:
            TriggerError: croniter has no words for this line, or would read them in another way.
        """
        zone = self._zone  # an H without its key is refused here
        moment_us(start)
        return make_croniter(self._times.line, start.astimezone(zone))

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: tables are made anew where a copy arrives."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
