"""Acknowledge what ended, claim what is ready, start it: one exchange with the store at a time.

Attempts that end while an exchange is under way join the next one, so a slow store makes larger batches, and a
fast one adds no delay.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from asyncsched._engine.bus import Events
from asyncsched._engine.living import ArmedTask, Living, LivingRun, Reminder
from asyncsched._engine.runner import Runner
from asyncsched._engine.timer import Timer
from asyncsched.clock import SECOND_US
from asyncsched.errors import UnknownTask
from asyncsched.events import RunEnded, RunRetrying, RunStarted
from asyncsched.run import Outcome, Run, RunStatus, Settled, settle
from asyncsched.stores import Ack, Store

log = logging.getLogger("asyncsched.engine")

# Runs started in one turn of the loop: at about 10 us each, others wait no longer than 10 ms.
_STARTS = 1_000


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
    ) -> None:
        self._living = living
        self._timer = timer
        self._store = store
        self._bus = bus
        self._now_us = now_us
        self._ring = ring
        self._completed = completed
        self.runner = make_runner(self._ended)
        self._acks: list[Ack] = []
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
        return not (self._acks or self._stirred or self._living.runs)

    async def turn(self) -> None:
        """One exchange with the store, if there is anything to exchange."""
        if not (self._acks or self._stirred):
            return
        acks, self._acks = self._acks, []
        self._stirred = False
        try:
            cycled = await self._store.cycle(acks, _STARTS if self.claiming else 0)
        except BaseException:
            self._acks = acks + self._acks
            self._stirred = True
            raise
        for ack in cycled.accepted:
            armed = self._tell(ack)
            if armed is not None:
                await self._completed(armed, ack.settled.at_us)
        now_us = self._now_us()
        for run in cycled.claimed:
            self._start(run, now_us)
        if cycled.next_due_us is None or not self.claiming:
            self._timer.drop(self._ready)
        else:
            self._timer.set(self._ready, cycled.next_due_us)

    def _start(self, run: Run[object], now_us: int) -> None:
        armed = self._living.tasks.get(run.task)
        if armed is None:
            error = UnknownTask(f"no task {run.task!r} is registered here")
            self._acks.append(Ack(run, run.token, Settled(RunStatus.FAILED, now_us, error=error)))
            self._ring()
            return
        living = self._living.runs[run.id] = LivingRun(run, armed)
        if self._bus.heard:
            self._bus.tell(RunStarted(at_us=now_us, task=run.task, run=run))
        self.runner.start(living, now_us)

    def _ended(self, living: LivingRun, outcome: Outcome) -> None:
        run = living.run
        settled = settle(outcome, run.attempt, living.armed.policy.retry, self._now_us())
        self._acks.append(Ack(run, living.token, settled))
        self._ring()

    def _tell(self, ack: Ack) -> ArmedTask | None:
        """Let everybody know; the task if its next fire counts from this completion."""
        run, at_us = ack.run, ack.settled.at_us
        living = self._living.runs.pop(run.id, None)
        if not run.status.final:
            if run.error is not None:
                wait_s = (run.due_us - at_us) / SECOND_US
                log.warning("task %s: attempt %d failed, next in %.3f s: %r", run.task, run.attempt, wait_s, run.error)
                self._bus.tell(RunRetrying(at_us=at_us, task=run.task, run=run))
            return None
        self.tell_end(run, at_us)
        # Not the task that it was started for: that may have been replaced meanwhile.
        armed = self._living.tasks.get(run.task)
        if living is None or armed is None:
            return None
        armed.live -= 1
        return armed if armed.policy.anchor == "completion" and armed.next_us is None else None

    def tell_end(self, run: Run[object], at_us: int) -> None:
        """Let everybody know that the run is over."""
        _log_end(run)
        run.wake_waiters()
        if self._bus.heard:
            self._bus.tell(RunEnded(at_us=at_us, task=run.task, run=run))


def _log_end(run: Run[object]) -> None:
    if run.status is RunStatus.FAILED:
        log.error("task %s: FAILED after %.3f s, attempt %d", run.task, _took(run), run.attempt, exc_info=run.error)
    elif log.isEnabledFor(logging.INFO):
        log.info("task %s: %s after %.3f s", run.task, run.status, _took(run))


def _took(run: Run[object]) -> float:
    duration = run.duration
    return 0.0 if duration is None else duration.total_seconds()
