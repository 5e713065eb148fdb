"""What a run asks of the scheduler that keeps it: to be stopped, or to be given more time."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol
from weakref import WeakSet

from asyncsched.duration import as_duration
from asyncsched.errors import MisuseError

_US = timedelta(microseconds=1)


class Keeper(Protocol):
    """A running scheduler, as far as its runs must know it."""

    async def cancel_run(self, run_id: str, reason: str) -> bool | None:
        """Stop a run; whether it had to be stopped. ``None``: this is not the one to ask, from here."""
        ...

    def extend_run(self, run_id: str, by_us: int) -> bool:
        """Give the attempt of a run more time; whether it is under way here. From any thread."""
        ...


keepers: list[Keeper] = []
"""Those that are running in this process. A run does not say whose it is: that would be a field on each of them."""


class Kept:
    """The verbs of a run that its scheduler carries out."""

    __slots__ = ()

    id: str
    task: str
    token: int
    finished_us: int | None

    @property
    def fence(self) -> int:
        """Grows with each attempt, of this node or another: who has seen a greater one refuses what bears this one."""
        return self.token

    @property
    def lost(self) -> bool:
        """Whether the run was taken from this node, as from a dead one, while it was under way here.

        Another node runs it again, or has; what this attempt comes to counts for nothing.
        """
        return self in lost_runs

    async def cancel(self, reason: str = "it was cancelled by hand") -> bool:
        """Stop the run: a waiting one never starts, in a running one ``CancelledError`` is raised. Whether it had to.

        A thread cannot be stopped from outside: its run ends at once, the thread when it returns.

        Raises:
            MisuseError: no scheduler that keeps it is running on this event loop.
        """
        if self.finished_us is not None:
            return False
        for keeper in tuple(keepers):
            if (stopped := await keeper.cancel_run(self.id, reason)) is not None:
                return stopped
        raise MisuseError(f"run {self.id} of {self.task!r} is not kept by a scheduler that runs on this event loop")

    def extend(self, by: timedelta | str) -> None:
        """Give the attempt that is under way so much more time before its ``timeout``; without one nothing changes.

        It never outlasts ``run_timeout``. May be called in a worker thread.

        Raises:
            DurationError: it is no duration above zero.
            MisuseError: no attempt of it is under way in this process.
        """
        by_us = as_duration("extend", by) // _US
        if not any(keeper.extend_run(self.id, by_us) for keeper in tuple(keepers)):
            raise MisuseError(
                f"run {self.id} of {self.task!r} has no attempt under way in this process: call it within the run, "
                "on the event loop or in a thread"
            )


lost_runs: WeakSet[Kept] = WeakSet()
"""Those that nodes of this process have lost: hardly ever any, so no field of theirs says so."""
