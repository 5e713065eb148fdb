"""Coroutine functions, on the event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from asyncsched.executors._base import Executor


class LoopExecutor(Executor):
    """Calls the function here and now; its coroutine runs on the loop."""

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Awaitable[Any]:
        awaitable: Awaitable[Any] = func(*args, **kwargs)
        return awaitable

    @property
    def busy(self) -> int:
        return 0
