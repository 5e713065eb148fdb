"""The engine: turns, taken when something is due or has ended, and a clean start and stop around them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any

from asyncsched import crash_points
from asyncsched._engine.arming import Arming
from asyncsched._engine.bus import Events, complain, warn
from asyncsched._engine.capacity import Capacity
from asyncsched._engine.custody import Custody
from asyncsched._engine.cycle import Cycle
from asyncsched._engine.drained import Drained
from asyncsched._engine.firing import Firing
from asyncsched._engine.flows import Flows
from asyncsched._engine.host import HostLock, Standby
from asyncsched._engine.intake import Intake
from asyncsched._engine.jumps import follow_jump
from asyncsched._engine.living import ArmedTask, Living, LivingRun, Reminder
from asyncsched._engine.outage import Outage
from asyncsched._engine.places import Places, graph_of
from asyncsched._engine.presence import Presence, opened
from asyncsched._engine.resources import Resources
from asyncsched._engine.roster import Roster
from asyncsched._engine.runner import Runner
from asyncsched._engine.sweep import Sweep
from asyncsched._engine.timer import Timer
from asyncsched._engine.turns import Turns
from asyncsched._engine.upkeep import Upkeep
from asyncsched._engine.watcher import Watcher
from asyncsched.clock import SECOND_US, Clock
from asyncsched.errors import MisuseError
from asyncsched.events import (
    RunAbandoned,
    SchedulerStarted,
    SchedulerStopped,
    SchedulerStopping,
    StandingBy,
)
from asyncsched.executors import Executor
from asyncsched.graph import Graph
from asyncsched.ids import RunIds
from asyncsched.run import Run
from asyncsched.stores import Store
from asyncsched.submission import Submission
from asyncsched.surroundings import Surroundings
from asyncsched.task import Task

# Due tasks taken in one turn of the loop, so that a burst of any size leaves room for others: 100,000 at one instant
# then stall the loop for 4 ms at a time (benchmarks/stall.py), 1,000 in a turn for 22 ms, and no faster.
_BATCH = 100
# What a cancelled attempt may still take to clean up, when the scheduler is left, before it is left behind.
_CLEANUP_US = 5 * SECOND_US
# The same while the scheduler goes on: nobody waits but the runs behind it, so it may take its time.
_PATIENCE_US = 30 * SECOND_US


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
        surroundings: Callable[[str], Sequence[Surroundings]] | None,
        fires: bool = True,
        keep_us: int | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.bus = bus
        self.executors = executors
        self.node = node
        self.tz = tz
        self.capacity = capacity
        self.living = Living(tz, store.recent, groups=capacity.groups, stopping=self._await_end, give_up=self._give_up)
        self.standby: Standby | None = None
        self.stopping = False
        self.failure: BaseException | None = None
        """What the engine died of. It never does, unless a part that waits or the store breaks its own rules."""
        self.on_failure: Callable[[], None] = lambda: None
        self.fires = fires
        self._stall_us, self._keep_us, self._surroundings = stall_us, keep_us, surroundings
        self.draining = False
        self._idle_waiters: list[asyncio.Future[None]] = []

    async def start(
        self, tasks: Iterable[Task[..., Any]], random: Random | None = None, host: HostLock | None = None
    ) -> None:
        """Open the store, arm the tasks and begin to fire, or with ``host`` stand by while another has that lock."""
        graph = graph_of(tasks)
        ids = self.ids = RunIds(random or Random())
        self.clock = await opened(self.store, self.node, self.clock)
        self._loop = asyncio.get_running_loop()
        told = self._rested, self._failed, Outage(self.bus, self.clock)
        self.turns = Turns(self.store, self.clock, self._turn, *told)
        self.timer = self.turns.timer = Timer(self.clock, self.turns.alarm_rang, self._jumped)
        self.watcher = Watcher(self.living, self.bus, self.clock, None if self.timer.simulated else self._stall_us)
        self.resources = Resources(self.bus, self.clock.now_us, self._surroundings, self.store)
        try:
            self._make_parts(ids)
            self.store.hint, self.store.serves = self.cycle.stir, self.living.tasks.__contains__
            self.store.counts, now_us = self.living.counts, self.clock.now_us
            self.roster = Roster(self.living, self.store, self.bus, self.arming, now_us, self.turns.call)
            self.standby = Standby(host, self.timer, now_us, self.arming.take_over)
            self.firing.standing_by = self.standby.begin() or not self.fires
            self.upkeep = Upkeep(self.living, self.store, self.timer, now_us, random or Random(), self._keep_us)
            self.sweep = Sweep(self.store, self.timer, now_us, random or Random(), self._look_around)
            await self.roster.take_up(tasks, lambda: self._begin(graph))
            if not self.turns.open:
                self._begin(graph)
        except BaseException:
            if self.turns.open:
                await self.crash()
            else:
                self._leave()
            await self.store.close()
            raise

    def _begin(self, graph: Graph | None) -> None:
        """Fire, claim and run from now on."""
        self.places.adopt(graph)
        self.turns.begin()
        self.custody.begin()
        self.upkeep.begin()
        self.sweep.begin()
        self.bus.tell(SchedulerStarted(at_us=self.clock.now_us(), store=str(self.store)))
        if self.firing.standing_by and self.fires:
            self.bus.tell(StandingBy(at_us=self.clock.now_us()))
        self.cycle.stir()

    def _make_parts(self, ids: RunIds) -> None:
        living, store, timer, bus, now_us = self.living, self.store, self.timer, self.bus, self.clock.now_us
        self.custody = Custody(living, store, timer, bus, lambda: self.cycle, now_us)
        self.firing = Firing(living, timer, store, bus, ids, self.custody.cancel)
        around = self.resources.around
        self.arming = Arming(living, timer, store, bus, self.clock, self.firing, self.tz, self, around)
        self.flows = self.firing.flows = self._make_flows(ids)
        self.intake = Intake(living, store, self.flows, ids, now_us, lambda *of: self.cycle.submitted(*of))
        self.cycle = Cycle(
            *(living, timer, store, bus, lambda ended: Runner(timer, self.executors, ended, now_us), now_us),
            *(self.turns.call, self.firing.completed),
            watch=self.watcher.wake,
            capacity=self.capacity,
        )
        self.presence = Presence(store, bus, self.clock, timer, self.capacity, self.fires, self._claim_no_more)
        self.firing.doubt = self.presence.doubt
        self.cycle.flows = self.flows
        self.cycle.heed = self.store.heed = self.custody.heed

    def _make_flows(self, ids: RunIds) -> Flows:
        self.places = Places(self.living)
        return Flows(
            *(self.living, self.places, self.timer, self.store, ids, self.clock.now_us),
            stirred=lambda: self.cycle.stir(),
            over=lambda run, at_us: self.cycle.over(run, at_us),
            cancel=self.custody.cancel,
        )

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
        """The next ``count`` fires of a task: see ``Arming``."""
        return self.arming.preview(task_id, count)

    async def idle(self) -> None:
        """Return once nothing is due, ready or running."""
        if not self._quiet():
            await self._next_turn()
        while self.draining and not (self.stopping or self._quiet()):
            await self._next_turn()

    def _claim_no_more(self) -> None:
        self.draining, self.cycle.claiming = True, False

    async def drain(self) -> None:
        """Claim no more runs; return when none is under way here."""
        self._claim_no_more()
        while self.living.runs:
            await self._next_turn()

    async def _next_turn(self) -> None:
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
        for run in out_of_time:
            warn("task %s: run %s was still under way when the time to stop was over", run.task, run.id)
        self.force("the scheduler stopped")
        interrupted = await self._clean_up() or interrupted
        left = tuple(living.run for living in self.living.runs.values())
        await self._close(left)
        if interrupted is not None:
            raise interrupted
        cancelled = tuple(run for run in out_of_time if run not in left)
        return Drained(finished=len(started) - len(out_of_time), cancelled=cancelled, left=left)

    async def crash(self) -> None:
        """Vanish: nothing is drained, nothing is told to the store. What a killed process leaves is left."""
        under_way = [*self.living.runs.values(), *self.living.lost.values()]
        attempts = [living.handle for living in under_way if living.handle is not None]
        for attempt in attempts:
            attempt.cancel()
        try:
            await asyncio.gather(self.turns.end(), *attempts, return_exceptions=True)
        finally:
            self._leave()
            try:
                await self.resources.close()
            finally:
                await self.cycle.runner.close()

    def _leave(self) -> None:
        """Let go of tasks, runs, waiters and the timer."""
        for armed in self.living.tasks.values():
            self.arming.disarm(armed)
        self.living.tasks.clear()
        self.living.runs.clear()
        self.living.lost.clear()
        self.custody.end()
        self.upkeep.end()
        self.sweep.end()
        self.timer.close()
        self.watcher.close()
        if self.standby is not None:
            self.standby.leave()
        self._let_go()

    def force(self, reason: str) -> None:
        """Cancel every run that is under way."""
        for living in [*self.living.runs.values(), *self.living.lost.values()]:
            living.stop("shutdown", reason)

    @crash_points.before("drain")
    async def _drain(self, timeout_us: int) -> None:
        """Wait until every run under way has been settled, at most ``timeout_us``."""
        deadline = Reminder(self.turns.call)
        end_us = self.clock.steady_us() + timeout_us
        try:
            while self._under_way() and self.failure is None and (left_us := end_us - self.clock.steady_us()) > 0:
                self.timer.set(deadline, self.clock.now_us() + left_us)
                await self._next_turn()  # one is taken when a run has ended, and at the deadline
        finally:
            self.timer.drop(deadline)

    def _under_way(self) -> bool:
        return bool(self.living.runs or self.living.lost)

    async def _clean_up(self) -> asyncio.CancelledError | None:
        """Let cancelled runs end, however impatient the caller is; the last cancellation of the caller meanwhile.

        Leaving earlier would leave their attempts behind, with nobody to wait for them.
        """
        impatience = None
        end_us = self.clock.steady_us() + _CLEANUP_US
        while True:
            try:
                await self._drain(end_us - self.clock.steady_us())
            except asyncio.CancelledError as error:
                impatience = error
            else:
                return impatience

    async def _close(self, left: Sequence[Run[Any]]) -> None:
        for run in left:
            warn("task %s: run %s was left running", run.task, run.id)
        gone = MisuseError("the scheduler stopped before this run ended")
        try:
            await self.turns.end()
            for run in self.store.awaited():
                run.wake_waiters(gone)
        finally:
            self._leave()
            async with contextlib.AsyncExitStack() as closing:
                closing.push_async_callback(self.store.close)
                closing.push_async_callback(self.cycle.runner.close)
                closing.push_async_callback(self.resources.close)
            self.bus.tell(SchedulerStopped(at_us=self.clock.now_us()))

    def _quiet(self) -> bool:
        return self.cycle.settled and not self.living.due and not self.timer.due(self.clock.now_us())

    def _let_go(self) -> None:
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _rested(self) -> None:
        if self._idle_waiters and (self.stopping or self.draining or self._quiet()):
            self._let_go()

    def _failed(self, error: BaseException) -> None:
        self.failure = error
        self._let_go()
        self.on_failure()

    async def _turn(self) -> None:
        now_us = self.timer.look()
        due = self.living.due
        for wakeup in self.timer.take_due(now_us, _BATCH):
            if isinstance(wakeup, ArmedTask):  # as its ring() does, without the call
                due.append(wakeup)
                continue
            try:
                wakeup.ring()
            except Exception as error:  # the others are due all the same
                complain("a wakeup raised", error=error)
        if self.stopping:
            self.living.due.clear()
        else:
            if self.roster.stirred:
                await self.roster.follow()
                self.presence.stir()
            if self.presence.stirred:
                await self.presence.follow()
            for armed in self.living.resuming:
                await self.arming.resume(armed)
            self.living.resuming.clear()
            if self.living.due:
                await self.firing.fire(now_us)
                self.cycle.stirred = True
        self.turns.again = False
        await self.cycle.turn()
        if self.turns.again:
            # Attempts that needed no time have ended already: acknowledge them here, with nothing claimed twice.
            self.turns.again = False
            await self.cycle.turn()
        if self.timer.due(now_us):
            self.turns.again = True

    def _look_around(self) -> None:
        self.flows.sweep()
        self.presence.stir()

    def _await_end(self, living: LivingRun) -> None:
        self.timer.set(living, self.clock.now_us() + _PATIENCE_US)

    def _give_up(self, living: LivingRun) -> None:
        if self.cycle.runner.give_up(living):
            run = living.run
            self.bus.tell(RunAbandoned(at_us=self.clock.now_us(), task=run.task, run=run))

    def _jumped(self, by_us: int) -> None:
        follow_jump(by_us, self.living, self.timer, self.bus, self.clock, self.store)
        self.cycle.stir()  # a rate is reckoned by the clock
        if self.standby is not None:
            self.standby.jumped()
