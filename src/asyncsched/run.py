"""One execution of a task, from PENDING to its end, over all its attempts. ``TRANSITIONS`` is its life."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Generator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random
from types import MappingProxyType
from typing import Annotated, Any, Generic, NamedTuple, TypeVar, assert_never

from asyncsched.clock import from_us
from asyncsched.errors import MisuseError, RunCancelled, RunFailed, RunSkipped
from asyncsched.retry import Retry

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
        return not TRANSITIONS[self]


# RUNNING to PENDING is a retry within the policy, or a run handed back by a node that stops or died.
TRANSITIONS: Mapping[RunStatus, frozenset[RunStatus]] = {
    RunStatus.PENDING: frozenset({RunStatus.RUNNING, RunStatus.SKIPPED, RunStatus.CANCELLED}),
    RunStatus.RUNNING: frozenset({RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.PENDING}),
    RunStatus.SUCCESS: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.SKIPPED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}


class SkipReason(StrEnum):
    """Why a fire did not become a run."""

    OVERLAP = "overlap"
    MISSED = "missed"
    PAUSED = "paused"
    SKIPPED = "skipped"


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


def settle(outcome: Outcome, attempt: int, retry: Retry, now_us: int) -> Settled:
    """What becomes of a run whose ``attempt`` (from 1) had this ``outcome`` at ``now_us``. Pure."""
    match outcome:
        case Succeeded(result):
            return Settled(RunStatus.SUCCESS, now_us, result=result)
        case Raised(error):
            delay_us = retry.delay_us(attempt, error)
            if delay_us is None:
                return Settled(RunStatus.FAILED, now_us, error=error)
            return Settled(RunStatus.PENDING, now_us, due_us=now_us + delay_us, error=error)
        case Cancelled(reason):
            return Settled(RunStatus.CANCELLED, now_us, reason=reason)
        case HandedBack():
            return Settled(RunStatus.PENDING, now_us, due_us=now_us, reason="handed back")
        case _:
            assert_never(outcome)


class Run(Generic[T_co]):
    """One execution of a task. ``await run`` gives its result, or raises its exception.

    Times are aware datetimes in UTC, ``None`` where they have not come yet. The fields ending in ``_us`` are
    the same instants in microseconds since the epoch. Read it; only the scheduler writes it.
    """

    # What most runs never change stays with the class: making a run is on the path of every fire.
    status: RunStatus = RunStatus.PENDING
    reason: str | None = None
    """Why the run was skipped, cancelled or handed back."""
    attempt: int = 0
    """How many attempts have started."""
    token: int = 0
    """The fence: grows with every transition, so that a stale owner can be told from the living one."""
    node: str | None = None
    """Where the run is running, or ran last."""
    started_us: int | None = None
    finished_us: int | None = None
    result: Any = None
    error: BaseException | None = None
    """What the last attempt raised."""
    notes: dict[str, Any] | None = None
    """What the function itself noted by ``set``."""
    retry_of: str | None = None
    """The id of the ended run that this one repeats by hand."""
    _waiters: list[asyncio.Future[None]] | None = None

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 - the field's name
        task: str,
        created_us: int,
        due_us: int,
        scheduled_us: int | None = None,
        stands_for: int = 1,
        priority: int = 0,
        limit_key: str | None = None,
        limit: int = 1,
        queue: str = "default",
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
            priority: of runs that are ready at once the greater starts first.
            limit_key: of the runs with this key at most ``limit`` are ready or running; the others wait, first
                come, first served.
            limit: see there.
            queue: who may claim it; nodes and limits go by it.
            args: what the function is called with.
            kwargs: likewise, by name.
        """
        self.id = id
        self.task = task
        self.created_us = created_us
        self.due_us = due_us
        self.scheduled_us = scheduled_us
        self.stands_for = stands_for
        self.priority = priority
        self.limit_key = limit_key
        self.limit = limit
        self.queue = queue
        self.args = args
        self.kwargs = kwargs

    def __repr__(self) -> str:
        scheduled = "" if self.scheduled_for is None else f" for {self.scheduled_for.isoformat()}"
        return f"<Run {self.id} of {self.task!r}{scheduled}: {self.status}, attempt {self.attempt}>"

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
        self.become(RunStatus.RUNNING)
        self.node = node
        self.started_us = now_us
        self.attempt += 1

    def apply(self, settled: Settled) -> None:
        """Become what ``settled`` says."""
        handed_back = settled.status is RunStatus.PENDING and settled.error is None
        self.become(settled.status)
        self.error = settled.error
        self.reason = settled.reason
        if settled.status is RunStatus.PENDING:
            assert settled.due_us is not None
            self.due_us = settled.due_us
            self.node = None
            self.attempt -= handed_back
        else:
            self.result = settled.result
            self.finished_us = settled.at_us

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
            case RunStatus.FAILED:
                if self.error is not None:
                    raise self.error
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
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            # On another loop, so in another thread, the end may have come between the lines above.
            if not self.status.final:
                yield from waiter
        return self.value()

    def wake_waiters(self, error: BaseException | None = None) -> None:
        """Let go on whoever awaits this run; with ``error`` they raise it."""
        waiters, self._waiters = self._waiters, None
        here = asyncio.get_running_loop() if waiters else None
        for waiter in waiters or ():
            if waiter.get_loop() is here:
                _let_go(waiter, error)
            else:
                with suppress(RuntimeError):  # that loop was closed: nobody waits there any more
                    waiter.get_loop().call_soon_threadsafe(_let_go, waiter, error)


