"""Opened resources: those of one attempt, and those that last as long as the scheduler."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from contextvars import copy_context
from types import TracebackType
from typing import Any, Self

from asyncsched._engine.bus import Events, complain
from asyncsched.errors import ConfigError, MisuseError
from asyncsched.events import ResourceNotClosed
from asyncsched.executors import Executor
from asyncsched.middleware import Middleware, layered
from asyncsched.resource import Depends, Factory, name_of
from asyncsched.run import Run, RunStatus, Settled
from asyncsched.signature import signature_of
from asyncsched.stores import Store
from asyncsched.surroundings import Surroundings, check_resources, factory_of
from asyncsched.task import Task
from asyncsched.transaction import enter_transaction, takes_transaction


class Around:
    """What is done around each attempt of the runs of one task."""

    __slots__ = ("_layers", "_resources", "_store", "_surroundings", "_task")

    def __init__(
        self,
        task: Task[..., Any],
        surroundings: Sequence[Surroundings],
        resources: Resources,
        store: Store | None = None,
    ) -> None:
        """With a store each attempt works in a transaction of it."""
        self._task = task
        self._surroundings = surroundings
        self._layers: tuple[Middleware, ...] = tuple(layer for one in surroundings for layer in one.middleware)
        self._resources = resources
        self._store = store

    def call(
        self, executor: Executor, run: Run[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], token: int = 0
    ) -> Awaitable[Any]:
        """An awaitable of the attempt's result, as ``Executor.call`` gives it, but with all that is around it.

        token: the attempt's.
        """

        async def attempt() -> Any:
            signature = self._task.signature
            async with Opened(self._resources, self._surroundings, run) as opened:
                values = await opened.values(signature.resources)
                values.update(dict.fromkeys(signature.context, run))
                return await executor.call(self._task.__wrapped__, *signature.with_values(values, args, kwargs))

        if self._store is not None:
            return self._within(self._store, run, token, layered(self._layers, run, attempt))
        return layered(self._layers, run, attempt)()

    async def _within(self, store: Store, run: Run[Any], token: int, call: Callable[[], Awaitable[Any]]) -> Any:
        """The attempt's result, which is committed with what the attempt has written."""
        async with store.transaction() as transaction:
            enter_transaction(transaction.connection)
            result = await call()
            await transaction.end(run, token, Settled(RunStatus.SUCCESS, self._resources.now_us(), result=result))
        return result


class Opened:
    """Opens resources, each once; left, it closes them in reverse.

    One that cannot be closed is told of; the others are closed all the same, and what happened before counts.
    """

    def __init__(self, resources: Resources, surroundings: Sequence[Surroundings], run: Run[Any] | None) -> None:
        self._resources = resources
        self._surroundings = surroundings
        self._run = run
        self._values: dict[Factory, Any] = {}
        self._exits: list[tuple[Factory, Callable[..., Any]]] = []

    async def values(self, needed: Mapping[str, Depends]) -> dict[str, Any]:
        """The resource for each parameter."""
        return {parameter: await self._value(depends) for parameter, depends in needed.items()}

    async def _value(self, depends: Depends) -> Any:
        factory = factory_of(depends.resource, self._surroundings)
        if factory is None:
            raise ConfigError(f"no resource is named {depends.resource!r} any more")
        if depends.scope == "scheduler":
            return await self._resources.shared(factory, self._surroundings)
        if factory not in self._values:
            self._values[factory] = await self.open(factory)
        return self._values[factory]

    async def open(self, factory: Factory) -> Any:
        """What the factory opens."""
        signature = signature_of(factory)
        values = await self.values(signature.resources)
        values.update(dict.fromkeys(signature.context, self._run))
        args, kwargs = signature.with_values(values, (), {})
        made = _managed(factory(*args, **kwargs))
        if inspect.isawaitable(made) and not isinstance(made, AbstractAsyncContextManager):
            made = await made
        if isinstance(made, AbstractAsyncContextManager):
            value = await made.__aenter__()
            self._exits.append((factory, made.__aexit__))
        elif isinstance(made, AbstractContextManager):
            value = made.__enter__()
            self._exits.append((factory, made.__exit__))
        else:
            value = made
        return value

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        interrupted: asyncio.CancelledError | None = None
        while self._exits:
            factory, leave = self._exits.pop()
            asked = _cancellations()
            try:
                closing = leave(kind, error, where)
                if inspect.isawaitable(closing):
                    await closing
            except BaseException as failure:
                if isinstance(failure, asyncio.CancelledError) and _cancellations() > asked:
                    interrupted = failure
                elif failure is not error:
                    self._resources.not_closed(factory, self._run, failure)
        if interrupted is not None:
            raise interrupted


def _managed(made: Any) -> Any:
    """What a factory gave; of a generator what enters and leaves it."""
    if inspect.isasyncgen(made):
        return asynccontextmanager(lambda: made)()
    return contextmanager(lambda: made)() if inspect.isgenerator(made) else made


