"""Arguments, results and errors as JSON, by the annotations of the function: for stores that outlive the process.

Never pickled, and no name of anything that could be imported: a value is what its parameter's annotation says.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import traceback
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, NamedTuple

from asyncsched.errors import ArgumentsError, RunFailed, UpstreamFailed
from asyncsched.results import ResultOf
from asyncsched.run import Run
from asyncsched.signature import Signature

ARGUMENTS_LIMIT = 64 * 1024
"""Bytes of JSON that the arguments of one run may take; what is larger belongs in a file or a table of its own."""
_DEEPEST = 32
_SCALARS = frozenset((str, int, bool, type(None)))
_PLAIN = {*_SCALARS, float, Any, object, inspect.Parameter.empty}
# Marks a run among the arguments. No JSON object of the caller's is mistaken for it: those with this key are wrapped.
_RUN, _OBJECT = "$run", "$object"
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


class Unstored(NamedTuple):
    """Stands for a result that could not be stored, where it is read back.

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
    """How the values of one function are stored; ``signature`` is ``None`` for one that is not at hand."""

    def __init__(self, signature: Signature | None) -> None:
        self._signature = signature
        self._parameters: Mapping[str, inspect.Parameter] = {} if signature is None else signature.parameters

    def dump_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """The arguments as JSON; ``None`` if there are none.

        Raises:
            ArgumentsError: one of them cannot be stored; the message names the parameter.
        """
        if not args and not kwargs:
            return None
        if not self._converters and _SCALARS.issuperset(map(type, chain(args, kwargs.values()))):
            return _bounded(_dumps([args, kwargs]) if kwargs else _dumps([args]))
        named = self._names(args)
        given = [self._dump(name, value) for name, value in zip(named, args, strict=True)]
        by_name = [f"{_dumps(name)}:{self._dump(name, value)}" for name, value in kwargs.items()]
        return _bounded("[[" + ",".join(given) + "]" + (",{" + ",".join(by_name) + "}]" if by_name else "]"))

    def load_arguments(self, text: str | None, runs: Mapping[str, Run[Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that ``dump_arguments`` wrote; ``runs`` has those that stand among them, by id.

        Raises:
            ArgumentsError: they do not fit the parameters of today.
        """
        if text is None:
            return (), {}
        try:
            parts = json.loads(text)
            args, kwargs = parts[0], parts[1] if len(parts) > 1 else {}
            named = self._names(args)
            return (
                tuple(self._load(name, value, runs) for name, value in zip(named, args, strict=True)),
                {name: self._load(name, value, runs) for name, value in kwargs.items()},
            )
        except ArgumentsError:
            raise
        except Exception as error:
            raise ArgumentsError(f"stored arguments {text[:80]!r} cannot be read: {error}") from error

    def dump_result(self, value: Any) -> str | None:
        """The result as JSON, ``None`` for none; what cannot be stored is told in the text itself."""
        if value is None:
            return None
        try:
            return self._converter("return").dump(value)
        except Exception as error:
            return "!" + _dumps([type(value).__name__, str(error)[:500]])

    def load_result(self, text: str | None) -> Any:
        """The result that ``dump_result`` wrote, or ``Unstored``."""
        if text is None:
            return None
        try:
            if text[:1] == "!":
                return Unstored(*json.loads(text[1:]))
            return self._converter("return").load(json.loads(text))
        except Exception as error:
            return Unstored("a stored result", f"it cannot be read as today's annotation says: {error}"[:500])

    def _names(self, args: Any) -> list[str]:
        """The parameter of each positional argument."""
        names: list[str] = []
        for name, parameter in self._parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                names += [name] * (len(args) - len(names))
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                names.append(name)
        unknown = range(len(names), len(args))
        return [*names, *map(str, unknown)][: len(args)]

    def _dump(self, name: str, value: Any) -> str:
        try:
            if isinstance(value, Run | ResultOf) or _holds_run(value):
                return _plain_text(value)
            return self._converter(name).dump(value)
        except Exception as error:
            shown = repr(value)
            shown = shown if len(shown) <= 80 else shown[:77] + "..."
            raise ArgumentsError(f"argument {name}={shown} cannot be stored: {error}") from error

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
    def _converters(self) -> dict[str, _Converter]:
        """How each annotated parameter, and the result, is converted; none where plain JSON does."""
        hints = {} if self._signature is None else self._signature.hints
        return {name: _converter_of(hint) for name, hint in hints.items() if not _is_plain(hint)}


def _is_plain(hint: Any) -> bool:
    try:
        return hint in _PLAIN
    except TypeError:
        return False


def _bounded(text: str) -> str:
    if len(text) > ARGUMENTS_LIMIT:
        cure = "store what is large yourself, and hand over where it is"
        raise ArgumentsError(f"the arguments take {len(text):,} characters of {ARGUMENTS_LIMIT:,}: {cure}")
    return text


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
    if depth > _DEEPEST:
        raise TypeError(f"it is nested more than {_DEEPEST} deep")
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
            return float(inner)
        return {key: _from_plain(item, runs, found) for key, item in inner.items()}
    return {key: _from_plain(item, runs, found) for key, item in value.items()}


_PLAIN_CONVERTER = _Converter(_plain_text, lambda value: _from_plain(value, {}, []))


def dump_error(error: BaseException | None) -> str | None:
    """The error as JSON: the name of its type, its message and its traceback, as text."""
    if error is None:
        return None
    said: dict[str, Any] = {"type": type(error).__name__, "message": _message(error)}
    if isinstance(error, UpstreamFailed):
        said["upstreams"] = error.upstreams
    elif isinstance(error, RunFailed):
        said["reason"] = error.reason
    try:
        said["traceback"] = "".join(traceback.format_exception(error))[-20_000:]
    except Exception:  # an error whose own text cannot be made
        said["traceback"] = ""
    return _dumps(said).encode("utf-8", "replace").decode()


def load_error(text: str | None, run_id: str) -> BaseException | None:
    """An error that says what the stored one said. It is no instance of that one's type, which nobody imports."""
    if text is None:
        return None
    try:
        said = json.loads(text)
        kind, message, trace = said["type"], said["message"], said["traceback"]
        upstreams = said.get("upstreams")
    except (ValueError, LookupError, TypeError):
        return RunFailed(f"run {run_id} failed; its stored error cannot be read: {text[:80]!r}", run_id=run_id)
    if upstreams is not None:
        return UpstreamFailed(message, run_id=run_id, upstreams=upstreams)
    if kind == RunFailed.__name__:  # said by a store, or read back before
        return RunFailed(message, run_id=run_id, reason=said.get("reason"))
    error = RunFailed(f"{kind}: {message}", run_id=run_id, reason=kind)
    if trace:
        error.add_note(f"As it was recorded when it was raised:\n{trace}")
    return error


def _message(error: BaseException) -> str:
    try:
        return str(error)[:2_000]
    except Exception:
        return "(its text cannot be made)"
