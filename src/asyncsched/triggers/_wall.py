"""Wall times on the timeline: what the clock of a zone shows, and when it first shows it.

A *wall second* is a local date and time without offset, counted in seconds since 1970-01-01T00:00 on a
calendar whose days all have 86,400 seconds. A zone's timeline is cut into stretches of one offset. Every rule
about the days that do not have 24 hours is a rule about where one stretch meets the next:

* ``high``, the highest reading that any earlier stretch showed, is where a *first* pass begins;
* readings from ``high`` to a stretch's own first reading were jumped over: a gap;
* readings that a later stretch shows again are no *last* pass: an overlap.

So no day, size or cause of a change is special, and nothing ever walks through a gap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, NamedTuple

from asyncsched.zone import load_zone

DAY = 86_400
# The tightest pair of changes in the IANA database is a week apart (Boa Vista and Gaza), so steps of three
# days see every change.
_STEP = 3 * DAY
FIRST_YEAR, LAST_YEAR = 1970, 2199
# Local clocks show these years from up to a day before they begin in UTC to a day after they end.
_EARLIEST = -DAY
_LATEST = int(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp()) + DAY

Gap = Literal["after", "skip"]
Overlap = Literal["first", "both", "last"]


class Stretch(NamedTuple):
    """Instants ``start <= t < end`` (epoch seconds), all of which show ``t + offset``."""

    start: int
    end: int
    offset: int
    high: int
    """Readings below this one were shown, or jumped over, before this stretch."""
    again: int
    """Readings from this one on are shown again by a later stretch."""


class Timeline:
    """The stretches of one zone, found as they are asked for, a year at a time."""

    def __init__(self, zone_name: str) -> None:
        self.zone = load_zone(zone_name)
        self._years: dict[int, tuple[list[int], list[Stretch]]] = {}
        self._last = Stretch(0, 0, 0, 0, 0)

    def at(self, instant: int) -> Stretch:
        """The stretch that holds ``instant`` (epoch seconds)."""
        if not self._last.start <= instant < self._last.end:
            starts, stretches = self._year(datetime.fromtimestamp(instant, UTC).year)
            self._last = stretches[bisect_right(starts, instant) - 1]
        return self._last

    def first_showing(self, wall: int) -> int:
        """The first instant at which the local clock reads ``wall`` or later (epoch seconds)."""
        # Offsets stay within a day, so the answer lies within two days of the wall time read as UTC.
        stretch = self.at(wall - 2 * DAY)
        while wall >= stretch.end + stretch.offset:
            stretch = self.at(stretch.end)
        return max(stretch.start, wall - stretch.offset)

    def readings(self, wall: int) -> list[int]:
        """Every instant at which the local clock reads exactly ``wall``, earliest first; empty in a gap."""
        found = []
        stretch = self.at(wall - 2 * DAY)
        while stretch.start <= wall + 2 * DAY:
            if stretch.start <= wall - stretch.offset < stretch.end:
                found.append(wall - stretch.offset)
            stretch = self.at(stretch.end)
        return found

    def has_date(self, day: int) -> bool:
        """Whether the clock ever showed the date that is ``day`` days after 1970-01-01."""
        shown = self.first_showing(day * DAY)
        return (shown + self.at(shown).offset) // DAY == day

    def _year(self, year: int) -> tuple[list[int], list[Stretch]]:
        known = self._years.get(year)
        if known is None:
            known = self._years[year] = self._cut(year)
        return known

    def _cut(self, year: int) -> tuple[list[int], list[Stretch]]:
        begin, end = (int(datetime(y, 1, 1, tzinfo=UTC).timestamp()) for y in (year, year + 1))
        # Two days more on both sides: a change just outside still decides what is first and what is last.
        changes = self._changes(begin - 2 * DAY, end + 2 * DAY)
        pieces = [(start, self._offset(start)) for start in (begin - 2 * DAY, *changes)]
        stops = [*changes, end + 2 * DAY]
        highest = pieces[0][0] + pieces[0][1]
        highs = []
        for (_start, offset), stop in zip(pieces, stops, strict=True):
            highs.append(highest)
            highest = max(highest, stop + offset)
        lowest = stops[-1] + pieces[-1][1]
        stretches: list[Stretch] = []
        for (start, offset), stop, high in reversed(list(zip(pieces, stops, highs, strict=True))):
            if start < end and stop > begin:
                # The year's edges are cut without a change: neither a gap nor an overlap begins there.
                inside = max(start, begin)
                high = high if start >= begin else max(high, inside + offset)
                stretches.append(Stretch(inside, min(stop, end), offset, high, lowest))
            lowest = min(lowest, start + offset)
        stretches.reverse()
        return [stretch.start for stretch in stretches], stretches

    def _offset(self, instant: int) -> int:
        offset = datetime.fromtimestamp(instant, self.zone).utcoffset()
        assert offset is not None  # a ZoneInfo always has one
        return offset.days * DAY + offset.seconds

    def _changes(self, begin: int, end: int) -> list[int]:
        """The instants in ``(begin, end)`` from which on the offset is another."""
        changes = []
        left, offset = begin, self._offset(begin)
        while left < end:
            right = min(left + _STEP, end)
            if self._offset(right) != offset:
                low, high = left, right
                while high - low > 1:
                    middle = (low + high) // 2
                    if self._offset(middle) == offset:
                        low = middle
                    else:
                        high = middle
                if high < end:
                    changes.append(high)
                right, offset = high, self._offset(high)
            left = right
        return changes


@lru_cache(maxsize=1024)
def timeline(zone_name: str) -> Timeline:
    """The timeline of the zone of this name, one for each name."""
    return Timeline(zone_name)


def next_instant(
    line: Timeline,
    after: int,
    next_wall: Callable[[int], int | None],
    *,
    gap: Gap = "after",
    overlap: Overlap = "first",
) -> int | None:
    """The earliest instant strictly after ``after`` (epoch seconds) at which a fixed wall time is due.

    ``next_wall(w)`` is the smallest wanted wall second that is ``w`` or later, ``None`` if there is none. It
    need not know the zone. A wall time on a date that the zone never had is dropped. ``gap="skip"`` drops
    those that were jumped over, too; ``overlap`` tells which pass of a doubled one counts. ``overlap="both"``
    with ``gap="skip"`` is every instant whose reading is wanted.
    """
    instant = max(after + 1, _EARLIEST)
    if instant > _LATEST:
        return None
    stretch = line.at(instant)
    while True:
        offset = stretch.offset
        reading = instant + offset
        jumped = gap == "after" and instant == stretch.start and stretch.high < reading
        if jumped and _wanted_in_gap(line, next_wall, stretch.high, reading):
            return instant
        if overlap == "first" and reading < stretch.high:
            reading = stretch.high
        until = stretch.end + offset
        if overlap == "last" and stretch.again < until:
            until = stretch.again
        found = next_wall(reading)
        if found is not None and found < until:
            return found - offset
        instant = stretch.end
        stretch = line.at(instant)
        if instant + stretch.offset < reading:
            continue  # an overlap: this stretch shows readings that were passed already
        if found is None:
            return None
        # Nothing is wanted before ``found``, so no need to visit the years until then one by one.
        if found - 2 * DAY > instant:
            instant = found - 2 * DAY
            stretch = line.at(instant)


def _wanted_in_gap(line: Timeline, next_wall: Callable[[int], int | None], begin: int, end: int) -> bool:
    """Whether a wanted wall time on a date that the zone has lies in ``begin <= w < end``, all jumped over."""
    wall = next_wall(begin)
    while wall is not None and wall < end:
        if line.has_date(wall // DAY):
            return True
        wall = next_wall((wall // DAY + 1) * DAY)
    return False
