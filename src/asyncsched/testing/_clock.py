"""A wall clock on virtual time: it can be set, and the loop's own time goes on unmoved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from asyncsched.clock import Alarm, Clock, to_us
from asyncsched.errors import ConfigError
from asyncsched.testing._loop import VirtualLoop

_SECOND_US = 1_000_000
_US = timedelta(microseconds=1)


class VirtualClock(Clock):
    """A clock that shows ``start`` now and follows the virtual time of ``loop``, exactly for 136 years.

    Args:
        loop: whose time it follows.
        start: an aware datetime.

    Raises:
        ConfigError: ``start`` has no time zone.
    """

    def __init__(self, loop: VirtualLoop, start: datetime) -> None:
        if start.tzinfo is None:
            raise ConfigError(f"start={start!r} has no time zone: give an aware datetime")
        self.loop = loop
        self._offset_us = to_us(start) - loop.elapsed_us
        self._alarms: list[_LoopAlarm] = []

    def now_us(self) -> int:
        """The wall clock: the start, the loop's time since then, and what ``jump`` added."""
        return self._offset_us + self.loop.elapsed_us

    def steady_us(self) -> int:
        """The loop's time alone, which no ``jump`` moves."""
        return self.loop.elapsed_us

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        """An alarm by the loop's ``call_at``, without a cap, that never rings before its instant."""
        alarm = _LoopAlarm(self, ring, self._alarms.remove)
        self._alarms.append(alarm)
        return alarm

    def jump(self, by: timedelta) -> None:
        """Set the wall clock: forwards as when the machine slept, back when ``by`` is negative.

        The loop's time stands still. Every alarm that is set rings once, to have the clock looked at, and
        rings again at its instant by the new reading if that is still to come.
        """
        self._offset_us += by // _US
        for alarm in tuple(self._alarms):
            alarm.clock_was_set()
        for moved in tuple(self.loop.on_jump):
            moved()

    async def reach(self, moment: datetime) -> None:
        """Return when the clock shows ``moment`` and all that was due by then is done: see ``VirtualLoop.reach``."""
        await self.loop.reach(self.loop_time(to_us(moment)))

    def loop_time(self, moment_us: int) -> float:
        """What ``loop.time()`` shows when this clock shows ``moment_us``, as it is set now."""
        return (moment_us - self._offset_us) / _SECOND_US


class _LoopAlarm:
    """An ``asyncsched.clock.Alarm``: one timer of the loop at a time."""

    def __init__(self, clock: VirtualClock, ring: Callable[[], None], forget: Callable[[_LoopAlarm], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._forget = forget
        self._due_us: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def set(self, due_us: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due_us = due_us
        self._timer = None
        if due_us is not None and not self._closed:
            self._timer = self._clock.loop.call_at(self._clock.loop_time(due_us), self._due)

    def clock_was_set(self) -> None:
        """Ring soon, and move the timer to where the instant is now."""
        if self._due_us is None:
            return
        if self._due_us > self._clock.now_us():
            self._clock.loop.call_soon(self._sound)
        self.set(self._due_us)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.set(None)
            self._forget(self)

    def _due(self) -> None:
        self._due_us = self._timer = None
        self._sound()

    def _sound(self) -> None:
        if not self._closed:
            self._ring()
