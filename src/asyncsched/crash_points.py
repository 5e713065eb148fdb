"""Places where the process is to die, for the tests of what it leaves: ``ASYNCSCHED_CRASH_AT=name[:count]``.

It is decided when this file is imported: where nothing is asked for, or another point, the decorators give back the
very function that they were given, so that a point costs nothing. The process dies as by ``kill -9``, when it comes to
the point for the ``count``-th time (1 if none is given).
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
from collections.abc import Callable, Coroutine
from functools import wraps
from threading import get_ident
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

from asyncsched.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

VARIABLE = "ASYNCSCHED_CRASH_AT"
_UNITS = ("migrate", "submit", "fire", "wake", "claim", "finish", "settle", "rescue", "leave")
_MOMENTS = ("before-start", "mid-task", "after-effect", "before-finish", "followers", "drain", "hint")
POINTS = (*(f"{unit}-{side}-commit" for unit in _UNITS for side in ("before", "after")), *_MOMENTS)
"""All names. Of what is one unit there are two: when all is written and not committed, and before anybody is told.

Where a server commits by itself, as at the end of a statement or of a script, the first of them is when it is asked and
has not answered: whether it does so then is as it happens.
"""


def asked_for(text: str | None) -> tuple[str | None, int]:
    """The name of the point and how often it is to be reached; no name if none is asked for.

    Raises:
        ConfigError: there is no such point, or the count is none.
    """
    if not text:
        return None, 0
    name, _, count = text.partition(":")
    if name not in POINTS:
        raise ConfigError(f"{VARIABLE}={text!r}: no such point; there are {', '.join(POINTS)}")
    if count and not (count.isascii() and count.isdigit() and int(count)):
        raise ConfigError(f"{VARIABLE}={text!r}: the count is a whole number from 1 on")
    return name, int(count or 1)


class _Fate:
    """How often the process may still come to its point."""

    def __init__(self, text: str | None) -> None:
        self.name, self._left = asked_for(text)
        self.sealed: set[object] = set()
        """The threads, or asyncio tasks, whose transaction under way has done what the process is to die after."""

    def reached(self) -> bool:
        self._left -= 1
        return self._left == 0


_fate = _Fate(os.environ.get(VARIABLE))


def _die(*_: object) -> NoReturn:
    # Windows has no SIGKILL; any other signal ends a process there in the same way.
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    raise SystemExit  # not reached: the process is gone


def _always(*_: object, **__: object) -> bool:
    return True


def before(name: str, worth: Callable[..., object] = _always) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The process dies before the decorated function does anything, if what it is given is ``worth`` it."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def dying(*args: P.args, **kwargs: P.kwargs) -> R:
            if worth(*args, **kwargs) and _fate.reached():
                _die()
            return function(*args, **kwargs)

        return dying if _fate.name == name else function

    return decorate


def after(name: str, worth: Callable[[Any], object] = _always) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The process dies when the decorated function, or coroutine, has returned something that is ``worth`` it."""

    def returned(answer: object) -> None:
        if worth(answer) and _fate.reached():
            _die()

    return lambda function: _followed(function, returned) if _fate.name == name else function


def _followed(
    function: Callable[P, R], returned: Callable[[object], None], begun: Callable[[], object] = _always
) -> Callable[P, R]:
    """The function, or the coroutine, after which ``returned`` is called with what it gave."""

    @wraps(function)
    def calling(*args: P.args, **kwargs: P.kwargs) -> R:
        begun()
        answer = function(*args, **kwargs)
        returned(answer)
        return answer

    @wraps(function)
    async def awaiting(*args: P.args, **kwargs: P.kwargs) -> Any:
        begun()
        answer = await cast("Coroutine[Any, Any, Any]", function(*args, **kwargs))
        returned(answer)
        return answer

    return cast("Callable[P, R]", awaiting) if inspect.iscoroutinefunction(function) else calling


def within(name: str, worth: Callable[..., object] = _always) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The process dies when the decorated coroutine has begun, and waits; if what it is given is ``worth`` it."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        async def dying(*args: P.args, **kwargs: P.kwargs) -> Any:
            if worth(*args, **kwargs) and _fate.reached():
                asyncio.get_running_loop().call_soon(_die)
            return await cast("Coroutine[Any, Any, Any]", function(*args, **kwargs))

        return cast("Callable[P, R]", dying) if _fate.name == name else function

    return decorate


def unit(name: str, worth: Callable[[Any], object] = _always) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Two points of a function, or coroutine, that works within a transaction: before the commit, and after it.

    They count where what it returns is ``worth`` it.
    """

    def seal(answer: object) -> None:
        if worth(answer):
            _fate.sealed.add(_here())

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if _fate.name == f"{name}-after-commit":
            return _followed(function, seal)
        return after(f"{name}-before-commit", worth)(function)

    return decorate


def transaction(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates what begins a transaction, works in it and commits it; a function or a coroutine."""

    def begun() -> None:
        _fate.sealed.discard(_here())

    def committed(_answer: object) -> None:
        if _here() in _fate.sealed and _fate.reached():
            _die()

    asked = _fate.name is not None and _fate.name.endswith("-after-commit")
    return _followed(function, committed, begun) if asked else function


def _here() -> object:
    """Who works here: an asyncio task, or a thread without a loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return get_ident()
