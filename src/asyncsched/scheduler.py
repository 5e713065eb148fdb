"""The scheduler: entered and left, it registers and submits; the verbs live on ``tasks``, ``runs`` and ``events``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import timedelta, tzinfo
from random import Random
from typing import Any, Self, TypeAlias

from asyncsched._engine.bus import Events
from asyncsched._engine.capacity import Capacity
from asyncsched._engine.drained import Drained
from asyncsched._engine.engine import Engine
from asyncsched._engine.host import HostLock
from asyncsched._engine.nodes import Nodes
from asyncsched._engine.runs import Runs
from asyncsched._engine.tasks import Tasks
from asyncsched.arguments import ROLES, Role, capacity_of, checked_count, checked_roles, store_for
from asyncsched.clock import Clock, SystemClock
from asyncsched.decorators import AnyTask
from asyncsched.duration import as_duration
from asyncsched.errors import MisuseError
from asyncsched.executors import Executor, LoopExecutor, ProcessExecutor, ThreadExecutor, refuse_in_child
from asyncsched.in_thread import SchedulerThread
from asyncsched.lifespan import Lifespan
from asyncsched.registry import Declarations, Registry, default_registry
from asyncsched.signals import ForcedEnd, ending_signals
from asyncsched.stores import MemoryStore, Store
from asyncsched.surroundings import Surroundings
from asyncsched.task import Task
from asyncsched.zone import system_zone_name, zone_name

_US = timedelta(microseconds=1)


class Scheduler(Declarations):
    """Serves the tasks of a registry on the running event loop.

    Enter it (``async with scheduler:``), or let it serve until a signal comes (``await scheduler.serve()``,
    ``scheduler.run()``). It can be made at import; it needs a loop only when it is entered. Leaving it and
    entering it again serves the tasks of the registry from where they stood.

    Args:
        store: where tasks, runs and history are kept: a ``Store``, or a URL. ``"memory://"``, which ends with the
            process; ``"sqlite:///jobs.db"``, a file that processes of this machine may share;
            ``"postgresql://user:password@host:5432/database"`` (extra ``postgres``) or
            ``"redis://user:password@host:6379/0"`` (extra ``redis``), for nodes on any number of machines. Options
            follow behind a ``?``, such as ``?lease=5s``.
        registry: whose tasks are served; default what the decorators of the module collected.
        tz: the zone of tasks that name none; default the system's zone, by name.
        clock: for tests: what time it is.
        node: the name of this process in records; default ``host:pid``.
        shutdown_timeout: how long runs may still take when the scheduler is left; then they are cancelled.
        stall_warning: a coroutine that blocks the event loop for longer is named in a warning, with its stack.
            ``None``: nobody looks.
        threads: how many plain functions may run at once in threads.
        processes: how many with ``executor="process"``. Default one for each processor.
        max_running: how many runs may be under way here at once; more wait. Default no limit.
        queues: whose runs are executed here: names, or names with how many at once, ``{"mail": 3}``. Default
            all; ``[]`` fires and submits, but runs nothing.
        groups: how many runs of a group of tasks may be under way here at once: ``{"kernel": 3}``; more wait.
        roles: what this process does: ``{"fire"}`` fires tasks and leaves their runs to others, ``{"run"}`` runs what
            is ready, ``()`` does neither. All of them submit. Default both.
        keep: for how long ended runs are kept, of tasks that do not say so with ``keep=`` themselves; beside their
            ``history_limit``. Default no such limit.
        once_per_host: of the processes that one server starts, one fires and the others stand by. It counts in
            ``lifespan`` alone, and where the store is not shared by processes.

    Raises:
        ConfigError: an argument is wrong; the message says what would be right.
    """

    def __init__(
        self,
        store: Store | str = "memory://",
        *,
        registry: Registry | None = None,
        tz: str | tzinfo | None = None,
        clock: Clock | None = None,
        node: str | None = None,
        shutdown_timeout: timedelta | str = "30s",
        stall_warning: timedelta | str | None = "250ms",
        threads: int = 40,
        processes: int | None = None,
        max_running: int | None = None,
        queues: Collection[str] | Mapping[str, int | None] | None = None,
        groups: Mapping[str, int] | None = None,
        roles: Collection[Role] = ROLES,
        keep: timedelta | str | None = None,
        once_per_host: bool = True,
    ) -> None:
        """Make a scheduler; nothing starts."""
        self._store = store_for(store)
        self._registry = default_registry if registry is None else registry
        self._surroundings = Surroundings()
        self._calls = True
        self._tz = None if tz is None else zone_name(tz)
        self._clock = SystemClock() if clock is None else clock
        self._node = node or f"{socket.gethostname()}:{os.getpid()}"
        self._stall_us = None if stall_warning is None else as_duration("stall_warning", stall_warning) // _US
        self._shutdown_us = as_duration("shutdown_timeout", shutdown_timeout, zero=True) // _US
        self._executors: Mapping[str, Executor] = {
            "loop": LoopExecutor(),
            "thread": ThreadExecutor(checked_count("threads", threads)),
            "process": ProcessExecutor(None if processes is None else checked_count("processes", processes)),
        }
        self._capacity = capacity_of(max_running, queues, groups or {})
        self._roles = checked_roles(roles)
        self._keep_us = None if keep is None else as_duration("keep", keep) // _US
        self._once_per_host = once_per_host
        self._random: Random | None = None
        self._engine: Engine | None = None
        self._entering = False
        self._events = Events()
        self._tasks = Tasks(self._running)
        self._runs = Runs(self._running)
        self.nodes = Nodes(self._running)
        """The processes that share the store: list, drain."""
        self.drained: Drained | None = None

    @property
    def tasks(self) -> Tasks:
        """The living tasks: add, get, list, remove, replace, run_now, next_fires."""
        return self._tasks

    @property
    def runs(self) -> Runs:
        """The runs: get, list."""
        return self._runs

    @property
    def events(self) -> Events:
        """What happens: on, subscribe, stream. Listeners may come before the start and stay over restarts."""
        return self._events

    @property
    def running(self) -> bool:
        """Whether the scheduler has been entered and not left."""
        return self._engine is not None

    @property
    def tz(self) -> str | None:
        """The zone of tasks that name none; ``None`` stands for the system's own."""
        return self._tz

    def served(self) -> list[Task[..., Any]]:
        """The tasks that are served now, or that will be from the start on."""
        if self._engine is None:
            return list(self._registry)
        return [armed.task for armed in self._engine.living.tasks.values()]

    def register(self, task: AnyTask) -> AnyTask:
        """Declare ``task`` for this scheduler, before it is entered.

        Raises:
            DuplicateTask: another task has its id.
            MisuseError: the scheduler is running; ``await scheduler.tasks.add(task)`` is for that.
        """
        if self._engine is not None:
            raise MisuseError(f"the scheduler is running: await scheduler.tasks.add(...) to serve {task.id!r}")
        return self._registry.register(task)

    def _declaring(self) -> Registry:
        if self._engine is not None:
            raise MisuseError("the scheduler is running: declare registries, middleware and resources before it starts")
        return self._registry

    def _around(self, task_id: str) -> tuple[Surroundings, ...]:
        return (self._surroundings, *self._registry.surroundings_of(task_id))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to fire. ``async with scheduler:`` does this, and ``stop``, for you.

        Raises:
            MisuseError: it is running already.
        """
        await self._start(None)

    async def _start(self, host: HostLock | None) -> None:
        refuse_in_child()
        if self._engine is not None or self._entering:
            raise MisuseError("the scheduler is running already: enter it once, or make another Scheduler")
        self._entering = True
        try:
            runs = "run" in self._roles
            engine = Engine(
                store=self._store,
                clock=self._clock,
                bus=self._events,
                executors=self._executors,
                node=self._node,
                tz=self._tz or system_zone_name(),
                capacity=self._capacity if runs else Capacity(None, {}, self._capacity.groups),
                stall_us=self._stall_us,
                surroundings=self._around if self._calls else None,
                fires="fire" in self._roles,
                keep_us=self._keep_us,
            )
            await engine.start(self._registry, self._random, host)
        finally:
            self._entering = False
        self._engine = engine

    async def stop(self) -> Drained:
        """Fire no more, let runs finish up to ``shutdown_timeout``, cancel the rest.

        Raises:
            MisuseError: it is not running, or is being stopped already.
        """
        engine = self._running()
        if engine.stopping:
            raise MisuseError("the scheduler is being stopped already: whoever began that gets the report")
        try:
            self.drained = await engine.stop(self._shutdown_us)
        finally:
            self._engine = None
        return self.drained

    def lifespan(self, app: object = None) -> Lifespan:  # noqa: ARG002 - frameworks hand it in
        """What a web framework starts and stops together with itself: ``FastAPI(lifespan=scheduler.lifespan)``.

        Within a function of your own: ``async with scheduler.lifespan() as state:``, where ``state`` is
        ``{"scheduler": scheduler}``. Unlike ``async with scheduler:`` and ``serve`` it fires once per host: see
        ``once_per_host``. ``app`` is what frameworks hand in; it is not looked at.
        """
        return Lifespan({"scheduler": self}, self._start_in_host, self.stop)

    async def _start_in_host(self) -> None:
        alone = self._store.shared or not self._once_per_host or "fire" not in self._roles
        await self._start(None if alone else HostLock([task.id for task in self._registry]))

    @contextlib.contextmanager
    def simulated(
        self, *, clock: Clock, tz: str, random: Random, executor: Executor | None = None
    ) -> Iterator[Callable[[], Awaitable[None]]]:
        """Let this scheduler live by another clock, on a fresh memory store, until the block is left.

        What is given is a coroutine function that ends the running scheduler as if its process had been killed.

        With ``executor`` every call goes to it, in place of the task's own: a dry run calls nothing.

        Raises:
            MisuseError: it is running.
        """
        if self._engine is not None:
            raise MisuseError("the scheduler is running: leave it before it is simulated")
        before = self._clock, self._tz, self._random, self._store, self._executors
        self._clock, self._tz, self._random, self._store = clock, tz, random, MemoryStore()
        if executor is not None:
            self._executors = dict.fromkeys(self._executors, executor)
            self._calls = False

        async def crash() -> None:
            engine = self._running()
            self._engine = None
            await engine.crash()

        try:
            yield crash
        finally:
            self._clock, self._tz, self._random, self._store, self._executors = before
            self._calls = True

    async def serve(
        self, *companions: Companion, until_idle: bool = False, roles: Collection[Role] | None = None
    ) -> Drained:
        """Run until SIGINT or SIGTERM, then drain: what became of the runs that were under way.

        With ``until_idle`` also no longer than until nothing is due, ready or running, as ``idle()`` has it; with
        ``roles`` in these, from now on.

        Each companion is called with this scheduler and gives an asynchronous context manager, which is entered
        once the scheduler has started and left once it has drained. A second signal cancels the runs and ends the
        program with 128 plus its number.

        Raises:
            StoreError: the scheduler cannot go on; nothing that a task does is the cause.
        """
        if roles is not None:
            self._roles = checked_roles(roles)
        asked = asyncio.Event()
        forced: list[int] = []

        def force(number: int) -> None:
            forced.append(number)
            if self._engine is not None:
                self._engine.force(f"forced by signal {number}")

        with ending_signals(asked.set, force):
            async with contextlib.AsyncExitStack() as beside, self:
                for companion in companions:
                    await beside.enter_async_context(companion(self))
                engine = self._running()
                engine.on_failure = asked.set
                await (_idle_or(asked, engine) if until_idle else asked.wait())
        if engine.failure is not None:
            raise engine.failure
        if forced:
            raise ForcedEnd(forced[0])
        assert self.drained is not None
        return self.drained

    def run(self) -> Drained:
        """``serve()`` on a loop of its own, for scripts. Blocks until a signal comes.

        Raises:
            MisuseError: a loop is running here; ``await scheduler.serve()`` is for that.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.serve())
        raise MisuseError("an event loop is running here: await scheduler.serve(), or `async with scheduler:`")

    def start_in_thread(self) -> SchedulerThread:
        """Start in a thread of its own, for programs without an event loop; ``stop()`` what it gives.

        Raises:
            MisuseError: it is running already.
        """
        return SchedulerThread(self)

    async def idle(self) -> None:
        """Return once nothing is due, ready or running; a run that waits for its retry is neither."""
        await self._running().idle()

    def _running(self) -> Engine:
        if self._engine is None:
            raise MisuseError(
                "the scheduler is not running: `async with scheduler:` or `await scheduler.serve()` first"
            )
        self._engine.check_loop()
        return self._engine


Companion: TypeAlias = Callable[[Scheduler], contextlib.AbstractAsyncContextManager[object]]
"""What can be handed to ``serve``."""


def store_of(scheduler: Scheduler) -> Store:
    """Where the scheduler keeps everything: for a process that only looks, and serves nothing."""
    return scheduler._store


def keep_us_of(scheduler: Scheduler) -> int | None:
    """For how many microseconds it keeps the ended runs of tasks that do not say so; ``None``: no such limit."""
    return scheduler._keep_us


def acting(scheduler: Scheduler) -> Scheduler:
    """Another scheduler for the same tasks at the same store: for a process that only looks or acts, and runs nothing.

    The listeners of the given one hear nothing of it.
    """
    groups = dict(scheduler._capacity.groups)
    double = Scheduler(scheduler._store, registry=scheduler._registry, tz=scheduler._tz, roles=(), groups=groups)
    double._surroundings, double._clock = scheduler._surroundings, scheduler._clock
    return double


async def _idle_or(asked: asyncio.Event, engine: Engine) -> None:
    idle = asyncio.ensure_future(engine.idle())
    idle.add_done_callback(lambda _idle: asked.set())
    try:
        await asked.wait()
    finally:
        idle.cancel()
