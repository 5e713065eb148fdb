"""Threads that make calls for one event loop, and hand the outcomes back in batches.

To wake another thread costs more than all the rest of a call. So the calls of one turn of the loop wake one thread,
and that one the next only as it begins a call while others wait: short calls are made by one thread that is awake,
and one that blocks delays none. Outcomes that come thick and fast do not wake the loop: it fetches them.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from asyncsched.clock import SECOND_US, SystemClock
from asyncsched.executors._base import LeapingLoop, hold_still
from asyncsched.executors._pace import FETCH_S, Pace

# Outcomes handed to their futures in one step of the loop, at about 1 us each.
_BATCH = 1_000
_here = threading.local()


class Call:
    """One call, from the loop to a thread and back."""

    __slots__ = ("args", "context", "dropped", "error", "func", "future", "kwargs", "result", "returned")

    def __init__(
        self, future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.future = future
        self.context = contextvars.copy_context()
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.result: Any = None
        self.error: BaseException | None = None
        self.dropped = False
        """Nobody waits for it any more."""
        self.returned = False

    def make(self) -> None:
        """Call the function, here and now."""
        try:
            self.result = self.context.run(self.func, *self.args, **self.kwargs)
        except StopIteration as error:  # it would end the coroutine that waits, and raise nothing there
            self.error = RuntimeError(f"the function raised {error!r}")
            self.error.__cause__ = error
        except BaseException as error:
            # Without the frame of this method, which would keep the call alive as long as its error.
            self.error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)

    def deliver(self) -> None:
        """Let who waits go on. On the loop."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Crew:
    """Up to ``limit`` daemon threads, started when they are needed, for the running loop.

    A thread ends after ``idle_s`` seconds without a call, and calls ``leave`` before it does. A call that is
    dropped while a thread is inside it keeps that thread, and another one may be started in its place. ``left`` is
    called with such a call, at once and in the context of its caller, and ``returned`` when it has returned, in its
    thread.

    On a loop that leaps through time, outcomes come in the order of the calls: what happens there must not depend
    on which thread is faster.
    """

    def __init__(
        self,
        limit: int,
        idle_s: float,
        name: str,
        *,
        left: Callable[[Call], None] = lambda _call: None,
        returned: Callable[[Call], None] = lambda _call: None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._limit = limit
        self._idle_s = idle_s
        self._name = name
        self._left = left
        self._returned = returned
        self._leave = leave
        self._context = contextvars.copy_context()
        self._ready: deque[Call] = deque()
        self._waiting = 0
        """Calls that somebody waits for. Touched on the loop alone."""
        self._order: deque[Call] | None = deque() if isinstance(self.loop, LeapingLoop) else None
        # Calls that were dropped hold time still too: what goes on in their threads belongs to this instant.
        self._go_on = hold_still(self.loop, lambda: self.waited_for + self._lost)
        self._growing = False
        """The loop will start a thread if one is needed then."""
        self._back: deque[Call] = deque()
        self._called_back = False
        """The loop will deliver what is back, without being woken for it once more."""
        self._clock = SystemClock()  # threads take the machine's time, also where the scheduler's is virtual
        self._pace = Pace(self._clock.steady_us() / SECOND_US)
        self._fetch: asyncio.TimerHandle | None = None
        # What follows is guarded by the lock.
        self._lock = threading.Lock()
        self._alive = 0
        self._threads: set[threading.Thread] = set()
        """Those that are alive and take calls."""
        self._idle: list[threading.Lock] = []
        """The bells of those that sleep; the last one fell asleep last, and is the first to be woken."""
        self._woken = False
        """One of them was woken and has not looked for a call yet."""
        self._inside: set[Call] = set()
        self._lost = 0
        """Threads inside dropped calls."""
        self._closed: asyncio.Future[None] | None = None
        self._patient = False

    @property
    def waited_for(self) -> int:
        """How many threads are at work on calls that somebody waits for."""
        return min(self._limit, self._waiting)

    @property
    def lost(self) -> int:
        """How many threads are inside dropped calls."""
        return self._lost

    async def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What the function gives or raises, in one of the threads, in the caller's context."""
        call = Call(self.loop.create_future(), func, args, kwargs)
        self._waiting += 1
        if self._order is not None:
            self._order.append(call)
        with self._lock:
            self._ready.append(call)
            self._wake_next()
            needed = self._needed() and not self._growing
        if needed:
            self._growing = True
            self.loop.call_soon(self._grow, context=self._context)
        if self._back and self._fetch is not None:
            self._fetch.cancel()
            self._fetch = None
            self.loop.call_soon(self._deliver, context=self._context)
        try:
            return await call.future
        except asyncio.CancelledError:
            self._drop(call)
            raise
        finally:
            self._waiting -= 1

    async def close(self, *, patient: bool = False) -> None:
        """End the threads. Those inside a call end with it, and are waited for only if ``patient``."""
        with self._lock:
            self._closed = closed = self.loop.create_future()
            self._patient = patient
            while self._idle:
                self._idle.pop().release()
            self._tell_if_closed()
        await closed
        if self._fetch is not None:
            self._deliver()
        if not self._lost:
            self._go_on()

    def _drop(self, call: Call) -> None:
        with self._lock:
            call.dropped = True
            if call in self._inside:
                self._lost += 1
                self._left(call)
        if self._order is not None:  # those behind it need not wait for it
            self._deliver()

    def _wake_next(self) -> None:
        """Let one more thread look for a call, unless one is about to. Under the lock."""
        if self._idle and not self._woken and self._ready:
            self._woken = True
            self._idle.pop().release()

    def _needed(self) -> bool:
        """Whether a call waits for a thread and one more may be started. Under the lock."""
        idle = len(self._threads) - len(self._inside)
        return len(self._ready) > idle and len(self._threads) - self._lost < self._limit and self._closed is None

    def _grow(self) -> None:
        # One thread in each step of the loop: to start one takes about 0.1 ms, and others want to come in between.
        self._growing = False
        with self._lock:
            if not self._needed():
                return
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._threads.add(thread)
            self._alive += 1
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads: those that there are must do
            with self._lock:
                self._threads.discard(thread)
                self._alive -= 1
                if not self._threads:
                    self._refuse(error)
        else:
            self._growing = True
            self.loop.call_soon(self._grow, context=self._context)

    def _refuse(self, error: RuntimeError) -> None:
        while self._ready:
            call = self._ready.popleft()
            call.error = error
            call.returned = True
            call.deliver()

    def _work(self) -> None:
        _here.loop = self.loop
        bell = threading.Lock()
        bell.acquire()
        try:
            while (call := self._next(bell)) is not None:
                call.make()
                if not self._end(call):
                    break
                del call  # an idle thread holds nobody's result
        finally:
            self._leave()
            with self._lock:
                self._threads.discard(threading.current_thread())
                self._alive -= 1
                self._tell_if_closed()

    def _next(self, bell: threading.Lock) -> Call | None:
        """The next call that somebody waits for; ``None`` if this thread is to end."""
        woken = False
        while True:
            with self._lock:
                if woken:
                    self._woken = False
                call = self._take()
                if call is not None or self._closed is not None:
                    return call
                self._idle.append(bell)
            woken = bell.acquire(timeout=self._idle_s) or self._rung(bell)
            if not woken:
                return None

    def _take(self) -> Call | None:
        """The next call, for this thread to make. Under the lock."""
        while self._ready:
            call = self._ready.popleft()
            if call.dropped:
                continue
            self._inside.add(call)
            # Here and not sooner: what blocks gives way to the thread that wakes, what does not is done before it.
            self._wake_next()
            if self._needed() and not self._growing:
                self._growing = True
                self._on_loop(self._grow)
            return call
        return None

    def _rung(self, bell: threading.Lock) -> bool:
        """Whether this thread was woken at the last moment; if not, it takes no more calls."""
        with self._lock:
            if bell not in self._idle:
                return bell.acquire()
            self._idle.remove(bell)
            self._threads.discard(threading.current_thread())
            return False

    def _end(self, call: Call) -> bool:
        """Take note that the call has returned; whether its thread goes on."""
        with self._lock:
            self._inside.discard(call)
            call.returned = True
            surplus = False
            if call.dropped:
                surplus = len(self._threads) - self._lost >= self._limit
                self._lost -= 1
            if surplus:
                self._threads.discard(threading.current_thread())
        if call.dropped:
            self._returned(call)
            return not surplus
        self._back.append(call)
        if not self._called_back:
            self._called_back = True
            self._on_loop(self._deliver)
        return True

    def _deliver(self) -> None:
        if self._order is not None:
            self._deliver_in(self._order)
            return
        if self._fetch is not None:
            self._fetch.cancel()
            self._fetch = None
        back = self._back
        self._pace.look(self._clock.steady_us() / SECOND_US, len(back))
        fetching = self._pace.fetching and self._closed is None
        self._called_back = fetching  # first: whoever comes later calls again
        number = len(back)
        for _ in range(min(number, _BATCH)):
            back.popleft().deliver()
        if number > _BATCH:
            self._called_back = True
            self.loop.call_soon(self._deliver, context=self._context)
        elif fetching:
            self._fetch = self.loop.call_later(FETCH_S, self._deliver, context=self._context)

    def _deliver_in(self, order: deque[Call]) -> None:
        self._called_back = False
        self._back.clear()
        while order and (order[0].returned or order[0].future.done()):
            order.popleft().deliver()

    def _tell_if_closed(self) -> None:
        if self._closed is not None and self._alive <= (0 if self._patient else self._lost):
            self._on_loop(_set, self._closed)

    def _on_loop(self, function: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the loop was closed: nobody waits there any more
            self.loop.call_soon_threadsafe(function, *args)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def loop_of_this_thread() -> asyncio.AbstractEventLoop | None:
    """The loop that the current thread makes calls for; ``None`` if it belongs to no crew."""
    loop: asyncio.AbstractEventLoop | None = getattr(_here, "loop", None)
    return loop
