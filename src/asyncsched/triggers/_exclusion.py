"""A trigger without some of its instants, or without some days.

Where a whole day, hour or minute is left out at once, its end is computed and nothing steps through it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from functools import cached_property
from math import gcd
from typing import Any, NamedTuple, Self, cast

from asyncsched.clock import SECOND_US
from asyncsched.errors import TriggerError
from asyncsched.triggers._base import Binding, Trigger
from asyncsched.triggers._combine import QUESTIONS, AnyOf, CombinedTrigger, check_triggers, out_of_sight, zone_of
from asyncsched.triggers._cron import Cron
from asyncsched.triggers._daytime import DayTrigger, clock_seconds, listed, weekday_numbers
from asyncsched.triggers._fields import WEEKDAYS
from asyncsched.triggers._simple import Every
from asyncsched.triggers._wall import DAY, timeline
from asyncsched.zone import zone_name

_EPOCH = date(1970, 1, 1)
_ISO_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NAMES = [name.lower() for name in WEEKDAYS]


class _Block(NamedTuple):
    """A stretch of local time that is left out as a whole."""

    zone: str
    size: int
    """In seconds: a day, an hour, a minute."""

    def end_us(self, instant_us: int) -> int:
        """The last microsecond known to be left out together with ``instant_us``."""
        instant = instant_us // SECOND_US
        stretch = timeline(self.zone).at(instant)
        # Where the clock is changed it may come back to the block, or leave it: ask anew from there.
        end = min(instant + self.size - (instant + stretch.offset) % self.size, stretch.end)
        return end * SECOND_US - 1


@dataclass(frozen=True, init=False)
class Except(CombinedTrigger):
    """The instants of a trigger without some.

    excluded: triggers, whose instants are left out, and days, on which nothing is left: dates, ISO date texts,
        and weekdays as cron writes them (``"sat"``, ``"sunday"``, ``"mon-wed"``).
    tz: the zone whose days they are; left open it is that of the trigger, then the task's.

    At most 4,000 questions are asked for one answer, and whole days, hours and minutes of a cron line are passed at
    once; if everything is left out so far, it is an error, which is found when the trigger is bound to its task.
    """

    trigger: Trigger
    excluded: tuple[Trigger | str, ...]
    tz: str | None

    def __init__(self, trigger: Trigger, *excluded: Trigger | date | str, tz: str | tzinfo | None = None) -> None:
        """``trigger`` without what is ``excluded``.

        Raises:
            TriggerError: something is neither a trigger nor a day, or no weekday is left.
        """
        check_triggers("Except", (trigger,))
        found: list[Trigger] = []
        days: set[str] = set()
        for item in excluded:
            if isinstance(item, Trigger):
                found.append(item)
            else:
                days.update(_day_names(item))
        object.__setattr__(self, "trigger", trigger)
        object.__setattr__(self, "excluded", (*found, *sorted(days, key=_day_order)))
        object.__setattr__(self, "tz", None if tz is None else zone_name(tz))
        if not excluded or days.issuperset(_NAMES):
            raise TriggerError(
                f"Except {', '.join(map(str, excluded)) or 'nothing'}: give what to leave out, not all days"
            )

    @classmethod
    def _from_fields(cls, values: Mapping[str, Any]) -> Trigger:
        return cls(values["trigger"], *values["excluded"], tz=values["tz"])

    def parts(self) -> tuple[Trigger, ...]:
        return (self.trigger,)

    def bind(self, binding: Binding) -> Self:
        """This trigger with its open parts and its zone filled in.

        Raises:
            TriggerError: nothing that is not excluded is in sight from the anchor on.
        """
        trigger = self.trigger.bind(binding)
        excluded = [item.bind(binding) if isinstance(item, Trigger) else item for item in self.excluded]
        bound = type(self)(trigger, *excluded, tz=self.tz or zone_of(self.trigger) or binding.zone)
        bound.next_us(binding.anchor_us)
        return bound

    def next_us(self, after_us: int) -> int | None:
        resume: int | None = after_us
        found = None
        for _ in range(QUESTIONS // (1 + len(self._excluded_triggers))):
            assert resume is not None
            found = self.trigger.next_us(resume)
            if found is None:
                return None
            resume = self._left_out_until(found)
            if resume is None:
                return found
        raise TriggerError(out_of_sight(self, after_us, found))

    def _left_out_until(self, found: int) -> int | None:
        """The last instant known to be left out together with ``found``; ``None`` if ``found`` stays."""
        if self._weekdays or self._dates:
            instant = found // SECOND_US
            day = (instant + timeline(self._days_zone).at(instant).offset) // DAY
            if (day + 4) % 7 in self._weekdays or day in self._dates:  # 1970-01-01 was a Thursday
                return _Block(self._days_zone, DAY).end_us(found)
        for trigger, block in self._excluded_triggers:
            if trigger.next_us(found - 1) == found:
                return found if block is None else block.end_us(found)
        return None

    @cached_property
    def _weekdays(self) -> frozenset[int]:
        return frozenset(number for number, name in enumerate(_NAMES) if name in self.excluded)

    @cached_property
    def _dates(self) -> frozenset[int]:
        texts = [item for item in self.excluded if isinstance(item, str) and item not in _NAMES]
        return frozenset((date.fromisoformat(text) - _EPOCH).days for text in texts)

    @cached_property
    def _days_zone(self) -> str:
        return self.tz or zone_of(self.trigger) or zone_name("local")

    @cached_property
    def _excluded_triggers(self) -> list[tuple[Trigger, _Block | None]]:
        """Each with the block of local time that it takes away whole, if it does."""
        waiting = [item for item in self.excluded if isinstance(item, Trigger)]
        found = []
        grain = _grain(self.trigger)
        while waiting:
            trigger = waiting.pop(0)
            if isinstance(trigger, AnyOf):
                waiting += trigger.triggers
            else:
                found.append((trigger, _block_of(trigger, grain)))
        return found

    def describe(self) -> str:
        without = [item.describe() if isinstance(item, Trigger) else item for item in self.excluded]
        return f"{self.trigger.describe()}, except {listed(without)}"


def _day_names(item: date | str) -> list[str]:
    """The days that ``item`` names: an ISO date, or weekdays in full."""
    if isinstance(item, date) and not isinstance(item, datetime):
        return [item.isoformat()]
    if isinstance(item, str) and _ISO_DATE.fullmatch(item):
        try:
            return [date.fromisoformat(item).isoformat()]
        except ValueError as error:
            raise TriggerError(f"Except {item!r}: {error}") from error
    if isinstance(item, str) and item[:1].isalpha():
        return [_NAMES[number] for number in weekday_numbers(item)]
    raise TriggerError(f"Except {item!r:.80}: give a trigger, a date such as '2026-12-25' or a weekday such as 'sat'")


def _day_order(name: str) -> tuple[bool, int, str]:
    return (name not in _NAMES, (_NAMES.index(name) - 1) % 7 if name in _NAMES else 0, name)


def _grain(trigger: Trigger) -> int:
    """A number of seconds of which all instants of ``trigger`` are multiples, 60 or 1; 0 if there is none."""
    match trigger:
        case Every():
            shared = gcd(*trigger.grid_us)
            return 60 if shared % (60 * SECOND_US) == 0 else 1 if shared % SECOND_US == 0 else 0
        case DayTrigger():
            times = cast("tuple[str, ...]", trigger.at)
            return 60 if all(clock_seconds(text) % 60 == 0 for text in times) else 1
        case Cron():
            fields = trigger.expression.split()
            return 60 if len(fields) <= 5 or fields[0] in ("0", "00") else 1
        case CombinedTrigger():
            return min(_grain(part) for part in trigger.parts())
        case _:
            return 0


def _block_of(trigger: Trigger, grain: int) -> _Block | None:
    """The block that each instant of ``trigger`` stands for, seen from a trigger of this ``grain``.

    ``* * * * * sat`` is every second of a Saturday: stepping through them would take 86,400 questions.
    """
    if not isinstance(trigger, Cron) or not grain:
        return None
    texts = trigger.expression.split()
    if len(texts) < 5:
        return None  # a nickname names single instants
    second, minute, hour = ("0", *texts[:2]) if len(texts) == 5 else texts[:3]
    if grain == 60 and second in ("0", "00"):
        second = "*"  # nothing else is there to be left out
    stars = next((place for place, text in enumerate((second, minute, hour)) if text != "*"), 3)
    size = (0, 60, 3600, DAY)[stars]
    return _Block(zone_name("local" if trigger.tz is None else trigger.tz), size) if size > grain else None
