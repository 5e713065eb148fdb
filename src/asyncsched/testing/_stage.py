"""A scheduler on virtual time: go on by days in milliseconds, then ask what happened, to the microsecond."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from types import ModuleType
from typing import Any, Self

from asyncsched.duration import parse_duration
from asyncsched.errors import ConfigError, MisuseError
from asyncsched.events import Event, FireSkipped, RunEnded, RunRetrying, RunStarted
from asyncsched.registry import Registry
from asyncsched.run import Run, RunStatus
from asyncsched.scheduler import Scheduler
from asyncsched.task import Task
from asyncsched.testing._clock import VirtualClock
from asyncsched.testing._loop import VirtualLoop
from asyncsched.testing._travel import Travel
from asyncsched.zone import load_zone, zone_name

_SHOWN = 20


class Stage:
    """A running scheduler on virtual time, and what happened on it so far."""

    def __init__(self, scheduler: Scheduler, clock: VirtualClock, crash: Callable[[], Awaitable[None]]) -> None:
        self.scheduler = scheduler
        self.clock = clock
        self._crash = crash
        self.events: list[Event] = []
        """Every event so far, oldest first."""
        self._waiting: list[tuple[str | None, RunStatus, asyncio.Future[Run[Any]]]] = []
        self._listener = scheduler.events.on({Event}, self._note)

    def now(self) -> datetime:
        """What time it is here, in UTC."""
        return self.clock.now()

    async def advance(self, duration: timedelta | str) -> None:
        """Let this much time pass: all that is due by then happens, at its own instant, the last one included."""
        loop = self.clock.loop
        await loop.reach(loop.time() + _duration(duration).total_seconds())

    async def jump(self, duration: timedelta | str) -> None:
        """Set the wall clock by this much at once: the machine slept, or with ``"-1h"`` it was set back.

        Returns when what that makes due has been started and, where it needs no time, has ended.
        """
        self.clock.jump(_duration(duration))
        await self.clock.loop.settle()

    async def until(
        self,
        *,
        task: str | None = None,
        status: RunStatus | str = RunStatus.SUCCESS,
        within: timedelta | str = "366 days",
    ) -> Run[Any]:
        """The next run that gets this status from now on, of any task or of one.

        Raises:
            AssertionError: none did within this much virtual time; the message holds the latest events.
        """
        loop = self.clock.loop
        found: asyncio.Future[Run[Any]] = loop.create_future()
        name = None if task is None else self._task_id(task)
        self._waiting.append((name, RunStatus(status), found))
        limit = loop.call_later(_duration(within).total_seconds(), found.cancel)
        try:
            return await found
        except asyncio.CancelledError:
            if not found.cancelled():
                raise
            message = f"no run of {name or 'any task'} became {RunStatus(status)} within {within}"
            raise AssertionError(f"{message}; the latest events:\n{self.log(_SHOWN)}") from None
        finally:
            limit.cancel()

    def runs(self, task: str | None = None) -> list[Run[Any]]:
        """The runs that have started, in order: of one task, or of all."""
        name = None if task is None else self._task_id(task)
        started = [event for event in self.events if isinstance(event, RunStarted)]
        runs = {event.run.id: event.run for event in started if name in (None, event.task)}
        return list(runs.values())

    def skips(self, task: str | None = None) -> list[Run[Any]]:
        """The recorded skips of fires, and the runs that were skipped, in order: of one task, or of all."""
        name = None if task is None else self._task_id(task)
        ended = (event for event in self.events if isinstance(event, FireSkipped | RunEnded))
        return [event.run for event in ended if event.run.status is RunStatus.SKIPPED and name in (None, event.task)]

    def fires(self, task: str) -> list[str]:
        """For which instants the task ran, in order, as ISO texts in its zone: ``"2026-03-27T18:00+01:00"``."""
        zone = load_zone(self._task(task).zone(self.scheduler.tz or "UTC"))
        instants = [run.scheduled_for for run in self.runs(task)]
        return [iso(instant.astimezone(zone)) for instant in instants if instant is not None]

    def log(self, last: int | None = None) -> str:
        """What happened, a line each: to read after a failure, or to compare with what it was before."""
        events = self.events if last is None else self.events[-last:]
        return "\n".join(_line(event) for event in events)

    async def drain(self) -> None:
        """Let everything that was submitted, and what that submits, come to its end."""
        await self.scheduler.idle()

    async def crash(self) -> None:
        """End the scheduler as ``kill -9`` would: nothing is finished, nothing is told to the store."""
        await self._crash()

    async def restart(self) -> None:
        """Start the scheduler again, after ``crash`` or after having left it, on the same store."""
        if self.scheduler.running:
            await self.scheduler.stop()
        await self.scheduler.start()

    def close(self) -> None:
        """Listen no more."""
        self._listener.cancel()

    def _note(self, event: Event) -> None:
        self.events.append(event)
        if not isinstance(event, RunStarted | RunRetrying | RunEnded | FireSkipped):
            return
        for waiting in list(self._waiting):
            name, status, found = waiting
            if found.done():
                self._waiting.remove(waiting)
            elif name in (None, event.task) and event.run.status is status:
                self._waiting.remove(waiting)
                found.set_result(event.run)

    def _task_id(self, name: str) -> str:
        return self._task(name).id

    def _task(self, name: str) -> Task[..., Any]:
        """The task of this id, or whose id ends so where that is unique."""
        known = {task.id: task for task in self.scheduler.served()}
        if name in known:
            return known[name]
        ending = [task for task in known.values() if task.id.endswith((f":{name}", f".{name}"))]
        if len(ending) == 1:
            return ending[0]
        problem = "no task" if not ending else "more than one task"
        raise MisuseError(f"{problem} {name!r}; there are: {', '.join(sorted(known)) or 'none'}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.close()


@asynccontextmanager
async def virtual(
    target: Scheduler | Registry | ModuleType,
    *,
    at: datetime | str = "2026-01-01",
    tz: str | None = None,
    seed: int = 0,
) -> AsyncIterator[Stage]:
    """Run a scheduler on virtual time, on a fresh memory store, from the instant ``at`` on.

    Args:
        target: a scheduler, a registry, or a module that holds one scheduler.
        at: where time begins: an ISO date or date and time, or a datetime; naive ones are in ``tz``.
        tz: the zone of ``at`` and of tasks that name none; default the scheduler's own, else UTC.
        seed: ids are the same for the same seed.

    Raises:
        MisuseError: the loop is not a ``VirtualLoop``: ask for the fixture ``virtual``, or use ``testing.run``.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise MisuseError("virtual time needs its own loop: ask for the fixture `virtual`, or use testing.run(main)")
    scheduler = _scheduler_of(target)
    zone = zone_name(tz or scheduler.tz or "UTC")
    clock = VirtualClock(loop, _instant(at, zone))
    async with AsyncExitStack() as stack:
        stack.enter_context(Travel(clock))
        crash = stack.enter_context(scheduler.simulated(clock=clock, tz=zone, random=Random(seed)))
        stage = await stack.enter_async_context(Stage(scheduler, clock, crash))
        await scheduler.start()
        try:
            yield stage
        finally:
            if scheduler.running:
                await scheduler.stop()


