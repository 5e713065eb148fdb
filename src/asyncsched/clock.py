"""What time it is: the only file of the core that reads a clock.

Instants are integers inside the engine, microseconds since 1970-01-01T00:00Z (``*_us``), and aware
datetimes at its edges.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

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
    """A source of the current instant. The wait belongs to the clock: see ``alarm``."""

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
