"""A task: a function, when it fires, and the policy it runs under."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, time, timedelta, tzinfo
from difflib import get_close_matches
from pathlib import PurePath
from types import MethodType
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, cast, overload

from asyncsched.errors import ArgumentsError, ConfigError, MisuseError
from asyncsched.policy import Anchor, Missed, OverlapPolicy, Policy
from asyncsched.retry import Retry
from asyncsched.run import Run
from asyncsched.signature import Signature, is_coroutine_function
from asyncsched.triggers import Cron, Daily, Every, Once, Trigger, TriggerLike, parse_trigger
from asyncsched.zone import zone_name

P = ParamSpec("P")
P2 = ParamSpec("P2")
R2 = TypeVar("R2")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

ExecutorName = Literal["loop", "thread"]
_ID = re.compile(r"[^\s/~\x00-\x1f\x7f]{1,200}")


class PolicyOptions(TypedDict, total=False):
    """The options that make a ``Policy``; see there."""

    missed: Missed
    missed_limit: int
    grace: timedelta | str | None
    overlap: OverlapPolicy
    retry: Retry | int | None
    timeout: timedelta | str | None
    immediate: bool
    anchor: Anchor
    max_running: int | None
    priority: int
    queue: str
    history_limit: int


class Options(PolicyOptions, total=False):
    """What every decorator and ``Task`` take by keyword.

    id: unique; default ``module:qualname`` of the function. No white space, ``/`` or ``~``.
    group, name: together the id ``group.name``.
    tz: the zone of the trigger, an IANA name or a ZoneInfo; default the scheduler's.
    args, kwargs: what the function is called with when it fires.
    tags, metadata: kept with the task, for people and for filters.
    executor: ``"loop"`` for coroutine functions, ``"thread"`` for plain ones; told apart by itself.
    """

    id: str | None
    group: str | None
    name: str | None
    tz: str | tzinfo | None
    args: Sequence[Any]
    kwargs: Mapping[str, Any] | None
    tags: Iterable[str]
    metadata: Mapping[str, Any] | None
    executor: ExecutorName | None


_POLICY_NAMES = frozenset(PolicyOptions.__annotations__)
_OPTION_NAMES = _POLICY_NAMES | frozenset(Options.__annotations__)


class Home(Protocol):
    """The scheduler that a task belongs to, as far as the task must know it."""

    async def submit(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Run[Any]:
        """Make a run of ``task`` that is ready at once."""
        ...

    def preview(self, task_id: str, count: int) -> list[datetime]:
        """The next ``count`` fires of the task, in its zone."""
        ...


class Task(Generic[P, R_co]):
    """A function, when it fires, and the policy it runs under.

    Calling a task calls its function, nothing else. ``await task.submit(...)`` makes a run of it.
    """

    def __new__(cls, func: Callable[P, R_co] | None = None, **_options: Any) -> Task[P, R_co]:
        return object.__new__(_AsyncTask if cls is Task and func is not None and is_coroutine_function(func) else cls)

    def __init__(
        self,
        func: Callable[P, R_co],
        *,
        every: timedelta | str | Mapping[str, float] | None = None,
        at: str | time | Sequence[str | time] | None = None,
        cron: str | None = None,
        run_at: datetime | None = None,
        trigger: TriggerLike | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Declare a task; nothing starts.

        At most one of ``every`` (``"5m"``, a timedelta, ``{"minutes": 5}``), ``at`` (``"14:30"`` each day),
        ``cron`` (a line), ``run_at`` (once) and ``trigger`` (any trigger, or its text). With none of them the
        task runs when it is submitted. The other options: ``Options`` and ``Policy``.

        Raises:
            ConfigError: an argument is wrong; the message says what would be right.
        """
        if not callable(func):
            raise ConfigError(f"{func!r} is not a function")
        _check_names(options)
        _check_shapes(options)
        self.__wrapped__ = func
        if hasattr(func, "__name__"):
            functools.update_wrapper(
                self, func
            )  # first: the function, or a task made of it, may have attributes like ours
        given = {"every": every, "at": at, "cron": cron, "run_at": run_at, "trigger": trigger}
        self.trigger: Trigger | None = _one_trigger({name: value for name, value in given.items() if value is not None})
        self.id = task_id(func, options.get("id"), options.get("group"), options.get("name"))
        self.group = options.get("group")
        tz = options.get("tz")
        self.tz = None if tz is None else zone_name(tz)
        self.args = tuple(options.get("args") or ())
        self.kwargs = dict(options.get("kwargs") or {})
        self.tags = _tags(options.get("tags") or ())
        self.metadata = dict(options.get("metadata") or {})
        self.policy = Policy.of({name: value for name, value in options.items() if name in _POLICY_NAMES})
        self.executor = _executor(func, options.get("executor"))
        self.home: Home | None = None
        self._check_fit()

    def _check_fit(self) -> None:
        if self.policy.anchor == "completion" and not isinstance(self.trigger, Every):
            raise ConfigError("anchor='completion' measures an interval from the last run's end: it needs every=")
        if self.trigger is None and not (self.args or self.kwargs):
            return
        try:
            self.signature.bind(self.args, self.kwargs)
        except ArgumentsError as error:
            cure = "give args= or kwargs=, or a default in the function"
            raise ConfigError(f"task {self.id!r} cannot be called when it fires: {error}; {cure}") from None

    @functools.cached_property
    def signature(self) -> Signature:
        """The parameters of the function."""
        return Signature(self.__wrapped__)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function, as if it were not decorated."""
        return self.__wrapped__(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type) -> Task[P, R_co]: ...
    @overload
    def __get__(self: Task[Concatenate[Any, P2], R2], instance: object, owner: type) -> Callable[P2, R2]: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        return self if instance is None else MethodType(self.__wrapped__, instance)

    @overload
    async def submit(self: Task[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> Run[T]: ...
    @overload
    async def submit(self: Task[P, T], *args: P.args, **kwargs: P.kwargs) -> Run[T]: ...
    async def submit(self, *args: Any, **kwargs: Any) -> Run[Any]:
        """A new run with these arguments, ready at once; ``await`` it for its result.

        Without arguments the task's own ``args`` and ``kwargs`` are taken. They are checked against the
        function's annotations before the run is made.

        Raises:
            ArgumentsError: they do not fit; the message names the parameter.
            MisuseError: no scheduler that holds this task is running.
        """
        home = self._home()
        if not args and not kwargs:
            args, kwargs = self.args, self.kwargs
        valid = self.signature.validate(args, kwargs)
        return await home.submit(self, *valid)

    def zone(self, default: str) -> str:
        """The name of the zone in which its instants are shown: its own, else its trigger's, else ``default``."""
        return self.tz or getattr(self.trigger, "tz", None) or default

    @property
    def next_fire(self) -> datetime | None:
        """When the task fires next, in its own zone; ``None`` if it will not, or while no scheduler runs it."""
        coming = [] if self.home is None else self.home.preview(self.id, 1)
        return coming[0] if coming else None

    def next_fires(self, count: int) -> list[datetime]:
        """The next ``count`` fires, in the task's own zone; fewer where it has no more.

        Raises:
            MisuseError: no scheduler that holds this task is running.
        """
        return self._home().preview(self.id, count)

    def _home(self) -> Home:
        if self.home is None:
            cure = "enter its scheduler first: `async with scheduler:` or `await scheduler.serve()`"
            raise MisuseError(f"no scheduler is running task {self.id!r}: {cure}")
        return self.home

    def __repr__(self) -> str:
        when = "" if self.trigger is None else f", {self.trigger.describe()}"
        return f"<Task {self.id!r}{when}>"