def _scheduler_of(target: Scheduler | Registry | ModuleType) -> Scheduler:
    match target:
        case Scheduler():
            return target
        case Registry():
            return Scheduler(registry=target)
        case ModuleType():
            found = [value for value in vars(target).values() if isinstance(value, Scheduler)]
            if len(found) == 1:
                return found[0]
            raise ConfigError(f"module {target.__name__} holds {len(found)} schedulers: name the one that is meant")
    raise ConfigError(f"{target!r}: give a Scheduler, a Registry, or a module that holds one scheduler")


def _instant(at: datetime | str, zone: str) -> datetime:
    try:
        moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    except ValueError:
        raise ConfigError(f"at={at!r}: an ISO date or date and time, such as '2026-03-27 17:59'") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=load_zone(zone))).astimezone(UTC)


def _duration(value: timedelta | str) -> timedelta:
    if isinstance(value, timedelta):
        return value
    return -parse_duration(value[1:]) if value.startswith("-") else parse_duration(value)


def iso(moment: datetime) -> str:
    """The moment as ISO text, with seconds only where there are some."""
    return moment.isoformat(timespec="auto" if moment.second or moment.microsecond else "minutes")


def _line(event: Event) -> str:
    when = datetime.fromtimestamp(event.at_us / 1e6, UTC).isoformat(timespec="milliseconds")
    words = [when, type(event).__name__]
    if (task := getattr(event, "task", None)) is not None:
        words.append(task)
    if (run := getattr(event, "run", None)) is not None:
        scheduled = "" if run.scheduled_for is None else f"for {iso(run.scheduled_for)}"
        words += [run.id, scheduled, f"attempt {run.attempt}"]
        if isinstance(event, RunEnded | FireSkipped):
            words += [run.status, run.reason or "", repr(run.error) if run.error else ""]
    return " ".join(word for word in words if word)
