"""What was declared: tasks by id, in order."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import unwrap
from typing import Any

from asyncsched.decorators import AnyTask, Decorators
from asyncsched.errors import DuplicateTask
from asyncsched.naming import place_of
from asyncsched.task import Task


class Registry(Decorators):
    """A collection of declared tasks. Nothing starts until a scheduler serves it.

    The decorators of the module ``asyncsched`` collect into one registry, which ``Scheduler()`` serves.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, Task[..., Any]] = {}

    def register(self, task: AnyTask) -> AnyTask:
        known = self._tasks.get(task.id)
        if known is not None:
            where = place_of(known.__wrapped__) or repr(known.__wrapped__)
            cure = "give one an id="
            if unwrap(known.__wrapped__) is unwrap(task.__wrapped__):
                cure += ", or say all its times in one when([...])"
            raise DuplicateTask(f"two tasks have the id {task.id!r}, the other stands at {where}: {cure}")
        self._tasks[task.id] = task
        return task

    def forget(self, task_id: str) -> None:
        """Let the task be undeclared; nothing happens if it is."""
        self._tasks.pop(task_id, None)

    def __iter__(self) -> Iterator[Task[..., Any]]:
        return iter(list(self._tasks.values()))

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._tasks

    def __getitem__(self, task_id: str) -> Task[..., Any]:
        return self._tasks[task_id]


default_registry = Registry()
