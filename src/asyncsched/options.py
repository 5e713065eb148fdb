"""The options of a task: what they are, and what they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from difflib import get_close_matches
from typing import Any, Literal, TypedDict, cast

from asyncsched.errors import ConfigError
from asyncsched.naming import check_importable
from asyncsched.policy import Anchor, Missed, OverlapPolicy
from asyncsched.retry import Retry
from asyncsched.signature import is_coroutine_function
from asyncsched.triggers import Cron, Daily, Every, Once, Trigger, parse_trigger

ExecutorName = Literal["loop", "thread", "process"]


class PolicyOptions(TypedDict, total=False):
    """The options that make a ``Policy``; see there."""

    missed: Missed
    missed_limit: int
    grace: timedelta | str | None
    overlap: OverlapPolicy
    retry: Retry | int | None
    timeout: timedelta | str | None
    immediate: bool
    anchor: Anchor
    max_running: int | None
    priority: int
    queue: str
    history_limit: int


class Options(PolicyOptions, total=False):
    """What every decorator and ``Task`` take by keyword.

    id: unique; default ``module:qualname`` of the function. No white space, ``/`` or ``~``.
    group, name: together the id ``group.name``.
    tz: the zone of the trigger, an IANA name or a ZoneInfo; default the scheduler's.
    args, kwargs: what the function is called with when it fires.
    tags, metadata: kept with the task, for people and for filters.
    executor: ``"loop"`` for coroutine functions, ``"thread"`` for plain ones, told apart by itself; ``"process"``
        for plain ones at the top of a module that need a processor of their own.
    """

    id: str | None
    group: str | None
    name: str | None
    tz: str | tzinfo | None
    args: Sequence[Any]
    kwargs: Mapping[str, Any] | None
    tags: Iterable[str]
    metadata: Mapping[str, Any] | None
    executor: ExecutorName | None


POLICY_NAMES = frozenset(PolicyOptions.__annotations__)
_OPTION_NAMES = POLICY_NAMES | frozenset(Options.__annotations__)


def check_names(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in _OPTION_NAMES:
            near = get_close_matches(name, _OPTION_NAMES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(_OPTION_NAMES))}"
            raise ConfigError(f"unknown option {name!r}: {hint}")


_TEXT: tuple[type, str] = str, "a text"
_SHAPES: Mapping[str, tuple[type, str]] = {
    "id": _TEXT,
    "group": _TEXT,
    "name": _TEXT,
    "args": (Sequence, "a list of arguments, such as [1, 2]"),
    "kwargs": (Mapping, "a mapping of arguments by name, such as {'a': 1}"),
    "tags": (Iterable, "a list of texts, such as ['mail']"),
    "metadata": (Mapping, "a mapping, such as {'owner': 'me'}"),
}


def check_shapes(options: Mapping[str, Any]) -> None:
    for name, (shape, wanted) in _SHAPES.items():
        value = options.get(name)
        # A text is a sequence of its letters, and nobody means that.
        if value is not None and (not isinstance(value, shape) or (isinstance(value, str) and shape is not str)):
            raise ConfigError(f"{name}={value!r}: give {wanted}")
    for name in options.get("kwargs") or ():
        if not isinstance(name, str):
            raise ConfigError(f"kwargs={options['kwargs']!r}: {name!r} is no name of an argument")


def checked_tags(given: Iterable[str]) -> frozenset[str]:
    tags = list(given)
    for tag in tags:
        if not isinstance(tag, str):
            raise ConfigError(f"tags={tags!r}: {tag!r} is no text")
    return frozenset(tags)


def one_trigger(given: Mapping[str, Any]) -> Trigger | None:
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(f'{name}=' for name in given)}: give one of them, a task has one trigger")
    match dict(given):
        case {"every": Mapping() as parts}:
            return Every(interval(None, parts))
        case {"every": timedelta() | str() as period}:
            return Every(period)
        case {"at": value}:
            return Daily(value)
        case {"cron": str(line)}:
            return Cron(line)
        case {"run_at": datetime() as moment}:
            return Once(moment)
        case {"trigger": value}:
            return parse_trigger(value)
    if not given:
        return None
    name, value = next(iter(given.items()))
    wanted = {
        "every": "a duration such as '5m', a timedelta, or a mapping such as {'minutes': 5}",
        "cron": "a cron line such as '0 4 * * *'",
        "run_at": "a datetime",
    }
    raise ConfigError(f"{name}={value!r}: give {wanted[name]}")


_PARTS = ("weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds")


def interval(whole: timedelta | str | None, parts: Mapping[str, float]) -> timedelta | str:
    """The interval given either whole or in parts such as ``{"minutes": 5}``.

    Raises:
        ConfigError: both or neither are given, or a part has an unknown name or no number.
    """
    for name, value in parts.items():
        if name not in _PARTS:
            raise ConfigError(f"unknown part {name!r} of an interval: {', '.join(_PARTS)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{name}={value!r} of an interval: a number")
    given = {name: value for name, value in parts.items() if value}
    if whole is not None:
        if given:
            raise ConfigError(f"an interval of {whole!r} and {', '.join(given)}: give one or the other")
        return whole
    if not parts:
        raise ConfigError("an interval is missing: give '5s', a timedelta, or seconds=5")
    try:
        return timedelta(**given)
    except (OverflowError, ValueError) as error:
        raise ConfigError(f"interval of {dict(parts)!r}: {error}") from None


def executor_of(func: Callable[..., Any], wanted: str | None) -> ExecutorName:
    coroutine = is_coroutine_function(func)
    if wanted is None:
        return "loop" if coroutine else "thread"
    if wanted not in ("loop", "thread", "process"):
        raise ConfigError(f"executor={wanted!r}: 'loop' for coroutine functions, 'thread' or 'process' for plain ones")
    if coroutine and wanted != "loop":
        raise ConfigError(f"executor={wanted!r} is for plain functions: a coroutine function runs on the loop")
    if wanted == "process":
        check_importable(func)
    return cast("ExecutorName", wanted)
