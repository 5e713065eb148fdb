"""Plain functions, in worker threads."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar, cast

from asyncsched.clock import SystemClock
from asyncsched.context import current_run
from asyncsched.errors import MisuseError
from asyncsched.executors._base import Abandoned, Executor
from asyncsched.executors._crew import Call, Crew, loop_of_this_thread

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("asyncsched.executors")

# Long enough that a task of every few seconds keeps its thread, short enough that a burst's threads go.
_IDLE_S = 30.0


class ThreadExecutor(Executor):
    """Calls the function in one of at most ``threads`` worker threads of its own.

    A thread cannot be stopped from outside. When its run is cancelled the run ends at once; the thread goes on,
    is listed in ``abandoned`` and counted in ``busy`` until it returns, and another one may work in its place.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._crew: Crew | None = None
        self._abandoned: dict[Call, Abandoned] = {}

    async def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        crew = self._crew
        if crew is None or crew.loop is not asyncio.get_running_loop():
            crew = self._crew = Crew(
                self._threads, _IDLE_S, "asyncsched worker", left=self._leave, returned=self._returned
            )
        result = await crew.call(func, args, kwargs)
        # A lambda or a wrapper may hide a coroutine function: its coroutine belongs on the loop.
        return await result if inspect.iscoroutine(result) else result

    @property
    def busy(self) -> int:
        waited_for = 0 if self._crew is None else self._crew.waited_for
        return waited_for + len(self._abandoned)

    @property
    def abandoned(self) -> tuple[Abandoned, ...]:
        return tuple(self._abandoned.values())

    async def close(self) -> None:
        crew, self._crew = self._crew, None
        for left in self.abandoned:
            _warn("%s is left behind: it was cancelled, and its thread goes on", left.what)
        if crew is not None:
            await crew.close()

    def _leave(self, call: Call) -> None:
        self._abandoned[call] = Abandoned(what=_name(call.func), since=SystemClock().now())

    def _returned(self, call: Call) -> None:
        left = self._abandoned.pop(call)
        took = SystemClock().now() - left.since
        _warn("%s was cancelled; its thread has returned only now, %.3f s later", left.what, took.total_seconds())


def from_thread(func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """What ``await func(*args, **kwargs)`` gives on the scheduler's loop: ``from_thread(task.submit, 1)``.

    For plain functions that a scheduler runs in a thread. Blocks until then.

    Raises:
        MisuseError: the current thread is not one of a scheduler's.
    """
    loop = loop_of_this_thread()
    if loop is None:
        raise MisuseError(
            "from_thread() is for plain functions that a scheduler runs in a thread: on the loop await it, and "
            "elsewhere handle.call(...) with the handle that start_in_thread() gave"
        )

    async def caught() -> tuple[R | None, BaseException | None]:
        try:
            return await func(*args, **kwargs), None
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # SystemExit would end the loop
            return None, error

    result, error = asyncio.run_coroutine_threadsafe(caught(), loop).result()
    if error is not None:
        raise error
    return cast("R", result)


def _name(func: Callable[..., Any]) -> str:
    try:
        run = current_run()
    except MisuseError:
        return str(getattr(func, "__qualname__", func))
    return f"task {run.task}, run {run.id},"


def _warn(message: str, *args: object) -> None:
    with suppress(Exception):  # handlers and filters are the program's own
        log.warning(message, *args)
