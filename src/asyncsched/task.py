"""A task: a function, when it fires, and the policy it runs under."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, time, timedelta
from types import FunctionType, MappingProxyType, MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack, cast, overload

from asyncsched.errors import ArgumentsError, ConfigError
from asyncsched.links import NO_LINKS, Links, links_of, may_link
from asyncsched.naming import task_id
from asyncsched.observed import Home, LiveState, Observed
from asyncsched.options import (
    ExecutorName,
    Options,
    check_anchor,
    executor_of,
    kept_options,
    one_trigger,
    within,
)
from asyncsched.policy import DEFAULT_POLICY, Policy
from asyncsched.results import needed_runs
from asyncsched.run import Run
from asyncsched.signature import Signature, Upgrade, is_coroutine_function, signature_of
from asyncsched.submission import Keys, Submission, checked_keys
from asyncsched.triggers import Trigger, TriggerLike, parse_trigger

P = ParamSpec("P")
P2 = ParamSpec("P2")
R2 = TypeVar("R2")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
_NOTHING: Mapping[str, Any] = MappingProxyType({})
# From 3.14 on they are worked out when somebody asks, and may then raise: functools knows how to pass them on.
_READY_ANNOTATIONS = "__annotations__" in functools.WRAPPER_ASSIGNMENTS


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

        A run among the arguments, also in lists and the like, is one that this run needs: it waits for that run's
        success, and is called with its result in that place.

        Raises:
            ArgumentsError: they do not fit; the message names the parameter.
            MisuseError: no scheduler that holds this task is running.
        """
        task, how = self._submission()
        if not args and not kwargs:
            args, kwargs = task.args, dict(task.kwargs)
        call, needs = _call(task, args, kwargs)
        (run,) = await task.needed_home().submit(task, [call], how._replace(needs={0: needs}) if needs else how)
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
        valid, needs = [], {}
        for number, args in enumerate(calls):
            try:
                call, needed = _call(task, args, {})
            except ArgumentsError as error:
                raise ArgumentsError(f"call {number}: {error}") from None
            valid.append(call)
            if needed:
                needs[number] = needed
        return await task.needed_home().submit(task, valid, how._replace(needs=needs) if needs else how)


def _call(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[tuple[Any, ...], Mapping[str, Any]], tuple[Run[Any], ...]]:
    """The arguments, checked, and the runs among them; with such a run, they are checked when its result is there."""
    needed = needed_runs(args, kwargs) if args or kwargs else ()
    if not needed:
        return task.signature.validate(args, kwargs), ()
    task.signature.bind(args, kwargs)
    return (args, kwargs), needed


class _Using(Call[P, R_co]):
    def __init__(self, task: Task[P, R_co], how: Submission) -> None:
        self._made = (task, how)

    def _submission(self) -> tuple[Task[..., Any], Submission]:
        return self._made


class Task(Call[P, R_co], Observed[R_co]):
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
    aliases: tuple[str, ...] = ()
    upgrade: Upgrade | None = None
    policy: Policy = DEFAULT_POLICY
    fire_keys: Keys = Keys()
    executor: ExecutorName = "thread"
    links: Links = NO_LINKS
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
            if "starts" in options or "ends" in options:
                self.trigger = within(self.trigger, options.get("starts"), options.get("ends"))
            for name, value in kept_options(options).items():
                setattr(self, name, value)
        self.id = task_id(func, options.get("id"), self.group, options.get("name"))
        if "executor" in options or type(self) not in _KINDS:
            self.executor = executor_of(func, options.get("executor"))
        if may_link(func, options):
            links = links_of(func, options, own_trigger=self.trigger is not None)
            if links is not NO_LINKS:
                self.links = links
        if "anchor" in options:
            check_anchor(self.policy.anchor, self.trigger)
        if self.trigger is not None or self.args or self.kwargs:
            self._check_fit()
        if self.policy.key is not None or self.policy.unique:
            fires = None if self.trigger is None else (self.args, self.kwargs)
            self.fire_keys = checked_keys(self.id, self.policy, self.signature, fires)

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
            asks = self.links.asks
            own = bool(asks) or self.upgrade is not None
            found = self._signature = Signature(self.__wrapped__, asks) if own else signature_of(self.__wrapped__)
            if self.upgrade is not None:
                found.upgrade = self.upgrade
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
        self,
        *,
        at: datetime | None = None,
        delay: timedelta | str | None = None,
        priority: int | None = None,
        queue: str | None = None,
        unique: str | None = None,
        unique_for: timedelta | str | None = None,
        idempotency_key: str | None = None,
        keep_key: timedelta | str | None = None,
        connection: object = None,
    ) -> Call[P, R_co]:
        """The same task, to be submitted otherwise: ``await send.using(delay="5m").submit("a@b.c")``.

        at: not before this instant; a naive one is in the task's zone, one in the past is now.
        delay: not before this long after the submission.
        priority: instead of the task's.
        queue: instead of the task's.
        unique: while a run of the task with the same text is live, the submit gives that one. It goes before the
            task's own ``unique``, ``debounce`` and ``cooldown``.
        unique_for: so long after the success of that run, too.
        idempotency_key: for ``keep_key`` each submit of the task with the same text gives the run of the first one,
            whatever the arguments, however it has ended, and also where it is no longer kept. Before all of the above.
        keep_key: for how long; default 24 hours.
        connection: a connection to the database of the store, in whose transaction the run is written: it is there
            once that is committed, and never was if it is rolled back. For SQLite a ``sqlite3.Connection`` to the
            store's file.

        Raises:
            ConfigError: both ``at`` and ``delay``, or a value that is none.
        """
        key = (idempotency_key, keep_key)
        return _Using(self, Submission.of(at, delay, priority, queue, unique, unique_for, *key, connection))

    def zone(self, default: str) -> str:
        """The name of the zone in which its instants are shown: its own, else its trigger's, else ``default``."""
        return self.tz or getattr(self.trigger, "tz", None) or default

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
