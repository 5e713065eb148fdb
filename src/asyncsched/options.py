"""The options of a task: what they are, and what they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any, Literal, TypedDict, cast

from asyncsched.blackout import Blackout
from asyncsched.edges import Rule
from asyncsched.errors import ConfigError
from asyncsched.limits import Cooldown, Debounce, Key, Rate
from asyncsched.links import Dependency
from asyncsched.naming import check_importable
from asyncsched.policy import Anchor, Missed, OnLost, OverlapPolicy, Policy
from asyncsched.results import Upstream
from asyncsched.retry import Retry
from asyncsched.signature import Upgrade, is_coroutine_function, signature_of
from asyncsched.triggers import Between, Cron, Daily, Every, Once, Trigger, parse_trigger
from asyncsched.zone import zone_name

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
    keep: int | timedelta | str | None
    run_timeout: timedelta | str | None
    expires: timedelta | str | None
    jitter: timedelta | str | None
    blackout: Blackout | str | Iterable[Blackout | str] | None
    max_runs: int | None
    rate: Rate | str | None
    debounce: Debounce | timedelta | str | None
    cooldown: Cooldown | timedelta | str | None
    key: Key | None
    unique: Key | bool
    unique_for: timedelta | str | None
    warn_not_started: timedelta | str | None
    warn_longer: timedelta | str | None
    warn_failures: int | None
    on_lost: OnLost


class Options(PolicyOptions, total=False):
    """What every decorator and ``Task`` take by keyword.

    id: unique; default ``module:qualname`` of the function. No white space, ``/`` or ``~``.
    group, name: together the id ``group.name``.
    tz: the zone of the trigger, an IANA name or a ZoneInfo; default the scheduler's.
    starts, ends: the task fires from then on (included), and before then; a naive one is in its zone.
    args, kwargs: what the function is called with when it fires.
    tags, metadata: kept with the task, for people and for filters.
    aliases: the ids that the task had before: it goes on where those stood in the store, with their runs.
    upgrade: a function that is given the stored arguments of a run, a dict by parameter as JSON values, where they do
        not fit the function any more; it returns those that do.
    depends_on: the tasks, or their ids, that it needs, besides those that ``result_of`` names in the function.
    rule: of a task without a trigger: which of their ends let it run; see ``graph.verdict``.
    dependency, dependency_timeout: of a task with a trigger: whether each upstream must have succeeded ``"ever"`` or
        ``"fresh"``, that is since the fire before; and how long a fire waits for runs of theirs that are under way.
    executor: ``"loop"`` for coroutine functions, ``"thread"`` for plain ones, told apart by itself; ``"process"``
        for plain ones at the top of a module that need a processor of their own.
    """

    id: str | None
    group: str | None
    name: str | None
    tz: str | tzinfo | None
    starts: datetime | None
    ends: datetime | None
    args: Sequence[Any]
    kwargs: Mapping[str, Any] | None
    tags: Iterable[str]
    metadata: Mapping[str, Any] | None
    aliases: Iterable[str]
    upgrade: Upgrade | None
    executor: ExecutorName | None
    depends_on: Upstream[Any] | str | Iterable[Upstream[Any] | str]
    rule: Rule
    dependency: Dependency
    dependency_timeout: timedelta | str | None


POLICY_NAMES = frozenset(PolicyOptions.__annotations__)
_OPTION_NAMES = POLICY_NAMES | frozenset(Options.__annotations__)


def _unknown(name: str) -> ConfigError:
    from difflib import get_close_matches  # half a millisecond to import, and only mistakes need it
    from textwrap import shorten

    near = get_close_matches(name, _OPTION_NAMES, 1)
    known = shorten(", ".join(sorted(_OPTION_NAMES)), 300, placeholder=" ... (all stand at Options and Policy)")
    hint = f"did you mean {near[0]!r}?" if near else f"known are {known}"
    return ConfigError(f"unknown option {name!r}: {hint}")


_TEXT: tuple[type, type, str] = str, str, "a text"
# What is mostly given, what may be given, and that in words: to ask an abstract class takes 0.2 us.
_SHAPES: Mapping[str, tuple[type, type, str]] = {
    "id": _TEXT,
    "group": _TEXT,
    "name": _TEXT,
    "args": (tuple, Sequence, "a list of arguments, such as [1, 2]"),
    "kwargs": (dict, Mapping, "a mapping of arguments by name, such as {'a': 1}"),
    "tags": (list, Iterable, "a list of texts, such as ['mail']"),
    "metadata": (dict, Mapping, "a mapping, such as {'owner': 'me'}"),
    "aliases": (list, Iterable, "a list of ids, such as ['app:old_name']"),
}


def kept_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a task keeps of its options, checked, by the names of its attributes; without what is as usual.

    Raises:
        ConfigError: a name is no option, or a value is wrong; the message says what would be right.
    """
    kept: dict[str, Any] = {}
    policy: dict[str, Any] = {}
    for name, value in options.items():
        if name in _SHAPES:
            if value is None:
                continue
            if type(value) is not _SHAPES[name][0]:
                _check_shape(name, value)
            if name in _COPIES:
                if value:
                    kept[name] = _COPIES[name](value)
            elif name == "group":
                kept[name] = value
        elif name in POLICY_NAMES:
            policy[name] = value
        elif name not in _OPTION_NAMES:
            raise _unknown(name)
        elif name == "tz" and value is not None:
            kept[name] = zone_name(value)
        elif name == "upgrade" and value is not None:
            if not callable(value):
                raise ConfigError(f"upgrade={value!r}: a function that makes today's arguments of stored ones")
            kept[name] = value
    if policy:
        kept["policy"] = Policy.of(policy)
    return kept


