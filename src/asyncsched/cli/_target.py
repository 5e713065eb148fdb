"""Which scheduler is meant: ``module:attr``, a file, or either without the attribute."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from asyncsched.errors import AsyncschedError, UnknownTask
from asyncsched.graph import last_part
from asyncsched.registry import Registry, default_registry
from asyncsched.scheduler import Scheduler
from asyncsched.task import Task

_MACHINERY = (str(Path(__file__).parents[1]), str(Path(importlib.__file__).parent), "<frozen importlib")
_LIKE = 0.8
# Names of tasks are shorter than those of modules, and to name a wrong one does no harm.
_ALIKE = 0.7


class TargetError(Exception):
    """No scheduler was found; the message says why, with the user's own lines if these raised."""


class Target(NamedTuple):
    """The scheduler that is meant, its name on the command line, and what to tell about how it was found."""

    scheduler: Scheduler
    name: str
    note: str = ""


def find(text: str, app_dir: Path, *, factory: bool = False) -> Target:
    """The scheduler that ``text`` names, after importing what holds it. ``app_dir`` goes onto ``sys.path``.

    Raises:
        TargetError: there is none, more than one, or the import failed.
    """
    _prepend(app_dir)
    place, attribute = _split(text)
    module = _imported_file(app_dir / place) if place.endswith(".py") else _imported_module(place, app_dir)
    if not attribute:
        return _only(module, place)
    return Target(_scheduler(_named(module, place, attribute), f"{place}:{attribute}", factory), f"{place}:{attribute}")


def _split(text: str) -> tuple[str, str]:
    place, colon, attribute = text.rpartition(":")
    if not colon or not all(part.isidentifier() for part in attribute.split(".")):
        place, attribute = text.removesuffix(":"), ""
    return place, attribute


def _prepend(folder: Path) -> None:
    path = str(folder.resolve())
    if path not in sys.path:
        sys.path.insert(0, path)


def _imported_module(name: str, app_dir: Path) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise TargetError(f"{name!r} is neither a module nor a file: give app:scheduler, or app.py")
    try:
        return _guarded(lambda: importlib.import_module(name), name)
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            near = get_close_matches(name, [path.stem for path in app_dir.glob("*.py")], 1, _LIKE)
            hint = f"did you mean {near[0]}?" if near else "--app-dir says where to look"
            raise TargetError(f"there is no module {error.name!r} in {app_dir.resolve()}: {hint}") from None
        raise _told(error, name) from None


def _imported_file(path: Path) -> ModuleType:
    """The module of the file, imported once, under its stem: task ids are then those of ``python app.py``."""
    if not path.is_file():
        near = get_close_matches(path.name, [other.name for other in path.parent.glob("*.py")], 1, _LIKE)
        raise TargetError(f"there is no file {path}" + (f": did you mean {near[0]}?" if near else ""))
    name = path.stem
    known = sys.modules.get(name)
    if known is not None:
        if Path(known.__file__ or "").resolve() == path.resolve():
            return known
        raise TargetError(f"{path}: a module {name!r} is in use by Python itself, rename the file")
    _prepend(path.parent)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader

    def execute() -> ModuleType:
        loader.exec_module(module)
        return module

    try:
        return _guarded(execute, str(path))
    except ModuleNotFoundError as error:
        raise _told(error, str(path)) from None


def _guarded(load: Callable[[], ModuleType], name: str) -> ModuleType:
    """What ``load`` gives. A module that is not found is left to the caller; all else is told."""
    try:
        return load()
    except ModuleNotFoundError:
        raise
    except SystemExit as error:
        cure = "put what runs the program under `if __name__ == '__main__':`"
        raise TargetError(f"{name} ended the program (exit code {error.code}) when it was imported: {cure}") from None
    except Exception as error:
        raise _told(error, name) from None


