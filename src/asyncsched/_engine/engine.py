"""The engine: turns, taken when something is due or has ended, and a clean start and stop around them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from random import Random
from typing import Any

from asyncsched._engine.arming import Arming
from asyncsched._engine.bus import Events, complain, warn
from asyncsched._engine.capacity import Capacity
from asyncsched._engine.cycle import Cycle
from asyncsched._engine.firing import Firing
from asyncsched._engine.host import HostLock, Standby
from asyncsched._engine.intake import Intake
from asyncsched._engine.living import Living, Reminder
from asyncsched._engine.runner import Runner
from asyncsched._engine.timer import Timer
from asyncsched._engine.watcher import Watcher
from asyncsched.clock import SECOND_US, Clock, from_us
from asyncsched.errors import MisuseError, StoreError
from asyncsched.events import ClockJumped, SchedulerStarted, SchedulerStopped, SchedulerStopping, StandingBy
from asyncsched.executors import Executor
from asyncsched.run import Run, RunIds, RunStatus
from asyncsched.stores import RunFilter, Store
from asyncsched.task import Submission, Task

# Due tasks taken in one turn of the loop, so that a burst of any size leaves room for others: 100,000 at one instant
# then stall the loop for 4 ms at a time (benchmarks/stall.py), 1,000 in a turn for 22 ms, and no faster.
_BATCH = 100
# After a failed turn the next one comes this much later, after each one more twice as late, up to a second: what
# was due meanwhile is then late, but not yet missed.
_FIRST_REST_US, _LONGEST_REST_US = 25_000, SECOND_US
# What ends the program, or the task that a turn is part of: it is not the turn's to deal with.
_ENDINGS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
# What a cancelled attempt may still take to clean up before it is left behind.
_CLEANUP_US = 5 * SECOND_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What became of the runs that were under way when the scheduler stopped.

    finished: ended by themselves. cancelled: out of time. left: still running, or their threads are.
    """

    finished: int
    cancelled: tuple[Run[Any], ...]
    left: tuple[Run[Any], ...]


