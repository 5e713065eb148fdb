"""The fires of a past range, for runs to be made of them afterwards. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from asyncsched.clock import from_us
from asyncsched.errors import ConfigError, TriggerError
from asyncsched.run import Run
from asyncsched.triggers import Every, Trigger

BACKFILL_LIMIT = 10_000
# Of the limit key that lets the runs of a backfill come one after another. No task's id has a ~, so no other key is
# like it.
BACKFILL_KEY = "~backfill/"


class Backfill(NamedTuple):
    """What a backfill made, or would make.

    instants: the fires of the range that had no run, oldest first, in the task's zone.
    runs: what was made for them, in the same order; none in a dry run.
    present: how many fires of the range had a run already, and got no other.
    """

    instants: tuple[datetime, ...]
    runs: tuple[Run[Any], ...]
    present: int


def fires_between(trigger: Trigger, start_us: int, end_us: int, limit: int = BACKFILL_LIMIT) -> list[int]:
    """The instants of ``trigger`` from ``start_us`` (included) to ``end_us`` (not included), oldest first.

    Raises:
        ConfigError: the range ends before it begins, or has more than ``limit`` of them.
        TriggerError: the trigger gave an instant that is not later than it was asked for.
    """
    if start_us > end_us:
        raise ConfigError(f"from {from_us(start_us)} to {from_us(end_us)}: give a start that is before the end")
    found: list[int] = []
    asked_us = start_us - 1
    while (at_us := trigger.next_us(asked_us)) is not None and at_us < end_us:
        if at_us <= asked_us:
            raise TriggerError(f"{trigger} is no trigger: next_after({asked_us} us) gave {at_us} us, not later")
        if len(found) == limit:
            cure = f"the first {limit:,} end before {from_us(at_us)}: take smaller ranges, one after another"
            raise ConfigError(f"more than {limit:,} fires from {from_us(start_us)} to {from_us(end_us)}: {cure}")
        found.append(at_us)
        asked_us = at_us
    return found


def reaching_back(declared: Trigger, bound: Trigger, start_us: int) -> Trigger:
    """``bound``, or where it is an interval whose grid begins at its registration, one whose grid begins earlier.

    Nobody who declares ``every="1h"`` today means that it did not come round yesterday. A grid with a ``start=`` of its
    own does begin there.
    """
    if not (isinstance(declared, Every) and isinstance(bound, Every) and declared.start is None):
        return bound
    first_us, period_us = bound.grid_us
    if first_us <= start_us:
        return bound
    return replace(bound, start=from_us(first_us - -(-(first_us - start_us) // period_us) * period_us))
