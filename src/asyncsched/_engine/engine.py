"""The engine: turns, taken when something is due or has ended, and a clean start and stop around them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from random import Random
from typing import Any

from asyncsched._engine.bus import Events
from asyncsched._engine.cycle import Cycle
from asyncsched._engine.firing import Firing
from asyncsched._engine.living import ArmedTask, Living, Reminder
from asyncsched._engine.runner import Runner
from asyncsched._engine.timer import Timer
from asyncsched.clock import SECOND_US, Clock, from_us
from asyncsched.errors import ConfigError, MisuseError, StoreError
from asyncsched.events import (
    ClockJumped,
    SchedulerStarted,
    SchedulerStopped,
    SchedulerStopping,
    TaskAdded,
    TaskChanged,
)
from asyncsched.executors import Executor
from asyncsched.policy import first_fire
from asyncsched.run import Run, RunStatus, new_run_id
from asyncsched.stores import Declared, RunFilter, Standing, Store
from asyncsched.task import Task
from asyncsched.triggers import Binding, Never
from asyncsched.zone import load_zone

log = logging.getLogger("asyncsched.engine")

# Due tasks taken in one turn of the loop, so that a burst of any size leaves room for others.
_BATCH = 1_000
# After a failed exchange with the store the next one comes this much later.
_REST_US = SECOND_US
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
        self, *, store: Store, clock: Clock, bus: Events, executors: Mapping[str, Executor], node: str, tz: str
    ) -> None:
        self.store = store
        self.clock = clock
        self.bus = bus
        self.executors = executors
        self.node = node
        self.tz = tz
        self.living = Living()
        self.stopping = False
        self._rest_until_us = clock.steady_us()
        self._random = Random()
        self._idle_waiters: list[asyncio.Future[None]] = []
        self._context = contextvars.copy_context()
        self._called = False
        self._in_turn = False
        self._turn_under_way: asyncio.Task[None] | None = None
        self._again = False
        self._over = False

    async def start(self, tasks: Iterable[Task[..., Any]], random: Random | None = None) -> None:
        """Open the store, arm the tasks and begin to fire."""
        self._random = random or self._random
        await self.store.open(self.node, self.clock)
        self._loop = asyncio.get_running_loop()
        self.timer = Timer(self.clock, self._alarm_rang, self._jumped)
        try:
            self.firing = Firing(self.living, self.timer, self.store, self.bus, self._random, lambda: self.cycle.stir())
            self.cycle = Cycle(
                self.living,
                self.timer,
                self.store,
                self.bus,
                lambda ended: Runner(self.timer, self.executors, ended),
                self.clock.now_us,
                self.call,
                self.firing.completed,
            )
            await self._take_up(tasks)
        except BaseException:
            self._leave()
            await self.store.close()
            raise
        self.bus.tell(SchedulerStarted(at_us=self.clock.now_us(), store=str(self.store)))
        self.cycle.stir()

    async def _take_up(self, tasks: Iterable[Task[..., Any]]) -> None:
        known = {task.id: task for task in tasks}
        now_us = self.clock.now_us()
        found = await self.store.reconcile([self.declare(task, now_us) for task in known.values()])
        for standing in found.standings:
            self.arm(known[standing.task], standing)
        unfinished = RunFilter(status={RunStatus.PENDING, RunStatus.RUNNING}, limit=2**31)
        for run in await self.store.runs(unfinished):
            if armed := self.living.tasks.get(run.task):
                armed.live += 1
        for kind, ids in ((TaskAdded, found.added), (TaskChanged, found.changed)):
            for task_id in ids:
                self.bus.tell(kind(at_us=now_us, task=task_id))

    def declare(self, task: Task[..., Any], now_us: int) -> Declared:
        """The task as the store is told of it, its trigger bound to this scheduler's surroundings."""
        zone = task.tz or self.tz
        if task.trigger is None:
            return Declared(task.id, "", None, None, task.policy.history_limit)
        bound = task.trigger.bind(Binding(zone=zone, anchor_us=now_us, key=task.id))
        next_us = None
        try:
            next_us = first_fire(bound, now_us, immediate=task.policy.immediate)
        except ConfigError:
            raise
        except Exception as error:  # a user's trigger: the others fire all the same
            self.firing.broken(task.id, now_us, error)
        else:
            if next_us is None and not isinstance(bound, Never):
                log.warning("task %s will never fire: %s has no instants left", task.id, task.trigger.describe())
        return Declared(task.id, f"{task.trigger} | {zone}", bound, next_us, task.policy.history_limit)

    def arm(self, task: Task[..., Any], standing: Standing) -> ArmedTask:
        """Serve ``task`` from where it stands."""
        armed = ArmedTask(task, load_zone(task.zone(self.tz)), standing, self.living.due)
        self.living.tasks[task.id] = armed
        task.home = self
        self.firing.arm(armed)
        return armed

    def disarm(self, armed: ArmedTask) -> None:
        """Serve the task no more."""
        self.timer.drop(armed)
        if armed.task.home is self:
            armed.task.home = None

    async def submit(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Run[Any]:
        """A new run of ``task``, ready at once.

        Raises:
            MisuseError: the scheduler is stopping.
        """
        if self.stopping:
            raise MisuseError(f"the scheduler is stopping: it takes no new run of {task.id!r}")
        now_us = self.clock.now_us()
        run: Run[Any] = Run(
            id=new_run_id(now_us, self._random),
            task=task.id,
            created_us=now_us,
            due_us=now_us,
            priority=task.policy.priority,
            args=args,
            kwargs=kwargs,
        )
        await self.store.submit([run])
        if armed := self.living.tasks.get(task.id):
            armed.live += 1
        self.cycle.stir()
        return run

    def preview(self, task_id: str, count: int) -> list[datetime]:
        """The next ``count`` fires of a task, in its zone; none for a task that is not served here."""
        armed = self.living.tasks.get(task_id)
        if armed is None:
            return []
        return [from_us(at_us).astimezone(armed.zone) for at_us in islice(armed.fires(), count)]

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
        self.bus.tell(SchedulerStopping(at_us=self.clock.now_us(), left=len(started)))
        interrupted: asyncio.CancelledError | None = None
        try:
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
        return Drained(finished=len(started) - len(out_of_time), cancelled=out_of_time, left=left)

    async def crash(self) -> None:
        """Vanish: nothing is drained, nothing is told to the store. What a killed process leaves is left."""
        self._over = True
        attempts = [living.handle for living in self.living.runs.values() if living.handle is not None]
        if self._turn_under_way is not None:
            attempts.append(self._turn_under_way)
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        self._leave()

    def _leave(self) -> None:
        """Let go of tasks, runs, waiters and the timer."""
        for armed in self.living.tasks.values():
            self.disarm(armed)
        self.living.tasks.clear()
        self.living.runs.clear()
        self.timer.close()
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
            while self.living.runs and (left_us := end_us - self.clock.steady_us()) > 0:
                self.timer.set(deadline, self.clock.now_us() + left_us)
                waiter = self._loop.create_future()
                self._idle_waiters.append(waiter)
                await waiter  # every turn lets go: one is taken when a run has ended, and at the deadline
        finally:
            self.timer.drop(deadline)

    async def _close(self, left: Sequence[Run[Any]]) -> None:
        self._over = True
        if self._turn_under_way is not None:
            self._turn_under_way.cancel()
            await asyncio.gather(self._turn_under_way, return_exceptions=True)
        for run in left:
            log.warning("task %s: run %s was left running", run.task, run.id)
        gone = MisuseError("the scheduler stopped before this run ended")
        unfinished = RunFilter(status={RunStatus.PENDING, RunStatus.RUNNING}, limit=2**31)
        try:
            for run in await self.store.runs(unfinished):
                run.wake_waiters(gone)
        finally:
            self._leave()
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
        if self._in_turn:
            self._again = True
        elif self.store.answers_at_once:
            turn = self._guarded_turn()
            try:
                turn.send(None)
            except StopIteration:
                return
            turn.close()
            raise StoreError(f"{type(self.store).__name__} says that it answers at once, but it waited")
        else:
            self._turn_under_way = self._loop.create_task(self._guarded_turn(), name="asyncsched turn")

    async def _guarded_turn(self) -> None:
        if self._over:
            return
        self._in_turn = True
        rest_us = self._rest_until_us - self.clock.steady_us()
        if rest_us <= 0:
            try:
                await self._turn()
            except Exception:
                # Nothing that happens in a turn may end the engine; what was not done is done after a rest.
                log.exception("the store did not answer; the engine tries again in %.0f s", _REST_US / SECOND_US)
                rest_us = _REST_US
                self._rest_until_us = self.clock.steady_us() + rest_us
        self._in_turn = False
        if rest_us > 0:
            self.timer.rest(self.clock.now_us() + rest_us)
        else:
            self.timer.rearm(self.clock.now_us())
        if self._again:
            self._again = False
            self.call()
        elif self._idle_waiters and (self.stopping or self._quiet()):
            self._let_go()

    async def _turn(self) -> None:
        now_us = self.timer.look()
        for wakeup in self.timer.take_due(now_us, _BATCH):
            wakeup.ring()
        if self.stopping:
            self.living.due.clear()
        else:
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
        log.warning("the clock jumped by %s, %s", by, how)
        for living in self.living.runs.values():
            # A timeout is time that passes for the run, whatever the clock shows.
            if living.due_us is not None:
                self.timer.set(living, living.due_us + by_us)
        self.bus.tell(ClockJumped(at_us=self.clock.now_us(), by=by))
