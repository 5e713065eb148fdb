"""Evaluator 2 walks the absolute timeline.

Between two changes of its offset a clock runs evenly: a stretch. The walk goes from stretch to stretch, reads the
clock, and remembers the highest reading that was shown before, which is all that rule 2 needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from oracle.lines import Line

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
LAST_WALL = datetime(2199, 12, 31, 23, 59, 59)


@dataclass(frozen=True)
class Stretch:
    """From ``begin`` until before ``end`` the clock shows the instant plus ``offset``."""

    begin: datetime
    end: datetime
    offset: timedelta

    def shown(self, instant: datetime) -> datetime:
        return (instant + self.offset).replace(tzinfo=None)

    def instant(self, wall: datetime) -> datetime:
        return (wall - self.offset).replace(tzinfo=UTC)


def fires(
    line: Line, zone: ZoneInfo, start: datetime, end: datetime, *, gap: str = "after", overlap: str = "first"
) -> Iterator[datetime]:
    """The fires in (start, end], in UTC, one after another."""
    before = start
    for found in _walk(line, stretches(zone, start - 3 * DAY, end + 3 * DAY), start, gap, overlap):
        if found > end:
            return
        if found > before:
            yield found
            before = found


def stretches(zone: ZoneInfo, low: datetime, high: datetime) -> list[Stretch]:
    """The clock of the zone from ``low`` to ``high``."""
    changes = [at for year in range(low.year, high.year + 1) for at in changes_in(zone, year) if low < at < high]
    return [Stretch(begin, end, _offset(zone, begin)) for begin, end in pairwise([low, *changes, high])]


@lru_cache(maxsize=10_000)
def changes_in(zone: ZoneInfo, year: int) -> tuple[datetime, ...]:
    """The instants of this year (UTC) at which the offset changes, by looking every three hours."""
    found = []
    early = datetime(year, 1, 1, tzinfo=UTC)
    last = early.replace(year=year + 1)
    while early < last:
        late = early + 3 * HOUR
        before = _offset(zone, early)
        if _offset(zone, late) != before:
            at = early
            for step in (MINUTE, SECOND):
                while _offset(zone, at + step) == before:
                    at += step
            found.append(at + SECOND)
        early = late
    return tuple(found)


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def _walk(line: Line, clock: list[Stretch], start: datetime, gap: str, overlap: str) -> Iterator[datetime]:
    highest = clock[0].shown(clock[0].begin)
    for number, now in enumerate(clock):
        first, last = now.shown(now.begin), now.shown(now.end)
        skipped = _walls(line, highest, first)
        if not line.wildcard and gap == "after" and any(_exists(clock, wall.date()) for wall in skipped):
            yield now.begin
        low = max(first, now.shown(start.replace(microsecond=0)))
        for wall in _walls(line, low, last):
            again = wall < highest
            comes_again = any(later.shown(later.begin) <= wall for later in clock[number + 1 :])
            if line.wildcard or overlap == "both" or not (comes_again if overlap == "last" else again):
                yield now.instant(wall)
        highest = max(highest, last)


def _exists(clock: list[Stretch], day: date) -> bool:
    midnight = datetime.combine(day, time())
    return any(it.shown(it.begin) < midnight + DAY and midnight < it.shown(it.end) for it in clock)


def _walls(line: Line, low: datetime, high: datetime) -> Iterator[datetime]:
    """The wall times that the line names from ``low`` until before ``high``; what cannot match is passed over."""
    wall = low
    while wall < high and wall <= LAST_WALL:
        if not line.has_date(wall.date()):
            wall = datetime.combine(wall.date(), time()) + DAY
        elif wall.hour not in line.hours:
            wall = wall.replace(minute=0, second=0) + HOUR
        elif wall.minute not in line.minutes or wall.second > max(line.seconds):
            wall = wall.replace(second=0) + MINUTE
        else:
            if wall.second in line.seconds:
                yield wall
            wall += SECOND
