"""What is alive on this node: armed tasks and runs under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from zoneinfo import ZoneInfo

from asyncsched._engine.ledger import Ledger, keeps_ledger, still_later
from asyncsched._engine.resources import Around
from asyncsched._engine.terms import fire_terms
from asyncsched._heap import Wakeup
from asyncsched.deadlines import run_ends_us
from asyncsched.fires import Overdue, exhausted
from asyncsched.graph import Place
from asyncsched.overrides import NO_OVERRIDES
from asyncsched.policy import DEFAULT_POLICY, Policy
from asyncsched.run import NO_TERMS, Run, RunStatus, Terms
from asyncsched.spread import jittered_us
from asyncsched.stores import Standing
from asyncsched.task import Task
from asyncsched.triggers import Trigger
from asyncsched.zone import load_zone

# Of so few runs it does not matter that they have ended.
_FEW = 64
Ending = Literal["timeout", "run_timeout", "cancelled", "lost", "shutdown"]


class ArmedTask(Wakeup):
    """A task that this scheduler serves, and where it stands. It rings when it is due to fire."""

    __slots__ = (
        "among",
        "around",
        "coded",
        "counts",
        "ended",
        "later",
        "ledger",
        "live",
        "made",
        "newest",
        "next_us",
        "overdue",
        "overrides",
        "paused_until_us",
        "place",
        "plain",
        "policy",
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
        self.among = among
        self.overrides = NO_OVERRIDES
        """What an operator has put in place of what code declares."""
        policy: Policy = task.policy
        self.policy = policy
        self.terms = NO_TERMS
        self.plain = True
        """Whether a fire in time is a run at its instant, unless it overlaps, and is only counted."""
        if policy is not DEFAULT_POLICY or among.groups:
            self._take_policy(policy)
        self.counts = True
        """Whether its runs that are submitted are known from then on, and not only when they are claimed."""
        self.place: Place | None = None
        """Where the task stands among those that depend on one another; ``None`` where it does not."""
        self.around: Around | None = None
        """What is done around each attempt: middleware, resources."""
        self.live = 0
        """Runs of this task that are pending or running."""
        self.later: list[Run[Any]] | None = None
        """Those of them that no fire meets, submitted for a later time or backfilled, as it was last looked at."""
        self.ledger: Ledger | None = None
        """Each of them, where the policy must know more than how many they are."""
        self.skip_to_us: int | None = None
        """Fires up to this instant fell into a pause and are still to be recorded."""
        self.newest: Run[Any] | None = None
        self.started: Run[Any] | None = None
        self.ended: Run[Any] | None = None
        self.succeeded: Run[Any] | None = None
        if kept := among.recent(task.id):
            self._recall([run for run in kept if run.status is not RunStatus.SKIPPED])
        self.stand(standing)

    def _take_policy(self, policy: Policy) -> None:
        self.policy = policy
        terms = self.terms = self.among.grouped(self.task, fire_terms(self.task, policy))
        self.plain = not (
            policy.anchor == "completion"
            or policy.blackout
            or policy.jitter
            or policy.max_runs is not None
            or terms.once is not None
            or keeps_ledger(policy)
        )

    def _recall(self, kept: Sequence[Run[Any]]) -> None:
        """Know the last runs from what is kept of them, the last that ended first."""
        self.newest = max(kept, key=lambda run: run.id, default=None)
        self.started = max(kept, key=lambda run: run.started_us or 0, default=None)
        self.ended = next(iter(kept), None)
        self.succeeded = next((run for run in kept if run.status is RunStatus.SUCCESS), None)

    def find(self, run: Run[Any]) -> None:
        """Know of a run that was made before, and has not ended."""
        newest = self.newest
        if run.counted:
            self.take([run], 0)
        if newest is not None and newest.id > run.id:
            self.newest = newest

    def take(self, runs: Sequence[Run[Any]], now_us: int) -> None:
        """Know of runs that have been written, in the order in which they were made."""
        if not runs:
            return
        self.live += len(runs)
        self.newest = runs[-1]
        if self.ledger is not None:
            self.ledger.made(runs)
        elif runs[-1].terms.backfill or (self.trigger is not None and runs[-1].due_us > now_us):
            later = self.later = [] if self.later is None else self.later
            later += runs
            if len(later) > 2 * self.live + _FEW:  # most of them have ended
                self.later = still_later(later, now_us)

    def inherit(self, before: ArmedTask) -> None:
        """Take over what is known of the task that this one replaces, but for the runs that have not ended."""
        if self.ledger is not None and before.ledger is not None:
            self.ledger.failures = before.ledger.failures
        self.newest, self.started = before.newest, before.started
        self.ended, self.succeeded = before.ended, before.succeeded

    def stand(self, standing: Standing) -> None:
        """Take over where the store says that the task stands."""
        self.version = standing.version
        self.next_us = standing.next_us
        """The watermark: the earliest fire that has not been accounted for."""
        self.trigger: Trigger | None = standing.trigger
        self.coded: Trigger | None = standing.coded
        self.paused_until_us = standing.paused_until_us
        self.skip_us = standing.skip_us
        if standing.overrides is not self.overrides:
            self.overrides = standing.overrides
            self._take_policy(standing.overrides.over(self.task.policy))
        self.made = standing.made
        """How many runs of its fires count for ``max_runs``."""
        self.overdue: Overdue | None = None

    def ring(self) -> None:
        self.among.due.append(self)

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which its instants are shown, and in which naive times are read."""
        return load_zone(self.zone_name)

    @property
    def zone_name(self) -> str:
        """The name of that zone."""
        return self.task.zone(self.among.tz)

    def starts_us(self, at_us: int) -> int:
        """When its fire at ``at_us`` comes due: later by the jitter."""
        return jittered_us(self.task.id, at_us, self.policy.jitter_us)

    def on_their_way(self, now_us: int) -> tuple[int, int]:
        """How many of its runs are running or between two attempts, and how many are due and have not started.

        Where the policy keeps no ledger, both are told together, as the latter.
        """
        if self.ledger is not None:
            return self.ledger.on_their_way(now_us)
        if self.later is None:
            return 0, self.live
        self.later = still_later(self.later, now_us) or None
        return 0, self.live - len(self.later or ())

    def history(self) -> Sequence[Run[Any]]:
        """The ended runs and recorded skips, newest first."""
        return self.among.recent(self.task.id)

    def fires(self, after_us: int | None = None) -> Iterator[int]:
        """The coming fires, in microseconds, as far as they are known: what follows a completion is not.

        With ``after_us`` only those later than that, though earlier ones have not been accounted for here.
        """
        at_us = None if self.paused_until_us is not None else self.next_us
        if self.skip_to_us is not None:  # those of a pause that is over will be recorded, not run
            after_us = max(self.skip_to_us, after_us or 0)
        if at_us is not None and after_us is not None and at_us <= after_us:
            at_us = None if self.trigger is None else self.trigger.next_us(after_us)
        made = self.made
        while at_us is not None and not exhausted(self.policy, made):
            if at_us != self.skip_us:
                yield at_us
                made += 1
            if self.trigger is None or self.policy.anchor == "completion":
                return
            at_us = self.trigger.next_us(at_us)


