"""The living tasks: ``scheduler.tasks``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from heapq import merge
from itertools import islice, repeat, takewhile
from typing import Any

from asyncsched._engine.engine import Engine
from asyncsched._engine.living import ArmedTask
from asyncsched.clock import from_us, to_us
from asyncsched.errors import DuplicateTask, MisuseError, UnknownTask
from asyncsched.events import TaskAdded, TaskChanged, TaskRemoved
from asyncsched.run import Run
from asyncsched.task import Task


class Tasks:
    """The tasks of a running scheduler; what is changed here takes effect at once."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    async def add(self, task: Task[..., Any]) -> Task[..., Any]:
        """Serve ``task`` from now on; the task itself.

        Raises:
            DuplicateTask: another task has its id; ``replace`` is for that.
        """
        engine = self._engine()
        if task.id in engine.living.tasks:
            raise DuplicateTask(f"a task {task.id!r} is there already: give another id=, or use tasks.replace")
        armed = await self._put(engine, task)
        # What a removed task of this id had begun goes on, and counts as a run of this one.
        armed.live = sum(living.run.task == task.id for living in engine.living.runs.values())
        engine.bus.tell(TaskAdded(at_us=engine.clock.now_us(), task=task.id))
        return task

    async def replace(self, task: Task[..., Any]) -> Task[..., Any]:
        """Serve ``task`` instead of the one with its id, whose history it keeps; its next fire is computed anew.

        Raises:
            UnknownTask: there is none with its id.
        """
        engine = self._engine()
        before = self._armed(task.id)
        engine.disarm(before)
        live = before.live
        armed = await self._put(engine, task)
        armed.live = live
        engine.bus.tell(TaskChanged(at_us=engine.clock.now_us(), task=task.id))
        return task

    async def remove(self, task_id: str) -> bool:
        """Serve the task no more; whether it was there. A run under way ends by itself, waiting ones are cancelled."""
        engine = self._engine()
        armed = engine.living.tasks.pop(task_id, None)
        if armed is None:
            return False
        engine.disarm(armed)
        cancelled = await engine.store.drop_task(task_id)
        now_us = engine.clock.now_us()
        for run in cancelled:
            engine.cycle.tell_end(run, now_us)
        engine.bus.tell(TaskRemoved(at_us=now_us, task=task_id))
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
        """
        task = self._armed(task_id).task
        return await self._engine().submit(task, task.args, task.kwargs)

    async def next_fires(self, count: int | None = 1, *, until: datetime | None = None) -> list[tuple[str, datetime]]:
        """The ``count`` soonest fires of all tasks, each as task id and instant in the task's zone.

        With ``until``, an aware datetime, only those before it, and ``None`` as count is all of those.
        """
        streams = [zip(armed.fires(), repeat(armed)) for armed in self._engine().living.tasks.values()]
        fires: Iterator[tuple[int, ArmedTask]] = merge(*streams, key=lambda fire: fire[0])
        if until is not None:
            end_us = to_us(until)
            fires = takewhile(lambda fire: fire[0] < end_us, fires)
        return [(armed.task.id, from_us(at_us).astimezone(armed.zone)) for at_us, armed in islice(fires, count)]

    async def list(self) -> list[Task[..., Any]]:
        """All tasks, in the order of their declaration."""
        return [armed.task for armed in self._engine().living.tasks.values()]

    def _armed(self, task_id: str) -> ArmedTask:
        armed = self._engine().living.tasks.get(task_id)
        if armed is None:
            known = ", ".join(sorted(self._engine().living.tasks)[:20]) or "none"
            raise UnknownTask(f"no task {task_id!r}; there are: {known}")
        return armed

    async def _put(self, engine: Engine, task: Task[..., Any]) -> ArmedTask:
        if engine.stopping:
            raise MisuseError(f"the scheduler is stopping: it takes no task {task.id!r}")
        standing = await engine.store.put_task(engine.declare(task, engine.clock.now_us()))
        return engine.arm(task, standing)
