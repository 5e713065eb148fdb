"""What a store must do: keep tasks, runs and history. Few verbs; each is one unit, takes batches and returns values.

A store compares and sets; what to set is decided outside, by pure functions. Losing a race is an ordinary
answer, not an exception. Every comparison of instants uses the store's own clock.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from asyncsched.clock import Clock
from asyncsched.overrides import NO_OVERRIDES, Overrides
from asyncsched.run import Run, RunStatus, Settled
from asyncsched.signature import Signature
from asyncsched.stores._graphs import GraphVerbs, Met
from asyncsched.stores._nodes import NodeVerbs
from asyncsched.stores._roster import RosterVerbs
from asyncsched.stores._upkeep import UpkeepVerbs
from asyncsched.stores._within import TransactionVerbs
from asyncsched.triggers import Trigger


@dataclass(frozen=True, slots=True)
class Declared:
    """A task as code declares it.

    declaration: a value that is equal for equal declarations; where it is the same as before, the stored grid
        and watermark stand.
    trigger: bound, that is with zone and anchor; ``None`` for a task that only runs when submitted.
    next_us: the first fire if the task is new or its declaration has changed.
    signature: of its function, by whose annotations a store may keep arguments and results; ``None``: as plain JSON.
    aliases: the ids that the task had before.
    metadata: what code keeps with it, for those who look at the store alone; what is no JSON is kept as its text.
    """

    task: str
    declaration: object
    trigger: Trigger | None
    next_us: int | None
    history_limit: int
    signature: Signature | None = None
    aliases: tuple[str, ...] = ()
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a task stands in the store.

    trigger: what it fires by: what code declares, or what an operator has put in its place.
    next_us: the watermark: the earliest fire that has not been accounted for.
    version: grows with every edit; a fire decided on an older one fires nothing.
    paused_until_us: no fires become runs before then; ``None`` if the task is not paused, ``FOREVER`` without end.
    skip_us: the fire at this instant is skipped.
    made: how many runs of its fires have been counted since it was declared so, or put.
    overrides: what an operator has put in place of what code declares.
    coded: what code declares, where ``trigger`` is another one; bound when it was first declared so.
    """

    task: str
    declaration: object
    trigger: Trigger | None
    next_us: int | None
    version: int
    history_limit: int
    paused_until_us: int | None = None
    skip_us: int | None = None
    made: int = 0
    overrides: Overrides = NO_OVERRIDES
    coded: Trigger | None = None


class Reconciled(NamedTuple):
    """What ``reconcile`` found: where each declared task stands, and which are new or changed.

    renamed: what was taken over under which alias, as alias and task.
    """

    standings: list[Standing]
    added: list[str]
    changed: list[str]
    renamed: Sequence[tuple[str, str]] = ()


class Amendment(NamedTuple):
    """What an operator changes of a task, beside what code declares; it outlives a new declaration.

    overrides: what is in place of what code declares from then on, whatever was before; ``None``: what was before.
    next_us: the watermark from then on, where there are ``overrides``.
    """

    paused_until_us: int | None
    skip_us: int | None
    overrides: Overrides | None = None
    next_us: int | None = None


class FireOrder(NamedTuple):
    """One task's due fires: from which watermark to which, and what they become.

    counted: by how much ``Standing.made`` grows.
    met: what of the task was on its way when that was decided; ``None`` where it does not matter.
    """

    task: str
    version: int
    was_us: int | None
    next_us: int | None
    runs: Sequence[Run[Any]]
    skips: Sequence[Run[Any]]
    counted: int = 0
    met: Met | None = None


class Ack(NamedTuple):
    """What became of a run that this node had claimed with ``token``."""

    run: Run[Any]
    token: int
    settled: Settled


