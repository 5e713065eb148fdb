"""A task as a store knows it, whether or not any node declares it: a value, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from asyncsched.clock import from_us
from asyncsched.overrides import NO_OVERRIDES, Overrides
from asyncsched.triggers import Trigger

FOREVER = 2**62
"""Later than everything, in microseconds since the epoch."""
PARKED = "parked"
"""How the reason of a run begins that waits, and that nobody claims."""


class Unserved(NamedTuple):
    """A task that no node serves, and how many of its runs wait for one that does.

    since_us: when the last node that served it went; ``None`` if that is not known.
    """

    task: str
    waiting: int
    since_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTask:
    """What is kept of a task.

    trigger: what it fires by; ``None`` for a task that runs when it is submitted, and where it cannot be read.
    coded: the trigger that code declares: another one, where an operator has put one.
    next_us: the earliest fire that has not been accounted for.
    skip_us: the fire at this instant is to be a recorded skip, as was asked.
    paused_until_us: no fires become runs before then; ``FOREVER`` is without end.
    overrides: what an operator has put in place of what code says.
    retired: no node declares the task: it does not fire, and its runs wait until one does.
    retired_us: since when; ``None`` if that is not known.
    waiting, running: how many of its runs do; of those that wait, so many are ``parked``.
    metadata: what code keeps with the task.
    """

    task: str
    trigger: Trigger | None = None
    coded: Trigger | None = None
    next_us: int | None = None
    skip_us: int | None = None
    paused_until_us: int | None = None
    overrides: Overrides = NO_OVERRIDES
    retired: bool = False
    retired_us: int | None = None
    waiting: int = 0
    running: int = 0
    parked: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def next_fire(self) -> datetime | None:
        """When it fires next, in UTC; ``None`` if it does not, as while it is retired or paused without end."""
        if self.next_us is None or self.retired or self.paused_until_us == FOREVER:
            return None
        return from_us(max(self.next_us, self.paused_until_us or 0))

    @property
    def skips_next(self) -> bool:
        """Whether the next fire is to be a recorded skip, as was asked; those of a pause are so anyway."""
        if self.skip_us is None or self.skip_us != self.next_us:
            return False
        return self.paused_until_us is None or self.paused_until_us <= self.skip_us

    @property
    def reason(self) -> str | None:
        """Why it does not fire, where that is not its trigger's doing."""
        if self.retired:
            return retired_words(self.retired_us)
        if self.paused_until_us is None:
            return None
        until = "it is resumed" if self.paused_until_us == FOREVER else from_us(self.paused_until_us).isoformat()
        return f"paused until {until}"

    def to_json(self) -> dict[str, Any]:
        """This as JSON values: instants in ISO 8601, triggers in words."""
        paused = self.paused_until_us
        return {
            "task": self.task,
            "trigger": None if self.trigger is None else self.trigger.describe(),
            "next_fire": None if self.next_fire is None else self.next_fire.isoformat(),
            "skips_next": self.skips_next,
            "paused": paused is not None,
            "paused_until": None if paused is None or paused == FOREVER else from_us(paused).isoformat(),
            "overrides": overrides_words(self.overrides, self.coded),
            "retired": self.retired,
            "retired_since": None if self.retired_us is None else from_us(self.retired_us).isoformat(),
            "reason": self.reason,
            "waiting": self.waiting,
            "running": self.running,
            "parked": self.parked,
            "metadata": dict(self.metadata),
        }


def overrides_words(overrides: Overrides, coded: Trigger | None) -> dict[str, Any]:
    """What an operator has put, by name, with triggers in words and what the code says in their place."""
    said = overrides.to_json()
    at_us = said.pop("at_us", None)
    if at_us is not None:
        said["at"] = from_us(at_us).isoformat()
    if "trigger" in said:
        said["trigger"] = "one of a later version" if overrides.trigger is None else overrides.trigger.describe()
        said["code_trigger"] = None if coded is None else coded.describe()
    return said


def retired_words(since_us: int | None) -> str:
    """That no node declares a task, and since when."""
    since = "" if since_us is None else f" since {from_us(since_us).isoformat(timespec='seconds')}"
    return f"no node declares it{since}"


def unserved_reason(task: str) -> str:
    """Why the waiting runs of a task that no node serves are not claimed."""
    return f"{PARKED}: no node serves task {task!r}; if it was renamed, give the new one aliases=[{task!r}]"
