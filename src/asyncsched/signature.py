"""What a function takes: arguments checked before they are kept, by the function's own annotations."""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
import typing
import weakref
from collections.abc import Callable, Collection, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from asyncsched.context import Injected
from asyncsched.errors import ArgumentsError, ConfigError
from asyncsched.resource import resources_of
from asyncsched.run import Run

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_PLACED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


Upgrade = Callable[[dict[str, Any]], Mapping[str, Any]]
"""What makes today's arguments of stored ones: both by parameter, as JSON values."""


class Signature:
    """The parameters of one function."""

    upgrade: Upgrade | None = None
    """What is asked where stored arguments do not fit."""

    def __init__(self, func: Callable[..., Any], asked: Collection[str] = ()) -> None:
        """Read the signature of ``func``; its parameters ``asked`` get results of upstreams unless callers give them.

        Raises:
            ConfigError: ``func`` has none, as some functions written in C, or asks wrongly for a resource.
        """
        try:
            # Not the function itself, which would then live as long as the signatures that are kept by function.
            self._func: Callable[[], Callable[..., Any] | None] = weakref.ref(func)
        except TypeError:
            self._func = lambda: func
        try:
            whole = inspect.signature(func)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{func!r} does not tell its parameters: wrap it in a function that does") from error
        self.resources = resources_of(whole.parameters.values(), _namespace(func))
        """The parameters that are given a resource, and which one; callers do not."""
        own = [one for one in whole.parameters.values() if not (one.name in self.resources or _is_context(one))]
        if asked:
            own = _with_asked(own, asked)
        self.context = tuple(name for name, parameter in whole.parameters.items() if _is_context(parameter))
        """The parameters that are given the run; callers do not."""
        self.filled = bool(self.context or asked)
        """Whether the function gets more, without anything around it, than callers give by their places."""
        self._whole = whole
        positional = [one for one in own if one.kind in _PLACED]
        self._least = sum(one.default is one.empty for one in positional)
        self._most = len(positional)
        if any(one.kind is one.KEYWORD_ONLY and one.default is one.empty for one in own):
            self._most = -1  # something must be given by name
        self._parameters = whole.replace(parameters=own) if self.context or self.resources or asked else whole

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Whether the arguments fit the parameters; values are not looked at.

        Raises:
            ArgumentsError: a parameter has no value, or a value no parameter; the message names it.
        """
        # Most tasks give a few arguments by place; counting them costs a tenth of binding them.
        if kwargs or not self._least <= len(args) <= self._most:
            self.bind(args, kwargs)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        """The arguments by parameter, as a call would see them; values are not looked at.

        Raises:
            ArgumentsError: a parameter has no value, or a value no parameter; the message names it.
        """
        try:
            return self._parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentsError(f"{error}: the function takes {self._parameters}") from None

    def with_context(
        self, run: Run[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The arguments to call with, the run among them where the function asks for it."""
        return self.with_values(dict.fromkeys(self.context, run), args, kwargs) if self.filled else (args, kwargs)

    def with_values(
        self, values: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The arguments to call with, those that callers do not give among them, by parameter."""
        bound = self._whole.bind_partial()
        bound.arguments = {**self._parameters.bind(*args, **kwargs).arguments, **values}
        return bound.args, bound.kwargs

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """What callers may give, by name."""
        return self._parameters.parameters

    @property
    def required(self) -> list[str]:
        """The parameters that callers must give."""
        own = self._parameters.parameters.values()
        return [one.name for one in own if one.default is one.empty and one.kind not in _VARIADIC]

    def validate(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments to call with, each checked and converted by pydantic as its annotation says.

        Raises:
            ArgumentsError: they do not fit; the message names the parameter, what it got and what would be right.
        """
        if not kwargs and self._least <= len(args) <= self._most:  # as in ``check``
            return tuple([check(name, value) for (name, check), value in zip(self._placed, args, strict=False)]), {}
        bound = self.bind(args, kwargs)
        for name, value in bound.arguments.items():
            check = self._checks.get(name)
            if check is not None:
                bound.arguments[name] = check(name, value)
        return bound.args, bound.kwargs

    def prepare(self) -> None:
        """Make the checks before arguments come: the first of a program imports pydantic, which takes 40 ms."""
        _ = self._checks

    @property
    def hints(self) -> Mapping[str, Any]:
        """What the annotations say, by parameter and for ``"return"``; empty where they cannot be resolved."""
        try:
            func = self._func()
            assert func is not None  # whoever asks holds it
            return typing.get_type_hints(inspect.unwrap(_plain(func)), include_extras=True)
        except (NameError, TypeError, AttributeError):
            return {}  # annotations that only a type checker can resolve promise nothing at run time

    @functools.cached_property
    def _checks(self) -> dict[str, Callable[[str, Any], Any]]:
        """A check for each annotated parameter, made when arguments are first given."""
        hints = self.hints
        return {
            name: _check_of(hints[name], parameter.kind)
            for name, parameter in self._parameters.parameters.items()
            if name in hints
        }

    @functools.cached_property
    def _placed(self) -> list[tuple[str, Callable[[str, Any], Any]]]:
        """Name and check of each parameter that may be given by its place."""
        names = [name for name, one in self._parameters.parameters.items() if one.kind in _PLACED]
        return [(name, self._checks.get(name, _unchecked)) for name in names]


def _unchecked(_name: str, value: Any) -> Any:
    return value


def _check_of(hint: Any, kind: Any) -> Callable[[str, Any], Any]:
    """A check for one parameter, told its name and its value."""
    # Here and not above: pydantic takes 38 of the 100 ms of an import, and many programs give no arguments.
    from pydantic import ConfigDict, TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:
        adapter = TypeAdapter(hint)  # a model brings its own configuration

    def check(name: str, value: Any) -> Any:
        try:
            if kind is inspect.Parameter.VAR_POSITIONAL:
                return tuple(adapter.validate_python(item) for item in value)
            if kind is inspect.Parameter.VAR_KEYWORD:
                return {key: adapter.validate_python(item) for key, item in value.items()}
            return adapter.validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = "".join(f"[{part!r}]" for part in first["loc"])
            given = repr(first["input"])
            shown = given if len(given) <= 80 else given[:77] + "..."
            raise ArgumentsError(f"argument {name}{where}: {first['msg']}, got {shown}") from None

    return check


def _with_asked(own: list[inspect.Parameter], asked: Collection[str]) -> list[inspect.Parameter]:
    """The parameters, those that are asked for and have no default given by name alone, and not by all callers."""
    moved = [one for one in own if one.name in asked and one.default is one.empty]
    last = [one for one in own if one.kind is one.VAR_KEYWORD]
    given = [one for one in own if one not in moved and one not in last]
    return given + [one.replace(kind=one.KEYWORD_ONLY, default=None) for one in moved] + last


def _is_context(parameter: inspect.Parameter) -> bool:
    """Whether the parameter is annotated ``RunContext`` or ``RunContext | None``, by the name itself or its text."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        return any(name.strip().rpartition(".")[2] == "RunContext" for name in annotation.split("|"))
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kinds = typing.get_args(annotation) if union else (annotation,)
    return any(isinstance(item, Injected) for kind in kinds for item in getattr(kind, "__metadata__", ()))


def _plain(func: Callable[..., Any]) -> Callable[..., Any]:
    """The function whose annotations count: inside partials, methods, classes and callable objects."""
    while isinstance(func, functools.partial):
        func = func.func
    if inspect.isroutine(func):
        return func
    return func.__init__ if inspect.isclass(func) else type(func).__call__


def _namespace(func: Callable[..., Any]) -> Mapping[str, Any]:
    """The names of the module in which the annotations of ``func`` were written."""
    return getattr(inspect.unwrap(_plain(func)), "__globals__", {})


def is_coroutine_function(func: Callable[..., Any]) -> bool:
    """Whether calling ``func`` gives a coroutine: also for partials, methods and objects with ``__call__``."""
    # A function without attributes bears no mark that makes it one: its code tells, ten times as fast as inspect.
    if type(func) is types.FunctionType and not func.__dict__:
        return func.__code__.co_flags & inspect.CO_COROUTINE != 0
    return inspect.iscoroutinefunction(_plain(func))


_signatures: WeakKeyDictionary[Callable[..., Any], Signature] = WeakKeyDictionary()


def signature_of(func: Callable[..., Any]) -> Signature:
    """The signature of ``func``, read once however many tasks are made of it.

    Raises:
        ConfigError: ``func`` has none.
    """
    try:
        known = _signatures.get(func)
    except TypeError:  # an object that cannot be hashed, or has no weak references
        return Signature(func)
    if known is None:
        known = Signature(func)
        with contextlib.suppress(TypeError):
            _signatures[func] = known
    return known