class _AsyncTask(Task[P, R_co]):
    # Frameworks ask inspect.iscoroutinefunction(obj.__call__) whether to await a callable.
    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:  # type: ignore[override]
        return await cast("Any", self.__wrapped__(*args, **kwargs))


def task_id(func: Callable[..., Any], given: str | None, group: str | None, name: str | None) -> str:
    """The id of a task: as given, ``group.name``, or the function's ``module:qualname``.

    A function of ``__main__`` is named by the module's real name, or the stem of its file, so that
    ``python app.py``, ``python -m app`` and ``asyncsched run app:scheduler`` agree.

    Raises:
        ConfigError: the function has no name of its own, or the id has a forbidden character.
    """
    own = getattr(func, "__name__", None)
    if own == "<lambda>":
        own = None
    if given is not None:
        if group is not None or name is not None:
            raise ConfigError(f"id={given!r} and group= or name=: give one or the other")
        found = given
    elif group is not None or name is not None:
        last = name if name is not None else own
        if last is None:
            raise ConfigError(f"group={group!r} needs name= for {func!r}, which has no name of its own")
        found = last if group is None else f"{group}.{last}"
    elif own is None:
        raise ConfigError(f"{func!r} has no name of its own: give the task an id=")
    else:
        found = f"{_module_of(func)}:{getattr(func, '__qualname__', own)}"
    if not _ID.fullmatch(found):
        raise ConfigError(f"task id {found[:80]!r}: 1 to 200 characters without white space, '/' or '~'")
    return found


