"""What time it is: the only file of the core that reads a clock.

Instants are integers inside the engine, microseconds since 1970-01-01T00:00Z (``*_us``), and aware
datetimes at its edges.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Protocol

SECOND_US = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


def to_us(moment: datetime) -> int:
    """The aware ``moment`` as microseconds since the epoch, exactly."""
    return (moment - EPOCH) // _US


def from_us(moment_us: int) -> datetime:
    """The instant ``moment_us`` as an aware datetime in UTC, exactly."""
    return EPOCH + timedelta(microseconds=moment_us)


class Alarm(Protocol):
    """Something that can be set to ring once at an instant of one clock."""

    def set(self, due_us: int | None) -> None:
        """Ring at ``due_us``, or as soon as possible if that has passed; ``None`` is never."""

    def close(self) -> None:
        """Free what the alarm holds. It never rings again."""


class Clock(ABC):
    """A source of the current instant. The wait belongs to the clock: see ``alarm``.

    on_wall: whether the system's timers on the machine's wall clock ring by this one, where it has no alarm of its own.
    """

    on_wall: ClassVar[bool] = True

    @abstractmethod
    def now_us(self) -> int:
        """The wall clock, in microseconds since the epoch."""

    @abstractmethod
    def steady_us(self) -> int:
        """A clock that nobody can set, in microseconds from an unknown start.

        Where the two advance differently, the wall clock was set or the machine slept.
        """

    def now(self) -> datetime:
        """The wall clock as an aware datetime in UTC."""
        return from_us(self.now_us())

    def alarm(self, ring: Callable[[], None]) -> Alarm | None:  # noqa: ARG002
        """An alarm on this clock that calls ``ring`` on the running loop.

        ``None`` (the default) leaves the wait to the engine: a timer of the operating system.
        """
        return None


class SystemClock(Clock):
    """The machine's own clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def steady_us(self) -> int:
        return time.monotonic_ns() // 1000


# What a quartz drifts, 50 us in a second, ten times over: so much less is known of a distant clock with each second.
_DRIFT_PARTS = 2_000


class DistantClock(Clock):
    """The clock of somebody else, as it is reckoned here: the steady clock of ``here``, and what the other is ahead.

    Setting the machine's own clock does not move it. ``heard`` tells of each look at the other; before the first it is
    the clock of ``here``. Of what a look leaves open, the time that it took, earlier looks decide as far as they are
    still good for that, so that a look which took long spoils nothing.
    """

    on_wall = False

    def __init__(self, here: Clock) -> None:
        self._here = here
        self._steady_us = here.steady_us
        self._lead_us = here.now_us() - here.steady_us()
        self._least_us = self._most_us = self._looked_us = 0
        self._looked = False

    def now_us(self) -> int:
        return self._steady_us() + self._lead_us

    def steady_us(self) -> int:
        return self._steady_us()

    def heard(self, asked_us: int, said_us: int, heard_us: int) -> int:
        """Take what the other clock said, asked and heard at these instants of ``steady_us``.

        By how many microseconds this one has moved for it.
        """
        least_us, most_us = said_us - heard_us, said_us - asked_us
        if self._looked:
            wider_us = (heard_us - self._looked_us) // _DRIFT_PARTS
            self._least_us, self._most_us = self._least_us - wider_us, self._most_us + wider_us
        if self._looked and self._least_us <= most_us and least_us <= self._most_us:
            least_us, most_us = max(least_us, self._least_us), min(most_us, self._most_us)
        # Else one of the two was set, or drifts a lot: what was known before is worth nothing.
        self._looked, self._looked_us = True, heard_us
        self._least_us, self._most_us = least_us, most_us
        before_us, self._lead_us = self._lead_us, (least_us + most_us) // 2
        return self._lead_us - before_us

    def skew_us(self) -> int:
        """By how much the wall clock of this machine is ahead of the other one; negative if it is behind."""
        return self._here.now_us() - self.now_us()
