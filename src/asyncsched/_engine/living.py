"""What is alive on this node: armed tasks and runs under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from zoneinfo import ZoneInfo

from asyncsched._heap import Wakeup
from asyncsched.policy import Overdue, Policy
from asyncsched.run import Run
from asyncsched.stores import Standing
from asyncsched.task import Task
from asyncsched.triggers import Trigger

Ending = Literal["timeout", "cancelled", "shutdown"]


class ArmedTask(Wakeup):
    """A task that this scheduler serves, and where it stands. It rings when it is due to fire."""

    __slots__ = ("due", "limit", "live", "next_us", "overdue", "policy", "task", "trigger", "version", "zone")

    def __init__(self, task: Task[..., Any], zone: ZoneInfo, standing: Standing, due: list[ArmedTask]) -> None:
        super().__init__()
        self.task = task
        self.policy: Policy = task.policy
        self.limit = task.policy.limit
        self.zone = zone
        self.due = due
        self.live = 0
        """Runs of this task that are pending or running."""
        self.stand(standing)

    def stand(self, standing: Standing) -> None:
        """Take over where the store says that the task stands."""
        self.version = standing.version
        self.next_us = standing.next_us
        """The watermark: the earliest fire that has not been accounted for."""
        self.trigger: Trigger | None = standing.trigger
        self.overdue: Overdue | None = None

    def ring(self) -> None:
        self.due.append(self)

    def fires(self) -> Iterator[int]:
        """The coming fires, in microseconds, as far as they are known: what follows a completion is not."""
        at_us = self.next_us
        while at_us is not None:
            yield at_us
            if self.trigger is None or self.policy.anchor == "completion":
                return
            at_us = self.trigger.next_us(at_us)


class LivingRun(Wakeup):
    """A run that has been claimed and has not been settled. It rings when its attempt runs out of time."""

    __slots__ = ("armed", "ending", "handle", "reason", "run", "token")

    def __init__(self, run: Run[Any], armed: ArmedTask) -> None:
        super().__init__()
        self.run = run
        self.armed = armed
        self.token = run.token
        self.handle: asyncio.Task[None] | None = None
        self.ending: Ending | None = None
        self.reason = ""

    def ring(self) -> None:
        self.stop("timeout", "it ran out of time")

    def stop(self, ending: Ending, reason: str) -> None:
        """Cancel the attempt; the first cause is the one that counts."""
        if self.ending is None and self.handle is not None:
            self.ending = ending
            self.reason = reason
            self.handle.cancel()


@dataclass(slots=True)
class Living:
    """Everything alive on this node, by id."""

    tasks: dict[str, ArmedTask] = field(default_factory=dict)
    runs: dict[str, LivingRun] = field(default_factory=dict)
    due: list[ArmedTask] = field(default_factory=list)
    """Tasks that have rung and have not been asked yet."""


class Reminder(Wakeup):
    """Calls a function when it is due."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__()
        self._call = call

    def ring(self) -> None:
        self._call()
