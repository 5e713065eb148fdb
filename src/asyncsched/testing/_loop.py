"""An event loop whose clock jumps: with nothing left to do at this instant it goes straight to the next timer.

Time is a whole number of microseconds here, not a float: a float loses asyncio's resolution of 1e-9 after
2**24 s (194 days) and the loop then spins on a timer that it takes for not yet due; and sums such as
0.1 + 0.2 and 0.3 must be one instant. Timers live in a heap of the loop's own, since asyncio's is not stable:
of equal instants the one that was set first comes first.

What stands outside the loop is real. While work is out in threads, virtual time stands still and the loop
waits for them. Sockets, pipes and child processes are looked at before each jump but not waited for while
there is a timer to jump to: hold time still for them with ``watch``.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import selectors
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from itertools import count
from typing import Any, Protocol, TypeVar, TypeVarTuple, Unpack

from asyncsched.errors import ConfigError
from asyncsched.testing._deadlock import deadlock

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
_Events = list[tuple[selectors.SelectorKey, int]]

_SECOND_US = 1_000_000
_GLANCE = 0.005  # seconds; what is watched may fall silent without waking the loop
_FEW = 64  # below this many timers a sweep for cancelled ones is not worth it


class Limiter(Protocol):
    """What ``watch`` needs to know of an anyio ``CapacityLimiter``."""

    @property
    def borrowed_tokens(self) -> int: ...


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which starts at 0 and jumps.

    ``on_jump`` holds functions without arguments, called after each change of the time.

    Args:
        deadlock_after: real seconds to wait, once nothing is scheduled and nothing is running, for a thread
            that the loop does not know of, before ``Deadlock`` is raised out of ``run_until_complete``.
    """

    def __init__(self, *, deadlock_after: float = 1.0) -> None:
        self.on_jump: list[Callable[[], None]] = []
        self._now_us = 0
        self._deadlock_after = deadlock_after
        self._sequence = count()
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._sweep_at = _FEW
        self._barriers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._out = 0
        self._probes: list[Callable[[], object]] = []
        self._children: weakref.WeakSet[asyncio.SubprocessTransport] = weakref.WeakSet()
        self._poll = _Selector(self._release, self._idle)
        super().__init__(self._poll)
        self._pool = ThreadPoolExecutor(thread_name_prefix="asyncio")
        self.set_default_executor(self._pool)

    @property
    def elapsed_us(self) -> int:
        """The virtual time, in microseconds since the loop was made."""
        return self._now_us

    def time(self) -> float:
        """The virtual time, in seconds since the loop was made."""
        return self._now_us / _SECOND_US

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call ``callback`` at ``when``, rounded to the microsecond; equal instants in the order they were set."""
        base: Any = self  # asyncio's own checks, which have no public name
        base._check_closed()
        if self.get_debug():
            base._check_thread()
            base._check_callback(callback, "call_at")
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        if when != math.inf:
            due_us = _to_us(max(when, 0.0))
            if when > self.time():  # never rounded down to now: who waits in tiny steps must get on
                due_us = max(due_us, self._now_us + 1)
            heapq.heappush(self._timers, (due_us, next(self._sequence), timer))
            self._sweep()
        return timer

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call ``callback`` after ``delay`` seconds, rounded to the microsecond; a positive delay is at least one."""
        # Counted from whole microseconds: delays that add up do not drift.
        delay_us = max(1, _to_us(delay)) if 0 < delay < math.inf else delay * _SECOND_US
        return self.call_at((self._now_us + delay_us) / _SECOND_US, callback, *args, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """As in asyncio; virtual time stands still until ``func`` has ended, also when nobody waits for it."""
        work = (executor or self._pool).submit(func, *args)
        result = asyncio.wrap_future(work, loop=self)
        self._out += 1
        work.add_done_callback(self._came_back)  # after wrap_future's own, so that the result arrives first
        return result

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]
        """As in asyncio."""
        super().set_default_executor(executor)
        self._pool = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's own
        """As in asyncio; before Python 3.12 there is no ``timeout``."""
        self._out += 1
        try:
            if sys.version_info >= (3, 12):
                await super().shutdown_default_executor(timeout)
            else:
                await super().shutdown_default_executor()
        finally:
            self._out -= 1

    def close(self) -> None:
        """As in asyncio."""
        super().close()
        self._timers.clear()
        self._barriers.clear()

    def watch(self, work: Limiter | Callable[[], object]) -> Callable[[], None]:
        """Hold virtual time still while ``work`` goes on, and return what ends the watch.

        Threads of ``run_in_executor``, ``asyncio.to_thread`` and ``anyio.to_thread`` are known without it;
        this is for threads, processes and sockets of your own.

        Args:
            work: a function that returns something true while there is work, such as ``thread.is_alive``; or
                a limiter, which has work while tokens are borrowed.
        """

        def probe() -> object:
            return work() if callable(work) else work.borrowed_tokens

        self._probes.append(probe)
        return lambda: self._probes.remove(probe)

    async def settle(self) -> None:
        """Return when nothing is ready and no threads are out. Time does not move."""
        await self.reach(self.time())

    async def reach(self, seconds: float) -> None:
        """Return when the time is ``seconds`` and all that was due by then, at that instant too, is done.

        Done means: nothing is ready and no threads are out. Timers beyond it do not fire before this
        returns. A time in the past is like ``settle``. Several waiters are served in the order of their
        instants, and in the order of the calls where those are equal.

        Raises:
            ConfigError: ``seconds`` is not finite.
        """
        if not math.isfinite(seconds):
            raise ConfigError(f"cannot reach {seconds!r}: give a finite number of seconds on loop.time()'s scale")
        arrived: asyncio.Future[None] = self.create_future()
        heapq.heappush(self._barriers, (_to_us(seconds), next(self._sequence), arrived))
        await arrived

    def _release(self) -> bool:
        """Hand over all timers that are due. Whether there were any."""
        released = False
        while self._timers and self._timers[0][0] <= self._now_us:
            self._add_callback(heapq.heappop(self._timers)[2])  # type: ignore[attr-defined]
            released = True
        return released

    def _idle(self, wait: Callable[[float | None], _Events]) -> _Events:
        """Nothing is ready: wait for who is at work, serve a barrier, or jump."""
        if self._at_work():
            return wait(_GLANCE)
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        while self._barriers and self._barriers[0][2].done():
            heapq.heappop(self._barriers)
        instants = [heap[0][0] for heap in (self._timers, self._barriers) if heap]
        if not instants:
            return self._wait_for_the_world(wait)
        if min(instants) > self._now_us:
            self._jump(min(instants))
        else:  # due timers have been released before, so this is a barrier, and its instant is over
            heapq.heappop(self._barriers)[2].set_result(None)
        return []

    def _jump(self, now_us: int) -> None:
        self._now_us = now_us
        for moved in tuple(self.on_jump):
            moved()

    def _wait_for_the_world(self, wait: Callable[[float | None], _Events]) -> _Events:
        outside = len(self._poll.get_map()) > 1  # one is the loop's own, through which threads wake it
        if outside or any(child.get_returncode() is None for child in self._children):
            return wait(None)
        events = wait(self._deadlock_after)
        if not events and not self._at_work():
            raise deadlock(self)
        return events

    def _at_work(self) -> bool:
        return self._out > 0 or any(probe() for probe in self._probes) or self._anyio_at_work()

    def _anyio_at_work(self) -> bool:
        """Whether a worker thread of anyio is busy for this loop.

        Limiters do not tell: each call may bring its own, and gives it back before an abandoned thread has
        ended. The worker does: it is put among the idle ones on the loop itself, after its result.
        """
        return any(
            getattr(thread, "loop", None) is self and thread not in getattr(thread, "idle_workers", (thread,))
            for thread in threading.enumerate()
        )

    def _came_back(self, _work: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop was closed before its thread ended
            self.call_soon_threadsafe(self._count_back)

    def _count_back(self) -> None:
        self._out -= 1

    def _sweep(self) -> None:
        """Forget cancelled timers before they outnumber the others: a timeout that is met leaves one each time."""
        if len(self._timers) > self._sweep_at:
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._sweep_at = max(_FEW, 2 * len(self._timers))

    async def _make_subprocess_transport(self, *args: Any, **kwargs: Any) -> asyncio.SubprocessTransport:
        # Before Python 3.12 a child without pipes is seen by a thread alone: not a reason to call it a deadlock.
        transport: asyncio.SubprocessTransport
        transport = await super()._make_subprocess_transport(*args, **kwargs)  # type: ignore[misc]
        self._children.add(transport)
        return transport


class _Selector(selectors.DefaultSelector):
    """The loop's poll for events. asyncio asks it with a timeout of 0 when callbacks are ready, else None."""

    def __init__(self, release: Callable[[], bool], idle: Callable[[Callable[[float | None], _Events]], _Events]):
        super().__init__()
        self._release = release
        self._idle = idle

    def select(self, timeout: float | None = None) -> _Events:
        events = super().select(0)
        if not self._release() and not events and timeout is None:
            events = self._idle(super().select)
            self._release()
        return events


def _to_us(seconds: float) -> int:
    """The nearest whole microsecond; gives back each one that was made a float, up to 2**53 (285 years)."""
    return round(seconds * _SECOND_US)


def run(main: Callable[[], Coroutine[Any, Any, _T]] | Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """Run ``main``, a coroutine or a function that makes one, on a fresh ``VirtualLoop``; return its result.

    Like ``asyncio.run``: what is left over is cancelled, and the loop is closed.

    Raises:
        Deadlock: ``main`` waits for something that cannot come.
    """
    with asyncio.Runner(loop_factory=VirtualLoop, debug=debug) as runner:
        return runner.run(main() if callable(main) else main)
