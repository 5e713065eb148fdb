"""One execution of a task, from PENDING to its end, over all its attempts. ``TRANSITIONS`` is its life."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Generator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar, assert_never

from asyncsched.clock import from_us
from asyncsched.edges import Edged, Edges
from asyncsched.errors import MisuseError, RunCancelled, RunFailed, RunSkipped
from asyncsched.keeper import Kept
from asyncsched.limits import Idempotency, Once, Rate
from asyncsched.retry import Retry
from asyncsched.waiters import let_go

T_co = TypeVar("T_co", covariant=True)
_NO_ARGUMENTS: Mapping[str, Any] = MappingProxyType({})


class RunStatus(StrEnum):
    """Where a run is in its life."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        """Whether a run with this status has ended."""
        return self in FINAL


# RUNNING to PENDING: a retry, or handed back by a node that stops or died; PENDING to FAILED: out of time in between.
TRANSITIONS: Mapping[RunStatus, frozenset[RunStatus]] = {
    RunStatus.PENDING: frozenset({RunStatus.RUNNING, RunStatus.SKIPPED, RunStatus.CANCELLED, RunStatus.FAILED}),
    RunStatus.RUNNING: frozenset({RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.PENDING}),
    RunStatus.SUCCESS: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.SKIPPED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}

FINAL = frozenset(status for status, following in TRANSITIONS.items() if not following)
"""Of a run that has ended."""
# On the path of each fire a name is cheaper than an attribute of an enum.
_PENDING, _RUNNING, _SUCCESS = RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUCCESS


class SkipReason(StrEnum):
    """Why a fire, or a run that had not started, did not run."""

    OVERLAP = "overlap"
    COOLDOWN = "cooldown"
    MISSED = "missed"
    PAUSED = "paused"
    BLACKOUT = "blackout"
    SKIPPED = "skipped"
    DEPENDENCY = "dependency"
    UPSTREAM_FAILED = "upstream_failed"
    RULE = "rule"
    EXPIRED = "expired"


class Succeeded(NamedTuple):
    """The function returned."""

    result: Any


class Raised(NamedTuple):
    """The function raised, or its attempt ran out of time (``TimeoutError``)."""

    error: BaseException


class Cancelled(NamedTuple):
    """The run was told to stop, and did."""

    reason: str


class HandedBack(NamedTuple):
    """The attempt was ended by its node for the node's own sake; it counts for nothing."""


Outcome = Succeeded | Raised | Cancelled | HandedBack


class Settled(NamedTuple):
    """What becomes of a run after an attempt: its next status, and with it what that status carries."""

    status: RunStatus
    at_us: int
    due_us: int | None = None
    result: Any = None
    error: BaseException | None = None
    reason: str | None = None


def settle(
    outcome: Outcome,
    attempt: int,
    retry: Retry,
    now_us: int,
    *,
    run_id: str = "",
    first_us: int | None = None,
    ends_us: int | None = None,
) -> Settled:
    """What becomes of a run whose ``attempt`` (from 1) had this ``outcome`` at ``now_us``. Pure.

    ``run_id`` fixes the jitter of a retry; ``first_us`` is when the first attempt began, and from ``ends_us`` on no
    attempt begins any more.
    """
    match outcome:
        case Succeeded(result):
            return Settled(_SUCCESS, now_us, None, result)
        case Raised(error):
            elapsed_us = 0 if first_us is None else max(0, now_us - first_us)
            over = ends_us is not None and now_us >= ends_us
            delay_us = None if over else retry.delay_us(attempt, error, key=run_id, elapsed_us=elapsed_us)
            if delay_us is None:
                return Settled(RunStatus.FAILED, now_us, error=error)
            return Settled(RunStatus.PENDING, now_us, due_us=now_us + delay_us, error=error)
        case Cancelled(reason):
            return Settled(RunStatus.CANCELLED, now_us, reason=reason)
        case HandedBack():
            return Settled(RunStatus.PENDING, now_us, due_us=now_us, reason="handed back")
        case _:
            assert_never(outcome)


class Bounds(NamedTuple):
    """Until when a run may wait, in microseconds; ``None`` is without end.

    expires_us: for its first attempt, from when it was due.
    run_timeout_us: for any further one, from when the first began.
    """

    expires_us: int | None
    run_timeout_us: int | None


