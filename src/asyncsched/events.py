"""What happened. An event is told after it is true in the store, never before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from asyncsched.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at ``at_us`` (microseconds since the epoch) on this node."""

    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStarted(Event):
    """The scheduler has armed its tasks and fires from here on."""

    store: str
    """Where its tasks and runs are kept, in words for people: ``memory``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStopping(Event):
    """Nothing fires any more; runs that have started may end."""

    left: int
    """How many runs have not ended yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStopped(Event):
    """Nothing of the scheduler is running any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingBy(Event):
    """Another process of this host fires the tasks; this scheduler runs what is submitted to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TookOver(Event):
    """The process that fired the tasks has ended; this scheduler fires them from here on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent(Event):
    """Something that happened to one task."""

    task: str
    """The task's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAdded(TaskEvent):
    """A task became known to the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChanged(TaskEvent):
    """A task has another trigger than the store knew, so its next fire was computed anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRemoved(TaskEvent):
    """A task was removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPaused(TaskEvent):
    """An operator paused the task, until then or without end."""

    until: datetime | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResumed(TaskEvent):
    """A paused task fires again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBroken(TaskEvent):
    """The task's trigger raised: it does not fire until it is replaced. Other tasks are not concerned."""

    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class FireSkipped(TaskEvent):
    """A fire, or several of one cause, did not become a run; ``run.reason`` and ``run.stands_for`` tell."""

    run: Run[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(TaskEvent):
    """An attempt of a run has started."""

    run: Run[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRetrying(TaskEvent):
    """An attempt failed, and the run will be tried again at ``run.due_us``."""

    run: Run[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(TaskEvent):
    """A run is over: SUCCESS, FAILED or CANCELLED."""

    run: Run[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockJumped(Event):
    """The wall clock was set, or the machine slept; ``by`` is negative if it was set back."""

    by: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStalled(Event):
    """The event loop answered nobody for the time ``by``, and does again."""

    by: timedelta
    """To within a fifth of ``stall_warning``."""
    task: str | None
    """The id of the task whose run blocked it; ``None`` if it was something else."""
    stack: str
    """Where the program stood meanwhile, innermost line first, the frames of libraries counted at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackFailed(Event):
    """A callback on events raised; the others were called all the same."""

    error: BaseException
