"""Which tasks are served, and from where they stand: taken up at the start, changed by operators meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from asyncsched._engine.bus import Events
from asyncsched._engine.firing import Firing
from asyncsched._engine.ledger import Ledger, keeps_ledger
from asyncsched._engine.living import ArmedTask, Living, Reminder
from asyncsched._engine.resources import Around
from asyncsched._engine.timer import Timer
from asyncsched.clock import Clock, from_us, to_us
from asyncsched.errors import ConfigError
from asyncsched.events import TaskAdded, TaskChanged, TaskPaused, TaskResumed, TookOver
from asyncsched.fires import first_fire
from asyncsched.observed import Home
from asyncsched.policy import DEFAULT_POLICY
from asyncsched.run import Run, RunStatus
from asyncsched.stores import FOREVER, Amendment, Declared, RunFilter, Standing, Store
from asyncsched.task import Task
from asyncsched.triggers import Binding, Never

log = logging.getLogger("asyncsched.engine")

# Tasks that are declared to the store at once: what is told of 100,000 in one piece takes 50 MB for a moment, most of
# which the process never gives back.
_TAKEN_UP = 1_000


class Arming:
    """Puts tasks into the timer, and takes them out.

    around: tells what is done around each attempt of a task's runs; raises ``ConfigError`` where that cannot be.
    """

    def __init__(
        self,
        living: Living,
        timer: Timer,
        store: Store,
        bus: Events,
        clock: Clock,
        firing: Firing,
        tz: str,
        home: Home,
        around: Callable[[Task[..., Any]], Around | None],
    ) -> None:
        self._living = living
        self._timer = timer
        self._store = store
        self._bus = bus
        self._clock = clock
        self._firing = firing
        self._tz = tz
        self._home = home
        self._around = around

    async def take_up(self, tasks: Iterable[Task[..., Any]]) -> list[Run[Any]]:
        """Serve these tasks, each from where the store says that it stands; the runs that have not ended."""
        known = {task.id: task for task in tasks}
        for task in known.values():
            if task.trigger is None:  # it is there to be submitted
                task.signature.prepare()
        now_us = self._clock.now_us()
        ids, added, changed = list(known), list[str](), list[str]()
        for first in range(0, len(ids), _TAKEN_UP):
            declared = [self.declare(known[task_id], now_us) for task_id in ids[first : first + _TAKEN_UP]]
            found = await self._store.reconcile(declared)
            for standing in found.standings:
                self.arm(known[standing.task], standing)
            added += found.added
            changed += found.changed
        unfinished = await self._store.runs(RunFilter(status={RunStatus.PENDING, RunStatus.RUNNING}, limit=2**31))
        for run in unfinished:
            if armed := self._living.tasks.get(run.task):
                armed.find(run)
        for kind, ids in ((TaskAdded, added), (TaskChanged, changed)):
            for task_id in ids if self._bus.hears(kind) else ():
                self._bus.tell(kind(at_us=now_us, task=task_id))
        return unfinished

    def declare(self, task: Task[..., Any], now_us: int) -> Declared:
        """The task as the store is told of it, its trigger bound to this scheduler's surroundings."""
        if self._living.broken:
            self._living.broken.pop(task.id, None)
        signature = task.signature
        if signature.resources:
            self._around(task)  # before the store hears of it
        zone = task.tz or self._tz
        if task.trigger is None:
            return Declared(task.id, "", None, None, task.policy.history_limit, signature)
        bound = task.trigger.bind(Binding(zone=zone, anchor_us=now_us, key=task.id))
        next_us = None
        try:
            next_us = first_fire(bound, now_us, immediate=task.policy.immediate)
        except (ConfigError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a user's trigger: the others fire all the same
            self._firing.broken(task.id, now_us, error)
        else:
            if next_us is None and not isinstance(bound, Never):
                log.warning("task %s will never fire: %s has no instants left", task.id, task.trigger.describe())
        # Where the trigger takes nothing from its surroundings, they are no part of what was declared.
        declaration = bound if bound is task.trigger else (task.trigger, zone)
        return Declared(task.id, declaration, bound, next_us, task.policy.history_limit, signature)

    def arm(self, task: Task[..., Any], standing: Standing) -> ArmedTask:
        """Serve ``task`` from where it stands."""
        armed = ArmedTask(task, standing, self._living)
        armed.around = self._around(task)
        if armed.policy is not DEFAULT_POLICY and keeps_ledger(armed.policy):
            armed.ledger = Ledger(armed.policy, self._timer, self._bus, self._clock.now_us)
            armed.ledger.recall(armed.history())
        self._living.tasks[task.id] = armed
        task.home = self._home
        task.state = armed
        self._set(armed)
        return armed

    async def find_runs(self, armed: ArmedTask) -> None:
        """Let the task know of its runs that have not ended."""
        unfinished = {RunStatus.PENDING, RunStatus.RUNNING}
        for run in await self._store.runs(RunFilter(task=armed.task.id, status=unfinished, limit=2**31)):
            if not run.status.final:
                armed.find(run)

    def disarm(self, armed: ArmedTask) -> None:
        """Serve the task no more."""
        self._timer.drop(armed)
        self._forget_pause(armed)
        if armed.ledger is not None:
            armed.ledger.close()
        if armed.task.home is self._home:
            armed.task.home = None

    def take_over(self) -> None:
        """Let the tasks fire here, from their next instants on: another process of the host did, until now."""
        now_us = self._clock.now_us()
        self._firing.take_over(now_us)
        for armed in self._living.tasks.values():
            self._set(armed)
        log.info("this process fires the tasks from here on")
        self._bus.tell(TookOver(at_us=now_us))

    def fires(self, armed: ArmedTask) -> Iterator[int]:
        """The coming fires of the task, in microseconds, also where they come in another process of the host."""
        return armed.fires(self._clock.now_us() if self._firing.standing_by else None)

    async def pause(self, armed: ArmedTask, until: datetime | None, note: str | None) -> None:
        """Let no fire of the task become a run until then, or without end."""
        until_us = FOREVER if until is None else instant_us(armed, until)
        await self._amend(armed, Amendment(until_us, armed.skip_us))
        log.info("task %s: paused%s", armed.task.id, "" if note is None else f": {note}")
        told_until = None if until is None else from_us(until_us)
        self._bus.tell(TaskPaused(at_us=self._clock.now_us(), task=armed.task.id, until=told_until, note=note))

    async def resume(self, armed: ArmedTask) -> None:
        """Let the task fire again, from its next fire on; those of the pause are recorded as skips."""
        if armed.paused_until_us is None:
            return
        now_us = self._clock.now_us()
        armed.skip_to_us = min(armed.paused_until_us, now_us)
        await self._amend(armed, Amendment(None, armed.skip_us))
        self._bus.tell(TaskResumed(at_us=now_us, task=armed.task.id))

    async def skip_next(self, armed: ArmedTask) -> int | None:
        """Let the next fire of the task be a recorded skip; its instant, ``None`` if there is no next fire."""
        if armed.next_us is not None:
            await self._amend(armed, Amendment(armed.paused_until_us, armed.next_us))
        return armed.next_us

    async def _amend(self, armed: ArmedTask, amendment: Amendment) -> None:
        standing = await self._store.amend(armed.task.id, armed.version, amendment)
        while standing is not None and (standing.paused_until_us, standing.skip_us) != amendment:
            # Somebody else edited the task first: once more, on what it has become.
            standing = await self._store.amend(armed.task.id, standing.version, amendment)
        if standing is not None:
            armed.stand(standing)
            self._set(armed)

    def _set(self, armed: ArmedTask) -> None:
        """Put the task into the timer; a paused one costs nothing there, one that is paused until then rings then."""
        if self._living.reminders:
            self._forget_pause(armed)
        if armed.paused_until_us is None:
            self._firing.arm(armed)
            return
        self._timer.drop(armed)
        if armed.paused_until_us != FOREVER:
            reminder = self._living.reminders[armed] = Reminder(lambda: self._living.resuming.append(armed))
            self._timer.set(reminder, armed.paused_until_us)

    def _forget_pause(self, armed: ArmedTask) -> None:
        if (reminder := self._living.reminders.pop(armed, None)) is not None:
            self._timer.drop(reminder)


def instant_us(armed: ArmedTask, moment: datetime) -> int:
    """The instant that a datetime names, in the task's zone if it is naive."""
    return to_us(moment if moment.tzinfo else moment.replace(tzinfo=armed.zone))
