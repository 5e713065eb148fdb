"""The store cannot be reached: said once when it becomes so, and once when it is over."""

from __future__ import annotations

from datetime import timedelta

from asyncsched._engine.bus import Events, complain, warn
from asyncsched.clock import SECOND_US, Clock
from asyncsched.errors import StoreError
from asyncsched.events import StoreBack, StoreLost

# Troubles that are told of one outage: one may lead to another, and which it is now is of use to whoever mends it.
_TOLD = 5


class Outage:
    """While the store fails the engine asks it again and again; whoever reads the log is told what is new."""

    def __init__(self, bus: Events, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._since_us: int | None = None
        self._told: set[str] = set()

    def failed(self, error: BaseException, rest_us: int) -> None:
        """A turn has failed; the next one comes after ``rest_us``."""
        rest_s = rest_us / SECOND_US
        if not isinstance(error, StoreError):
            complain("a turn failed; the engine tries again in %.3f s", rest_s, error=error)
            return
        if self._since_us is None:
            self._since_us = self._clock.steady_us()
            self._bus.tell(StoreLost(at_us=self._clock.now_us(), error=error))
        said = str(error)
        if said not in self._told and len(self._told) < _TOLD:
            self._told.add(said)
            complain("the store fails; the engine asks again until it answers, in %.3f s first", rest_s, error=error)

    def over(self) -> None:
        """A turn has succeeded after one that failed."""
        if self._since_us is None:
            return
        lasted = timedelta(microseconds=self._clock.steady_us() - self._since_us)
        self._since_us = None
        self._told.clear()
        warn("the store answers again, after %.3f s", lasted.total_seconds())
        self._bus.tell(StoreBack(at_us=self._clock.now_us(), after=lasted))
