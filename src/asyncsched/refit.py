"""Stored arguments and the function of today: whether they fit, by which parameter, and what an upgrade makes of them.

Arguments are stored with the names that their parameters had, so that a parameter may change its place, or its name in
its place, and those that follow get nobody else's value.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from asyncsched.errors import ArgumentsError
from asyncsched.signature import Signature, Upgrade

_EXACT = (str, int, bool, float, type(None))
"""Types whose values JSON brings back as they are, if they are what the parameter says."""


class Given(NamedTuple):
    """Arguments as they are stored: JSON values, and the name of the parameter that each place had, if it is known."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    names: Sequence[str] = ()

    @classmethod
    def of(cls, parts: Any) -> Given:
        """Those that are written as a list of two or three parts.

        Raises:
            ValueError: they are not.
        """
        args, kwargs, names = (*parts, {}, ())[:3] if len(parts) == 1 else (*parts, ())[:3]
        if not (isinstance(args, list) and isinstance(kwargs, dict)):
            raise ValueError("they are no list and names")
        if not isinstance(names, list | tuple) or (names and len(names) != len(args)):
            raise ValueError("their names are not theirs")
        return cls(args, kwargs, names)

    def named(self, today: Sequence[str]) -> dict[str, Any]:
        """All of them by the names that they had, or by those of ``today``; what is without a name by its place."""
        found: dict[str, Any] = {}
        for name, value in zip(self.names or today, self.args, strict=True):
            if name in found:  # one of those that a *parameter takes
                before = found[name]
                found[name] = [*before, value] if isinstance(before, list) else [before, value]
            else:
                found[name] = value
        return found | dict(self.kwargs)


def replaced(given: Given, today: Sequence[str], parameters: Mapping[str, inspect.Parameter]) -> Given:
    """The same arguments where their parameters stand today; ``today`` names the places that they had.

    What was given to a parameter that there is no more is given to a new one in its place, if there is one.
    """
    names = given.names
    if not names or list(names) == list(today):
        return given
    if len(set(names)) < len(names) or len(set(today)) < len(today):
        raise ArgumentsError("its stored arguments do not fit: those of a *parameter stand where they stood no more")
    moved: dict[str, Any] = {}
    for name, place, value in zip(names, today, given.args, strict=True):
        to = name if name in parameters else place
        if to in moved or to not in parameters or (to != name and to in names):
            raise ArgumentsError(f"its stored arguments do not fit: there is no parameter {name!r} any more")
        moved[to] = value
    return Given((), moved | dict(given.kwargs))


def arranged(signature: Signature, given: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, by parameter, as a call takes them.

    Raises:
        ArgumentsError: there is no such parameter, or one has no value.
    """
    parameters = signature.parameters
    rest = next((name for name, one in parameters.items() if one.kind is one.VAR_KEYWORD), None)
    unknown = {name: value for name, value in given.items() if name not in parameters}
    if unknown and rest is None:
        raise ArgumentsError(f"its arguments do not fit: there is no parameter {next(iter(unknown))!r}")
    known = {name: given[name] for name in parameters if name in given}
    if rest is not None:
        known[rest] = {**known.get(rest, {}), **unknown}
    bound = inspect.BoundArguments(inspect.Signature(list(parameters.values())), known)
    return bound.args, bound.kwargs


def fitted(
    signature: Signature,
    names: Sequence[str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    simple: Mapping[str, type],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, checked, and converted where they are not what the function asks for.

    names: the parameters of those that are given by their places.
    simple: the parameters whose values JSON brings back as they are, and their types. Others have been converted.

    Raises:
        ArgumentsError: they do not fit; the message names the parameter, and no value.
    """
    signature.check(args, kwargs)
    if not simple or (_are(simple, names, args) and _are(simple, kwargs, kwargs.values())):
        return args, kwargs
    try:
        return signature.validate(args, kwargs)
    except ArgumentsError as error:
        raise ArgumentsError(str(error).rpartition(", got ")[0] or str(error)) from None


def _are(simple: Mapping[str, type], names: Iterable[str], values: Iterable[Any]) -> bool:
    """Whether the values are of the types that are asked for."""
    for name, value in zip(names, values, strict=True):
        if name in simple and type(value) is not simple[name]:
            return False
    return True


def simple_types(hints: Mapping[str, Any]) -> dict[str, type]:
    """The annotations that are a type whose values JSON brings back as they are."""
    return {name: hint for name, hint in hints.items() if hint in _EXACT and name != "return"}


def upgraded(upgrade: Upgrade, given: dict[str, Any], misfit: Exception) -> Mapping[str, Any]:
    """What the ``upgrade`` of a task makes of stored arguments that do not fit.

    Raises:
        ArgumentsError: it raised, or made no arguments.
    """
    try:
        made = upgrade(given)
    except Exception as error:
        raise ArgumentsError(f"its upgrade= raised {type(error).__name__}; without it: {misfit}") from error
    if not isinstance(made, Mapping) or not all(isinstance(name, str) for name in made):
        raise ArgumentsError(
            f"its upgrade= made a {type(made).__name__}, not a dict of arguments; without it: {misfit}"
        )
    return made
