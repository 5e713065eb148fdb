"""The one place that waits for time.

On Linux one timerfd on the wall clock, absolute, told when the clock is set: it rings within 0.2 ms where the
loop's own timers round up to 1 ms, and it survives suspend; for another machine's clock, as it is reckoned here, one on
the steady clock. Elsewhere the loop's ``call_at``, in hops short
enough to notice a clock that was set. A clock that brings its own alarm (a virtual one) is waited for with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import functools
import logging
import os
import struct
import sys
from collections.abc import Callable

from asyncsched._heap import Wakeup, Wakeups
from asyncsched.clock import SECOND_US, Alarm, Clock

log = logging.getLogger("asyncsched.engine")

# A change of wall against steady time beyond this is a jump: NTP slews by 0.5 ms per s and hops stay below.
JUMP_US = SECOND_US
# Without timerfd nobody tells that the clock was set; so long at most until it is noticed.
_HOP_US = 30 * SECOND_US
# A timerfd is exact, so thousands of fires a second would each be a wake of their own, at 50 us instead of 20.
# Once wakes follow each other within _CALM_US they are kept this far apart: together they cost less, and are
# no later than a timer of the loop, which rounds up to 1 ms.
_CALM_US = 1_200
_SPACING_US = 800
_CLOCK_REALTIME, _CLOCK_MONOTONIC = 0, 1
_TFD_SET_FLAGS = 1 | 2  # TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET
_TFD_FROM_NOW = 0
_SPEC = struct.Struct("@qqqq")  # interval and instant, each in seconds and nanoseconds


class Timer:
    """Wakeups on one clock, and the alarm that is set to the earliest of them.

    ``ring`` is called on the loop when something may be due; ``jumped`` with the microseconds by which the wall
    clock was found to have moved by itself, negative if backwards.
    """

    def __init__(self, clock: Clock, ring: Callable[[], None], jumped: Callable[[int], None]) -> None:
        self._clock = clock
        self._jumped = jumped
        self._wakeups = Wakeups()
        self._ring = ring
        own = clock.alarm(self._rang)
        self.simulated = own is not None
        """Whether time is the clock's own affair: it may stand still or jump while the machine's goes on."""
        self._alarm: Alarm = own or system_alarm(clock, self._rang)
        self._spacing_us = _SPACING_US if isinstance(self._alarm, TimerfdAlarm) else 0
        self._armed_at_us = 0
        self._set_to: int | None = None
        self._held = False
        self._rung = False
        self._lead_us = clock.now_us() - clock.steady_us()

    def look(self) -> int:
        """The wall clock in microseconds, after telling of a jump since the last look."""
        now_us = self._clock.now_us()
        by_us = now_us - self._clock.steady_us() - self._lead_us
        if abs(by_us) > JUMP_US:
            self._lead_us += by_us
            self._jumped(by_us)
        return now_us

    def set(self, wakeup: Wakeup, due_us: int, rank: int = 0) -> None:
        """Let ``wakeup`` ring at ``due_us``; of equal instants the smaller rank first, then first in, first out."""
        self._wakeups.set(wakeup, due_us, rank)
        if not self._held and (self._set_to is None or due_us < self._set_to):
            self._set_alarm(due_us)

    def drop(self, wakeup: Wakeup) -> None:
        """Let ``wakeup`` never ring. The alarm stays: one wake too early costs less than moving it each time."""
        self._wakeups.drop(wakeup)

    def take_due(self, now_us: int, limit: int) -> list[Wakeup]:
        """Take up to ``limit`` wakeups that are due, in order. The alarm is not set again before ``rearm``."""
        self._held = True
        return self._wakeups.pop_due(now_us, limit)

    def rearm(self, now_us: int) -> None:
        """Set the alarm to the next wakeup, once for all that was set since ``take_due``."""
        self._held = False
        head_us = self._wakeups.head_us()
        if head_us is not None and now_us - self._armed_at_us < _CALM_US:
            spaced_us = now_us + self._spacing_us
            if not self._rung and self._set_to is not None and head_us <= self._set_to <= spaced_us:
                return  # it will ring soon enough; moving it costs a system call
            head_us = max(head_us, spaced_us)
        self._armed_at_us = now_us
        if head_us != self._set_to or self._rung:
            self._set_alarm(head_us)

    def rest(self, until_us: int) -> None:
        """Ring at ``until_us`` and, whatever is due or set meanwhile, not before."""
        self._held = True
        self._set_alarm(until_us)

    def doubt(self) -> None:
        """Set the alarm anew at the next ``rearm``, wherever it stands: the clock was found to have moved."""
        self._rung = True

    def due(self, now_us: int) -> bool:
        """Whether something is due at ``now_us``."""
        head_us = self._wakeups.head_us()
        return head_us is not None and head_us <= now_us

    def close(self) -> None:
        """Wait no more."""
        self._alarm.close()

    def _rang(self) -> None:
        self._rung = True
        self._ring()

    def _set_alarm(self, due_us: int | None) -> None:
        self._rung = False
        self._set_to = due_us
        try:
            self._alarm.set(due_us)
        except OSError:
            if isinstance(self._alarm, HopAlarm):
                raise
            log.exception("the timerfd fails; timers of the event loop take its place")
            with contextlib.suppress(OSError):
                self._alarm.close()
            self._alarm = HopAlarm(self._clock, self._rang)
            self._alarm.set(due_us)


def system_alarm(clock: Clock, ring: Callable[[], None]) -> Alarm:
    """The best alarm that this system and the running loop have."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, NotImplementedError, AttributeError):
            return TimerfdAlarm(ring, None if clock.on_wall else clock)
    return HopAlarm(clock, ring)


