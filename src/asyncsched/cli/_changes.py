"""What a trigger does where the clock of its zone is changed, in words.

Nothing here knows the rules: a trigger is asked for its instants around a change, and the same trigger in UTC,
where every wall time comes once, for those that it would have liked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from asyncsched.clock import SECOND_US
from asyncsched.triggers import AnyOf, Calendar, Cron, Daily, Once, Trigger
from asyncsched.triggers._combine import zone_of
from asyncsched.triggers._daytime import clock_text, listed
from asyncsched.triggers._wall import DAY, Timeline, timeline

_FEW = 3


class Change(NamedTuple):
    """A change of a zone's clock at ``at`` (epoch seconds): what it would have shown, and what it shows."""

    zone: str
    at: int
    before: int
    after: int
    """Wall seconds, as in ``triggers._wall``."""

    @property
    def moment(self) -> datetime:
        """The instant, in the zone."""
        return datetime.fromtimestamp(self.at, timeline(self.zone).zone)

    def words(self) -> str:
        """``02:00 CET -> 03:00 CEST``."""
        last = datetime.fromtimestamp(self.at - 1, timeline(self.zone).zone)
        before, after = (clock_text(wall % DAY) for wall in (self.before, self.after))
        return f"{before} {last.tzname()} -> {after} {self.moment.tzname()}"


def changes(zone: str, start_us: int, end_us: int) -> Iterator[Change]:
    """The changes of the clock from ``start_us`` (included) to ``end_us`` (not included)."""
    line = timeline(zone)
    stretch = line.at(start_us // SECOND_US - 1)
    while stretch.end * SECOND_US < end_us:
        after = line.at(stretch.end)
        if after.offset != stretch.offset:
            yield Change(zone, stretch.end, stretch.end + stretch.offset, stretch.end + after.offset)
        stretch = after


def zone_followed(trigger: Trigger) -> str | None:
    """The zone whose clock the bound ``trigger`` follows; ``None`` for what never looks at a clock, as an interval."""
    return None if _in_utc(trigger) is None else zone_of(trigger)


def effect(trigger: Trigger, change: Change) -> str | None:
    """What becomes of the bound ``trigger`` at this change; ``None`` where it is a day like any other."""
    plain = _in_utc(trigger)
    if plain is None or zone_of(trigger) != change.zone:
        return None
    line = timeline(change.zone)
    wanted = _wanted(plain, line, *sorted((change.before, change.after)))
    if not wanted:
        return None
    walls = _times(wanted)
    if change.after < change.before:
        lasted = change.before - change.after
        passes = [_fires(trigger, start, start + lasted) for start in (change.at - lasted, change.at)]
        which = {
            (True, True): "both times",
            (True, False): "the first time only",
            (False, True): "the second time only",
        }
        comes = "comes twice" if len(wanted) == 1 else "come twice"
        return f"{walls} {comes}: fires {which.get((passes[0], passes[1]), 'neither time')}"
    absent = f"{walls} {'does' if len(wanted) == 1 else 'do'} not come"
    if not _fires(trigger, change.at, change.at + 1):
        return f"{absent}: no fire"
    own, after = _wanted(plain, line, change.after, change.after + 1), clock_text(change.after % DAY)
    return f"{absent}: {after} fires once" if own else f"{absent}: made up for at {after}"


def fire_note(trigger: Trigger, at_us: int) -> str | None:
    """What is unusual about this fire of the bound ``trigger``; ``None`` on a day like any other."""
    plain, zone = _in_utc(trigger), zone_of(trigger)
    if plain is None or zone is None:
        return None
    line = timeline(zone)
    at = at_us // SECOND_US
    stretch = line.at(at)
    reading = at + stretch.offset
    readings = line.readings(reading)
    if len(readings) > 1:
        fired = [_fires(trigger, instant, instant + 1) for instant in readings]
        place = "first" if at == readings[0] else "second"
        others = "both fire" if all(fired) else "the other does not fire"
        return f"the {place} {clock_text(reading % DAY)} of two: {others}"
    if at == stretch.start and stretch.high < reading and not _wanted(plain, line, reading, reading + 1):
        missing = _wanted(plain, line, stretch.high, reading)
        if missing:
            return f"made up for {_times(missing)}, which the clock skipped"
    return None


def _in_utc(trigger: Trigger) -> Trigger | None:
    """The same wall times in UTC; ``None`` for what has none, or of which that cannot be said."""
    match trigger:
        case Once(at=at) if at.tzinfo is not None:
            return None
        case Cron() | Daily() | Calendar() | Once():
            return replace(trigger, tz="UTC")
        case AnyOf(triggers=parts):
            found = [_in_utc(part) for part in parts]
            same = len({zone_of(part) for part in parts}) == 1
            return AnyOf(*(part for part in found if part is not None)) if same and all(found) else None
    return None


def _wanted(plain: Trigger, line: Timeline, begin: int, end: int) -> list[int]:
    """The wall seconds from ``begin`` to ``end`` that a trigger in UTC names, on dates that the zone has."""
    found = []
    wall_us = plain.next_us(begin * SECOND_US - 1)
    while wall_us is not None and wall_us < end * SECOND_US:
        found.append(wall_us // SECOND_US)
        wall_us = plain.next_us(wall_us)
    return [wall for wall in found if line.has_date(wall // DAY)]


def _fires(trigger: Trigger, begin: int, end: int) -> bool:
    found = trigger.next_us(begin * SECOND_US - 1)
    return found is not None and found < end * SECOND_US


def _times(walls: list[int]) -> str:
    texts = [clock_text(wall % DAY) for wall in walls]
    return listed(texts) if len(texts) <= _FEW else f"{len(texts)} times from {texts[0]} to {texts[-1]}"