def _cancellations() -> int:
    current = asyncio.current_task()
    return 0 if current is None else current.cancelling()


class Resources:
    """The resources that are opened when they are first needed, and closed when the scheduler is left.

    surroundings: those of a task by its id, outermost first; ``None``: nothing is done around any.
    """

    def __init__(
        self,
        bus: Events,
        now_us: Callable[[], int],
        surroundings: Callable[[str], Sequence[Surroundings]] | None,
        store: Store | None = None,
    ) -> None:
        self._bus = bus
        self.now_us = now_us
        self._store = store
        self._surroundings = surroundings
        self._kept: dict[Factory, _Kept] = {}
        self._opened: list[_Kept] = []
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()

    def around(self, task: Task[..., Any]) -> Around | None:
        """What is to be done around the attempts of a task's runs; ``None`` if that is nothing.

        Raises:
            ConfigError: a resource that the task needs cannot be opened; the message names the task.
        """
        if self._surroundings is None:
            return None
        surroundings = self._surroundings(task.id)
        if needed := task.signature.resources:
            try:
                check_resources(needed, surroundings, complete=True)
            except ConfigError as error:
                raise ConfigError(f"task {task.id!r}: {error}") from None
            if (parameter := takes_transaction(needed, surroundings)) is not None:
                return Around(task, surroundings, self, self._transacting(task, parameter))
            return Around(task, surroundings, self)
        for one in surroundings:  # any() takes three times as long, and this is asked of every task
            if one.middleware:
                return Around(task, surroundings, self)
        return None

    def _transacting(self, task: Task[..., Any], parameter: str) -> Store:
        """The store, in whose transactions runs of this task can work."""
        store, here = self._store, f"task {task.id!r}: parameter {parameter!r} needs a Transaction"
        if store is None or not store.transacts:
            cure = "use Scheduler('postgresql://...'), or open a connection of your own with Depends"
            raise ConfigError(f"{here}, and {store} has none for runs: {cure}")
        if task.executor != "loop":
            cure = "make it a coroutine function, `async def`, without executor="
            raise ConfigError(f"{here}, which is for the event loop, and it is run by {task.executor!r}: {cure}")
        return store

    def not_closed(self, factory: Factory, run: Run[Any] | None, error: BaseException) -> None:
        """Tell that a resource, that of a run or one for all, could not be closed."""
        name, whose = name_of(factory), "" if run is None else f" after run {run.id} of task {run.task}"
        complain("resource %s could not be closed%s", name, whose, error=error)
        self._bus.tell(ResourceNotClosed(at_us=self.now_us(), resource=name, run=run, error=error))

    async def shared(self, factory: Factory, surroundings: Sequence[Surroundings]) -> Any:
        """The resource that this factory has opened for all; who comes first has it opened, whoever else waits.

        Raises:
            MisuseError: the scheduler has been left.
        """
        if self._over:
            raise MisuseError(f"the scheduler stopped: {name_of(factory)} is opened no more")
        kept = self._kept.get(factory)
        if kept is None:
            kept = self._kept[factory] = _Kept(self._loop)
            # A task of its own: who waits may be cancelled, what is opened there may have to be closed there, and
            # it is no part of the run that came first.
            keeping = self._keep(kept, factory, surroundings)
            kept.keeper = self._loop.create_task(keeping, name=name_of(factory), context=self._context.copy())
        await asyncio.wait([kept.value])
        return kept.value.result()

    async def _keep(self, kept: _Kept, factory: Factory, surroundings: Sequence[Surroundings]) -> None:
        try:
            async with Opened(self, surroundings, None) as opened:
                kept.value.set_result(await opened.open(factory))
                self._opened.append(kept)
                await kept.over.wait()
        except BaseException as error:
            if not kept.value.done():
                if isinstance(error, asyncio.CancelledError):
                    error = MisuseError(f"the scheduler stopped while {name_of(factory)} was being opened")
                kept.value.set_exception(error)
                kept.value.exception()  # whoever waited may be gone
        finally:
            del self._kept[factory]  # who needs it next has it opened anew

    async def close(self) -> None:
        """Close what is open, the last opened first. If the caller is cancelled, so is the closing under way."""
        self._over = True
        impatience: asyncio.CancelledError | None = None
        opening = [kept for kept in self._kept.values() if kept not in self._opened]
        for kept in opening:
            kept.keeper.cancel()
        for kept in (*opening, *reversed(self._opened)):
            kept.over.set()
            while not kept.keeper.done():
                try:
                    await asyncio.wait([kept.keeper])
                except asyncio.CancelledError as error:
                    impatience = error
                    kept.keeper.cancel()
        if impatience is not None:
            raise impatience


class _Kept:
    """A resource that lasts as long as the scheduler, and who keeps it."""

    __slots__ = ("keeper", "over", "value")

    keeper: asyncio.Task[None]

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.value: asyncio.Future[Any] = loop.create_future()
        self.over = asyncio.Event()