class LivingRun(Wakeup):
    """A run that has been claimed and has not been settled. It rings when its attempt runs out of time.

    After it was told to stop it rings once more, if it has not ended by then: it is given up.
    """

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
        if self.ending is None:
            ends_us = run_ends_us(self.run)
            whole = ends_us is not None and self.due_us is not None and self.due_us >= ends_us
            self.stop("run_timeout" if whole else "timeout", "it ran out of time")
        else:
            self.armed.among.give_up(self)

    def stop(self, ending: Ending, reason: str) -> None:
        """Cancel the attempt; the first cause is the one that counts."""
        if self.ending is None and self.handle is not None:
            self.ending = ending
            self.reason = reason
            if self.begun:  # else it ends in its first step: a task cancelled before that never runs a line
                self.handle.cancel()
                self.armed.among.stopping(self)


@dataclass(slots=True)
class Living:
    """Everything alive on this node, by id.

    tz: the zone of tasks that name none.
    recent: gives the ended runs of a task that are known here, newest first.
    groups: those whose runs are limited here.
    stopping: called with a run that has been told to stop.
    give_up: called with one that has not, long after that.
    """

    tz: str = "UTC"
    recent: Callable[[str], Sequence[Run[Any]]] = field(default=lambda _task: ())
    groups: Collection[str] = ()
    stopping: Callable[[LivingRun], None] = field(default=lambda _run: None)
    give_up: Callable[[LivingRun], None] = field(default=lambda _run: None)
    tasks: dict[str, ArmedTask] = field(default_factory=dict)
    runs: dict[str, LivingRun] = field(default_factory=dict)
    lost: dict[tuple[str, int], LivingRun] = field(default_factory=dict)
    """Attempts that go on though their runs are other nodes' by now, by run and token."""
    due: list[ArmedTask] = field(default_factory=list)
    """Tasks that have rung and have not been asked yet."""
    resuming: list[ArmedTask] = field(default_factory=list)
    """Tasks whose pause is over."""
    reminders: dict[ArmedTask, Wakeup] = field(default_factory=dict)
    """What rings when a pause is over."""
    broken: dict[str, BaseException] = field(default_factory=dict)
    """What the triggers raised of tasks that fire no more for it."""

    def counts(self, task_id: str) -> bool:
        """Whether the submitted runs of the task are known from then on."""
        armed = self.tasks.get(task_id)
        return armed is None or armed.counts

    def grouped(self, task: Task[..., Any], terms: Terms) -> Terms:
        """The terms of a run of the task, with its group where that is limited."""
        return terms._replace(group=task.group) if task.group in self.groups else terms


class Reminder(Wakeup):
    """Calls a function when it is due."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__()
        self._call = call

    def ring(self) -> None:
        self._call()
