"""What is alive on this node: armed tasks and runs under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from zoneinfo import ZoneInfo

from asyncsched._heap import Wakeup
from asyncsched.policy import DEFAULT_POLICY, Overdue, Policy
from asyncsched.run import NO_TERMS, Run, RunStatus, Terms
from asyncsched.stores import Standing
from asyncsched.task import Task
from asyncsched.triggers import Trigger
from asyncsched.zone import load_zone

Ending = Literal["timeout", "cancelled", "shutdown"]


class ArmedTask(Wakeup):
    """A task that this scheduler serves, and where it stands. It rings when it is due to fire."""

    __slots__ = (
        "_among",
        "ended",
        "live",
        "newest",
        "next_us",
        "overdue",
        "paused_until_us",
        "policy",
        "reminder",
        "skip_to_us",
        "skip_us",
        "started",
        "succeeded",
        "task",
        "terms",
        "trigger",
        "version",
    )

    def __init__(
        self,
        task: Task[..., Any],
        standing: Standing,
        among: Living,
    ) -> None:
        super().__init__()
        self.task = task
        policy: Policy = task.policy
        self.policy = policy
        self.terms = NO_TERMS if policy is DEFAULT_POLICY else terms_of(task)
        self._among = among
        self.live = 0
        """Runs of this task that are pending or running."""
        self.skip_to_us: int | None = None
        """Fires up to this instant fell into a pause and are still to be recorded."""
        self.reminder: Wakeup | None = None
        """Rings when the pause is over."""
        self.newest: Run[Any] | None = None
        self.started: Run[Any] | None = None
        self.ended: Run[Any] | None = None
        self.succeeded: Run[Any] | None = None
        if kept := among.recent(task.id):
            self._recall([run for run in kept if run.status is not RunStatus.SKIPPED])
        self.stand(standing)

    def _recall(self, kept: Sequence[Run[Any]]) -> None:
        """Know the last runs from what is kept of them, the last that ended first."""
        self.newest = max(kept, key=lambda run: run.id, default=None)
        self.started = max(kept, key=lambda run: run.started_us or 0, default=None)
        self.ended = next(iter(kept), None)
        self.succeeded = next((run for run in kept if run.status is RunStatus.SUCCESS), None)

    def inherit(self, before: ArmedTask) -> None:
        """Take over the runs of the task that this one replaces."""
        self.live = before.live
        self.newest, self.started = before.newest, before.started
        self.ended, self.succeeded = before.ended, before.succeeded

    def stand(self, standing: Standing) -> None:
        """Take over where the store says that the task stands."""
        self.version = standing.version
        self.next_us = standing.next_us
        """The watermark: the earliest fire that has not been accounted for."""
        self.trigger: Trigger | None = standing.trigger
        self.paused_until_us = standing.paused_until_us
        self.skip_us = standing.skip_us
        self.overdue: Overdue | None = None

    def ring(self) -> None:
        self._among.due.append(self)

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which its instants are shown, and in which naive times are read."""
        return load_zone(self.task.zone(self._among.tz))

    def history(self) -> Sequence[Run[Any]]:
        """The ended runs and recorded skips, newest first."""
        return self._among.recent(self.task.id)

    def fires(self, after_us: int | None = None) -> Iterator[int]:
        """The coming fires, in microseconds, as far as they are known: what follows a completion is not.

        With ``after_us`` only those later than that, though earlier ones have not been accounted for here.
        """
        at_us = None if self.paused_until_us is not None else self.next_us
        if self.skip_to_us is not None:  # those of a pause that is over will be recorded, not run
            after_us = max(self.skip_to_us, after_us or 0)
        if at_us is not None and after_us is not None and at_us <= after_us:
            at_us = None if self.trigger is None else self.trigger.next_us(after_us)
        while at_us is not None:
            if at_us != self.skip_us:
                yield at_us
            if self.trigger is None or self.policy.anchor == "completion":
                return
            at_us = self.trigger.next_us(at_us)


def terms_of(task: Task[..., Any], priority: int | None = None) -> Terms:
    """On which terms the runs of a task wait, with another priority if one is given."""
    policy = task.policy
    limit = policy.limit
    key = None if limit is None else task.id
    return Terms(policy.priority if priority is None else priority, policy.queue, key, limit or 1)


class LivingRun(Wakeup):
    """A run that has been claimed and has not been settled. It rings when its attempt runs out of time."""

    __slots__ = ("armed", "begun", "ending", "handle", "reason", "run", "token")

    def __init__(self, run: Run[Any], armed: ArmedTask) -> None:
        self.due_us = None  # as Wakeup's own, without the call: one is made for every run
        self.entry = 0
        self.run = run
        self.armed = armed
        self.token = run.token
        self.handle: asyncio.Task[None] | None = None
        self.begun = False
        self.ending: Ending | None = None
        self.reason = ""

    def ring(self) -> None:
        self.stop("timeout", "it ran out of time")

    def stop(self, ending: Ending, reason: str) -> None:
        """Cancel the attempt; the first cause is the one that counts."""
        if self.ending is None and self.handle is not None:
            self.ending = ending
            self.reason = reason
            if self.begun:  # else it ends in its first step: a task cancelled before that never runs a line
                self.handle.cancel()


@dataclass(slots=True)
class Living:
    """Everything alive on this node, by id.

    tz: the zone of tasks that name none.
    recent: gives the ended runs of a task that are known here, newest first.
    """

    tz: str = "UTC"
    recent: Callable[[str], Sequence[Run[Any]]] = field(default=lambda _task: ())
    tasks: dict[str, ArmedTask] = field(default_factory=dict)
    runs: dict[str, LivingRun] = field(default_factory=dict)
    due: list[ArmedTask] = field(default_factory=list)
    """Tasks that have rung and have not been asked yet."""
    resuming: list[ArmedTask] = field(default_factory=list)
    """Tasks whose pause is over."""


class Reminder(Wakeup):
    """Calls a function when it is due."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__()
        self._call = call

    def ring(self) -> None:
        self._call()
