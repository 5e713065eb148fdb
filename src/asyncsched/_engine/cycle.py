"""Acknowledge what ended, claim what is ready, start it: one exchange with the store at a time.

Attempts that end while an exchange is under way join the next one, so a slow store makes larger batches, and a
fast one adds no delay.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from asyncsched import crash_points
from asyncsched._engine.bus import Events, complain, warn
from asyncsched._engine.capacity import Capacity, Free
from asyncsched._engine.flows import Flows
from asyncsched._engine.living import ArmedTask, Living, LivingRun, Reminder
from asyncsched._engine.runner import Runner
from asyncsched._engine.timer import Timer
from asyncsched.clock import SECOND_US
from asyncsched.deadlines import run_ends_us
from asyncsched.errors import UnknownTask
from asyncsched.events import RunEnded, RunRetrying, RunStarted
from asyncsched.run import FINAL, Outcome, Raised, Run, RunStatus, Settled, settle
from asyncsched.stores import Ack, Notice, Store

log = logging.getLogger("asyncsched.engine")

_NOTHING = Free(0, None, None)
_SUCCESS = RunStatus.SUCCESS


class Cycle:
    """The runs of this node from their claim to their end."""

    flows: Flows
    heed: Callable[[Notice], None]
    """Called with what the store tells of the runs that are under way."""

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
        self.stirred = False
        """Runs may be ready: the next turn asks the store."""
        self._ready = Reminder(self.stir)
        self._lapsing = Reminder(self.stir)
        self.claiming = True
        self._asking = False

    def stir(self) -> None:
        """Runs may be ready: ask the store in the next turn."""
        self.stirred = True
        self._ring()

    def submitted(self, runs: Sequence[Run[object]], ahead: bool) -> None:
        """These were submitted to one task: ask the store, unless none can be started here, nor lapses.

        ahead: whether this was called with them before; then what is being asked, or is about to be, finds them.
        """
        if ahead and (self.stirred or self._asking):
            return
        if self._capacity.serves or not runs or runs[0].terms.bounds is not None:
            self.stir()

    @property
    def settled(self) -> bool:
        """Whether there is nothing to acknowledge, to claim or to wait for."""
        living = self._living
        under_way = living.runs or living.lost
        return not (self._acks or self._following or self.stirred or under_way or self.flows.pending)

    async def turn(self) -> None:
        """One exchange with the store, if there is anything to exchange."""
        if not (self._acks or self.stirred):
            return
        acks, self._acks = self._acks, []
        self.stirred = False
        free = self._capacity.free(self._living.runs, acks) if self.claiming else _NOTHING
        self._asking = True
        try:
            cycled = await self._store.cycle(acks, free.limit, free.queues, free.groups)
        except BaseException:
            self._acks = acks + self._acks
            self.stirred = True
            raise
        finally:
            self._asking = False
        if cycled.notice is not None:
            self.heed(cycled.notice)
        if len(cycled.accepted) < len(acks):
            self._refused(acks, cycled.accepted)
        for run in cycled.found:
            if (armed := self._living.tasks.get(run.task)) is not None:
                armed.find(run)
        if cycled.accepted:
            self._settle(cycled.accepted)
        for run in cycled.lapsed:
            self.over(run, self._now_us())
        if cycled.lapses_us is not None:
            self._timer.set(self._lapsing, cycled.lapses_us)
        if cycled.claimed:
            self._start(cycled.claimed)
        if cycled.next_due_us is not None and not (free.full and len(cycled.claimed) >= free.limit):
            self._timer.set(self._ready, cycled.next_due_us)
        elif self._ready.entry:
            self._timer.drop(self._ready)
        if self._following:
            await self._follow()
        if self.flows.pending:
            await self._flow()

    async def _flow(self) -> None:
        """Let those be ready, in this very turn, who needed what has ended."""
        try:
            await self.flows.follow()
        except BaseException:
            self.stirred = True
            raise

    async def _follow(self) -> None:
        """Re-arm the tasks whose intervals count from the completions that were acknowledged."""
        try:
            while self._following:
                await self._completed(*self._following[0])
                self._following.popleft()
        except BaseException:
            self.stirred = True
            raise

    def _start(self, claimed: Sequence[Run[object]]) -> None:
        now_us = self._now_us()
        telling, debugging = self._bus.hears(RunStarted), log.isEnabledFor(logging.DEBUG)
        tasks, runs = self._living.tasks, self._living.runs
        watched = False
        for run in claimed:
            armed = tasks.get(run.task)
            if armed is None:
                self._refuse(run, UnknownTask(f"no task {run.task!r} is registered here"), now_us)
                continue
            living = runs[run.id] = LivingRun(run, armed)
            armed.started = run
            if armed.ledger is not None:
                armed.ledger.started(run)
            if not watched:  # once there is something to watch, which it is until it has been settled
                watched = True
                self._watch()
            try:
                if debugging:
                    _log_start(run)
                if telling:
                    self._bus.tell(RunStarted(at_us=now_us, task=run.task, run=run))
                self.runner.start(living, now_us)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # the others are to start all the same
                complain("task %s: run %s could not be started", *_named(run), error=error)
                self._refuse(run, error, now_us)

    def _refuse(self, run: Run[object], error: BaseException, now_us: int) -> None:
        self._acks.append(Ack(run, run.token, Settled(RunStatus.FAILED, now_us, error=error)))
        self._ring()

    @crash_points.before("after-effect")
    def _ended(self, living: LivingRun, outcome: Outcome) -> None:
        run = living.run
        retry, now_us = living.armed.policy.retry, self._now_us()
        if isinstance(outcome, Raised):
            ends_us = run_ends_us(run)
            settled = settle(outcome, run.attempt, retry, now_us, run_id=run.id, first_us=run.first_us, ends_us=ends_us)
        else:
            settled = settle(outcome, run.attempt, retry, now_us)
        acks = self._acks
        acks.append(Ack(run, living.token, settled))
        if len(acks) == 1:  # those that follow are taken along
            self._ring()

    def _refused(self, acks: Sequence[Ack], accepted: Sequence[Ack]) -> None:
        """Forget attempts whose ends count for nothing: other nodes have their runs, or somebody had stopped them."""
        counted = {(run.id, token) for run, token, _settled in accepted}
        runs = self._living.runs
        for run, token, _settled in acks:
            if (run.id, token) in counted:
                continue
            living = runs.get(run.id)
            if living is not None and living.token == token:
                del runs[run.id]
            self._living.lost.pop((run.id, token), None)
            warn("task %s: run %s is not this node's any more: how its attempt ended here does not count", *_named(run))

    def _settle(self, accepted: Sequence[Ack]) -> None:
        """Take account of attempts that have ended, then let everybody know."""
        tasks, runs = self._living.tasks, self._living.runs
        telling, informing = self._bus.hears(RunEnded), log.isEnabledFor(logging.INFO)
        for run, token, settled in accepted:
            living = runs.pop(run.id, None)
            if living is None and self._living.lost.pop((run.id, token), None) is not None:
                continue  # given up while it was told: it counts, and the store tells of that as if it ended elsewhere
            status, at_us = run.status, settled.at_us
            if status not in FINAL:
                if run.error is not None:
                    self._tell_retry(run, run.error, at_us)
                continue
            # Not the task that it was started for: that may have been replaced meanwhile.
            armed = tasks.get(run.task)
            if armed is not None:
                armed.ended = run
                if status is _SUCCESS:
                    armed.succeeded = run
                if armed.ledger is not None:
                    armed.ledger.ended(run)
                if living is not None:
                    armed.live -= 1
                    if armed.next_us is None and armed.policy.anchor == "completion":
                        self._following.append((armed, at_us))
            if run.edges is not None:
                self.flows.ended(run)
            if run.waiters is not None:
                run.wake_waiters()
            if informing or run.error is not None:
                _log_end(run)
            if telling:
                self._bus.tell(RunEnded(at_us=at_us, task=run.task, run=run))

    def _tell_retry(self, run: Run[object], error: BaseException, at_us: int) -> None:
        wait_s = (run.due_us - at_us) / SECOND_US
        warn("task %s: run %s failed in attempt %d, next in %.3f s: %r", *_named(run), run.attempt, wait_s, error)
        self._bus.tell(RunRetrying(at_us=at_us, task=run.task, run=run))

    def over(self, run: Run[object], at_us: int) -> None:
        """Take account of a run that has ended while it waited, then let everybody know."""
        skipped = run.status is RunStatus.SKIPPED
        armed = self._living.tasks.get(run.task)
        if armed is not None:
            if run.counted:
                armed.live -= 1
            if not skipped:
                armed.ended = run
            if armed.ledger is not None:
                armed.ledger.ended(run)
            if armed.next_us is None and armed.policy.anchor == "completion":
                self._following.append((armed, at_us))
                self.stir()
        if run.edges is not None:
            self.flows.ended(run)
            self.stir()
        run.wake_waiters()
        if skipped:
            warn("task %s: run %s skipped: %s", run.task, run.id, run.reason)
        else:
            _log_end(run)
        self._bus.tell(RunEnded(at_us=at_us, task=run.task, run=run))


def _log_start(run: Run[object]) -> None:
    with contextlib.suppress(Exception):
        log.debug("task %s: run %s started, attempt %d", *_named(run), run.attempt)


def _log_end(run: Run[object]) -> None:
    if run.error is not None and run.status is RunStatus.FAILED:
        complain(
            "task %s: run %s FAILED after %.3f s, attempt %d", *_named(run), _took(run), run.attempt, error=run.error
        )
    else:
        with contextlib.suppress(Exception):
            log.info("task %s: run %s %s after %.3f s", *_named(run), run.status, _took(run))


def _named(run: Run[object]) -> tuple[str, str]:
    return run.task, run.id


def _took(run: Run[object]) -> float:
    duration = run.duration
    return 0.0 if duration is None else duration.total_seconds()