def _let_go(waiter: asyncio.Future[None], error: BaseException | None) -> None:
    if waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)


class Injected:
    """Marks, within ``Annotated``, a parameter that the scheduler fills in."""


RunContext = Annotated[Run[Any], Injected()]
"""The type of a parameter that is given the run that the call is part of, as ``current_run()`` gives it."""

_current: ContextVar[Run[Any]] = ContextVar("asyncsched_current_run")


def current_run() -> Run[Any]:
    """The run that the calling code is part of, on the loop and in worker threads alike.

    Raises:
        MisuseError: the code was not called by a scheduler.
    """
    try:
        return _current.get()
    except LookupError:
        raise MisuseError("current_run() is for code that a scheduler runs: nothing is running here") from None


def enter_run(run: Run[Any]) -> None:
    """Let ``current_run()`` be ``run`` from here on in this context. For runners."""
    _current.set(run)


class RunIds:
    """Makes UUIDs of version 7 that sort as they were made: on one node also within a millisecond.

    A millisecond begins at a random place from which its ids are counted, as RFC 9562 section 6.2 allows; while the
    clock stands or is set back, the last millisecond goes on. Clock and randomness are given, so that a replay makes
    the same ids.
    """

    __slots__ = ("_head", "_millisecond", "_random", "_tail")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._millisecond = -1
        self._head = ""
        self._tail = 0

    def make(self, now_us: int) -> str:
        """An id that is greater, as a text and as a number, than all before."""
        tail = self._tail + 1
        if now_us // 1000 > self._millisecond or tail >> 48:
            tail = self._begin(max(now_us // 1000, self._millisecond + 1))
        self._tail = tail
        return f"{self._head}{tail:012x}"

    def _begin(self, millisecond: int) -> int:
        """Settle all but the last 48 bits of the ids of this millisecond; where their count begins."""
        self._millisecond = millisecond
        # 12 and 14 bits beside the version and the variant, and 47 of the 48 that are counted: so many are left.
        bits = self._random.getrandbits(73)
        head = (millisecond & 0xFFFF_FFFF_FFFF) << 32 | 0x7 << 28 | bits >> 61 << 16 | 0b10 << 14 | bits >> 47 & 0x3FFF
        text = f"{head:020x}"
        self._head = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:]}-"
        return bits & (1 << 47) - 1
