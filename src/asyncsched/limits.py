"""Limits by key: so many starts in a while, only the last of many submits, only the first. Pure.

Nothing here remembers: what a limit must know of the past of one key is a plain value, which a store keeps for it.

    limit       what is kept for each key                       asked
    Rate        its last ``count`` starts                       before a run starts
    Debounce    the waiting run, and when it is due             when a run is submitted
    Cooldown    the last run, and when it was submitted         when a run is submitted
    Unique      the run that is live, or has just succeeded     when a run is submitted
    Idempotency the run of the first submit with its key        when a run is submitted

No clock is trusted further than a limit is long: if it was set back, nothing waits longer than that.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, NamedTuple, overload

from asyncsched.duration import as_duration, format_duration, parse_duration
from asyncsched.errors import ArgumentsError, ConfigError, DurationError

Key = str | Callable[..., Any]

_US = timedelta(microseconds=1)
_RATE = re.compile(r"\s*([0-9]{1,9})\s*/\s*([0-9]?)(.*)", re.DOTALL)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` starts in any stretch of ``period_us`` microseconds.

    Two starts that are exactly a period apart do not share a stretch.
    """

    count: int
    period_us: int

    @classmethod
    def of(cls, value: Rate | str) -> Rate:
        """``value`` as a Rate: itself, or what a text such as ``"10/1m"``, ``"10/m"``, ``"100/1h30m"`` says.

        Raises:
            ConfigError: it is neither.
        """
        if isinstance(value, Rate):
            return value
        found = _RATE.fullmatch(value) if isinstance(value, str) else None
        if found and int(found[1]):
            try:
                period = parse_duration((found[2] or "1") + found[3])
            except DurationError as error:
                raise ConfigError(f"rate={value!r}: {error}") from None
            if period:
                return cls(int(found[1]), period // _US)
        raise ConfigError(f"rate={value!r}: so many starts in a time, such as '10/1m' or '1/500ms'")

    @overload
    def next_us(self, starts: Sequence[int], now_us: int) -> int: ...
    @overload
    def next_us(self, starts: Sequence[int], now_us: int, promised: int) -> int | None: ...
    def next_us(self, starts: Sequence[int], now_us: int, promised: int = 0) -> int | None:
        """The earliest instant, from ``now_us`` on, at which the next may start.

        ``starts`` are the instants of earlier starts, in the order they happened; only the last ``count`` of them
        are looked at. So many as are ``promised`` may start at any time; if they are as many as may start at all,
        the answer is ``None``: not before one of them has.
        """
        left = self.count - promised
        if left <= 0:
            return None
        return now_us if len(starts) < left else self.after_us(starts[-left], now_us)

    def after_us(self, oldest_us: int | None, now_us: int) -> int:
        """As ``next_us``, for a store that finds by itself the last start but ``count - 1``; ``None`` is no such."""
        # A start later than now was written before the clock was set back, or by a node that is ahead.
        return now_us if oldest_us is None else max(now_us, min(oldest_us, now_us) + self.period_us)

    def __str__(self) -> str:
        return f"{self.count}/{format_duration(timedelta(microseconds=self.period_us))}"


class Debounced(NamedTuple):
    """What becomes of a submit: due when, and whether the waiting run takes its arguments or it is a run itself."""

    due_us: int
    merged: bool


@dataclass(frozen=True, slots=True)
class Debounce:
    """Submits that follow one another within ``wait_us`` are one run, that long after the last, with its arguments."""

    wait_us: int

    @classmethod
    def of(cls, value: Debounce | timedelta | str) -> Debounce:
        """``value`` as a Debounce: itself, or a duration.

        Raises:
            DurationError: it is neither.
        """
        return value if isinstance(value, Debounce) else cls(as_duration("debounce", value) // _US)

    def submit(self, waiting_due_us: int | None, now_us: int) -> Debounced:
        """What becomes of a submit at ``now_us``.

        ``waiting_due_us`` is when the run of the same key is due that has not started; ``None`` if there is none.
        One that is due already has had its last submit.
        """
        return Debounced(now_us + self.wait_us, waiting_due_us is not None and now_us < waiting_due_us)


@dataclass(frozen=True, slots=True)
class Cooldown:
    """A submit within ``wait_us`` of an earlier one that made a run is that run. It does not make the wait longer."""

    wait_us: int

    @classmethod
    def of(cls, value: Cooldown | timedelta | str) -> Cooldown:
        """``value`` as a Cooldown: itself, or a duration.

        Raises:
            DurationError: it is neither.
        """
        return value if isinstance(value, Cooldown) else cls(as_duration("cooldown", value) // _US)

    def holds(self, submitted_us: int | None, now_us: int) -> bool:
        """Whether a submit at ``now_us`` is the run that was submitted at ``submitted_us`` (``None``: never)."""
        # Nodes' clocks differ by a little, and one that was set back must not hold for ever: so in both directions.
        return submitted_us is not None and abs(now_us - submitted_us) < self.wait_us


@dataclass(frozen=True, slots=True)
class Unique:
    """One live run: a submit while there is one is that run, also for ``keep_us`` after its success."""

    keep_us: int = 0

    def holds(self, succeeded_us: int | None, now_us: int) -> bool:
        """Whether a submit at ``now_us`` is the run that succeeded then (``None``: it failed, or was cancelled)."""
        return succeeded_us is not None and abs(now_us - succeeded_us) < self.keep_us


class Idempotency(NamedTuple):
    """A key that somebody gave to a submit: for ``keep_us`` every other submit with it gives the same run.

    However that run has ended, and whether or not it is still kept; and as long as it has not ended.
    """

    key: str
    keep_us: int


Once = Debounce | Cooldown | Unique
"""What may make one run of several submits."""


def check_key(key: Key, parameters: Mapping[str, inspect.Parameter], option: str = "key") -> None:
    """Refuse a ``key=``, or such an option, that is neither a function nor the name of one of these parameters.

    Raises:
        ConfigError: it is not; the message lists the names that are.
    """
    if isinstance(key, str):
        named = [name for name, parameter in parameters.items() if parameter.kind not in _VARIADIC]
        if key in named:
            return
        known = f"its parameters are {', '.join(named)}" if named else "it has no parameter with a name"
        raise ConfigError(f"{option}={key!r}: the function has no such parameter; {known}")
    if not callable(key):
        raise ConfigError(f"{option}={key!r}: the name of a parameter, or a function of the arguments")


def key_of(key: Key, bound: inspect.BoundArguments, option: str = "key") -> str:
    """The text that stands for these arguments: runs with the same one share a limit.

    It is made of one parameter's value (its default if none was given), or of what the function ``key`` makes of
    all arguments. What the function raises is raised here.

    Raises:
        ArgumentsError: the value has no text that is the same everywhere.
    """
    if not isinstance(key, str):
        value = key(*bound.args, **bound.kwargs)
    elif key in bound.arguments:
        value = bound.arguments[key]
    else:
        value = bound.signature.parameters[key].default
    plain = value.value if isinstance(value, Enum) else value
    # Dates, decimals, UUIDs have a text of their own; that of lists and of most objects is as long as they like.
    own = any("__str__" in vars(kind) for kind in type(plain).__mro__[:-1])
    if not (own or isinstance(plain, str | int | float | None)):
        cure = f"give a text or a number, or {option}= a function of the arguments that makes one"
        raise ArgumentsError(f"{option}={key!r} is {value!r:.80}, a {type(value).__name__}: {cure}")
    return str(plain)


def limit_key(task: str, key: str) -> str:
    """Under which a limit counts the runs of ``task`` with this ``key``. No id has a ``/``."""
    return f"{task}/{key}"


def unique_key(task: str, key: str) -> str:
    """Under which runs of ``task`` that are unique by this ``key`` are known. No id has a ``~``."""
    return f"{task}~{key}"
