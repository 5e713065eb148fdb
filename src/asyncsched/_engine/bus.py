"""Who is told: subscribers and callbacks. Nobody who listens can slow or stop the engine."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any, Self, TypeVar

from asyncsched.events import CallbackFailed, Event, SchedulerStopping, TaskEvent

E = TypeVar("E", bound=Event)

log = logging.getLogger("asyncsched.engine")


def warn(message: str, *args: object) -> None:
    """Log a warning. Handlers and filters are the program's own: if they raise, nothing else suffers."""
    with contextlib.suppress(Exception):
        log.warning(message, *args)


def complain(message: str, *args: object, error: BaseException) -> None:
    """Log an error with its traceback. If handlers or filters raise, nothing else suffers."""
    with contextlib.suppress(Exception):
        log.error(message, *args, exc_info=error)


class Subscription:
    """An asynchronous iterator of events, through a bounded queue.

    When the queue is full the newest events are dropped and counted in ``dropped``.
    """

    def __init__(self, bus: Events, kinds: tuple[type[Event], ...], task: str | None, size: int) -> None:
        self.dropped = 0
        self._bus = bus
        self.kinds = kinds
        self._task = task
        self._size = size
        self._queue: deque[Event] = deque()
        self._readers: list[asyncio.Future[None]] = []
        """Who waits for something to read."""
        self._open = True

    def offer(self, event: Event) -> None:
        """Take the event, which is of a wanted kind, if it is of the wanted task."""
        if self._task is not None and getattr(event, "task", None) != self._task:
            return
        queue = self._queue
        if len(queue) >= self._size:
            self.dropped += 1
            return
        queue.append(event)
        if self._readers:
            self._wake()

    def cancel(self) -> None:
        """No more events come; the iteration ends after those that were taken."""
        self._open = False
        self._bus.forget(self)
        self._wake()

    def _wake(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            if not reader.done():
                reader.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._queue:
            if not self._open:
                raise StopAsyncIteration
            # A bare future: an asyncio.Event costs ten calls more at every wake.
            reader = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            try:
                await reader
            except asyncio.CancelledError:
                if reader in self._readers:
                    self._readers.remove(reader)
                raise
        return self._queue.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.cancel()


class Callback:
    """A function that is called with each wanted event, on the loop, in order."""

    def __init__(
        self, bus: Events, kinds: tuple[type[Event], ...], task: str | None, function: Callable[[Any], object]
    ) -> None:
        self._bus = bus
        self.kinds = kinds
        self._task = task
        self._function = function

    def offer(self, event: Event) -> None:
        """Call the function with the event, which is of a wanted kind, if it is of the wanted task."""
        if self._task is None or getattr(event, "task", None) == self._task:
            try:
                self._function(event)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self._failed(event, error)

    async def farewell(self, event: Event) -> None:
        """As ``offer``, and wait for what the function has to do."""
        if not isinstance(event, self.kinds):
            return
        if not inspect.iscoroutinefunction(self._function):
            self.offer(event)
        else:
            try:
                await self._function(event)
            except Exception as error:
                self._failed(event, error)

    def _failed(self, event: Event, error: BaseException) -> None:
        complain("a callback on %s raised", type(event).__name__, error=error)
        if not isinstance(event, CallbackFailed):
            self._bus.tell(CallbackFailed(at_us=event.at_us, error=error))

    def cancel(self) -> None:
        """The function is called no more."""
        self._bus.forget(self)


class Events:
    """What happens on this scheduler, for whoever wants to know."""

    def __init__(self) -> None:
        self._listeners: dict[Subscription | Callback, None] = {}
        self._by_kind: dict[type[Event], tuple[Subscription | Callback, ...]] = {}
        """Who wants events of a kind, as far as it has been asked."""

    def subscribe(
        self, kinds: Collection[type[Event]] = (Event,), *, task: str | None = None, size: int = 1000
    ) -> Subscription:
        """The events of these kinds from now on, of one task if its id is given, as an asynchronous iterator.

        At most ``size`` wait to be read; what comes beyond is dropped and counted.
        """
        listener = Subscription(self, _checked(kinds), task, size)
        self._listen(listener)
        return listener

    def on(self, kinds: Collection[type[E]], callback: Callable[[E], object], *, task: str | None = None) -> Callback:
        """Call ``callback`` with each event of these kinds from now on, of one task if its id is given.

        It runs on the loop and must be quick. If it raises, that is logged and told, and nothing else suffers.
        Callbacks on ``SchedulerStopping`` are called last registered first, and may be coroutine functions, which
        are awaited before the scheduler drains.

        Raises:
            TypeError: a coroutine function for another kind of event; read those from ``subscribe``.
        """
        if inspect.iscoroutinefunction(callback) and set(kinds) != {SchedulerStopping}:
            cure = "only SchedulerStopping is waited for; read other events from events.subscribe()"
            raise TypeError(f"{callback!r} is a coroutine function: {cure}")
        listener = Callback(self, _checked(kinds), task, callback)
        self._listen(listener)
        return listener

    async def stream(self, kinds: Collection[type[Event]] = (Event,)) -> AsyncIterator[Event]:
        """The events of these kinds from the first step of the iteration on."""
        with self.subscribe(kinds) as subscription:
            async for event in subscription:
                yield event

    def hears(self, kind: type[Event]) -> bool:
        """Whether anybody wants events of this kind: those that nobody wants need not be made. For the engine."""
        listeners = self._by_kind.get(kind)
        return bool(self._wanting(kind) if listeners is None else listeners)

    async def farewell(self, event: SchedulerStopping) -> None:
        """Tell everybody that the scheduler stops, the last who came first, and wait for them. For the engine."""
        for listener in reversed(tuple(self._listeners)):
            if isinstance(listener, Callback):
                await listener.farewell(event)
            elif isinstance(event, listener.kinds):
                listener.offer(event)

    def tell(self, event: Event) -> None:
        """Tell everybody who wants to know. For the engine."""
        kind = type(event)
        listeners = self._by_kind.get(kind)
        for listener in self._wanting(kind) if listeners is None else listeners:
            if listener in self._listeners:  # one before it may have cancelled it
                listener.offer(event)

    def forget(self, listener: Subscription | Callback) -> None:
        """Tell this listener nothing more."""
        self._listeners.pop(listener, None)
        self._by_kind.clear()

    def _listen(self, listener: Subscription | Callback) -> None:
        self._listeners[listener] = None
        self._by_kind.clear()

    def _wanting(self, kind: type[Event]) -> tuple[Subscription | Callback, ...]:
        """Who wants events of this kind, in the order in which they came."""
        found = self._by_kind[kind] = tuple(one for one in self._listeners if issubclass(kind, one.kinds))
        return found


def _checked(kinds: Collection[type[Event]]) -> tuple[type[Event], ...]:
    wanted = tuple(kinds)
    for kind in wanted:
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise TypeError(f"{kind!r} is not a kind of event: give classes such as RunEnded, or {TaskEvent.__name__}")
    return wanted