def _check_shape(name: str, value: object) -> None:
    usual, shape, wanted = _SHAPES[name]
    # A text is a sequence of its letters, and nobody means that.
    if not isinstance(value, shape) or (isinstance(value, str) and usual is not str):
        raise ConfigError(f"{name}={value!r}: give {wanted}")


def _copied_kwargs(given: Mapping[str, Any]) -> dict[str, Any]:
    for name in given:
        if not isinstance(name, str):
            raise ConfigError(f"kwargs={given!r}: {name!r} is no name of an argument")
    return dict(given)


def _copied_tags(given: Iterable[str]) -> frozenset[str]:
    tags = list(given)
    for tag in tags:
        if not isinstance(tag, str):
            raise ConfigError(f"tags={tags!r}: {tag!r} is no text")
    return frozenset(tags)


def _copied_aliases(given: Iterable[str]) -> tuple[str, ...]:
    aliases = tuple(dict.fromkeys(given))
    for alias in aliases:
        if not isinstance(alias, str) or not alias:
            raise ConfigError(f"aliases={list(aliases)!r}: {alias!r} is no id of a task")
    return aliases


_COPIES: Mapping[str, Callable[[Any], Any]] = {
    "args": tuple,
    "kwargs": _copied_kwargs,
    "tags": _copied_tags,
    "metadata": dict,
    "aliases": _copied_aliases,
}


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


def within(trigger: Trigger | None, starts: datetime | None, ends: datetime | None) -> Trigger | None:
    """``trigger`` from ``starts`` (included) to ``ends`` (not included); what is ``None`` is open.

    Raises:
        ConfigError: one is no datetime, there is no time between them, or there is no trigger to bound.
    """
    if starts is None and ends is None:
        return trigger
    for name, moment in (("starts", starts), ("ends", ends)):
        if not isinstance(moment, datetime | None):
            raise ConfigError(f"{name}={moment!r}: give a datetime")
    if trigger is None:
        raise ConfigError("starts= and ends= are about the fires of a task: give it a trigger, such as every='5m'")
    return Between(trigger, starts, ends)


def check_anchor(anchor: Anchor, trigger: Trigger | None) -> None:
    """Refuse an anchor that the trigger cannot have.

    Raises:
        ConfigError: an interval measured from completions is none.
    """
    inner = trigger.trigger if isinstance(trigger, Between) else trigger
    if anchor == "completion" and not isinstance(inner, Every):
        raise ConfigError("anchor='completion' measures an interval from the last run's end: it needs every=")


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
        if resources := signature_of(func).resources:
            raise ConfigError(
                f"executor='process': parameter {next(iter(resources))!r} asks for a resource, which cannot be sent to "
                "another process; open it within the function"
            )
    return cast("ExecutorName", wanted)