class TimerfdAlarm:
    """Rings by a Linux timerfd on the wall clock, and at once when that clock is set.

    clock: another one, by which it is to ring: it is then set anew whenever that one is found to have moved.

    Raises:
        OSError: the system gives no timerfd (a sandbox may forbid it).
        NotImplementedError: the loop cannot watch descriptors.
    """

    def __init__(self, ring: Callable[[], None], clock: Clock | None = None) -> None:
        self._ring = ring
        self._clock = clock
        self._flags = _TFD_SET_FLAGS if clock is None else _TFD_FROM_NOW
        self._loop = asyncio.get_running_loop()
        self._spec = ctypes.create_string_buffer(_SPEC.size)
        machines = _CLOCK_REALTIME if clock is None else _CLOCK_MONOTONIC
        self.fd = _libc_call("timerfd_create", machines, os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._loop.add_reader(self.fd, self._read)
        except BaseException:
            os.close(self.fd)
            raise

    def set(self, due_us: int | None) -> None:
        if due_us is not None and self._clock is not None:
            due_us -= self._clock.now_us()
        # An instant of zero would disarm; one that has passed rings at once, so 1 us after the epoch will do.
        seconds, us = (0, 0) if due_us is None else divmod(due_us if due_us > 0 else 1, SECOND_US)
        _SPEC.pack_into(self._spec, 0, 0, 0, seconds, us * 1000)
        try:
            _libc_call("timerfd_settime", self.fd, self._flags, self._spec, None)
        except OSError as error:
            # The timer is armed all the same; the kernel adds that the clock was set since the last read.
            if error.errno != errno.ECANCELED:
                raise
            self._loop.call_soon(self._ring)

    def _read(self) -> None:
        # BlockingIOError: set anew between the loop's poll and this call. ECANCELED: the clock was set.
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
        self._ring()

    def close(self) -> None:
        if self.fd >= 0:
            self._loop.remove_reader(self.fd)
            os.close(self.fd)
            self.fd = -1


class HopAlarm:
    """Rings by the loop's ``call_at``, at the latest after 30 s, so that the clock is looked at again."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due_us: int | None) -> None:
        self.close()
        if due_us is not None:
            left_us = min(max(0, due_us - self._clock.now_us()), _HOP_US)
            self._handle = self._loop.call_at(self._loop.time() + left_us / SECOND_US, self._ring)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _libc_call(name: str, *arguments: object) -> int:
    # Python has these calls from 3.13 on, but only with float or nanosecond arguments of its own shape; the C
    # library's are the same on every version.
    result: int = getattr(_libc(), name)(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
