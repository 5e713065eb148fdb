"""What a task tells of itself: where it stands, and its runs as they start and end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar, overload

from asyncsched.errors import MisuseError
from asyncsched.events import Event, RunEnded, RunStarted, SchedulerStopped
from asyncsched.overrides import NO_OVERRIDES, Overrides
from asyncsched.run import Run, RunStatus
from asyncsched.submission import Submission

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

# Ended runs that wait to be read; whoever reads more slowly misses some, and slows nobody.
_KEPT = 1_000


class Listener(Protocol):
    """Somebody who is told of events."""

    def cancel(self) -> None:
        """Be told of no more."""
        ...


class Bus(Protocol):
    """Where to hear of events, as far as a task must know it."""

    def on(
        self, kinds: Collection[type[Event]], callback: Callable[[Any], object], *, task: str | None = None
    ) -> Listener:
        """Call ``callback`` with each event of these kinds."""
        ...


class Home(Protocol):
    """The scheduler that a task belongs to, as far as the task must know it."""

    @property
    def bus(self) -> Bus:
        """What happens there."""
        ...

    async def submit(
        self, task: Any, calls: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]], how: Submission
    ) -> list[Run[Any]]:
        """Make a run of ``task`` for each of these arguments."""
        ...

    def preview(self, task_id: str, count: int) -> list[datetime]:
        """The next ``count`` fires of the task, in its zone."""
        ...

    def check_loop(self) -> None:
        """Nothing, on the scheduler's own loop; ``MisuseError`` on another."""
        ...


class LiveState(Protocol):
    """What a scheduler knows of a task while it serves it, and knew last after it was left."""

    newest: Run[Any] | None
    started: Run[Any] | None
    ended: Run[Any] | None
    succeeded: Run[Any] | None
    overrides: Overrides

    def history(self) -> Sequence[Run[Any]]:
        """The ended runs and recorded skips, newest first."""
        ...


class Observed(Generic[R_co]):
    """The living side of a task."""

    id: str
    home: Home | None
    state: LiveState | None

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
    def overrides(self) -> Overrides:
        """What an operator has put in place of what code declares; ``tasks.reset`` takes it back."""
        return NO_OVERRIDES if self.state is None else self.state.overrides

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

    @overload
    async def next_run(self: Observed[Coroutine[Any, Any, T]]) -> Run[T]: ...
    @overload
    async def next_run(self: Observed[T]) -> Run[T]: ...
    async def next_run(self) -> Run[Any]:
        """The next run of the task, once it starts, whatever made it; ``await`` that for its result.

        Raises:
            MisuseError: no scheduler that holds this task is running, or it stopped before.
        """
        found: asyncio.Future[Run[Any]] = asyncio.get_running_loop().create_future()

        def started(event: RunStarted) -> None:
            if not found.done():
                found.set_result(event.run)

        def stopped(_event: Event) -> None:
            if not found.done():
                found.set_exception(MisuseError(f"the scheduler stopped before task {self.id!r} ran again"))

        bus = self._here().bus
        listeners = bus.on({RunStarted}, started, task=self.id), bus.on({SchedulerStopped}, stopped)
        try:
            return await found
        finally:
            for listener in listeners:
                listener.cancel()

    @overload
    def runs(self: Observed[Coroutine[Any, Any, T]]) -> AsyncGenerator[Run[T], None]: ...
    @overload
    def runs(self: Observed[T]) -> AsyncGenerator[Run[T], None]: ...
    async def runs(self) -> AsyncGenerator[Run[Any], None]:
        """Each run of the task from the first step on, as it ends, until the scheduler stops.

        A run that needed others, and was skipped for them, is among them; the recorded skip of a fire is not. Up to
        1,000 wait to be read, the ones after that are left out.

        Raises:
            MisuseError: no scheduler that holds this task is running.
        """
        ended: asyncio.Queue[Run[Any] | None] = asyncio.Queue()

        def note(event: RunEnded) -> None:
            if ended.qsize() < _KEPT:
                ended.put_nowait(event.run)

        bus = self._here().bus
        listeners = (
            bus.on({RunEnded}, note, task=self.id),
            bus.on({SchedulerStopped}, lambda _event: ended.put_nowait(None)),
        )
        try:
            while (run := await ended.get()) is not None:
                yield run
        finally:
            for listener in listeners:
                listener.cancel()

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

    def _here(self) -> Home:
        home = self.needed_home()
        home.check_loop()
        return home
