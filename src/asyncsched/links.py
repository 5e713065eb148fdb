"""What a task needs: its upstreams as they were declared, and which of its parameters ask for their results."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from types import FunctionType, MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

from asyncsched.duration import as_duration
from asyncsched.edges import Rule
from asyncsched.errors import ConfigError
from asyncsched.results import PREFIX, ResultOf, dep_parameters, with_results
from asyncsched.run import Run, RunStatus
from asyncsched.signature import Signature

Dependency = Literal["ever", "fresh"]
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Links(NamedTuple):
    """The edges that lead to a task.

    needs: the ids of its upstreams, each once.
    rule: which of their ends let a run start.
    dependency, dependency_timeout: what is asked of them, and how long a fire waits for it, where the task has a
        trigger of its own.
    asks: the parameters that are given the result of an upstream, and its id for each.
    """

    needs: tuple[str, ...] = ()
    rule: Rule = "all_success"
    dependency: Dependency = "ever"
    dependency_timeout: timedelta | None = None
    asks: Mapping[str, str] = _NOTHING


NO_LINKS = Links()
LINKING = frozenset({"depends_on", "rule", "dependency", "dependency_timeout"})
"""The options that make ``Links``."""


def may_link(func: Callable[..., Any], options: Mapping[str, Any]) -> bool:
    """Whether ``links_of`` can find anything: a tenth of its time, and most tasks stand alone."""
    plain = type(func) is FunctionType and not (func.__defaults__ or func.__kwdefaults__ or func.__dict__)
    return not plain or (bool(options) and not LINKING.isdisjoint(options))


def links_of(func: Callable[..., Any], options: Mapping[str, Any], *, own_trigger: bool) -> Links:
    """The links of a task that is made of ``func`` with these options.

    Raises:
        ConfigError: an option is wrong, or two upstreams are asked for by one parameter.
    """
    marks = _marks(func)
    if not marks and (not options or LINKING.isdisjoint(options)):
        return NO_LINKS
    needs = list(_named(options.get("depends_on", ())))
    asks = {name: mark.upstream.id for name, mark in marks.items()}
    needs += [need for need in dict.fromkeys(asks.values()) if need not in needs]
    if not needs:
        for name in ("rule", "dependency", "dependency_timeout"):
            if options.get(name) is not None:
                raise ConfigError(f"{name}={options[name]!r} is about what the task depends on: give also depends_on=")
        return NO_LINKS
    for name, allowed in (("rule", get_args(Rule)), ("dependency", get_args(Dependency))):
        if options.get(name) is not None and options[name] not in allowed:
            raise ConfigError(f"{name}={options[name]!r}: one of {', '.join(map(repr, allowed))}")
    _check_kind(options, own_trigger=own_trigger)
    wait = options.get("dependency_timeout")
    if any(name.startswith(PREFIX) for name in _names(func)):
        asks = {**dep_parameters([name for name in _names(func) if name not in asks], needs), **asks}
    return Links(
        needs=tuple(needs),
        rule=options.get("rule") or NO_LINKS.rule,
        dependency=options.get("dependency") or NO_LINKS.dependency,
        dependency_timeout=None if wait is None else as_duration("dependency_timeout", wait, zero=True),
        asks=asks or _NOTHING,
    )


def _check_kind(options: Mapping[str, Any], *, own_trigger: bool) -> None:
    if own_trigger and options.get("rule") is not None:
        cure = "say dependency='ever' or dependency='fresh'"
        raise ConfigError(f"rule={options['rule']!r} is for tasks without a trigger of their own: {cure}")
    for name in ("dependency", "dependency_timeout"):
        if not own_trigger and options.get(name) is not None:
            cure = "say rule=, or give the task a trigger"
            raise ConfigError(f"{name}={options[name]!r} is for tasks with a trigger of their own: {cure}")


def _named(given: object) -> Iterable[str]:
    """The ids of what ``depends_on`` was given: tasks, or their ids."""
    several = given if isinstance(given, list | tuple | set | frozenset) else [given]
    seen: dict[str, None] = {}
    for one in several:
        if isinstance(one, Run):
            cure = "hand the run to submit, task.submit(run), or depend on its task"
            raise ConfigError(f"depends_on={one!r}: a run is an upstream of runs, not of tasks: {cure}")
        need = one if isinstance(one, str) else getattr(one, "id", None)
        if not isinstance(need, str) or not need:
            raise ConfigError(f"depends_on={one!r}: give tasks, that is decorated functions, or their ids")
        if need in seen:
            raise ConfigError(f"depends_on= names {need!r} twice: name it once")
        seen[need] = None
    return seen


def _innermost(func: Callable[..., Any]) -> Any:
    while isinstance(func, functools.partial):
        func = func.func
    return func if inspect.isroutine(func) else type(func).__call__


def _marks(func: Callable[..., Any]) -> dict[str, ResultOf]:
    """The parameters of ``func`` whose default is ``result_of`` a task."""
    inner: Any = func if type(func) is FunctionType else _innermost(func)
    if hasattr(inner, "__wrapped__"):
        inner = inspect.unwrap(inner)
    defaults, named = getattr(inner, "__defaults__", None), getattr(inner, "__kwdefaults__", None)
    if defaults is None and named is None:
        return {}
    if not any(isinstance(value, ResultOf) for value in (*(defaults or ()), *(named or {}).values())):
        return {}
    marks = {}
    for name, parameter in inspect.signature(func).parameters.items():
        if isinstance(mark := parameter.default, ResultOf):
            if isinstance(mark.upstream, Run):
                raise ConfigError(f"parameter {name!r} has the default {mark!r}: give a task, a run has ended some day")
            marks[name] = mark
    return marks


def _names(func: Callable[..., Any]) -> list[str]:
    """The names of the parameters of ``func`` that can be given by name."""
    parameters = inspect.signature(func).parameters.values()
    return [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]


def with_edges(run: Run[Any], links: Links, signature: Signature) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """What to call a run's function with: the results of its upstreams are where they were asked for.

    A parameter that asks for a result which there is not, because the run was to start without it, gets its default
    value, or ``None``.

    Raises:
        ArgumentsError: a result does not fit the parameter for which it was handed over.
    """
    args, kwargs, edges = run.args, run.kwargs, run.edges
    assert edges is not None
    if edges.kind == "hand":
        args, kwargs = with_results(args, kwargs, {one.id: one.result for one in edges.upstreams})
        if args is not run.args:
            args, kwargs = run.args, run.kwargs = signature.validate(args, kwargs)
    if not links.asks:
        return args, kwargs
    given = signature.bind(args, kwargs).arguments
    results = {one.task: one.result for one in edges.upstreams if one.status is RunStatus.SUCCESS}
    asked = {}
    for parameter, task in links.asks.items():
        if parameter not in given:
            default = signature.parameters[parameter].default
            asked[parameter] = results.get(task, None if isinstance(default, ResultOf) else default)
    return args, {**kwargs, **asked}


# What is known at a glance to fit or not to fit; about everything else nothing is said.
_SIMPLE = (bool, int, float, complex, str, bytes, list, dict, set, frozenset, tuple, type(None))
_WIDER: Mapping[type, tuple[type, ...]] = {float: (int,), complex: (int, float)}


def misfit(func: Callable[..., Any], parameter: str, upstream: Callable[..., Any]) -> str | None:
    """Why what ``upstream`` returns cannot fit the parameter of ``func``; ``None`` if it may."""
    wanted, given = _simple(func, parameter), _simple(upstream, "return")
    if wanted is None or given is None or issubclass(given, (wanted, *_WIDER.get(wanted, ()))):
        return None
    return f"takes {wanted.__name__}, and gets {given.__name__.replace('NoneType', 'None')}"


def _simple(func: Callable[..., Any], name: str) -> type | None:
    """The class in an annotation, where it is a simple one: ``list`` for ``list[int]``."""
    try:
        hint = typing.get_type_hints(_innermost(func)).get(name)
    except (NameError, TypeError, AttributeError):
        return None  # annotations that only a type checker can resolve promise nothing at run time
    kind = typing.get_origin(hint) or hint
    return next((simple for simple in _SIMPLE if kind is simple), None)
