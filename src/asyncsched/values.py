"""Arguments, results and errors as JSON, by the annotations of the function: for stores that outlive the process.

Never pickled, and no name of anything that could be imported: a value is what its parameter's annotation says.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

from asyncsched.errors import ArgumentsError
from asyncsched.refit import Given, arranged, fitted, replaced, simple_types, upgraded
from asyncsched.results import ResultOf
from asyncsched.run import Run
from asyncsched.signature import Signature

VALUE_LIMIT = 64 * 1024
"""Bytes of JSON that the arguments of one run may take, and its result; what is larger belongs in a file of its own."""
# What was written under a greater limit is read all the same, up to so many times this one's.
_READ_BEYOND = 16
DEEPEST = 32
"""So deep may lists and objects stand within one another."""
_DEEPEST_READ = 2 * DEEPEST + 4  # each may have been wrapped, and stands among the arguments
_SCALARS = frozenset((str, int, bool, type(None)))
_BARE = _SCALARS | {float}
"""What JSON brings back as it was."""
_PLAIN = {*_BARE, Any, object, inspect.Parameter.empty}
# Marks a run among the arguments. No JSON object of the caller's is mistaken for it: those with this key are wrapped.
_RUN, _OBJECT = "$run", "$object"
_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}

_TOO_DEEP = f"it is nested more than {DEEPEST} deep"
_CURE = "store what is large elsewhere, and hand over its name"
_PARTS = 3  # of arguments: by their places, by their names, the names of those places
# Brackets, but for those within texts, which are taken as a whole.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode
_loads = json.JSONDecoder().decode


class Unstored(NamedTuple):
    """Stands for a result that could not be stored, or for arguments that cannot be read, where they are read back.

    kind: the name of its type.
    why: what was in the way.
    """

    kind: str
    why: str


class _Converter(NamedTuple):
    """How the values of one annotation become JSON and come back."""

    dump: Callable[[Any], str]
    load: Callable[[Any], Any]


class Values:
    """How the values of one function are stored; ``signature`` is ``None`` for one that is not at hand.

    limit: so many bytes may the arguments of one run take, and so many its result.
    """

    def __init__(self, signature: Signature | None, limit: int = VALUE_LIMIT) -> None:
        self._signature = signature
        self._limit = limit
        self._parameters: Mapping[str, inspect.Parameter] = {} if signature is None else signature.parameters
        self._tails: dict[tuple[int, bool], str] = {}

    def dump_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """The arguments as JSON; ``None`` if there are none.

        Raises:
            ArgumentsError: one of them cannot be stored; the message names the parameter.
        """
        if not args and not kwargs:
            return None
        if not self._converters and _SCALARS.issuperset(map(type, chain(args, kwargs.values()))):
            text = _dumps([args, kwargs]) if kwargs else _dumps([args])
        else:
            named = self._names(args)
            given = [self._dump(name, value) for name, value in zip(named, args, strict=True)]
            by_name = [f"{_dumps(name)}:{self._dump(name, value)}" for name, value in kwargs.items()]
            text = "[[" + ",".join(given) + "]" + (",{" + ",".join(by_name) + "}]" if by_name else "]")
        # As few bytes as characters where all are ASCII, which a text knows of itself.
        if len(text) > self._limit or not text.isascii():
            self._check_size(text, args, kwargs)
        return self._with_names(text, len(args), given_by_name=bool(kwargs)) if args and self._parameters else text

    def _with_names(self, text: str, count: int, *, given_by_name: bool) -> str:
        """The same with the names of the parameters that are given by their places."""
        tail = self._tails.get((count, given_by_name))
        if tail is None:
            names = _dumps(self._names(range(count)))
            tail = self._tails[count, given_by_name] = f",{names}]" if given_by_name else f",{{}},{names}]"
        return text[:-1] + tail

    def _check_size(self, text: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Nothing, if the arguments take no more than they may.

        Raises:
            ArgumentsError: they do, or are no text that can be written; the message names the parameter.
        """
        named = [*zip(self._names(args), args, strict=True), *kwargs.items()]
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise ArgumentsError(f"{_unwritable(named)} cannot be stored: it is no text, {error.reason}") from None
        if size > self._limit:
            name, most = max(((name, _size(self._dump(name, value))) for name, value in named), key=lambda one: one[1])
            what = f"argument {name} takes {most:,} bytes"
            whole = "" if most > self._limit else f", all together {size:,}"
            raise ArgumentsError(f"{what}{whole}, and the arguments of a run may take {self._limit:,}: {_CURE}")

    def load_arguments(self, text: str | None, runs: Mapping[str, Run[Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that ``dump_arguments`` wrote; ``runs`` has those that stand among them, by id.

        Raises:
            ArgumentsError: they do not fit the parameters of today.
        """
        if text is None:
            return (), {}
        try:
            parts = self._read(text)
            if self._signature is not None and self._as_today(parts):
                return fitted(self._signature, parts[2], tuple(parts[0]), {}, self._simple)
            given = Given.of(parts)
            if self._signature is None:  # a process that only looks: whether they fit is for others to say
                return self._fitted(given, runs)
            try:
                return self._fitted(replaced(given, self._names(given.args), self._parameters), runs)
            except Exception as error:
                if self._signature.upgrade is None:
                    raise
                made = upgraded(self._signature.upgrade, given.named(self._names(given.args)), error)
                args, kwargs = arranged(self._signature, made)
                return self._fitted(Given(args, kwargs), runs)
        except ArgumentsError:
            raise
        except Exception as error:  # what they are is nobody's business who reads of it in a log
            raise ArgumentsError(f"its stored arguments cannot be read: {_why(error)}") from error

    def _as_today(self, parts: Any) -> bool:
        """Whether these are arguments by their places, which are still called so, of types that JSON brings back."""
        if self._converters or type(parts) is not list or len(parts) != _PARTS:
            return False
        args, kwargs, names = parts
        plain = kwargs == {} and type(args) is list and _BARE.issuperset(map(type, args))
        return plain and bool(names == self._places[0][: len(args)])

    def _fitted(self, given: Given, runs: Mapping[str, Run[Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the function of today takes them."""
        named = self._names(given.args)
        if not self._converters and _BARE.issuperset(map(type, chain(given.args, given.kwargs.values()))):
            args, kwargs = tuple(given.args), dict(given.kwargs)
        else:
            args = tuple(self._load(name, value, runs) for name, value in zip(named, given.args, strict=True))
            kwargs = {name: self._load(name, value, runs) for name, value in given.kwargs.items()}
        if self._signature is None or (runs and _holds_run([*args, *kwargs.values()])):
            return args, kwargs  # they are checked once the results of those runs are there
        return fitted(self._signature, named, args, kwargs, self._simple)

    def _read(self, text: str) -> Any:
        """The JSON in the text, of what is neither too long nor too deep."""
        if len(text) > self._limit * _READ_BEYOND:
            raise ValueError(f"they take {len(text):,} characters, and at most {self._limit * _READ_BEYOND:,} are read")
        if too_deep(text, _DEEPEST_READ):
            raise ValueError(f"they are nested more than {DEEPEST} deep")
        return _loads(text)

    def dump_result(self, value: Any) -> str | None:
        """The result as JSON, ``None`` for none; what cannot be stored is told in the text itself."""
        if value is None:
            return None
        try:
            text = self._converter("return").dump(value)
            if len(text) > self._limit or not text.isascii():
                size = _size(text)
                if size > self._limit:
                    raise ValueError(f"it takes {size:,} bytes, and a result may take {self._limit:,}: {_CURE}")
        except Exception as error:
            return "!" + _dumps([type(value).__name__, _text_of(error)[:500]]).encode("utf-8", "replace").decode()
        return text

    def load_result(self, text: str | None) -> Any:
        """The result that ``dump_result`` wrote, or ``Unstored``."""
        if text is None:
            return None
        try:
            if text[:1] == "!":
                return Unstored(*json.loads(text[1:]))
            return self._converter("return").load(self._read(text))
        except Exception as error:
            return Unstored("a stored result", f"it cannot be read as today's annotation says: {_why(error)}"[:500])

    def _names(self, args: Any) -> list[str]:
        """The parameter of each positional argument."""
        names, more = self._places
        if len(args) <= len(names):
            return names[: len(args)]
        unknown = range(len(names), len(args))
        return [*names, *(map(str, unknown) if more is None else [more] * len(unknown))]

    @functools.cached_property
    def _places(self) -> tuple[list[str], str | None]:
        """The parameters that may be given by their places, and the one that takes all further ones."""
        own = self._parameters.values()
        names = [one.name for one in own if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        return names, next((one.name for one in own if one.kind is one.VAR_POSITIONAL), None)

    def _dump(self, name: str, value: Any) -> str:
        try:
            if isinstance(value, Run | ResultOf) or _holds_run(value):
                return _plain_text(value)
            if isinstance(value, Unstored):
                raise TypeError(value.why)
            return self._converter(name).dump(value)
        except Exception as error:
            raise ArgumentsError(f"argument {name}={_shown(value)} cannot be stored: {_text_of(error)}") from error

    def _load(self, name: str, value: Any, runs: Mapping[str, Run[Any]]) -> Any:
        found: list[str] = []
        plain = _from_plain(value, runs, found)
        return plain if found else self._converter(name).load(value)

    def _converter(self, name: str) -> _Converter:
        return self._converters.get(name) or self._converters.get(self._rest, _PLAIN_CONVERTER)

    @functools.cached_property
    def _rest(self) -> str:
        """The parameter that takes arguments by any name."""
        return next((name for name, one in self._parameters.items() if one.kind is one.VAR_KEYWORD), "")

    @functools.cached_property
    def _simple(self) -> dict[str, type]:
        """The parameters whose values plain JSON brings back, and of what type they are."""
        return {} if self._signature is None else simple_types(self._signature.hints)

    @functools.cached_property
    def _converters(self) -> dict[str, _Converter]:
        """How each annotated parameter, and the result, is converted; none where plain JSON does."""
        hints = {} if self._signature is None else self._signature.hints
        return {name: _converter_of(hint) for name, hint in hints.items() if not _is_plain(hint)}


def _is_plain(hint: Any) -> bool:
    try:
        return hint in _PLAIN
    except TypeError:
        return False


def too_deep(text: str, most: int) -> bool:
    """Whether more lists and objects than ``most`` stand within one another in this JSON."""
    if text.count("[") + text.count("{") <= most:
        return False
    depth = 0
    for mark in _BRACKETS.findall(text):
        if mark in "[{":
            depth += 1
            if depth > most:
                return True
        elif mark in "]}":
            depth -= 1
    return False


def _size(text: str) -> int:
    return len(text.encode())


def _unwritable(named: Iterable[tuple[str, Any]]) -> str:
    """Which of the arguments holds half of a character."""
    for name, value in named:
        try:
            _dumps(value).encode()
        except UnicodeEncodeError:
            return f"argument {name}"
        except Exception:  # it was written by its annotation
            continue
    return "an argument"


def _shown(value: Any) -> str:
    """The value, as far as an error shows it; what cannot be shown by its type."""
    try:
        shown = repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return type(error).__name__


def _why(error: Exception) -> str:
    """What is wrong with a stored value, but for the value itself, which pydantic's errors show."""
    problems = getattr(error, "errors", None)
    if not callable(problems):
        return type(error).__name__ if isinstance(error, LookupError) else _text_of(error)
    told: Any = problems(include_url=False, include_input=False, include_context=False)
    first = told[0]
    where = "".join(f"[{part!r}]" for part in first["loc"])
    own = first["type"] in ("value_error", "assertion_error")  # by a validator of the program: it may say anything
    return f"{where}{where and ': '}{first['type'] if own else first['msg']}"


def _converter_of(hint: Any) -> _Converter:
    # Here and not above: pydantic takes 40 ms to import, and many programs need nothing but plain JSON.
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        config = ConfigDict(
            arbitrary_types_allowed=True, ser_json_inf_nan="constants", ser_json_bytes="base64", val_json_bytes="base64"
        )
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=config)
    except PydanticUserError:
        adapter = TypeAdapter(hint)  # a model brings its own configuration

    def dump(value: Any) -> str:
        text = adapter.dump_json(value, warnings="error").decode()
        if too_deep(text, DEEPEST + 1):
            raise ValueError(_TOO_DEEP)
        adapter.validate_json(text)  # what cannot be read back has not been stored
        return text

    return _Converter(dump, lambda value: adapter.validate_json(json.dumps(value)))


def _plain_text(value: Any) -> str:
    return _dumps(_to_plain(value, 0))


def _to_plain(value: Any, depth: int) -> Any:
    """The value as plain JSON says it, runs marked.

    Raises:
        TypeError: it would come back as something else.
    """
    kind = type(value)
    if kind in _SCALARS or (kind is float and math.isfinite(value)):
        return value
    if depth > DEEPEST:
        raise TypeError(_TOO_DEEP)
    if isinstance(value, ResultOf):
        value = value.upstream
    if isinstance(value, Run):
        return {_RUN: value.id}
    if kind is list or kind is tuple:
        return [_to_plain(item, depth + 1) for item in value]
    if kind is dict and all(type(key) is str for key in value):
        plain = {key: _to_plain(item, depth + 1) for key, item in value.items()}
        return {_OBJECT: plain} if plain.keys() & {_RUN, _OBJECT} else plain
    if kind is float:
        return {_OBJECT: repr(value)}
    what = "a dict with keys that are not texts" if kind is dict else f"of type {kind.__name__}, which is no plain JSON"
    raise TypeError(f"it is {what}; annotate the parameter with its type, and it is converted")


def _holds_run(value: Any) -> bool:
    if isinstance(value, dict):
        return any(isinstance(item, Run | ResultOf) or _holds_run(item) for item in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return any(isinstance(item, Run | ResultOf) or _holds_run(item) for item in value)
    return False


def _from_plain(value: Any, runs: Mapping[str, Run[Any]], found: list[str]) -> Any:
    """What ``_to_plain`` was given; the ids of the runs in it are added to ``found``."""
    if isinstance(value, list):
        return [_from_plain(item, runs, found) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_RUN}:
        found.append(value[_RUN])
        return runs[value[_RUN]]
    if value.keys() == {_OBJECT}:
        inner = value[_OBJECT]
        if isinstance(inner, str):
            return _NOT_FINITE[inner]
        return {key: _from_plain(item, runs, found) for key, item in inner.items()}
    return {key: _from_plain(item, runs, found) for key, item in value.items()}


_PLAIN_CONVERTER = _Converter(_plain_text, lambda value: _from_plain(value, {}, []))
