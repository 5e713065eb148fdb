"""What travels along the edges of a graph: results of upstreams as arguments, and runs among the arguments."""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, cast, overload

from asyncsched.errors import ArgumentsError, ConfigError
from asyncsched.graph import last_part
from asyncsched.run import Run

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PREFIX = "dep_"
"""Begins the name of a parameter that asks for the result of an upstream."""
# So many containers within each other are searched for runs; people who hand over runs nest two or three.
_DEEPEST = 16


def dep_name(task_id: str) -> str:
    """The parameter that asks for the result of this upstream: ``dep_load`` for ``app:load`` and ``etl.load``.

    What cannot be part of a Python name becomes ``_``. Letters are folded as Python folds them in names (NFKC).
    """
    name = unicodedata.normalize("NFKC", last_part(task_id))
    return PREFIX + "".join(letter if f"_{letter}".isidentifier() else "_" for letter in name)


def dep_parameters(parameters: Collection[str], upstreams: Iterable[str]) -> dict[str, str]:
    """Those of a function's parameters that ask for the result of an upstream by ``dep_name``, and its id for each.

    Raises:
        ConfigError: a parameter is the ``dep_name`` of two upstreams. Nothing is wrong as long as none asks so.
    """
    found: dict[str, str] = {}
    if not any(parameter.startswith(PREFIX) for parameter in parameters):
        return found
    for upstream in upstreams:
        name = dep_name(upstream)
        if name not in parameters:
            continue
        if name in found:
            cure = f"say which by a default value, {name}=result_of(...)"
            raise ConfigError(f"parameter {name!r} asks for the result of {found[name]!r} or of {upstream!r}: {cure}")
        found[name] = upstream
    return found


class Upstream(Protocol[T_co]):
    """A task, as far as an edge must know it."""

    @property
    def id(self) -> str:
        """The task's id."""
        ...

    def __call__(self, *args: Any, **kwargs: Any) -> T_co:
        """What its function returns."""
        ...


@dataclass(frozen=True, slots=True)
class ResultOf:
    """Stands where the result of a task or of a run will be. It is a mark, no value: nothing is to validate it."""

    upstream: Upstream[Any] | Run[Any]

    def __repr__(self) -> str:
        kind = "run " if isinstance(self.upstream, Run) else ""
        return f"result_of({kind}{self.upstream.id!r})"


@overload
def result_of(upstream: Run[T]) -> T: ...
@overload
def result_of(upstream: Upstream[Coroutine[Any, Any, T]]) -> T: ...
@overload
def result_of(upstream: Upstream[T]) -> T: ...
def result_of(upstream: Upstream[Any] | Run[Any]) -> Any:
    """The result of ``upstream``, once it is there: to type checkers its type, until then a mark in its place.

    As the default value of a parameter it declares that the function's task needs the task ``upstream``, and asks
    for its result. Among the arguments of ``submit`` it stands for the result of the run ``upstream``.

    Raises:
        ConfigError: ``upstream`` is neither a task nor a run.
    """
    if not isinstance(upstream, Run) and not (callable(upstream) and isinstance(getattr(upstream, "id", None), str)):
        raise ConfigError(f"result_of({upstream!r}): give a task, that is a decorated function, or a run")
    return ResultOf(upstream)


class Found(NamedTuple):
    """A run among arguments.

    path: how to get there: the place or the name of the argument, then indices and keys. The elements of a set are
        counted as it is iterated.
    """

    path: tuple[Any, ...]
    run: Run[Any]

    @property
    def where(self) -> str:
        """The path as people write it: ``argument rows[0]['x']``."""
        return _shown(self.path)


def _shown(path: tuple[Any, ...]) -> str:
    return f"argument {path[0]}" + "".join(f"[{step!r}]" for step in path[1:])


_Container = dict[Any, Any] | list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any]
_CONTAINERS = (dict, list, tuple, set, frozenset)
_SEARCHED = (Run, ResultOf, *_CONTAINERS)
_HOLD_NOTHING = frozenset({str, int, float, bool, bytes, type(None)})


