"""Triggers made from triggers: any of them, all of them, one for a time.

Each asks its parts for their next instant and leaps from one to the next, so a pause costs nothing. Where the
answer may lie beyond any number of leaps, the search is bounded: see docs/decisions/0004-bounded-search.md.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from itertools import pairwise
from math import gcd
from typing import Any, Self

from asyncsched.clock import from_us, to_us
from asyncsched.errors import TriggerError
from asyncsched.triggers._base import Binding, InstantTrigger, Trigger
from asyncsched.triggers._daytime import checked_moment, instant_us, moment_text
from asyncsched.triggers._simple import Every, next_on_grid
from asyncsched.zone import load_zone, zone_name

QUESTIONS = 4_000
"""How often one answer may ask the parts: at 2-8 us each it stays below the 50 ms that a loop may be held up."""
Grid = tuple[int, int]
"""First instant and period, in microseconds."""


class CombinedTrigger(InstantTrigger):
    """What is made from other triggers: it shows its instants in the zone of the first part that has one."""

    @abstractmethod
    def parts(self) -> tuple[Trigger, ...]:
        """The triggers that it is made from."""

    @cached_property
    def _zone(self) -> tzinfo:
        name = zone_of(*self.parts())
        return UTC if name is None else load_zone(name)

    def _shown(self, instant_us: int) -> datetime:
        return from_us(instant_us).astimezone(self._zone)


def zone_of(*triggers: Trigger) -> str | None:
    """The name of the zone of the first of these that has one, in itself or in its parts."""
    for trigger in triggers:
        found = zone_of(*trigger.parts()) if isinstance(trigger, CombinedTrigger) else getattr(trigger, "tz", None)
        if isinstance(found, str):
            return found
    return None


@dataclass(frozen=True, init=False)
class _Several(CombinedTrigger):
    """Two triggers or more, in the order given."""

    triggers: tuple[Trigger, ...]

    def __init__(self, *triggers: Trigger) -> None:
        """A trigger made of these.

        Raises:
            TriggerError: there are none, or one of them is no trigger.
        """
        if not triggers:
            raise TriggerError(f"{type(self).__name__}() of nothing: give triggers, or take Never()")
        check_triggers(type(self).__name__, triggers)
        object.__setattr__(self, "triggers", triggers)

    @classmethod
    def _from_fields(cls, values: Mapping[str, Any]) -> Trigger:
        return cls(*values["triggers"])

    def parts(self) -> tuple[Trigger, ...]:
        return self.triggers

    def bind(self, binding: Binding) -> Self:
        return type(self)(*(trigger.bind(binding) for trigger in self.triggers))


def check_triggers(name: str, values: tuple[object, ...]) -> None:
    for value in values:
        if not isinstance(value, Trigger):
            raise TriggerError(f"{name} takes triggers, not {value!r:.80}: a text becomes one by when(...)")


class AnyOf(_Several):
    """The instants of any of these triggers, each once."""

    def next_us(self, after_us: int) -> int | None:
        found = [instant for trigger in self.triggers if (instant := trigger.next_us(after_us)) is not None]
        return min(found, default=None)

    def describe(self) -> str:
        return " or ".join(trigger.describe() for trigger in self.triggers)


class AllOf(_Several):
    """The instants that all of these triggers have in common, to the microsecond.

    Intervals are put together by arithmetic. With others among them at most 4,000 candidates are looked at for
    one answer; if none of these is common to all, it is an error and not the end. Triggers that never meet are
    found so when the trigger is bound to its task.
    """

    def __init__(self, *triggers: Trigger) -> None:
        """A trigger of what these have in common.

        Raises:
            TriggerError: there are none, one is no trigger, or intervals among them never meet.
        """
        super().__init__(*triggers)
        if all(every.start is not None and every.start.tzinfo for every in self._everys) and self._grid is False:
            raise TriggerError(f"{self.describe()!r}: these intervals never meet")

    @property
    def _everys(self) -> list[Every]:
        return [trigger for trigger in self.triggers if isinstance(trigger, Every)]

    @cached_property
    def _grid(self) -> Grid | bool | None:
        """The grid common to all intervals; ``None`` without any, ``False`` where they never meet."""
        common: Grid | None = None
        for every in self._everys:
            if common is None:
                common = every.grid_us
                continue
            met = _meet(common, every.grid_us)
            if met is None:
                return False
            common = met
        return common

    @cached_property
    def _asks(self) -> list[Callable[[int], int | None]]:
        """One question for each part, all intervals in one."""
        asks: list[Callable[[int], int | None]] = [
            trigger.next_us for trigger in self.triggers if not isinstance(trigger, Every)
        ]
        if isinstance(self._grid, tuple):
            first_us, period_us = self._grid
            asks.append(lambda after_us: next_on_grid(first_us, period_us, after_us))
        return asks

    def bind(self, binding: Binding) -> Self:
        """This trigger with its open parts filled in.

        Raises:
            TriggerError: no common instant is in sight from the anchor on.
        """
        bound = super().bind(binding)
        bound.next_us(binding.anchor_us)
        return bound

    def next_us(self, after_us: int) -> int | None:
        if self._grid is False:
            return None
        asks = self._asks
        found, agreed = asks[0](after_us), 1
        for leap in range(1, QUESTIONS):
            if found is None or agreed == len(asks):
                return found
            instant = asks[leap % len(asks)](found - 1)
            agreed = agreed + 1 if instant == found else 1
            found = instant
        raise TriggerError(out_of_sight(self, after_us, found))

    def describe(self) -> str:
        return " and also ".join(trigger.describe() for trigger in self.triggers)


def _meet(one: Grid, other: Grid) -> Grid | None:
    """The instants that two grids share, by the Chinese remainder theorem."""
    (first, period), (second, step) = one, other
    shared = gcd(period, step)
    if (second - first) % shared:
        return None
    both = period // shared * step
    count = (second - first) // shared * pow(period // shared, -1, step // shared) % (step // shared)
    met = first + count * period
    return met + max(0, -(-(max(first, second) - met) // both)) * both, both


def out_of_sight(trigger: Trigger, after_us: int, found: int | None) -> str:
    until = "" if found is None else f" to {from_us(found):%Y-%m-%d}"
    return (
        f"{trigger.describe()!r:.200} has no instant in sight, asked {QUESTIONS} times "
        f"from {from_us(after_us):%Y-%m-%d}{until}: there is none, or so rarely that it is better said as one trigger"
    )


@dataclass(frozen=True)
class Between(CombinedTrigger):
    """The instants of a trigger from ``start`` (included) to ``end`` (not included); ``None`` is open.

    A naive one is in the zone of the trigger, then in the task's; its ``fold`` picks the pass of a doubled time.
    """

    trigger: Trigger
    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        check_triggers("Between", (self.trigger,))
        for name in ("start", "end"):
            moment = getattr(self, name)
            if moment is not None:
                object.__setattr__(self, name, checked_moment(name, moment))
        given = [moment for moment in (self.start, self.end) if moment is not None]
        # One naive and one aware cannot be compared before the zone is known.
        alike = len({moment.tzinfo is None for moment in given}) == 1
        if not given or (alike and any(one >= other for one, other in pairwise(given))):
            raise TriggerError(f"Between {self.start} and {self.end}: give a start, an end, or a start before an end")

    def parts(self) -> tuple[Trigger, ...]:
        return (self.trigger,)

    def bind(self, binding: Binding) -> Self:
        zone = zone_of(self.trigger) or binding.zone
        moments = {
            name: from_us(instant_us(moment, zone))
            for name in ("start", "end")
            if (moment := getattr(self, name)) is not None and moment.tzinfo is None
        }
        return replace(self, trigger=self.trigger.bind(binding), **moments)

    @cached_property
    def _bounds(self) -> tuple[int | None, int | None]:
        zone = zone_of(self.trigger) or zone_name("local")
        start, end = (
            None if moment is None else to_us(moment) if moment.tzinfo else instant_us(moment, zone)
            for moment in (self.start, self.end)
        )
        return start, end

    def next_us(self, after_us: int) -> int | None:
        start, end = self._bounds
        found = self.trigger.next_us(after_us if start is None else max(after_us, start - 1))
        return None if found is None or (end is not None and found >= end) else found

    def describe(self) -> str:
        start = "" if self.start is None else f", from {moment_text(self.start)}"
        end = "" if self.end is None else f", until {moment_text(self.end)}"
        return self.trigger.describe() + start + end
