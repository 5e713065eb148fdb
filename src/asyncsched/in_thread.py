"""A scheduler in a thread of its own, for programs that have no event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from typing import Generic, ParamSpec, Protocol, Self, TypeVar

from asyncsched._engine.drained import Drained
from asyncsched.errors import MisuseError
from asyncsched.run import Run

P = ParamSpec("P")
R = TypeVar("R")


class Served(Protocol):
    """What is served in the thread: a scheduler."""

    @property
    def running(self) -> bool: ...

    @property
    def drained(self) -> Drained | None: ...

    async def start(self) -> None: ...

    async def stop(self) -> Drained: ...


class SchedulerThread:
    """A running scheduler on an event loop of its own, in a thread of its own.

    What ``Scheduler.start_in_thread`` gives. Leave it by ``stop``, or use it as a context manager; a program that
    ends without either ends its runs as a crash would.
    """

    def __init__(self, scheduler: Served) -> None:
        """Start ``scheduler``; returns once it fires.

        Raises:
            MisuseError: it is running already.
        """
        self._scheduler = scheduler
        self._error: BaseException | None = None
        self._open = False
        self._lock = threading.Lock()
        self._asked = asyncio.Event()
        started: Future[asyncio.AbstractEventLoop] = Future()
        # A daemon: a program that forgot to stop it still ends.
        self._thread = threading.Thread(target=self._live, args=(started,), name="asyncsched loop", daemon=True)
        self._thread.start()
        self._loop = started.result()

    def call(self, func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """What ``await func(*args, **kwargs)`` gives on the scheduler's loop: ``handle.call(task.submit, 1)``.

        Blocks until then. Any thread but the scheduler's own may call it.

        Raises:
            MisuseError: it is called on the scheduler's own loop, or the scheduler was stopped.
        """
        self._check_thread("await it")
        caught = _Caught(func(*args, **kwargs))
        with self._lock:
            if not self._open:
                caught.drop()
                raise MisuseError("the scheduler was stopped: start_in_thread() starts it again")
            future = asyncio.run_coroutine_threadsafe(caught.wait(), self._loop)
        try:
            future.result()
        except CancelledError:
            raise MisuseError("the scheduler was stopped before this call ended") from None
        except BaseException:  # Ctrl-C: nobody waits for it any more
            future.cancel()
            raise
        return caught.value()

    def wait(self, run: Run[R]) -> R:
        """The result of ``run``, or its exception, raised: what ``await run`` gives on the scheduler's loop.

        Raises:
            MisuseError: as ``call``; or the scheduler stopped before the run ended.
        """

        async def result() -> R:
            return await run

        return self.call(result)

    def stop(self) -> Drained:
        """Stop the scheduler and end the thread: what became of the runs that were under way.

        Blocks while runs end, up to ``shutdown_timeout``. Once it is stopped, the same report again.

        Raises:
            MisuseError: it is called on the scheduler's own loop.
        """
        self._check_thread("set something that whoever started it waits for")
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._asked.set)
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._scheduler.drained is not None
        return self._scheduler.drained

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _live(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        try:
            asyncio.run(self._serve(started))
        except BaseException as error:
            self._error = error
            if not started.done():
                started.set_exception(error)

    async def _serve(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        await self._scheduler.start()
        self._open = True
        started.set_result(asyncio.get_running_loop())
        try:
            await self._asked.wait()
        finally:
            with self._lock:
                self._open = False
            # What was called before that line is on the loop, and what still waits there ends with it.
            if self._scheduler.running:
                await self._scheduler.stop()

    def _check_thread(self, cure: str) -> None:
        if threading.current_thread() is self._thread:
            raise MisuseError(f"this is the scheduler's own thread, which would wait for itself for ever: {cure}")


class _Caught(Generic[R]):
    """What an awaitable gives or raises, SystemExit and KeyboardInterrupt too: on a loop those would end it."""

    def __init__(self, awaitable: Awaitable[R]) -> None:
        self._awaitable = awaitable
        self._result: list[R] = []
        self._error: BaseException | None = None

    async def wait(self) -> None:
        try:
            self._result.append(await self._awaitable)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._error = error

    def value(self) -> R:
        if self._error is not None:
            raise self._error
        return self._result[0]

    def drop(self) -> None:
        if asyncio.iscoroutine(self._awaitable):
            self._awaitable.close()
