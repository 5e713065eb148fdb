"""Middleware: what is done around each attempt of a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from inspect import signature
from typing import Any, cast

from asyncsched.errors import ConfigError
from asyncsched.run import Raised, Run, Succeeded
from asyncsched.signature import is_coroutine_function

CallNext = Callable[[], Awaitable[Any]]
"""Goes on with the attempt: awaited, it gives the function's result or raises its exception."""

Middleware = Callable[[Run[Any], CallNext], Awaitable[Any]]
"""A coroutine function that is called with the run and what goes on with it, on the event loop.

What it returns is the result, in place of the function's result or of its exception; if it returns ``None``, both
are what they were. What it raises is what the attempt raised.
"""


def checked_middleware(middleware: object) -> Middleware:
    """The same middleware.

    Raises:
        ConfigError: it is no coroutine function, or does not take two arguments.
    """
    if not callable(middleware) or not is_coroutine_function(middleware):
        raise ConfigError(f"{middleware!r} is no middleware: give an `async def` function of (run, call_next)")
    try:
        signature(middleware).bind(None, None)
    except TypeError as error:
        raise ConfigError(f"{middleware!r} is no middleware of (run, call_next): {error}") from None
    return cast("Middleware", middleware)


def layered(layers: Iterable[Middleware], run: Run[Any], call: CallNext) -> CallNext:
    """``call`` with the layers around it, the first of them outermost."""
    for layer in reversed(tuple(layers)):
        call = partial(_passed, layer, run, call)
    return call


async def _passed(layer: Middleware, run: Run[Any], inner: CallNext) -> Any:
    last: Succeeded | Raised | None = None

    async def call_next() -> Any:
        nonlocal last
        try:
            result = await inner()
        except BaseException as error:
            last = Raised(error)
            raise
        last = Succeeded(result)
        return result

    try:
        returned = await layer(run, call_next)
        if returned is not None or last is None:
            return returned
        if isinstance(last, Raised):  # it was caught: who only watches must not turn a failure into a success
            raise last.error
        return last.result
    finally:
        last = None  # an exception that is held by a frame of its own traceback lives until the next collection