class Terms(NamedTuple):
    """On which terms a run waits for its start; the runs of a task share them.

    priority: of runs that are ready at once the greater starts first.
    queue: who may claim it; nodes and limits go by it.
    limit_key: of the runs with this key at most ``limit`` are ready or running; the others wait, those of greater
        priority first, then first come, first served. ``None`` is no limit.
    rate: how many of them may start in a while; the others wait. A retry is a start too, and goes before those that
        have not begun.
    once: what may make this run and an earlier one with the same ``once_key`` one run.
    bounds: until when it may wait.
    group: whose limit on its node it counts in; ``None`` where none is limited.
    backfill: whether it makes up for a fire of the past: those that come do not overlap with it.
    idempotency: the key by which further submits are this run; it goes before ``once``.
    """

    priority: int = 0
    queue: str = "default"
    limit_key: str | None = None
    limit: int | None = 1
    rate: Rate | None = None
    once: Once | None = None
    once_key: str | None = None
    bounds: Bounds | None = None
    group: str | None = None
    backfill: bool = False
    idempotency: Idempotency | None = None


NO_TERMS = Terms()


class Run(Kept, Edged, Generic[T_co]):
    """One execution of a task. ``await run`` gives its result, or raises its exception.

    Times are aware datetimes in UTC, ``None`` where they have not come yet. The fields ending in ``_us`` are
    the same instants in microseconds since the epoch. Read it; only the scheduler writes it.

    reason: why it was skipped, cancelled or handed back. error: what the last attempt raised.
    attempt: how many have started, the first at ``first_us``, the last at ``started_us``.
    token: the fence, which grows with every transition, so that a stale owner can be told from the living one.
    node: where it is running, or ran last. notes: what the function itself noted by ``set``.
    retry_of: the id of the ended run that this one repeats by hand. waiters: who awaits its end.
    """

    __slots__ = (
        "__weakref__",  # a store that keeps runs elsewhere knows by it which of them are at hand here
        "args",
        "attempt",
        "created_us",
        "due_us",
        "edges",
        "error",
        "finished_us",
        "first_us",
        "id",
        "kwargs",
        "node",
        "notes",
        "reason",
        "result",
        "retry_of",
        "scheduled_us",
        "stands_for",
        "started_us",
        "status",
        "task",
        "terms",
        "token",
        "waiters",
    )

    def __init__(
        self,
        id: str,  # noqa: A002 - the field's name
        task: str,
        created_us: int,
        due_us: int,
        scheduled_us: int | None = None,
        stands_for: int = 1,
        terms: Terms = NO_TERMS,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = _NO_ARGUMENTS,
    ) -> None:
        """Make a run that is PENDING. For the engine and for stores.

        Args:
            id: a UUID of version 7.
            task: the id of the task.
            created_us: when it was made.
            due_us: when its next attempt may start.
            scheduled_us: the instant of the trigger that it is for; ``None`` for a submitted run.
            stands_for: how many fires it, or this record of skipped ones, stands for.
            terms: on which terms it waits for its start.
            args, kwargs: what the function is called with.
        """
        self.id = id
        self.task = task
        self.created_us = created_us
        self.due_us = due_us
        self.scheduled_us = scheduled_us
        self.stands_for = stands_for
        self.terms = terms
        self.args = args
        self.kwargs = kwargs
        self.status = _PENDING
        self.reason: str | None = None
        self.attempt = 0
        self.token = 0
        self.node: str | None = None
        self.first_us: int | None = None
        self.started_us: int | None = None
        self.finished_us: int | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.notes: dict[str, Any] | None = None
        self.retry_of: str | None = None
        self.edges: Edges | None = None
        self.waiters: list[asyncio.Future[None]] | None = None

    def __repr__(self) -> str:
        scheduled = "" if self.scheduled_for is None else f" for {self.scheduled_for.isoformat()}"
        return f"<Run {self.id} of {self.task!r}{scheduled}: {self.status}, attempt {self.attempt}>"

    @property
    def priority(self) -> int:
        """Of runs that are ready at once the greater starts first."""
        return self.terms.priority

    @property
    def queue(self) -> str:
        """Who may claim it; nodes and limits go by it."""
        return self.terms.queue

    @property
    def scheduled_for(self) -> datetime | None:
        """The instant of the trigger that this run is for; ``None`` for a submitted run."""
        return None if self.scheduled_us is None else from_us(self.scheduled_us)

    @property
    def started_at(self) -> datetime | None:
        """When the latest attempt started."""
        return None if self.started_us is None else from_us(self.started_us)

    @property
    def finished_at(self) -> datetime | None:
        """When the run ended."""
        return None if self.finished_us is None else from_us(self.finished_us)

    @property
    def duration(self) -> timedelta | None:
        """From the start of the last attempt to the end; never negative, even if the clock was set back."""
        if self.started_us is None or self.finished_us is None:
            return None
        return timedelta(microseconds=max(0, self.finished_us - self.started_us))

    @property
    def idempotency_key(self) -> str:
        """One key for all attempts of this run, for services that drop repeated requests."""
        return self.id

    @property
    def traceback(self) -> str | None:
        """The traceback of the last attempt's error, as Python prints it."""
        return None if self.error is None else "".join(traceback.format_exception(self.error))

    def set(self, key: str, value: Any) -> None:
        """Note ``value`` under ``key`` on this run: it is kept with the run's record."""
        self.notes = {**(self.notes or {}), key: value}

    def become(self, status: RunStatus) -> None:
        """Go along an edge of ``TRANSITIONS``; the token grows.

        Raises:
            MisuseError: there is no such edge.
        """
        if status not in TRANSITIONS[self.status]:
            raise MisuseError(f"run {self.id} of {self.task!r} cannot go from {self.status} to {status}")
        self.status = status
        self.token += 1

    def start(self, node: str, now_us: int) -> None:
        """Begin the next attempt on ``node``."""
        self.become(_RUNNING)
        self.node = node
        self.started_us = now_us
        if self.first_us is None:
            self.first_us = now_us
        self.attempt += 1

    def apply(self, settled: Settled) -> None:
        """Become what ``settled`` says."""
        status, at_us, due_us, result, error, reason = settled
        self.become(status)
        self.result = result
        self.error = error
        self.reason = reason
        if status is _PENDING:
            assert due_us is not None
            self.due_us = due_us
            self.node = None
            if error is None:  # handed back: the attempt counts for nothing
                self.attempt -= 1
        else:
            self.finished_us = at_us

    def value(self) -> T_co:
        """The result of a run that has ended, or its exception, raised.

        Raises:
            RunSkipped: the fire was skipped.
            RunCancelled: the run was cancelled.
            MisuseError: the run has not ended.
        """
        match self.status:
            case RunStatus.SUCCESS:
                return self.result  # type: ignore[no-any-return]
            case RunStatus.FAILED | RunStatus.SKIPPED if self.error is not None:
                raise self.error
            case RunStatus.FAILED:
                raise RunFailed(f"run {self.id} of {self.task!r} failed", run_id=self.id)
            case RunStatus.SKIPPED:
                message = f"run {self.id} of {self.task!r} was skipped: {self.reason}"
                raise RunSkipped(message, run_id=self.id, reason=self.reason)
            case RunStatus.CANCELLED:
                message = f"run {self.id} of {self.task!r} was cancelled: {self.reason}"
                raise RunCancelled(message, run_id=self.id, reason=self.reason)
            case RunStatus.PENDING | RunStatus.RUNNING:
                raise MisuseError(f"run {self.id} of {self.task!r} is {self.status}: await it")
            case _:
                assert_never(self.status)

    def __await__(self) -> Generator[Any, None, T_co]:
        if not self.status.final:
            waiter = asyncio.get_running_loop().create_future()
            if self.waiters is None:
                self.waiters = []
            self.waiters.append(waiter)
            # On another loop, so in another thread, the end may have come between the lines above.
            if not self.status.final:
                yield from waiter
        return self.value()

    def wake_waiters(self, error: BaseException | None = None) -> None:
        """Let go on whoever awaits this run; with ``error`` they raise it."""
        waiters = self.waiters
        if waiters is not None:
            self.waiters = None
            let_go(waiters, error)
