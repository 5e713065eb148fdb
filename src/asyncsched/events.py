"""What happened. An event is told after it is true in the store, never before."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Literal

from asyncsched.overrides import Overrides
from asyncsched.run import Run

# Making a dataclass takes 0.3 ms of every import. So kinds that add no field are plain heirs of one, which is as good,
# and all are compared and shown by what Event has, which halves the rest.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Event:
    """Something that happened at ``at_us`` (microseconds since the epoch) on this node."""

    at_us: int

    def __eq__(self, other: object) -> bool:
        return other.__class__ is self.__class__ and _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(_values(self))

    def __repr__(self) -> str:
        shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))
        return f"{type(self).__qualname__}({shown})"


def _values(event: Any) -> tuple[Any, ...]:
    return tuple(getattr(event, field.name) for field in fields(event))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class SchedulerStarted(Event):
    """The scheduler has armed its tasks and fires from here on."""

    store: str
    """Where its tasks and runs are kept, in words for people: ``memory``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class SchedulerStopping(Event):
    """Nothing fires any more; runs that have started may end."""

    left: int
    """How many runs have not ended yet."""


class SchedulerStopped(Event):
    """Nothing of the scheduler is running any more."""

    __slots__ = ()


class StandingBy(Event):
    """Another process of this host fires the tasks; this scheduler runs what is submitted to it."""

    __slots__ = ()


class TookOver(Event):
    """The process that fired the tasks has ended; this scheduler fires them from here on."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TaskEvent(Event):
    """Something that happened to one task."""

    task: str
    """The task's id."""


class TaskAdded(TaskEvent):
    """A task became known to the store."""

    __slots__ = ()


class TaskChanged(TaskEvent):
    """A task has another trigger than the store knew, so its next fire was computed anew."""

    __slots__ = ()


class TaskRemoved(TaskEvent):
    """A task was removed."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TaskPaused(TaskEvent):
    """An operator paused the task, until then or without end."""

    until: datetime | None = None
    note: str | None = None


class TaskResumed(TaskEvent):
    """A paused task fires again."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TaskOverridden(TaskEvent):
    """An operator put something in place of what code declares, or took all of that back."""

    overrides: Overrides
    """All that stands now; each ``None`` is as code says."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TaskRenamed(TaskEvent):
    """A task took over what was kept under one of its ``aliases``: where it stood, its history, its waiting runs."""

    alias: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TaskUnknown(TaskEvent):
    """Runs wait for a task that no node declares: they are PENDING, with the reason, until one does."""

    waiting: int
    """How many runs wait."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TaskBroken(TaskEvent):
    """The task's trigger raised: it does not fire until it is replaced. Other tasks are not concerned."""

    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RunEvent(TaskEvent):
    """Something that happened to one run, or to a fire that did not become one."""

    run: Run[Any]


class FireSkipped(RunEvent):
    """A fire, or several of one cause, did not become a run; ``run.reason`` and ``run.stands_for`` tell."""

    __slots__ = ()


class RunStarted(RunEvent):
    """An attempt of a run has started."""

    __slots__ = ()


class RunRetrying(RunEvent):
    """An attempt failed, and the run will be tried again at ``run.due_us``."""

    __slots__ = ()


class RunEnded(RunEvent):
    """A run is over: SUCCESS, FAILED, CANCELLED, or SKIPPED where it did not start; ``run.reason`` tells why."""

    __slots__ = ()


class RunLost(RunEvent):
    """Other nodes took this one for dead, or may have, while it had the run under way: see ``on_lost``."""

    __slots__ = ()


class RunAbandoned(RunEvent):
    """A coroutine went on long after it was told to stop: its run has its end, and ``runs.abandoned`` lists it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RunWarning(RunEvent):
    """Something that the task asked to be warned of: told once when it becomes so, and once when it is over."""

    over: bool


class RunLate(RunWarning):
    """A run has not started ``warn_not_started`` after it was due; over when it starts, or ends without."""

    __slots__ = ()


class RunLong(RunWarning):
    """A run has not ended ``warn_longer`` after its first attempt began; over when it ends."""

    __slots__ = ()


class TaskFailing(RunWarning):
    """``warn_failures`` runs of the task have failed in a row; over when one succeeds. ``run`` is the last one."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class NodeLost(Event):
    """Other nodes took this one for dead, or may have: it was stopped, stuck or cut off for as long as its lease."""

    runs: int
    """How many runs it had under way, which are others' by now: of each ``RunLost`` tells."""


class NodeDrains(Event):
    """Somebody asked this node to drain: it claims no more runs, and goes on with those under way."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class NodesDiffer(Event):
    """A node that was there before has another edition of the time zones, or another version of this library."""

    what: Literal["tzdata", "version"]
    here: str
    there: str
    node: str
    """The name of that other node."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ClockEvent(Event):
    """The clock is not what it should be."""

    by: timedelta


class ClockSkewed(ClockEvent):
    """This machine's clock is more than a second ahead of the store's; ``by`` is negative if it is behind.

    Everything fires by the store's. Told once, and again only after the two were close to one another.
    """

    __slots__ = ()


class ClockJumped(ClockEvent):
    """The wall clock was set, or the machine slept; ``by`` is negative if it was set back."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class StoreLost(Event):
    """The store does not answer, or refuses: told once. Nothing fires or starts until it does; runs go on."""

    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class StoreBack(Event):
    """The store answers again. What was due meanwhile is up to each task's ``missed``."""

    after: timedelta
    """For how long it did not."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class StoreRolledBack(Event):
    """The store has forgotten what it had acknowledged, as after a failover, or a start from an older file.

    Fires and runs of the last moments may be done again, or be lost. Tasks are declared again, and go on.
    """

    times: int
    """How often that has happened since this scheduler started."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class CleanupHeld(Event):
    """Rows that nobody needs pile up in the store, as it cannot clear them away: everything there becomes slower.

    Told once by each node that sees it, and once when it is over.
    """

    rows: int
    """How many there are; 0 when it is over."""
    holders: tuple[str, ...]
    """Who keeps the store from it, since when, and what to do, in words; nobody, where it does not try."""
    over: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class LoopStalled(Event):
    """The event loop answered nobody for the time ``by``, and does again."""

    by: timedelta
    """To within a fifth of ``stall_warning``."""
    task: str | None
    """The id of the task whose run blocked it; ``None`` if it was something else."""
    stack: str
    """Where the program stood meanwhile, innermost line first, the frames of libraries counted at the end."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ResourceNotClosed(Event):
    """A resource raised when it was closed; the others were closed all the same, and the run ended as it would have."""

    resource: str
    """The name of its factory."""
    run: Run[Any] | None
    """The run whose own it was; ``None`` if it was the scheduler's."""
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class CallbackFailed(Event):
    """A callback on events raised; the others were called all the same."""

    error: BaseException