class Notice(NamedTuple):
    """What a node is told of the runs that it has under way.

    stops: why runs are to stop, by their ids: somebody has asked for that at another node.
    lost: those that are others' by now, which took this node for dead, each as its attempt here knows it; ``None``: the
        node was not taken for dead. It goes on as another one.
    """

    stops: Mapping[str, str]
    lost: Sequence[Run[Any]] | None


class Cycled(NamedTuple):
    """What ``cycle`` did.

    accepted: the acknowledgements that counted.
    claimed: the runs that are to be started.
    next_due_us: when a delayed one will be ready.
    lapsed: those that ended because they had waited too long, or that this node has made and another one has ended.
    lapses_us: when the next one will have waited too long.
    found: those that other nodes have made and this one hears of only now, on their way, claimed or lapsed.
    notice: what other nodes have done about those that are under way here.
    """

    accepted: list[Ack]
    claimed: list[Run[Any]]
    next_due_us: int | None
    lapsed: Sequence[Run[Any]] = ()
    lapses_us: int | None = None
    found: Sequence[Run[Any]] = ()
    notice: Notice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs: all that fit every given part.

    tasks: of one of these tasks.
    queue: for which they wait, or were run.
    since_us, until_us: those from then on (included), and before then; the instant of a run is that of its fire, of a
        submitted one when it was made.
    """

    task: str | None = None
    flow: str | None = None
    status: Collection[RunStatus] | None = None
    reason: Collection[str] | None = None
    since_us: int | None = None
    until_us: int | None = None
    tasks: Collection[str] | None = None
    queue: str | None = None
    limit: int = 100

    def fits(self, run: Run[Any]) -> bool:
        """Whether the run is one of them, the limit aside."""
        at_us = run.created_us if run.scheduled_us is None else run.scheduled_us
        return (
            self.task in (None, run.task)
            and self.flow in (None, run.flow)
            and (self.status is None or run.status in self.status)
            and (self.reason is None or run.reason in self.reason)
            and (self.tasks is None or run.task in self.tasks)
            and self.queue in (None, run.terms.queue)
            and (self.since_us is None or at_us >= self.since_us)
            and (self.until_us is None or at_us < self.until_us)
        )


class Store(GraphVerbs, UpkeepVerbs, TransactionVerbs, RosterVerbs, NodeVerbs):
    """The verbs. One node uses one instance, between ``open`` and ``close``.

    answers_at_once: whether no verb ever suspends. The engine then needs no asyncio task of its own to ask.
    shared: whether several processes may use it at once: it decides then which of them fires.
    in_order: whether ``cycle`` finds what was submitted before it was asked, though ``submit`` has not answered yet, of
        runs without a key of any kind. The node then asks without waiting for that answer.
    hint: set by the node; called on its loop when another node may have changed something, so that it looks.
    serves: set by the node; whether it serves the task of this id, from any thread. A shared store leaves the runs of
        others to other nodes, or waiting until somebody does.
    counts: set by the node; whether it counts the runs of this task from when it has submitted them. Those of others it
        hears of by ``Cycled.found``, as if another node had made them: a shared store need not hold a million of them.
    edited: set by the node; called on its loop with the tasks that other nodes may have edited, and with none when
        nodes have come or gone.
    heed: set by the node; called on its loop with what ``cycle`` cannot tell, as the store does not answer.
    forgot: set by the node; called on its loop when the store has forgotten what it had acknowledged. The node then
        declares its tasks again. What it had under way is lost, as if others had taken it for dead.
    piled: set by the node; called on its loop when so many rows that nobody needs are there, which make everything
        slower, as they cannot be cleared away; with who keeps the store from that and what to do, as far as it is
        known. With 0 when it is over.
    """

    answers_at_once: ClassVar[bool] = False
    shared: ClassVar[bool] = False
    in_order: ClassVar[bool] = False
    hint: Callable[[], None] = staticmethod(lambda: None)
    serves: Callable[[str], bool] = staticmethod(lambda _task: True)
    counts: Callable[[str], bool] = staticmethod(lambda _task: True)
    edited: Callable[[Collection[str]], None] = staticmethod(lambda _tasks: None)
    heed: Callable[[Notice], None] = staticmethod(lambda _notice: None)
    forgot: Callable[[], None] = staticmethod(lambda: None)
    piled: Callable[[int, Sequence[str]], None] = staticmethod(lambda _rows, _holders: None)

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
        """Add what is new, re-arm what is declared differently, keep everything else as it stands.

        Where an operator has put another trigger, that and its watermark stand, whatever is declared; such a task is
        not told as changed. ``metadata`` is that which was declared last.

        What is kept under an alias is kept under the task's id from then on: where it stands, unless the task is kept
        already; its runs, live and ended, with their keys; what stands for its submits; its place in graphs. It is told
        as renamed if it stood under the alias, or had live runs.
        """

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

        An order counts if the task's version and watermark are still those it names and the watermark is due; with
        ``met`` also only if so many of the task's runs are on their way, for which a store that is not ``shared`` need
        not look.
        The answer holds the tasks whose orders counted; a loser re-reads and re-arms. A run in place of which ``merge``
        finds an earlier one is not written, but becomes SKIPPED in place and is recorded so; nothing of its flow is.
        """

    @abstractmethod
    async def submit(self, runs: Sequence[Run[Any]]) -> list[Run[Any]]:
        """Write runs that no trigger made; for each the run that stands: itself, unless ``merge`` says otherwise.

        That is told the run that stands for the same ``once_key``: the last that was written with it, live, or ended
        and kept as long as ``stands_until_us`` says. The token of one that moved grows: whoever else holds it, at any
        node, and claims it has what it took over. The runs of one call follow one another. What is below a run in
        its flow is written only if that is; else the same run stands for it.

        Before all this, one whose terms have an ``idempotency`` key is the run that a submit with the same key gave,
        live or ended, kept or not, until so long after that submit; the first one makes its run stand for the key,
        whichever it is.

        If their terms say ``backfill``, a run stands for its fire, which is its task and its ``scheduled_us``: if there
        is one with the same, live or ended as far as it is kept, that one does. The record of a skip is no run.
        """

    @abstractmethod
    async def cycle(
        self,
        acks: Sequence[Ack],
        limit: int,
        queues: Mapping[str, int] | None = None,
        groups: Mapping[str, int] | None = None,
    ) -> Cycled:
        """Acknowledge attempts, then claim up to ``limit`` ready runs: greater priority, then earlier due first.

        With ``queues`` only runs of these queues, and of each at most so many. With ``groups`` at most so many of each
        of these groups; what is beyond holds up nobody else.

        Before it claims, waiting runs that have passed ``deadlines.lapses_us`` become what ``deadlines.lapse`` says,
        whatever they wait for: their instant, their key, their queue or a node. With ``limit`` 0 too.

        An acknowledgement counts if the run's token is the one it names; the run is then brought up to date in
        place, and is history if it has ended. A claimed run is RUNNING on this node, with a new token.
        """

    @abstractmethod
    async def cancel(self, run_ids: Collection[str], reason: str) -> list[Run[Any]]:
        """End those of the runs that are PENDING as CANCELLED, let other nodes stop those under way there; all these.

        Those under way elsewhere are in the answer as they run. Their node is told by ``Cycled.notice``, and how they
        end is its word: they may have ended otherwise by then. If it is gone, or if it gives them back, they end
        CANCELLED. Those under way here are left to the caller.
        """

    @abstractmethod
    async def runs(self, wanted: RunFilter) -> list[Run[Any]]:
        """Live runs and history that fit, newest first."""

    @abstractmethod
    async def run(self, run_id: str) -> Run[Any] | None:
        """The run of this id, live or ended; ``None`` if it is unknown or no longer kept."""

    @abstractmethod
    def recent(self, task: str) -> Sequence[Run[Any]]:
        """The ended runs and skips of the task that this process knows without asking anybody, newest first."""