def runs_among(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Found]:
    """The runs among these arguments, bare or as ``result_of(run)``: those that the submitted run needs.

    Lists, tuples, sets and the values of dicts are searched, down to 16 of them within each other; what lies deeper,
    and what other objects hold, is left as it is. A run that stands in several places is found in each.

    Raises:
        ArgumentsError: ``result_of`` a task stands among them, which is for default values.
    """
    found: list[Found] = []
    level = [*_searched((), range(len(args)), args), *_searched((), kwargs, kwargs.values())]
    for _depth in range(_DEEPEST + 1):
        if not level:
            break
        deeper: list[tuple[tuple[Any, ...], Any]] = []
        for path, item in level:
            run = item.upstream if isinstance(item, ResultOf) else item
            if isinstance(run, Run):
                found.append(Found(path, run))
            elif isinstance(run, dict):
                deeper += _searched(path, run, run.values())
            elif isinstance(run, _CONTAINERS):
                deeper += _searched(path, range(len(run)), run)
            else:
                cure = f"give a run of it, result_of(await task.submit(...)); the task is {run.id!r}"
                raise ArgumentsError(f"{_shown(path)}: {item!r} is for default values; {cure}")
        level = deeper
    return found


def needed_runs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Run[Any], ...]:
    """The runs that ``runs_among`` finds, each once.

    Raises:
        ArgumentsError: ``result_of`` a task stands among the arguments.
    """
    if not kwargs and _HOLD_NOTHING.issuperset(map(type, args)):  # as most calls have it
        return ()
    return tuple({found.run.id: found.run for found in runs_among(args, kwargs)}.values())


def _searched(
    path: tuple[Any, ...], steps: Iterable[Any], values: Collection[Any]
) -> list[tuple[tuple[Any, ...], Any]]:
    """Those of the values in a container that are a run or may hold one, with the way to each."""
    # A long list is of few types: to look at those takes a tenth of the time.
    if not any(issubclass(kind, _SEARCHED) for kind in set(map(type, values))):
        return []
    return [((*path, step), value) for step, value in zip(steps, values, strict=True) if isinstance(value, _SEARCHED)]


def with_results(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], results: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """The arguments with each run that ``runs_among`` finds replaced by its result, which ``results`` has by its id.

    The given containers stay as they are: those on the way to a run are copied, the others shared.

    Raises:
        KeyError: a run has no result there.
        ArgumentsError: a result cannot be an element of the set in which its run stands.
    """
    found = runs_among(args, kwargs)
    if not found:
        return args, kwargs
    top: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
    # The containers on the way: as they were, and open to be changed.
    opened: dict[tuple[Any, ...], tuple[_Container, Any]] = {}
    for path, run in found:
        parent = top
        for end in range(1, len(path)):
            here = path[:end]
            if here not in opened:
                old = parent[here[-1]]
                opened[here] = old, (dict(old) if isinstance(old, dict) else list(old))
            parent = opened[here][1]
        parent[path[-1]] = results[run.id]
    for path in sorted(opened, key=len, reverse=True):
        *above, last = path
        parent = opened[tuple(above)][1] if above else top
        parent[last] = _closed(path, *opened[path])
    return tuple(top[place] for place in range(len(args))), {name: top[name] for name in kwargs}


def _closed(path: tuple[Any, ...], old: _Container, items: Any) -> _Container:
    """A container of the kind of ``old`` with these items."""
    if isinstance(old, dict):
        filled = copy.copy(old)  # of its own class, with what else belongs to it
        for key, item in items.items():  # what update() does is the class's own affair: a Counter adds
            filled[key] = item
        return filled
    if isinstance(old, list):
        other = copy.copy(old)
        other[:] = items
        return other
    make = cast("Callable[[Any], _Container]", getattr(old, "_make", type(old)))  # a named tuple takes them one by one
    try:
        return make(items)
    except TypeError as error:
        raise ArgumentsError(f"{_shown(path)}: {error}; results that a set cannot hold go into a list") from None
