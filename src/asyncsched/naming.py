"""What a task is called, and where its function stands."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, cast

from asyncsched.errors import ConfigError

_LONGEST_ID = 200
_ID = r"[^\s/~\x00-\x1f\x7f]+"


def task_id(func: Callable[..., Any], given: str | None, group: str | None, name: str | None) -> str:
    """The id of a task: as given, ``group.name``, or the function's ``module:qualname``.

    A function of ``__main__`` is named by the module's real name, or the stem of its file, so that
    ``python app.py``, ``python -m app`` and ``asyncsched run app:scheduler`` agree.

    Raises:
        ConfigError: the function has no name of its own, or the id has a forbidden character.
    """
    if given is not None:
        if group is not None or name is not None:
            raise ConfigError(f"id={given!r} and group= or name=: give one or the other")
        found = given
    else:
        found = _composed(func, group, name)
    if len(found) > _LONGEST_ID or not (_plain(found) or re.fullmatch(_ID, found)):
        raise ConfigError(f"task id {found[:80]!r}: 1 to 200 characters without white space, '/' or '~'")
    return found


def _composed(func: Callable[..., Any], group: str | None, name: str | None) -> str:
    own = getattr(func, "__name__", None)
    if own == "<lambda>":
        own = None
    if group is not None or name is not None:
        last = name if name is not None else own
        if last is None:
            raise ConfigError(f"group={group!r} needs name= for {func!r}, which has no name of its own")
        return str(last) if group is None else f"{group}.{last}"
    if own is None:
        raise ConfigError(f"{func!r} has no name of its own: give the task an id=")
    return f"{_module_of(func)}:{getattr(func, '__qualname__', own)}"


def _plain(text: str) -> bool:
    """Whether an id is nothing that ``_ID`` forbids, at a third of its cost; what does not print is left to it."""
    return text.isprintable() and text != "" and not (" " in text or "/" in text or "~" in text)


def _module_of(func: Callable[..., Any]) -> str:
    module = getattr(func, "__module__", None) or "__main__"
    if module != "__main__":
        return str(module)
    main = sys.modules["__main__"]
    if spec := getattr(main, "__spec__", None):
        return str(spec.name).removesuffix(".__main__")
    return PurePath(getattr(main, "__file__", None) or "__main__").stem


def check_importable(func: Callable[..., Any]) -> None:
    """Refuse a function that another process cannot find by its name.

    Raises:
        ConfigError: ``func`` is one; the message says what to do.
    """
    name, module = getattr(func, "__qualname__", ""), getattr(func, "__module__", None)
    owner = getattr(func, "__self__", None)  # of a function written in C: its module; of a class method: its class
    main = sys.modules["__main__"]
    if not name or not module or not (owner is None or inspect.ismodule(owner) or inspect.isclass(owner)):
        problem = f"{func!r} is an object: make it a function"
    elif "<" in name:
        problem = f"{name} is made while the program runs"
    elif module == "__main__" and not (getattr(main, "__spec__", None) or getattr(main, "__file__", None)):
        problem = f"{name} stands in no file"
    else:
        return
    raise ConfigError(
        f"executor='process' imports the function in another process, and {problem}; it needs one that is defined with "
        "def at the top of a module"
    )


def place_of(func: object) -> str:
    """Where ``func`` is written, as ``app.py:14``; empty where nobody can tell."""
    code = getattr(inspect.unwrap(cast("Any", func)) if callable(func) else func, "__code__", None)
    return "" if code is None else f"{PurePath(code.co_filename).name}:{code.co_firstlineno}"