def _module_of(func: Callable[..., Any]) -> str:
    module = getattr(func, "__module__", None) or "__main__"
    if module != "__main__":
        return str(module)
    main = sys.modules["__main__"]
    if spec := getattr(main, "__spec__", None):
        return str(spec.name).removesuffix(".__main__")
    return PurePath(getattr(main, "__file__", None) or "__main__").stem


def _check_names(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in _OPTION_NAMES:
            near = get_close_matches(name, _OPTION_NAMES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(_OPTION_NAMES))}"
            raise ConfigError(f"unknown option {name!r}: {hint}")


_TEXT: tuple[type, str] = str, "a text"
_SHAPES: Mapping[str, tuple[type, str]] = {
    "id": _TEXT,
    "group": _TEXT,
    "name": _TEXT,
    "args": (Sequence, "a list of arguments, such as [1, 2]"),
    "kwargs": (Mapping, "a mapping of arguments by name, such as {'a': 1}"),
    "tags": (Iterable, "a list of texts, such as ['mail']"),
    "metadata": (Mapping, "a mapping, such as {'owner': 'me'}"),
}


def _check_shapes(options: Mapping[str, Any]) -> None:
    for name, (shape, wanted) in _SHAPES.items():
        value = options.get(name)
        # A text is a sequence of its letters, and nobody means that.
        if value is not None and (not isinstance(value, shape) or (isinstance(value, str) and shape is not str)):
            raise ConfigError(f"{name}={value!r}: give {wanted}")
    for name in options.get("kwargs") or ():
        if not isinstance(name, str):
            raise ConfigError(f"kwargs={options['kwargs']!r}: {name!r} is no name of an argument")


def _tags(given: Iterable[str]) -> frozenset[str]:
    tags = list(given)
    for tag in tags:
        if not isinstance(tag, str):
            raise ConfigError(f"tags={tags!r}: {tag!r} is no text")
    return frozenset(tags)


def _one_trigger(given: Mapping[str, Any]) -> Trigger | None:
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(f'{name}=' for name in given)}: give one of them, a task has one trigger")
    match dict(given):
        case {"every": Mapping() as parts}:
            return Every(interval(None, parts))
        case {"every": timedelta() | str() as period}:
            return Every(period)
        case {"at": value}:
            return Daily(value)
        case {"cron": str(line)}:
            return Cron(line)
        case {"run_at": datetime() as moment}:
            return Once(moment)
        case {"trigger": value}:
            return parse_trigger(value)
    if not given:
        return None
    name, value = next(iter(given.items()))
    wanted = {
        "every": "a duration such as '5m', a timedelta, or a mapping such as {'minutes': 5}",
        "cron": "a cron line such as '0 4 * * *'",
        "run_at": "a datetime",
    }
    raise ConfigError(f"{name}={value!r}: give {wanted[name]}")


_PARTS = ("weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds")


def interval(whole: timedelta | str | None, parts: Mapping[str, float]) -> timedelta | str:
    """The interval given either whole or in parts such as ``{"minutes": 5}``.

    Raises:
        ConfigError: both or neither are given, or a part has an unknown name or no number.
    """
    for name, value in parts.items():
        if name not in _PARTS:
            raise ConfigError(f"unknown part {name!r} of an interval: {', '.join(_PARTS)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{name}={value!r} of an interval: a number")
    given = {name: value for name, value in parts.items() if value}
    if whole is not None:
        if given:
            raise ConfigError(f"an interval of {whole!r} and {', '.join(given)}: give one or the other")
        return whole
    if not parts:
        raise ConfigError("an interval is missing: give '5s', a timedelta, or seconds=5")
    try:
        return timedelta(**given)
    except (OverflowError, ValueError) as error:
        raise ConfigError(f"interval of {dict(parts)!r}: {error}") from None


def _executor(func: Callable[..., Any], wanted: str | None) -> ExecutorName:
    coroutine = is_coroutine_function(func)
    if wanted is None:
        return "loop" if coroutine else "thread"
    if wanted not in ("loop", "thread"):
        raise ConfigError(f"executor={wanted!r}: 'loop' for coroutine functions, 'thread' for plain ones")
    if coroutine and wanted == "thread":
        raise ConfigError("executor='thread' is for plain functions: a coroutine function runs on the loop")
    return cast("ExecutorName", wanted)


def place_of(func: object) -> str:
    """Where ``func`` is written, as ``app.py:14``; empty where nobody can tell."""
    code = getattr(inspect.unwrap(cast("Any", func)) if callable(func) else func, "__code__", None)
    return "" if code is None else f"{PurePath(code.co_filename).name}:{code.co_firstlineno}"
