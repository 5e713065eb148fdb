"""Acknowledge what ended, claim what is ready, start it: one exchange with the store at a time.

Attempts that end while an exchange is under way join the next one, so a slow store makes larger batches, and a
fast one adds no delay.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from asyncsched._engine.bus import Events, complain, warn
from asyncsched._engine.capacity import Capacity, Free
from asyncsched._engine.living import ArmedTask, Living, LivingRun, Reminder
from asyncsched._engine.runner import Runner
from asyncsched._engine.timer import Timer
from asyncsched.clock import SECOND_US
from asyncsched.errors import UnknownTask
from asyncsched.events import RunEnded, RunRetrying, RunStarted
from asyncsched.run import Outcome, Run, RunStatus, Settled, settle
from asyncsched.stores import Ack, Store

log = logging.getLogger("asyncsched.engine")

_NOTHING = Free(0, None)


class Cycle:
    """The runs of this node from their claim to their end."""

    def __init__(
        self,
        living: Living,
        timer: Timer,
        store: Store,
        bus: Events,
        make_runner: Callable[[Callable[[LivingRun, Outcome], None]], Runner],
        now_us: Callable[[], int],
        ring: Callable[[], None],
        completed: Callable[[ArmedTask, int], Awaitable[None]],
        watch: Callable[[], None],
        capacity: Capacity,
    ) -> None:
        self._living = living
        self._timer = timer
        self._store = store
        self._bus = bus
        self._now_us = now_us
        self._ring = ring
        self._completed = completed
        self._watch = watch
        self._capacity = capacity
        self.runner = make_runner(self._ended)
        self._acks: list[Ack] = []
        self._following: deque[tuple[ArmedTask, int]] = deque()
        self._stirred = False
        self._ready = Reminder(self.stir)
        self.claiming = True

    def stir(self) -> None:
        """Runs may be ready: ask the store in the next turn."""
        self._stirred = True
        self._ring()

    @property
    def settled(self) -> bool:
        """Whether there is nothing to acknowledge, to claim or to wait for."""
        return not (self._acks or self._following or self._stirred or self._living.runs)

    async def turn(self) -> None:
        """One exchange with the store, if there is anything to exchange."""
        if not (self._acks or self._stirred):
            return
        acks, self._acks = self._acks, []
        self._stirred = False
        free = self._capacity.free(self._living.runs, acks) if self.claiming else _NOTHING
        try:
            cycled = await self._store.cycle(acks, free.limit, free.queues)
        except BaseException:
            self._acks = acks + self._acks
            self._stirred = True
            raise
        for ack in cycled.accepted:
            self._settle(ack)
        now_us = self._now_us()
        for run in cycled.claimed:
            try:
                self._start(run, now_us)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # the others are to start all the same
                complain("task %s: run %s could not be started", *_named(run), error=error)
                self._refuse(run, error, now_us)
        if cycled.next_due_us is None or (free.full and len(cycled.claimed) >= free.limit):
            self._timer.drop(self._ready)
        else:
            self._timer.set(self._ready, cycled.next_due_us)
        await self._follow()

    async def _follow(self) -> None:
        """Re-arm the tasks whose intervals count from the completions that were acknowledged."""
        try:
            while self._following:
                await self._completed(*self._following[0])
                self._following.popleft()
        except BaseException:
            self._stirred = True
            raise

    def _start(self, run: Run[object], now_us: int) -> None:
        armed = self._living.tasks.get(run.task)
        if armed is None:
            self._refuse(run, UnknownTask(f"no task {run.task!r} is registered here"), now_us)
            return
        living = self._living.runs[run.id] = LivingRun(run, armed)
        armed.started = run
        if log.isEnabledFor(logging.DEBUG):
            with contextlib.suppress(Exception):
                log.debug("task %s: run %s started, attempt %d", *_named(run), run.attempt)
        if self._bus.heard:
            self._bus.tell(RunStarted(at_us=now_us, task=run.task, run=run))
        self._watch()
        self.runner.start(living, now_us)

    def _refuse(self, run: Run[object], error: BaseException, now_us: int) -> None:
        self._acks.append(Ack(run, run.token, Settled(RunStatus.FAILED, now_us, error=error)))
        self._ring()

    def _ended(self, living: LivingRun, outcome: Outcome) -> None:
        run = living.run
        settled = settle(outcome, run.attempt, living.armed.policy.retry, self._now_us())
        self._acks.append(Ack(run, living.token, settled))
        self._ring()

    def _settle(self, ack: Ack) -> None:
        """Take account of an attempt that has ended, then let everybody know."""
        run, at_us = ack.run, ack.settled.at_us
        living = self._living.runs.pop(run.id, None)
        if not run.status.final:
            if run.error is not None:
                self._tell_retry(run, run.error, at_us)
            return
        # Not the task that it was started for: that may have been replaced meanwhile.
        armed = self._living.tasks.get(run.task)
        if armed is not None:
            armed.live -= living is not None
            armed.ended = run
            if run.status is RunStatus.SUCCESS:
                armed.succeeded = run
            if living is not None and armed.policy.anchor == "completion" and armed.next_us is None:
                self._following.append((armed, at_us))
        self.tell_end(run, at_us)

    def _tell_retry(self, run: Run[object], error: BaseException, at_us: int) -> None:
        wait_s = (run.due_us - at_us) / SECOND_US
        warn("task %s: run %s failed in attempt %d, next in %.3f s: %r", *_named(run), run.attempt, wait_s, error)
        self._bus.tell(RunRetrying(at_us=at_us, task=run.task, run=run))

    def tell_end(self, run: Run[object], at_us: int) -> None:
        """Let everybody know that the run is over."""
        run.wake_waiters()
        _log_end(run)
        if self._bus.heard:
            self._bus.tell(RunEnded(at_us=at_us, task=run.task, run=run))


def _log_end(run: Run[object]) -> None:
    if run.error is not None and run.status is RunStatus.FAILED:
        complain(
            "task %s: run %s FAILED after %.3f s, attempt %d", *_named(run), _took(run), run.attempt, error=run.error
        )
    elif log.isEnabledFor(logging.INFO):
        with contextlib.suppress(Exception):
            log.info("task %s: run %s %s after %.3f s", *_named(run), run.status, _took(run))


def _named(run: Run[object]) -> tuple[str, str]:
    return run.task, run.id


def _took(run: Run[object]) -> float:
    duration = run.duration
    return 0.0 if duration is None else duration.total_seconds()
