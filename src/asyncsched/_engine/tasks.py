"""The living tasks: ``scheduler.tasks``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, time, timedelta
from heapq import merge
from itertools import islice, repeat, takewhile
from typing import Any

from asyncsched._engine.backfilling import backfill
from asyncsched._engine.engine import Engine
from asyncsched._engine.living import ArmedTask
from asyncsched._engine.overriding import override, reset
from asyncsched.backfill import Backfill
from asyncsched.clock import from_us, to_us
from asyncsched.errors import DuplicateTask, MisuseError, UnknownTask
from asyncsched.events import TaskChanged, TaskRemoved
from asyncsched.explanation import Explanation
from asyncsched.options import one_trigger
from asyncsched.overrides import Overrides
from asyncsched.run import Run
from asyncsched.stores import StoredTask
from asyncsched.submission import Submission
from asyncsched.task import Task
from asyncsched.triggers import TriggerLike


class Tasks:
    """The tasks of a running scheduler; what is changed here takes effect at once."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    async def add(self, task: Task[..., Any]) -> Task[..., Any]:
        """Serve ``task`` from now on; the task itself. One that the store keeps goes on where it stands there.

        Raises:
            DuplicateTask: another task has its id; ``replace`` is for that. Or one of its aliases.
            ConfigError: it depends on a task that there is not.
        """
        engine = self._engine()
        if task.id in engine.living.tasks:
            raise DuplicateTask(f"a task {task.id!r} is there already: give another id=, or use tasks.replace")
        graph = engine.places.check(task)
        _check_put(engine, task)
        await engine.arming.take_up([task], engine.upkeep.begin)
        engine.upkeep.begin()
        if graph is not engine.places.graph:
            engine.places.adopt(graph)
        return task

    async def replace(self, task: Task[..., Any]) -> Task[..., Any]:
        """Serve ``task`` instead of the one with its id, whose history it keeps; its next fire is computed anew.

        Raises:
            UnknownTask: there is none with its id.
            ConfigError: it depends on a task that there is not, or on one that depends on it.
        """
        engine = self._engine()
        before = self._armed(task.id)
        graph = engine.places.check(task)
        engine.arming.disarm(before)
        armed = await self._put(engine, task)
        engine.places.adopt(graph)
        armed.inherit(before)
        await engine.arming.find_runs(armed)
        engine.bus.tell(TaskChanged(at_us=engine.clock.now_us(), task=task.id))
        return task

    async def remove(self, task_id: str) -> bool:
        """Serve the task no more; whether it was there. A run under way ends by itself, waiting ones are cancelled.

        Raises:
            MisuseError: other tasks depend on it; the message names them.
        """
        engine = self._engine()
        if task_id not in engine.living.tasks:
            return False
        graph = engine.places.check_removal(task_id)
        if graph is not engine.places.graph:
            engine.places.adopt(graph)
        armed = engine.living.tasks.pop(task_id)
        engine.arming.disarm(armed)
        for run in await engine.store.drop_task(task_id):
            engine.cycle.over(run, engine.clock.now_us())
        if engine.bus.hears(TaskRemoved):
            engine.bus.tell(TaskRemoved(at_us=engine.clock.now_us(), task=task_id))
        return True

    async def get(self, task_id: str) -> Task[..., Any]:
        """The task of this id.

        Raises:
            UnknownTask: there is none.
        """
        return self._armed(task_id).task

    async def run_now(self, task_id: str) -> Run[Any]:
        """A run of the task at once, with its own arguments; its next fire stays where it is.

        Raises:
            UnknownTask: there is no such task.
            ArgumentsError: it has no arguments of its own, and its function needs some.
        """
        task = self._armed(task_id).task
        task.signature.check(task.args, task.kwargs)
        (run,) = await self._engine().submit(task, [(task.args, task.kwargs)], Submission(by_hand=True))
        return run

    async def next_fires(self, count: int | None = 1, *, until: datetime | None = None) -> list[tuple[str, datetime]]:
        """The ``count`` soonest fires of all tasks, each as task id and instant in the task's zone.

        With ``until``, an aware datetime, only those before it, and ``None`` as count is all of those.
        """
        arming = self._engine().arming
        streams = [zip(arming.fires(armed), repeat(armed)) for armed in self._engine().living.tasks.values()]
        fires: Iterator[tuple[int, ArmedTask]] = merge(*streams, key=lambda fire: fire[0])
        if until is not None:
            end_us = to_us(until)
            fires = takewhile(lambda fire: fire[0] < end_us, fires)
        return [(armed.task.id, from_us(at_us).astimezone(armed.zone)) for at_us, armed in islice(fires, count)]

    async def pause(
        self, *task_ids: str, tag: str | None = None, until: datetime | None = None, note: str | None = None
    ) -> None:
        """Let no fire of these tasks, or of all with a tag, become a run: until then, or until they are resumed.

        What fires meanwhile is recorded as skipped, with reason ``paused``, when the pause ends. A paused task costs
        nothing, and stays paused over restarts. Runs under way, and those submitted, are not concerned.

        Args:
            task_ids: the tasks.
            tag: all tasks that have it.
            until: when they go on by themselves; naive: in the task's zone.
            note: why, for those who see the event.

        Raises:
            UnknownTask: there is no such task.
        """
        for armed in self._meant(task_ids, tag):
            await self._engine().arming.pause(armed, until, note)

    async def resume(self, *task_ids: str, tag: str | None = None) -> None:
        """Let paused tasks, or all with a tag, fire again, from their next fire on.

        Raises:
            UnknownTask: there is no such task.
        """
        for armed in self._meant(task_ids, tag):
            await self._engine().arming.resume(armed)

    async def override(
        self,
        task_id: str,
        trigger: TriggerLike | None = None,
        *,
        every: timedelta | str | Mapping[str, float] | None = None,
        at: str | time | Sequence[str | time] | None = None,
        cron: str | None = None,
        run_at: datetime | None = None,
        priority: int | None = None,
        max_running: int | None = None,
        note: str | None = None,
    ) -> Overrides:
        """Put another trigger, or other limits, in place of what code declares; all that stands now.

        It holds at once at all nodes, and over restarts and redeploys, until ``reset``; what is not given stays as it
        is. ``tasks.stored``, ``task.overrides`` and ``explain`` show it.

        Args:
            task_id: the task.
            trigger: any trigger, or its text; or one of ``every``, ``at``, ``cron``, ``run_at``, as of a task. Its zone
                is the task's.
            every: see ``Task``.
            at: see ``Task``.
            cron: see ``Task``.
            run_at: see ``Task``.
            priority: of the runs that are made from now on.
            max_running: of those, how many may be ready or running at once.
            note: why, for those who look.

        Raises:
            UnknownTask: there is no such task.
            ConfigError: the task cannot have that.
        """
        given = {"trigger": trigger, "every": every, "at": at, "cron": cron, "run_at": run_at}
        put = one_trigger({name: value for name, value in given.items() if value is not None})
        return await override(self._engine(), self._armed(task_id), put, priority, max_running, note)

    async def reset(self, task_id: str) -> bool:
        """Let what code declares hold again; whether an operator had put anything in its place. A pause stays.

        An interval goes on in the grid that it had.

        Raises:
            UnknownTask: there is no such task.
        """
        return await reset(self._engine(), self._armed(task_id))

    async def stored(self) -> list[StoredTask]:
        """All tasks that the store keeps, by id: those too that no node declares any more, which are retired.

        Of each its trigger, next fire, pause, overrides, and how many of its runs wait and run.
        """
        return await self._engine().store.tasks()

    async def skip_next(self, task_id: str) -> datetime | None:
        """Let the task's next fire be a recorded skip; its instant, ``None`` if the task fires no more.

        Raises:
            UnknownTask: there is no such task.
        """
        armed = self._armed(task_id)
        at_us = await self._engine().arming.skip_next(armed)
        return None if at_us is None else from_us(at_us).astimezone(armed.zone)

    async def backfill(
        self, task_id: str, start: datetime, end: datetime, *, dry_run: bool = False, priority: int | None = None
    ) -> Backfill:
        """Runs for the fires of a past range that have none, and what was found; again it makes only what is missing.

        They run oldest first, one after another unless the task's ``overlap`` is ``"allow"``. A fire whose skip was
        recorded is run; so is one that another run stands for. What has a run is known as far as the task's
        ``history_limit`` keeps it.

        Args:
            task_id: the task.
            start: from then on (included); naive: in the task's zone.
            end: before then; not later than now.
            dry_run: make nothing, tell only.
            priority: of the runs; default 100 less than the task's own.

        Raises:
            UnknownTask: there is no such task.
            ConfigError: it has no fires to replay; the range is none, reaches into the future or holds over 10,000.
        """
        return await backfill(self._engine(), self._armed(task_id), start, end, priority, dry_run=dry_run)

    async def explain(self, task_id: str, *, last: int = 20) -> Explanation:
        """What became of the task's fires and why, and what its runs wait for now: ``print`` it, or ``to_json()``.

        ``last``: so many ended runs and skips, as far as the task's ``history_limit`` keeps them. A task that is not
        served here is explained too, as far as the store knows it.

        Raises:
            UnknownTask: there is no such task.
        """
        from asyncsched._engine.explaining import Sight, explain  # 8 ms to import, and few programs ask
        from asyncsched._engine.unserved import explain_unserved

        engine = self._engine()
        if task_id not in engine.living.tasks:
            told = await explain_unserved(engine.store, task_id, engine.tz, engine.clock.now_us(), last)
            if told is not None:
                return told
        return await explain(self._armed(task_id), Sight.of(engine, task_id), last)

    async def list(self, *, tag: str | None = None, group: str | None = None) -> list[Task[..., Any]]:
        """The tasks: all, those with a tag, those of a group.

        In the order of their declaration; of more than 1,000 those come first that were due first at the start.
        """
        tasks = [armed.task for armed in self._engine().living.tasks.values()]
        return [task for task in tasks if (tag is None or tag in task.tags) and group in (None, task.group)]

    def _meant(self, task_ids: tuple[str, ...], tag: str | None) -> Sequence[ArmedTask]:
        """The tasks of these ids, and those with the tag."""
        tagged = [
            armed
            for armed in self._engine().living.tasks.values()
            if tag is not None and tag in armed.task.tags and armed.task.id not in task_ids
        ]
        return [*map(self._armed, task_ids), *tagged]

    def _armed(self, task_id: str) -> ArmedTask:
        armed = self._engine().living.tasks.get(task_id)
        if armed is None:
            known = ", ".join(sorted(self._engine().living.tasks)[:20]) or "none"
            raise UnknownTask(f"no task {task_id!r}; there are: {known}")
        return armed

    async def _put(self, engine: Engine, task: Task[..., Any]) -> ArmedTask:
        _check_put(engine, task)
        standing = await engine.arming.put(engine.arming.declare(task, engine.clock.now_us()))
        armed = engine.arming.arm(task, standing)
        engine.upkeep.begin()
        return armed


def _check_put(engine: Engine, task: Task[..., Any]) -> None:
    """Refuse a task that cannot be served now."""
    if engine.stopping:
        raise MisuseError(f"the scheduler is stopping: it takes no task {task.id!r}")
    for alias in task.aliases:
        if alias in engine.living.tasks:
            raise DuplicateTask(f"task {task.id!r} has the alias {alias!r}, a task that is served: remove that first")