def _told(error: BaseException, name: str) -> TargetError:
    """The error with the user's own lines, without ours and those of the import system."""
    summary = traceback.TracebackException.from_exception(error)
    if isinstance(error, AsyncschedError):  # it says all there is to say; its cause lies in our own lines
        summary.__cause__ = summary.__context__ = None
    part: traceback.TracebackException | None = summary
    while part is not None:
        own = [frame for frame in part.stack if not frame.filename.startswith(_MACHINERY)]
        part.stack = traceback.StackSummary.from_list(own)
        part = part.__cause__ if part.__cause__ is not None else part.__context__
    if isinstance(error, ImportError) and "no known parent package" in str(error):
        name += " (it belongs to a package: name it as package.module)"
    return TargetError(f"cannot import {name}\n" + "".join(summary.format()).rstrip())


def _only(module: ModuleType, place: str) -> Target:
    """The one scheduler of the module; without one, a scheduler for the tasks that were declared."""
    names: dict[int, str] = {}
    for name, value in vars(module).items():
        if isinstance(value, Scheduler):
            names.setdefault(id(value), name)
    if len(names) > 1:
        raise TargetError(f"{place} holds {len(names)} schedulers: name one, {_choice(place, names.values())}")
    for name in names.values():
        return Target(vars(module)[name], f"{place}:{name}")
    registries = {id(value): value for value in vars(module).values() if isinstance(value, Registry) and len(value)}
    if len(default_registry):
        registries[id(default_registry)] = default_registry
    if not registries:
        raise TargetError(f"{place} holds no Scheduler and declares no task: nothing can be served")
    if len(registries) > 1:
        raise TargetError(f"{place} holds no Scheduler, and more than one registry: make a Scheduler(registry=...)")
    (registry,) = registries.values()
    note = f"{place} holds no Scheduler: its tasks are served by a Scheduler() made for them"
    return Target(Scheduler(registry=registry), place, note)


def _choice(place: str, names: Iterable[str]) -> str:
    return " or ".join(f"{place}:{name}" for name in names)


def _named(module: ModuleType, place: str, attribute: str) -> object:
    value: object = module
    for name in attribute.split("."):
        if not hasattr(value, name):
            names = [known for known, held in vars(module).items() if isinstance(held, Scheduler)]
            near = names or get_close_matches(name, vars(module), 1)
            raise TargetError(f"{place} has no {attribute!r}" + (f": there is {_choice(place, near)}" if near else ""))
        value = getattr(value, name)
    return value


def _scheduler(value: object, name: str, factory: bool) -> Scheduler:
    if factory:
        if not callable(value):
            raise TargetError(f"{name} is no function that could make a Scheduler: leave --factory out")
        try:
            value = value()
        except Exception as error:
            raise _told(error, name) from None
    if isinstance(value, Registry):
        return Scheduler(registry=value)
    if isinstance(value, Scheduler):
        return value
    if inspect.isfunction(value) and not factory:
        raise TargetError(f"{name} is a function: if it makes a Scheduler, say --factory")
    raise TargetError(f"{name} is {value!r:.60}, not a Scheduler")


def task_named(scheduler: Scheduler, name: str) -> Task[..., Any]:
    """The task of this id, or whose function or last part of the id is called so, where there is one.

    Raises:
        UnknownTask: there is none, or more than one; the message offers those that were meant, perhaps.
    """
    known = {task.id: task for task in scheduler.served()}
    if name in known:
        return known[name]
    alike = [task_id for task_id in known if name in (task_id.partition(":")[2], last_part(task_id))]
    if len(alike) == 1:
        return known[alike[0]]
    whole = ":" in name or "." in name
    near = alike or get_close_matches(name, known if whole else map(last_part, known), 3, _ALIKE)
    if near:
        raise UnknownTask(f"no task {name!r}: did you mean {' or '.join(dict.fromkeys(near))}?")
    raise UnknownTask(f"no task {name!r}; there are: {', '.join(sorted(known)[:20]) or 'none'}")
