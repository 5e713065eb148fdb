"""Errors as JSON, and raised again where they are read: by name, where Python itself has that, and without an import.

What is caught is what was raised, ``except ValueError``, and it says that it is from a run, ``except RunFailed``.
"""

from __future__ import annotations

import builtins
import functools
import json
import traceback
from typing import Any

from asyncsched.errors import RunFailed, UpstreamFailed

RECORDED = "As it was recorded when it was raised:"
"""What stands before the traceback in the notes of an error that was read back."""

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode
# Within a coroutine these cannot be raised.
_NOT_RAISED = (StopIteration, StopAsyncIteration)


def raised_again(kind: object, message: str, run_id: str) -> RunFailed:
    """An error with this message; it is an instance of the exception of this name too, if that is one of Python's."""
    name = kind if isinstance(kind, str) else None
    try:
        return _kind(name)(message, run_id=run_id, reason=name)
    except Exception:  # it is made of more than a message
        return RunFailed(message, run_id=run_id, reason=name)


@functools.lru_cache(256)
def _kind(name: str | None) -> type[RunFailed]:
    own = getattr(builtins, name or "", None)
    if not (isinstance(own, type) and issubclass(own, Exception)) or issubclass(own, _NOT_RAISED):
        return RunFailed
    try:
        # Under the name of the one that everybody knows; a KeyError would show its message in quotes.
        said = {"__module__": RunFailed.__module__, "__doc__": RunFailed.__doc__, "__str__": Exception.__str__}
        return type(RunFailed.__name__, (RunFailed, own), said)
    except TypeError:
        return RunFailed


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
    """An error that says what the stored one said; an instance of its type too if Python has that, never imported."""
    if text is None:
        return None
    try:
        said = json.loads(text)
        kind, message, trace = str(said["type"]), str(said["message"]), str(said["traceback"])
        upstreams = None if said.get("upstreams") is None else list(map(str, said["upstreams"]))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return RunFailed(f"run {run_id} failed; its stored error cannot be read: {text[:80]!r}", run_id=run_id)
    if upstreams is not None:
        return UpstreamFailed(message, run_id=run_id, upstreams=upstreams)
    if kind == RunFailed.__name__:  # said by a store, or read back before
        return raised_again(said.get("reason"), message, run_id)
    error = raised_again(kind, f"{kind}: {message}", run_id)
    if trace:
        error.add_note(f"{RECORDED}\n{trace}")
    return error


def _message(error: BaseException) -> str:
    try:
        return str(error)[:2_000]
    except Exception:
        return "(its text cannot be made)"
