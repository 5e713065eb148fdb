"""A resource: what a function asks for by an annotation, opened before it is called and closed after it."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from asyncsched.errors import ConfigError, MisuseError

Factory = Callable[..., Any]
"""Gives a resource. What it gives is awaited if it is awaitable, and entered and left if it is a context manager,
asynchronous or not; a generator, asynchronous or not, yields it once and closes it after that."""

Scope = Literal["run", "scheduler"]


class Depends:
    """Marks a parameter that is given a resource: ``db: Annotated[Db, Depends(open_db)]``."""

    __slots__ = ("resource", "scope")

    def __init__(self, resource: Factory | str, /, *, scope: Scope | None = None) -> None:
        """Mark it.

        Args:
            resource: the factory of the resource, or the name under which ``scheduler.resource(...)`` knows it.
            scope: ``"run"``, the default for a factory: opened for each attempt of a run, closed after it.
                ``"scheduler"``, always so for a name: opened when it is first needed, closed when the scheduler is
                left and its runs have ended.

        Raises:
            ConfigError: it can be neither, or the scope is none of the two, or one that a name cannot have.
        """
        named = isinstance(resource, str)
        if not named:
            checked_factory(resource)
        scope = scope or ("scheduler" if named else "run")
        if scope not in ("run", "scheduler"):
            raise ConfigError(f"scope={scope!r}: 'run', once for each attempt, or 'scheduler', once for all")
        if named and scope == "run":
            raise ConfigError(
                f"Depends({resource!r}, scope='run'): a named resource is opened once for all; give the factory instead"
            )
        self.resource: Factory | str = resource
        self.scope: Scope = scope

    def __repr__(self) -> str:
        return f"Depends({name_of(self.resource)})"


class _Injected:
    """What a parameter has by default that the scheduler gives."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what libraries ask of any object
            raise AttributeError(name)
        raise MisuseError("this parameter is given by a scheduler: who calls the function gives it")

    def __repr__(self) -> str:
        return "injected"


injected: Any = _Injected()
"""The default value of a parameter that the scheduler gives: for type checkers, which else miss it in ``submit()``."""


def checked_factory(factory: object) -> Factory:
    """The same factory.

    Raises:
        ConfigError: it cannot be called, or not be told from others.
    """
    if not callable(factory):
        raise ConfigError(f"{factory!r} opens nothing: give a function, such as an asynchronous generator function")
    try:
        hash(factory)
    except TypeError:
        raise ConfigError(f"{factory!r} cannot be hashed: give a function that calls it") from None
    return factory


def name_of(resource: Factory | str) -> str:
    """What people call it."""
    return repr(resource) if isinstance(resource, str) else str(getattr(resource, "__qualname__", repr(resource)))


def resources_of(parameters: Iterable[inspect.Parameter], namespace: Mapping[str, Any]) -> dict[str, Depends]:
    """Those of a function's parameters that are given a resource, and which one.

    Annotations that are texts are read in ``namespace``, the one of the function's module.

    Raises:
        ConfigError: a text cannot be read, the mark stands in the wrong place, or the parameter is one of many.
    """
    found: dict[str, Depends] = {}
    for parameter in parameters:
        if isinstance(parameter.default, Depends):
            cure = f"annotate it, {parameter.name}: Annotated[..., {parameter.default!r}]"
            raise ConfigError(f"parameter {parameter.name!r} has {parameter.default!r} as its default value: {cure}")
        annotation = parameter.annotation
        if annotation is parameter.empty:
            continue
        if isinstance(annotation, str):
            mark = _mark_in_text(parameter.name, annotation, namespace)
        else:
            mark = _mark_in(annotation)
        if mark is not None:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise ConfigError(f"parameter {parameter.name!r} stands for any number of arguments: a resource is one")
            found[parameter.name] = mark
    return found


def _mark_in(annotation: object) -> Depends | None:
    """The mark within ``Annotated[...]``, also within ``Annotated[...] | None``."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    for kind in typing.get_args(annotation) if union else (annotation,):
        for item in getattr(kind, "__metadata__", ()):
            if isinstance(item, Depends):
                return item
            if item is Depends:
                raise ConfigError("Depends in an annotation is bare: say on what, as in Depends(open_db)")
    return None


def _mark_in_text(name: str, text: str, namespace: Mapping[str, Any]) -> Depends | None:
    if "Depends" not in text and "Annotated" not in text:
        # Reading a text costs ten times what looking up a name does, and the other texts can only be aliases.
        found = (_looked_up(part.strip(), namespace) for part in text.split("|"))
        return next((mark for one in found if (mark := _mark_in(one)) is not None), None)
    asking = types.SimpleNamespace(__annotations__={name: text})
    try:
        hints = typing.get_type_hints(asking, {"Annotated": Annotated, **namespace}, include_extras=True)
    except ConfigError:
        raise
    except Exception as error:
        if "Depends" not in text:
            return None  # an annotation that only a type checker can read promises nothing at run time
        cure = (
            "what it names must be there when the function is declared, at the top of its module; if it cannot, leave "
            "out `from __future__ import annotations`"
        )
        raise ConfigError(f"the annotation of parameter {name!r}, {text}, cannot be read: {error}; {cure}") from error
    return _mark_in(hints[name])


def _looked_up(dotted: str, namespace: Mapping[str, Any]) -> object:
    first, *rest = dotted.split(".")
    found: object = namespace.get(first)
    for part in rest:
        found = getattr(found, part, None)
    return found
