"""A task: a function, when it fires, and the policy it runs under."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, time, timedelta
from types import FunctionType, MappingProxyType, MethodType
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from asyncsched.duration import as_duration
from asyncsched.errors import ArgumentsError, ConfigError, MisuseError
from asyncsched.naming import task_id
from asyncsched.options import (
    ExecutorName,
    Options,
    executor_of,
    kept_options,
    one_trigger,
)
from asyncsched.policy import DEFAULT_POLICY, Policy
from asyncsched.run import Run, RunStatus
from asyncsched.signature import Signature, is_coroutine_function, signature_of
from asyncsched.triggers import Every, Trigger, TriggerLike, parse_trigger

P = ParamSpec("P")
P2 = ParamSpec("P2")
R2 = TypeVar("R2")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
_NOTHING: Mapping[str, Any] = MappingProxyType({})
# From 3.14 on they are worked out when somebody asks, and may then raise: functools knows how to pass them on.
_READY_ANNOTATIONS = "__annotations__" in functools.WRAPPER_ASSIGNMENTS


class Submission(NamedTuple):
    """When and how submitted runs are to start; what is ``None`` is as the task says, and now."""

    at: datetime | None = None
    delay: timedelta | None = None
    priority: int | None = None


class Home(Protocol):
    """The scheduler that a task belongs to, as far as the task must know it."""

    async def submit(
        self, task: Task[..., Any], calls: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]], how: Submission
    ) -> list[Run[Any]]:
        """Make a run of ``task`` for each of these arguments."""
        ...

    def preview(self, task_id: str, count: int) -> list[datetime]:
        """The next ``count`` fires of the task, in its zone."""
        ...


class LiveState(Protocol):
    """What a scheduler knows of a task while it serves it, and knew last after it was left."""

    newest: Run[Any] | None
    started: Run[Any] | None
    ended: Run[Any] | None
    succeeded: Run[Any] | None

    def history(self) -> Sequence[Run[Any]]:
        """The ended runs and recorded skips, newest first."""
        ...


class Call(ABC, Generic[P, R_co]):
    """Something that can be submitted with arguments: a task, or a task and how it is to be run this time."""

    @abstractmethod
    def _submission(self) -> tuple[Task[..., Any], Submission]:
        """What is submitted, and how."""

    @overload
    async def submit(self: Call[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> Run[T]: ...
    @overload
    async def submit(self: Call[P, T], *args: P.args, **kwargs: P.kwargs) -> Run[T]: ...
    async def submit(self, *args: Any, **kwargs: Any) -> Run[Any]:
        """A new run with these arguments, ready at once; ``await`` it for its result.

        Without arguments the task's own ``args`` and ``kwargs`` are taken. They are checked against the
        function's annotations before the run is made.

        Raises:
            ArgumentsError: they do not fit; the message names the parameter.
            MisuseError: no scheduler that holds this task is running.
        """
        task, how = self._submission()
        if not args and not kwargs:
            args, kwargs = task.args, dict(task.kwargs)
        (run,) = await task.needed_home().submit(task, [task.signature.validate(args, kwargs)], how)
        return run

    @overload
    async def submit_many(
        self: Call[..., Coroutine[Any, Any, T]], calls: Iterable[tuple[Any, ...]]
    ) -> list[Run[T]]: ...
    @overload
    async def submit_many(self: Call[..., T], calls: Iterable[tuple[Any, ...]]) -> list[Run[T]]: ...
    async def submit_many(self, calls: Iterable[tuple[Any, ...]]) -> list[Run[Any]]:
        """A new run for each tuple of arguments, written at once: all of them, or none if one does not fit.

        Raises:
            ArgumentsError: one does not fit; the message names the parameter and which it was.
            MisuseError: no scheduler that holds this task is running.
        """
        task, how = self._submission()
        valid = []
        for number, args in enumerate(calls):
            try:
                valid.append(task.signature.validate(args, {}))
            except ArgumentsError as error:
                raise ArgumentsError(f"call {number}: {error}") from None
        return await task.needed_home().submit(task, valid, how)


class _Using(Call[P, R_co]):
    def __init__(self, task: Task[P, R_co], how: Submission) -> None:
        self._made = (task, how)

    def _submission(self) -> tuple[Task[..., Any], Submission]:
        return self._made


class Task(Call[P, R_co]):
    """A function, when it fires, and the policy it runs under.

    Calling a task calls its function, nothing else. ``await task.submit(...)`` makes a run of it.
    """

    __wrapped__: Callable[P, R_co]
    id: str
    trigger: Trigger | None
    # What most tasks never change stays with the class: it costs neither time nor memory.
    group: str | None = None
    tz: str | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = _NOTHING
    tags: frozenset[str] = frozenset()
    metadata: Mapping[str, Any] = _NOTHING
    policy: Policy = DEFAULT_POLICY
    executor: ExecutorName = "thread"
    home: Home | None = None
    state: LiveState | None = None
    _signature: Signature | None = None

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
        self.__wrapped__ = func
        self._resemble(func)
        if every is None and at is None and cron is None and run_at is None:
            # As isinstance() would say, but that asks an abstract class, which takes three times as long.
            ready = trigger is None or Trigger in type(trigger).__mro__
            self.trigger = trigger if ready else parse_trigger(trigger)  # type: ignore[assignment, arg-type]
        else:
            given = {"every": every, "at": at, "cron": cron, "run_at": run_at, "trigger": trigger}
            self.trigger = one_trigger({name: value for name, value in given.items() if value is not None})
        if options:
            for name, value in kept_options(options).items():
                setattr(self, name, value)
        self.id = task_id(func, options.get("id"), self.group, options.get("name"))
        if "executor" in options or type(self) not in _KINDS:
            self.executor = executor_of(func, options.get("executor"))
        if "anchor" in options and self.policy.anchor == "completion" and not isinstance(self.trigger, Every):
            raise ConfigError("anchor='completion' measures an interval from the last run's end: it needs every=")
        if self.trigger is not None or self.args or self.kwargs:
            self._check_fit()

    def _resemble(self, func: Callable[P, R_co]) -> None:
        """Look like the function, as far as ``functools.update_wrapper`` would, at a fifth of its cost."""
        if type(func) is FunctionType and _READY_ANNOTATIONS:
            self.__module__ = func.__module__
            self.__name__ = func.__name__
            self.__qualname__ = func.__qualname__
            self.__doc__ = func.__doc__
            self.__annotations__ = func.__annotations__
            if params := getattr(func, "__type_params__", ()):
                self.__type_params__ = params
        elif hasattr(func, "__name__"):
            functools.update_wrapper(cast("Any", self), func, updated=())
        else:
            return
        if attributes := getattr(func, "__dict__", None):
            vars(self).update((name, value) for name, value in attributes.items() if name not in _OWN_NAMES)

    def _check_fit(self) -> None:
        try:
            self.signature.check(self.args, self.kwargs)
        except ArgumentsError as error:
            cure = "give args= or kwargs=, or a default in the function"
            raise ConfigError(f"task {self.id!r} cannot be called when it fires: {error}; {cure}") from None

    @property
    def signature(self) -> Signature:
        """The parameters of the function."""
        found = self._signature
        if found is None:
            found = self._signature = signature_of(self.__wrapped__)
        return found

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function, as if it were not decorated."""
        return self.__wrapped__(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type) -> Task[P, R_co]: ...
    @overload
    def __get__(self: Task[Concatenate[Any, P2], R2], instance: object, owner: type) -> Callable[P2, R2]: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        return self if instance is None else MethodType(self.__wrapped__, instance)

    def _submission(self) -> tuple[Task[..., Any], Submission]:
        return self, Submission()

    def using(
        self, *, at: datetime | None = None, delay: timedelta | str | None = None, priority: int | None = None
    ) -> Call[P, R_co]:
        """The same task, to be submitted otherwise: ``await send.using(delay="5m").submit("a@b.c")``.

        at: not before this instant; a naive one is in the task's zone, one in the past is now.
        delay: not before this long after the submission.
        priority: instead of the task's.

        Raises:
            ConfigError: both ``at`` and ``delay``, or a value that is none.
        """
        if at is not None and delay is not None:
            raise ConfigError(f"using(at={at!r}, delay={delay!r}): give one or the other")
        if at is not None and not isinstance(at, datetime):
            raise ConfigError(f"using(at={at!r}): give a datetime")
        if priority is not None and (isinstance(priority, bool) or not isinstance(priority, int)):
            raise ConfigError(f"using(priority={priority!r}): give a whole number")
        wait = None if delay is None else as_duration("delay", delay, zero=True)
        return _Using(self, Submission(at, wait, priority))

    def zone(self, default: str) -> str:
        """The name of the zone in which its instants are shown: its own, else its trigger's, else ``default``."""
        return self.tz or getattr(self.trigger, "tz", None) or default

    @property
    def next_fire(self) -> datetime | None:
        """When the task fires next, in its own zone; ``None`` if it will not, or while no scheduler runs it."""
        coming = [] if self.home is None else self.home.preview(self.id, 1)
        return coming[0] if coming else None

    @property
    def status(self) -> RunStatus | None:
        """Where its newest run is in its life; ``None`` before the first."""
        return None if self.state is None or self.state.newest is None else self.state.newest.status

    @property
    def last_run_at(self) -> datetime | None:
        """When its latest attempt started."""
        return None if self.state is None or self.state.started is None else self.state.started.started_at

    @property
    def last_success_at(self) -> datetime | None:
        """When a run of it last ended with SUCCESS."""
        return None if self.state is None or self.state.succeeded is None else self.state.succeeded.finished_at

    @property
    def result(self) -> Any:
        """What its last successful run gave; ``None`` before the first."""
        return None if self.state is None or self.state.succeeded is None else self.state.succeeded.result

    @property
    def error(self) -> BaseException | None:
        """What the run that ended last raised; ``None`` if it did not."""
        return None if self.state is None or self.state.ended is None else self.state.ended.error

    @property
    def history(self) -> Sequence[Run[Any]]:
        """Its ended runs and recorded skips, newest first, at most ``history_limit``."""
        return () if self.state is None else self.state.history()

    def next_fires(self, count: int) -> list[datetime]:
        """The next ``count`` fires, in the task's own zone; fewer where it has no more.

        Raises:
            MisuseError: no scheduler that holds this task is running.
        """
        return self.needed_home().preview(self.id, count)

    def needed_home(self) -> Home:
        """The scheduler that runs this task.

        Raises:
            MisuseError: none does.
        """
        if self.home is None:
            cure = (
                "enter its scheduler first: `async with scheduler:` or `await scheduler.serve()`; a running scheduler "
                "that does not know the task takes it by `await scheduler.tasks.add(task)`"
            )
            raise MisuseError(f"no scheduler is running task {self.id!r}: {cure}")
        return self.home

    def __repr__(self) -> str:
        when = "" if self.trigger is None else f", {self.trigger.describe()}"
        return f"<Task {self.id!r}{when}>"


class _AsyncTask(Task[P, R_co]):
    executor: ExecutorName = "loop"

    # Frameworks ask inspect.iscoroutinefunction(obj.__call__) whether to await a callable.
    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:  # type: ignore[override]
        return await cast("Any", self.__wrapped__(*args, **kwargs))


_KINDS = (Task, _AsyncTask)


def _settle_names(kind: type[Task[..., Any]]) -> None:
    """Let an instance, which goes at once, have every attribute of the class.

    CPython keeps the names once for all instances, as far as the first few instances have them; one that comes later
    costs each instance a dict of its own, 400 bytes.
    """
    first = object.__new__(kind)
    for name in (*functools.WRAPPER_ASSIGNMENTS, *Task.__annotations__):
        setattr(first, name, None)


for _kind in _KINDS:
    _settle_names(_kind)
# The function, or a task made of it, may have attributes that are named like ours: a task does not take them over.
_OWN_NAMES = frozenset(dir(Task)) | frozenset(Task.__annotations__) | frozenset(functools.WRAPPER_ASSIGNMENTS)