class Engine:
    """Serves tasks on the running loop, from ``start`` to ``stop``."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        bus: Events,
        executors: Mapping[str, Executor],
        node: str,
        tz: str,
        capacity: Capacity,
        stall_us: int | None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.bus = bus
        self.executors = executors
        self.node = node
        self.tz = tz
        self.capacity = capacity
        self.living = Living()
        self.standby: Standby | None = None
        self.stopping = False
        self.failure: BaseException | None = None
        """What the engine died of. It never does, unless a part that waits or the store breaks its own rules."""
        self.on_failure: Callable[[], None] = lambda: None
        self._stall_us = stall_us
        self._rest_us = 0
        self._rest_until_us = clock.steady_us()
        self._idle_waiters: list[asyncio.Future[None]] = []
        self._context = contextvars.copy_context()
        self._called = False
        self._in_turn = False
        self._turn_under_way: asyncio.Task[None] | None = None
        self._again = False
        self._closed = True
        """Turns are taken from the end of the start to the beginning of the end."""

    async def start(
        self, tasks: Iterable[Task[..., Any]], random: Random | None = None, host: HostLock | None = None
    ) -> None:
        """Open the store, arm the tasks and begin to fire, or with ``host`` stand by while another has that lock."""
        ids = RunIds(random or Random())
        await self.store.open(self.node, self.clock)
        self._loop = asyncio.get_running_loop()
        self.timer = Timer(self.clock, self._alarm_rang, self._jumped)
        stall_us = None if self.timer.simulated else self._stall_us
        self.watcher = Watcher(self.living, self.bus, self.clock, stall_us)
        try:
            self.firing = Firing(self.living, self.timer, self.store, self.bus, ids, lambda: self.cycle.stir())
            self.arming = Arming(self.living, self.timer, self.store, self.bus, self.clock, self.firing, self.tz, self)
            self.intake = Intake(self.living, self.store, ids, self.clock.now_us, lambda: self.cycle.stir())
            self.cycle = Cycle(
                self.living,
                self.timer,
                self.store,
                self.bus,
                lambda ended: Runner(self.timer, self.executors, ended),
                self.clock.now_us,
                self.call,
                self.firing.completed,
                watch=self.watcher.wake,
                capacity=self.capacity,
            )
            self.standby = Standby(host, self.timer, self.clock.now_us, self.arming.take_over)
            self.firing.standing_by = self.standby.begin()
            await self.arming.take_up(tasks)
        except BaseException:
            self._leave()
            await self.store.close()
            raise
        self._closed = False
        self.bus.tell(SchedulerStarted(at_us=self.clock.now_us(), store=str(self.store)))
        if self.firing.standing_by:
            self.bus.tell(StandingBy(at_us=self.clock.now_us()))
        self.cycle.stir()

    async def submit(
        self, task: Task[..., Any], calls: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]], how: Submission
    ) -> list[Run[Any]]:
        """New runs of ``task``: see ``Intake``.

        Raises:
            MisuseError: the scheduler is stopping, or runs on another loop than the caller.
        """
        self.check_loop()
        if self.stopping:
            raise MisuseError(f"the scheduler is stopping: it takes no new run of {task.id!r}")
        return await self.intake.submit(task, calls, how)

    def check_loop(self) -> None:
        """Nothing, on the scheduler's own loop.

        Raises:
            MisuseError: the caller is on another one.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise MisuseError(
                "the scheduler runs on another event loop: handle.call(task.submit, ...) with the handle that "
                "start_in_thread() gave, or from_thread(task.submit, ...) in a plain function that it runs in a thread"
            )

    def preview(self, task_id: str, count: int) -> list[datetime]:
        """The next ``count`` fires of a task, in its zone; none for a task that is not served here."""
        armed = self.living.tasks.get(task_id)
        if armed is None:
            return []
        return [from_us(at_us).astimezone(armed.zone) for at_us in islice(self.arming.fires(armed), count)]

    async def idle(self) -> None:
        """Return once nothing is due, ready or running."""
        if not self._quiet():
            waiter = asyncio.get_running_loop().create_future()
            self._idle_waiters.append(waiter)
            await waiter

    async def stop(self, timeout_us: int) -> Drained:
        """Fire no more, let runs end for ``timeout_us``, cancel the rest, close everything.

        If the caller is cancelled meanwhile, the runs are cancelled at once.
        """
        started = {living.run.id: living.run for living in self.living.runs.values()}
        self.stopping = True
        self.cycle.claiming = False
        if self.standby is not None:
            self.standby.end()
        interrupted: asyncio.CancelledError | None = None
        try:
            await self.bus.farewell(SchedulerStopping(at_us=self.clock.now_us(), left=len(started)))
            await self._drain(timeout_us)
        except asyncio.CancelledError as error:
            interrupted = error
        out_of_time = tuple(living.run for living in self.living.runs.values())
        self.force("the scheduler stopped")
        with contextlib.suppress(asyncio.CancelledError):
            await self._drain(_CLEANUP_US)
        left = tuple(living.run for living in self.living.runs.values())
        await self._close(left)
        if interrupted is not None:
            raise interrupted
        cancelled = tuple(run for run in out_of_time if run not in left)
        return Drained(finished=len(started) - len(out_of_time), cancelled=cancelled, left=left)

    async def crash(self) -> None:
        """Vanish: nothing is drained, nothing is told to the store. What a killed process leaves is left."""
        self._closed = True
        attempts = [living.handle for living in self.living.runs.values() if living.handle is not None]
        if self._turn_under_way is not None:
            attempts.append(self._turn_under_way)
        for attempt in attempts:
            attempt.cancel()
        try:
            await asyncio.gather(*attempts, return_exceptions=True)
        finally:
            self._leave()
            await self.cycle.runner.close()

    def _leave(self) -> None:
        """Let go of tasks, runs, waiters and the timer."""
        for armed in self.living.tasks.values():
            self.arming.disarm(armed)
        self.living.tasks.clear()
        self.living.runs.clear()
        self.timer.close()
        self.watcher.close()
        if self.standby is not None:
            self.standby.leave()
        self._let_go()

    def force(self, reason: str) -> None:
        """Cancel every run that is under way."""
        for living in list(self.living.runs.values()):
            living.stop("shutdown", reason)

    async def _drain(self, timeout_us: int) -> None:
        """Wait until every run under way has been settled, at most ``timeout_us``."""
        deadline = Reminder(self.call)
        end_us = self.clock.steady_us() + timeout_us
        try:
            while self.living.runs and self.failure is None and (left_us := end_us - self.clock.steady_us()) > 0:
                self.timer.set(deadline, self.clock.now_us() + left_us)
                waiter = self._loop.create_future()
                self._idle_waiters.append(waiter)
                await waiter  # every turn lets go: one is taken when a run has ended, and at the deadline
        finally:
            self.timer.drop(deadline)

    async def _close(self, left: Sequence[Run[Any]]) -> None:
        self._closed = True
        for run in left:
            warn("task %s: run %s was left running", run.task, run.id)
        gone = MisuseError("the scheduler stopped before this run ended")
        unfinished = RunFilter(status={RunStatus.PENDING, RunStatus.RUNNING}, limit=2**31)
        try:
            if self._turn_under_way is not None:
                self._turn_under_way.cancel()
                await asyncio.gather(self._turn_under_way, return_exceptions=True)
            for run in await self.store.runs(unfinished):
                run.wake_waiters(gone)
        finally:
            self._leave()
            try:
                await self.cycle.runner.close()
            finally:
                await self.store.close()
            self.bus.tell(SchedulerStopped(at_us=self.clock.now_us()))

    def _quiet(self) -> bool:
        return self.cycle.settled and not self.living.due and not self.timer.due(self.clock.now_us())

    def _let_go(self) -> None:
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def call(self) -> None:
        """There is something to do: take a turn, always in a later step of the loop, so that others come in between."""
        if self._in_turn:
            self._again = True
        elif not self._called:
            self._called = True
            self._loop.call_soon(self._answer, context=self._context)

    def _answer(self) -> None:
        self._called = False
        self._take_turn()

    def _alarm_rang(self) -> None:
        # Whoever set the alarm last did so in a context of his own, which must not reach the runs of others.
        self._context.run(self._take_turn)

    def _take_turn(self) -> None:
        """Take a turn, here and now if the store answers at once; turns never overlap."""
        under_way = self._turn_under_way  # it may not have begun
        if self._in_turn or (under_way is not None and not under_way.done()):
            self._again = True
        elif self.store.answers_at_once:
            turn = self._guarded_turn()
            try:
                turn.send(None)
            except StopIteration:
                return
            turn.close()
            self._fail(StoreError(f"{type(self.store).__name__} says that it answers at once, but it waited"))
        else:
            self._turn_under_way = self._loop.create_task(self._guarded_turn(), name="asyncsched turn")

    async def _guarded_turn(self) -> None:
        if self._closed:
            return
        self._in_turn = True
        try:
            await self._turn_unless_resting()
        except BaseException:
            self._again = True  # leaving takes turns, too
            raise
        finally:
            self._in_turn = False
            if not self._closed:
                self._look_ahead()

    async def _turn_unless_resting(self) -> None:
        if self._rest_us and self._rest_until_us > self.clock.steady_us():
            return
        try:
            await self._turn()
        except _ENDINGS:
            raise
        except BaseException as error:
            # Nothing that happens in a turn may end the engine; what was not done is done after a rest.
            self._rest_us = min(max(_FIRST_REST_US, 2 * self._rest_us), _LONGEST_REST_US)
            self._rest_until_us = self.clock.steady_us() + self._rest_us
            complain("a turn failed; the engine tries again in %.3f s", self._rest_us / SECOND_US, error=error)
        else:
            self._rest_us = 0

    def _look_ahead(self) -> None:
        """Set the alarm, go on at once if there is more to do, else let go of who waits for that."""
        rest_us = self._rest_until_us - self.clock.steady_us() if self._rest_us else 0
        if self._again and rest_us <= 0:
            # The next turn sets the alarm; a ring before it would be a second turn in one step of the loop.
            self._again = False
            self.call()
            return
        try:
            if rest_us > 0:
                self.timer.rest(self.clock.now_us() + rest_us)
            else:
                self.timer.rearm(self.clock.now_us())
        except Exception as error:
            self._fail(error)
        if self._again:
            self._again = False
            self.call()
        elif self._idle_waiters and (self.stopping or self._quiet()):
            self._let_go()

    def _fail(self, error: BaseException) -> None:
        """Be dead, and say so: a scheduler that looks alive and fires nothing is the worst of all."""
        self._closed = True
        self.failure = error
        complain("the scheduler fires no more: its engine has failed", error=error)
        self._let_go()
        self.on_failure()

    async def _turn(self) -> None:
        now_us = self.timer.look()
        for wakeup in self.timer.take_due(now_us, _BATCH):
            try:
                wakeup.ring()
            except Exception as error:  # the others are due all the same
                complain("a wakeup raised", error=error)
        if self.stopping:
            self.living.due.clear()
        else:
            for armed in self.living.resuming:
                await self.arming.resume(armed)
            self.living.resuming.clear()
            await self.firing.fire(now_us)
        self._again = False
        await self.cycle.turn()
        if self._again:
            # Attempts that needed no time have ended already: acknowledge them here, with nothing claimed twice.
            self._again = False
            await self.cycle.turn()
        if self.timer.due(now_us):
            self._again = True

    def _jumped(self, by_us: int) -> None:
        by = timedelta(microseconds=by_us)
        how = "forward: it was set, or the machine slept" if by_us > 0 else "back: it was set"
        warn("the clock jumped by %s, %s", by, how)
        for living in self.living.runs.values():
            # A timeout is time that passes for the run, whatever the clock shows.
            if living.due_us is not None:
                self.timer.set(living, living.due_us + by_us)
        if self.standby is not None:
            self.standby.jumped()
        self.bus.tell(ClockJumped(at_us=self.clock.now_us(), by=by))
