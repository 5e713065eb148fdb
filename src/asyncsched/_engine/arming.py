"""Which tasks are served, and from where they stand: taken up at the start, changed by operators meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from asyncsched._engine.bus import Events
from asyncsched._engine.firing import Firing
from asyncsched._engine.ledger import Ledger, keeps_ledger
from asyncsched._engine.living import ArmedTask, Living, Reminder
from asyncsched._engine.resources import Around
from asyncsched._engine.timer import Timer
from asyncsched.clock import Clock, from_us, to_us
from asyncsched.errors import ConfigError
from asyncsched.events import TaskAdded, TaskChanged, TaskPaused, TaskRenamed, TaskResumed, TookOver
from asyncsched.fires import first_fire
from asyncsched.links import NO_LINKS
from asyncsched.observed import Home
from asyncsched.policy import DEFAULT_POLICY
from asyncsched.stores import FOREVER, Amendment, Declared, Reconciled, Standing, Store
from asyncsched.task import Task
from asyncsched.triggers import Binding, Never, Trigger

T = TypeVar("T")
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
        firing.follow = self.follow
        self._tz = tz
        self._home = home
        self._around = around

    async def take_up(self, tasks: Iterable[Task[..., Any]], begin: Callable[[], None]) -> None:
        """Serve these tasks, each from where the store says that it stands.

        Of very many those come first that are due first, and those in graphs; then ``begin`` is called, which lets them
        fire while the others are taken up.
        """
        known = {task.id: task for task in tasks}
        for task in known.values():
            if task.trigger is None:  # it is there to be submitted
                task.signature.prepare()
        now_us = self._clock.now_us()
        first, later = await self._in_order(known)
        for some in _in_pieces(first):
            await self._take_up(some, now_us)
        if later:
            begin()
        for some in _in_pieces(later):
            await self._take_up(some, now_us)

    async def _in_order(self, known: Mapping[str, Task[..., Any]]) -> tuple[list[Task[..., Any]], list[Task[..., Any]]]:
        """Those to be taken up first, and the others."""
        if len(known) <= _TAKEN_UP:
            return list(known.values()), []
        soon = set(await self._store.due(_TAKEN_UP)) & known.keys()
        soon |= self._linked(known.values())
        first = [task for task in known.values() if task.id in soon]
        return first, [task for task in known.values() if task.id not in soon]

    @staticmethod
    def _linked(tasks: Iterable[Task[..., Any]]) -> set[str]:
        """Those that depend on others, and those on which others do."""
        found = set()
        for task in tasks:
            if task.links is not NO_LINKS:
                found |= {task.id, *task.links.needs}
        return found

    async def _take_up(self, tasks: Sequence[Task[..., Any]], now_us: int) -> None:
        found = await self._store.reconcile([self.declare(task, now_us) for task in tasks])
        unfinished = await self._store.unfinished({task.id for task in tasks if self._counts(task)})
        self._tell_renamed(found, now_us)
        for task, standing in zip(tasks, found.standings, strict=True):
            self.arm(task, standing)
        for run in unfinished:
            self._living.tasks[run.task].find(run)
        for kind, ids in ((TaskAdded, found.added), (TaskChanged, found.changed)):
            for task_id in ids if self._bus.hears(kind) else ():
                self._bus.tell(kind(at_us=now_us, task=task_id))

    async def declare_again(self) -> None:
        """Let a store that may have forgotten them know the tasks that are served, each from where it stood here."""
        now_us = self._clock.now_us()
        for some in _in_pieces(list(self._living.tasks.values())):
            found = await self._store.reconcile([self._as_it_stands(armed, now_us) for armed in some])
            for standing in found.standings:
                if (armed := self._living.tasks.get(standing.task)) is not None:
                    self.follow(armed, standing)

    def _as_it_stands(self, armed: ArmedTask, now_us: int) -> Declared:
        """What code declares; as far as that is what the task fires by, on the grid and from the watermark of now."""
        declared = self.declare(armed.task, now_us)
        if armed.trigger is None or armed.coded is not None:
            return declared
        return replace(declared, trigger=armed.trigger, next_us=armed.next_us)

    def _counts(self, task: Task[..., Any]) -> bool:
        """Whether its runs on their way must be known before they are claimed: they decide about others."""
        by_itself = task.trigger is None and task.links is NO_LINKS and not keeps_ledger(task.policy)
        return not (self._store.shared and by_itself)

    async def put(self, declared: Declared) -> Standing:
        """Let the store have the task as it is declared now, or as it stood under an alias; where it stands."""
        if declared.aliases:
            now_us = self._clock.now_us()
            found = await self._store.reconcile([declared])
            self._tell_renamed(found, now_us)
            if found.renamed:
                return found.standings[0]
        return await self._store.put_task(declared)

    def _tell_renamed(self, found: Reconciled, now_us: int) -> None:
        for alias, task_id in found.renamed:
            log.info("task %s: goes on where %s stood, with its history and its waiting runs", task_id, alias)
            self._bus.tell(TaskRenamed(at_us=now_us, task=task_id, alias=alias))

    def declare(self, task: Task[..., Any], now_us: int) -> Declared:
        """The task as the store is told of it, its trigger bound to this scheduler's surroundings."""
        if self._living.broken:
            self._living.broken.pop(task.id, None)
        signature = task.signature
        if signature.resources:
            self._around(task)  # before the store hears of it
        zone = task.tz or self._tz
        if task.trigger is None:
            return _declared(task, "", None, None)
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
        return _declared(task, declaration, bound, next_us)

    def arm(self, task: Task[..., Any], standing: Standing) -> ArmedTask:
        """Serve ``task`` from where it stands."""
        armed = ArmedTask(task, standing, self._living)
        armed.around = self._around(task)
        if armed.policy is not DEFAULT_POLICY and keeps_ledger(armed.policy):
            armed.ledger = Ledger(armed.policy, self._timer, self._bus, self._clock.now_us)
            armed.ledger.recall(armed.history())
        armed.counts = self._counts(task)
        self._living.tasks[task.id] = armed
        task.home = self._home
        task.state = armed
        self._set(armed)
        return armed

    async def find_runs(self, armed: ArmedTask) -> None:
        """Let the task know of its runs that have not ended."""
        for run in await self._store.unfinished([armed.task.id]) if armed.counts else ():
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

    def preview(self, task_id: str, count: int) -> list[datetime]:
        """The next ``count`` fires of a task, in its zone; none for a task that is not served here."""
        armed = self._living.tasks.get(task_id)
        if armed is None:
            return []
        return [from_us(at_us).astimezone(armed.zone) for at_us in islice(self.fires(armed), count)]

    async def pause(self, armed: ArmedTask, until: datetime | None, note: str | None) -> None:
        """Let no fire of the task become a run until then, or without end."""
        until_us = FOREVER if until is None else instant_us(armed, until)
        await self.amend(armed, lambda stands: Amendment(until_us, stands.skip_us))
        log.info("task %s: paused%s", armed.task.id, "" if note is None else f": {note}")
        told_until = None if until is None else from_us(until_us)
        self._bus.tell(TaskPaused(at_us=self._clock.now_us(), task=armed.task.id, until=told_until, note=note))

    async def resume(self, armed: ArmedTask) -> None:
        """Let the task fire again, from its next fire on; those of the pause are recorded as skips."""
        if armed.paused_until_us is None:
            return
        now_us = self._clock.now_us()
        await self.amend(armed, lambda stands: Amendment(None, stands.skip_us))
        self._bus.tell(TaskResumed(at_us=now_us, task=armed.task.id))

    async def skip_next(self, armed: ArmedTask) -> int | None:
        """Let the next fire of the task be a recorded skip; its instant, ``None`` if there is no next fire."""
        skip_us = armed.next_us
        if skip_us is not None:
            await self.amend(armed, lambda stands: Amendment(stands.paused_until_us, skip_us))
        return armed.next_us

    async def amend(self, armed: ArmedTask, change: Callable[[ArmedTask], Amendment]) -> None:
        """Change the task as an operator asks; ``change`` makes that of where it stands, perhaps more than once."""
        while True:
            amendment = change(armed)
            standing = await self._store.amend(armed.task.id, armed.version, amendment)
            if standing is None:
                return
            self.follow(armed, standing)
            if carries(standing, amendment):
                return
            # Somebody else edited the task first: once more, on what it has become.

    def follow(self, armed: ArmedTask, standing: Standing) -> None:
        """Serve the task from where it stands by now."""
        before_us = armed.paused_until_us
        armed.stand(standing)
        if before_us is not None and armed.paused_until_us is None:  # its pause was ended, here or elsewhere
            armed.skip_to_us = max(armed.skip_to_us or 0, min(before_us, self._clock.now_us()))
        self._set(armed)

    def _set(self, armed: ArmedTask) -> None:
        """Put the task into the timer; a paused one costs nothing there, one that is paused until then rings then."""
        if self._living.reminders:
            self._forget_pause(armed)
        if armed.paused_until_us is None:
            self._firing.arm(armed)
            return
        self._timer.drop(armed)
        if armed in self._living.due:  # it has rung, and has not had its turn yet
            self._living.due.remove(armed)
        if armed.paused_until_us != FOREVER:
            reminder = self._living.reminders[armed] = Reminder(lambda: self._living.resuming.append(armed))
            self._timer.set(reminder, armed.paused_until_us)

    def _forget_pause(self, armed: ArmedTask) -> None:
        if (reminder := self._living.reminders.pop(armed, None)) is not None:
            self._timer.drop(reminder)


def _in_pieces(tasks: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(tasks), _TAKEN_UP):
        yield tasks[start : start + _TAKEN_UP]


def _declared(task: Task[..., Any], declaration: object, bound: Trigger | None, next_us: int | None) -> Declared:
    limit, aliases = task.policy.history_limit, tuple(alias for alias in task.aliases if alias != task.id)
    return Declared(task.id, declaration, bound, next_us, limit, task.signature, aliases, task.metadata or None)


def carries(standing: Standing, amendment: Amendment) -> bool:
    """Whether a task stands as an operator has changed it."""
    paused_until_us, skip_us, overrides, _next_us = amendment
    same = (standing.paused_until_us, standing.skip_us) == (paused_until_us, skip_us)
    return same and (overrides is None or standing.overrides == overrides)


def instant_us(armed: ArmedTask, moment: datetime) -> int:
    """The instant that a datetime names, in the task's zone if it is naive."""
    return to_us(moment if moment.tzinfo else moment.replace(tzinfo=armed.zone))
