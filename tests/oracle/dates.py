"""Evaluator 1 walks wall-clock dates.

For each date that the line names and that the zone has, for each wall time of it: at which instants does the
zone's clock read it? Asked by trying every offset in use about that date.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from oracle.lines import Line

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


def fires(
    line: Line, zone: ZoneInfo, start: datetime, end: datetime, *, gap: str = "after", overlap: str = "first"
) -> list[datetime]:
    """All fires in (start, end], in UTC."""
    found: set[datetime] = set()
    for wall in _walls(line, *_span(zone, start, end)):
        readings = instants(zone, wall)
        if line.wildcard or (readings and overlap == "both"):
            found.update(readings)
        elif readings:
            found.add(readings[-1] if overlap == "last" else readings[0])
        elif gap == "after" and date_exists(zone, wall.date()):
            found.add(first_past(zone, wall))
    return sorted(instant for instant in found if start < instant <= end)


def local(zone: ZoneInfo, instant: datetime) -> datetime:
    """What the clock shows."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def instants(zone: ZoneInfo, wall: datetime) -> list[datetime]:
    """When the clock shows ``wall``: never in a gap, twice in an overlap."""
    tried = sorted((wall - offset).replace(tzinfo=UTC) for offset in _about(zone, wall.date())[0])
    return [instant for instant in tried if local(zone, instant) == wall]


def date_exists(zone: ZoneInfo, day: date) -> bool:
    return day in _about(zone, day)[1]


def first_past(zone: ZoneInfo, wall: datetime) -> datetime:
    """The first instant at which the clock shows ``wall`` or later, for a ``wall`` that it never shows."""
    late = wall.replace(tzinfo=UTC) - 40 * HOUR
    while local(zone, late) < wall:
        late += HOUR
    early = late - HOUR
    while late - early > SECOND:
        middle = early + (late - early) // SECOND // 2 * SECOND
        if local(zone, middle) < wall:
            early = middle
        else:
            late = middle
    return late


@lru_cache(maxsize=200_000)
def _about(zone: ZoneInfo, day: date) -> tuple[frozenset[timedelta], frozenset[date]]:
    """The offsets in use and the dates shown about this date, by looking every hour."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    shown = [(noon + hours * HOUR).astimezone(zone) for hours in range(-40, 41)]
    return frozenset(it.utcoffset() for it in shown), frozenset(it.date() for it in shown)  # type: ignore[misc]


def _span(zone: ZoneInfo, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The least and greatest reading between the two instants, or a little more."""
    step = min(DAY, max(timedelta(minutes=1), (end - start) / 200))
    probes = [end]
    while start + (len(probes) - 1) * step < end:
        probes.append(start + (len(probes) - 1) * step)
    shown = [local(zone, probe) for probe in probes]
    return min(shown) - step, max(shown) + step


def _walls(line: Line, low: datetime, high: datetime) -> Iterator[datetime]:
    """The wall times that the line names from ``low`` to ``high``."""
    hours, minutes, seconds = sorted(line.hours), sorted(line.minutes), sorted(line.seconds)
    day = low.date()
    while day <= high.date():
        if line.has_date(day):
            for hour in hours:
                at_hour = datetime(day.year, day.month, day.day, hour)
                if at_hour + HOUR < low or at_hour > high:
                    continue
                for minute in minutes:
                    at_minute = at_hour + timedelta(minutes=minute)
                    if low - timedelta(minutes=1) <= at_minute <= high:
                        yield from (at_minute + timedelta(seconds=second) for second in seconds)
        day += DAY
