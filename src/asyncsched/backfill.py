"""The fires of a past range, for runs to be made of them afterwards. Pure."""

from __future__ import annotations

from asyncsched.clock import from_us
from asyncsched.errors import ConfigError, TriggerError
from asyncsched.triggers import Trigger

BACKFILL_LIMIT = 10_000


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
