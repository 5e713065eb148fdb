"""What a store must do: keep tasks, runs and history. Few verbs; each is one unit, takes batches and returns values.

A store compares and sets; what to set is decided outside, by pure functions. Losing a race is an ordinary
answer, not an exception. Every comparison of instants uses the store's own clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from asyncsched.clock import Clock
from asyncsched.run import Run, RunStatus, Settled
from asyncsched.triggers import Trigger

FOREVER = 2**62
"""Later than everything, in microseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A task as code declares it.

    declaration: a value that is equal for equal declarations; where it is the same as before, the stored grid
        and watermark stand.
    trigger: bound, that is with zone and anchor; ``None`` for a task that only runs when submitted.
    next_us: the first fire if the task is new or its declaration has changed.
    """

    task: str
    declaration: object
    trigger: Trigger | None
    next_us: int | None
    history_limit: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a task stands in the store.

    next_us: the watermark: the earliest fire that has not been accounted for.
    version: grows with every edit; a fire decided on an older one fires nothing.
    paused_until_us: no fires become runs before then; ``None`` if the task is not paused, ``FOREVER`` without end.
    skip_us: the fire at this instant is skipped.
    """

    task: str
    declaration: object
    trigger: Trigger | None
    next_us: int | None
    version: int
    history_limit: int
    paused_until_us: int | None = None
    skip_us: int | None = None


class Reconciled(NamedTuple):
    """What ``reconcile`` found: where each declared task stands, and which are new or changed."""

    standings: list[Standing]
    added: list[str]
    changed: list[str]


class Amendment(NamedTuple):
    """What an operator changes of a task, beside what code declares; it outlives a new declaration."""

    paused_until_us: int | None
    skip_us: int | None


class FireOrder(NamedTuple):
    """One task's due fires: from which watermark to which, and what they become."""

    task: str
    version: int
    was_us: int | None
    next_us: int | None
    runs: Sequence[Run[Any]]
    skips: Sequence[Run[Any]]


class Ack(NamedTuple):
    """What became of a run that this node had claimed with ``token``."""

    run: Run[Any]
    token: int
    settled: Settled


class Cycled(NamedTuple):
    """What ``cycle`` did: the acknowledgements that counted, the runs claimed, and when a delayed one will be ready."""

    accepted: list[Ack]
    claimed: list[Run[Any]]
    next_due_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs: all that fit every given part."""

    task: str | None = None
    status: Collection[RunStatus] | None = None
    limit: int = 100


class Store(ABC):
    """The verbs. One node uses one instance, between ``open`` and ``close``.

    answers_at_once: whether no verb ever suspends. The engine then needs no asyncio task of its own to ask.
    shared: whether several processes may use it at once: it decides then which of them fires.
    """

    answers_at_once: ClassVar[bool] = False
    shared: ClassVar[bool] = False

    def __str__(self) -> str:
        """What people are shown: kind and place, never a password."""
        return type(self).__name__

    @abstractmethod
    async def open(self, node: str, clock: Clock) -> None:
        """Make the store ready for ``node``. Runs that a vanished owner left RUNNING are handed back.

        ``clock`` is for stores without a clock of their own.

        Raises:
            StoreError: it cannot be used; the message says what to do.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of what ``open`` took. What is stored stays."""

    @abstractmethod
    async def now_us(self) -> int:
        """The store's clock, in microseconds since the epoch."""

    @abstractmethod
    async def reconcile(self, declared: Sequence[Declared]) -> Reconciled:
        """Add what is new, re-arm what is declared differently, keep everything else as it stands."""

    @abstractmethod
    async def put_task(self, declared: Declared) -> Standing:
        """Add the task, or replace it: its history stays, its version grows, its watermark is the declared one."""

    @abstractmethod
    async def amend(self, task: str, version: int, amendment: Amendment) -> Standing | None:
        """Write what an operator changed if the task still has this version, which then grows.

        Where the task stands afterwards: a loser finds the newest version there. ``None`` if it is unknown.
        """

    @abstractmethod
    async def drop_task(self, task: str) -> list[Run[Any]]:
        """Forget the task. Its waiting runs end CANCELLED and are the answer; its history stays."""

    @abstractmethod
    async def standings(self, tasks: Collection[str]) -> list[Standing]:
        """Where these tasks stand; unknown ones are left out."""

    @abstractmethod
    async def fire(self, orders: Sequence[FireOrder]) -> set[str]:
        """Move watermarks and write the runs and skip records, all or nothing for each task.

        An order counts if the task's version and watermark are still those it names and the watermark is due.
        The answer holds the tasks whose orders counted; a loser re-reads and re-arms.
        """

    @abstractmethod
    async def submit(self, runs: Sequence[Run[Any]]) -> None:
        """Write runs that no trigger made."""

    @abstractmethod
    async def cycle(self, acks: Sequence[Ack], limit: int, queues: Mapping[str, int] | None = None) -> Cycled:
        """Acknowledge attempts, then claim up to ``limit`` ready runs: greater priority, then earlier due first.

        With ``queues`` only runs of these queues, and of each at most so many.

        An acknowledgement counts if the run's token is the one it names; the run is then brought up to date in
        place, and is history if it has ended. A claimed run is RUNNING on this node, with a new token.
        """

    @abstractmethod
    async def cancel(self, run_ids: Collection[str], reason: str) -> list[Run[Any]]:
        """End those of the runs that are PENDING as CANCELLED; these. Running ones are left to their node."""

    @abstractmethod
    async def runs(self, wanted: RunFilter) -> list[Run[Any]]:
        """Live runs and history that fit, newest first."""

    @abstractmethod
    async def run(self, run_id: str) -> Run[Any] | None:
        """The run of this id, live or ended; ``None`` if it is unknown or no longer kept."""

    @abstractmethod
    def recent(self, task: str) -> Sequence[Run[Any]]:
        """The ended runs and skips of the task that this process knows without asking anybody, newest first."""
