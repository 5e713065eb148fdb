"""Plain functions, in worker threads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread

from asyncsched.executors._base import Executor


class ThreadExecutor(Executor):
    """Calls the function in one of at most ``threads`` worker threads of its own.

    A thread cannot be stopped from outside. When its run is cancelled the run ends at once; the thread goes on
    and is counted in ``busy`` until it returns.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._limiter: CapacityLimiter | None = None
        self._inside: set[object] = set()

    async def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._threads)
        result = await to_thread.run_sync(
            self._enter, partial(func, *args, **kwargs), limiter=self._limiter, abandon_on_cancel=True
        )
        # A lambda or a wrapper may hide a coroutine function: its coroutine belongs on the loop.
        return await result if inspect.iscoroutine(result) else result

    def _enter(self, call: Callable[[], Any]) -> Any:
        # The limiter forgets an abandoned call at once; this set knows it until it returns.
        mark = object()
        self._inside.add(mark)
        try:
            return call()
        finally:
            self._inside.discard(mark)

    @property
    def busy(self) -> int:
        borrowed = 0 if self._limiter is None else int(self._limiter.borrowed_tokens)
        return max(borrowed, len(self._inside))
