"""Runs that no trigger makes: submitted with arguments, or repeated by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from asyncsched._engine.arming import instant_us
from asyncsched._engine.living import Living, terms_of
from asyncsched.errors import MisuseError
from asyncsched.ids import RunIds
from asyncsched.run import Run
from asyncsched.stores import Store
from asyncsched.task import Submission, Task

_NOW = Submission()
_US = timedelta(microseconds=1)


class Intake:
    """Writes runs to the store, and has the engine look.

    ``stirred`` is called when they can be claimed.
    """

    def __init__(
        self, living: Living, store: Store, ids: RunIds, now_us: Callable[[], int], stirred: Callable[[], None]
    ) -> None:
        self._living = living
        self._store = store
        self._ids = ids
        self._now_us = now_us
        self._stirred = stirred

    async def submit(
        self,
        task: Task[..., Any],
        calls: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]],
        how: Submission = _NOW,
        retry_of: str | None = None,
    ) -> list[Run[Any]]:
        """A new run of ``task`` for each of these arguments, written at once.

        Raises:
            MisuseError: this scheduler does not serve the task.
        """
        armed = self._living.tasks.get(task.id)
        if armed is None or armed.task is not task:
            cure = "register it with this scheduler's registry, or await scheduler.tasks.add(task)"
            raise MisuseError(f"task {task.id!r} is not one that this scheduler serves: {cure}")
        now_us = self._now_us()
        due_us = now_us
        if how.at is not None:
            due_us = max(now_us, instant_us(armed, how.at))
        elif how.delay is not None:
            due_us = now_us + how.delay // _US
        terms = armed.terms if how.priority is None else terms_of(task, how.priority)
        runs: list[Run[Any]] = [
            Run(self._ids.make(now_us), task.id, now_us, due_us, terms=terms, args=args, kwargs=kwargs)
            for args, kwargs in calls
        ]
        for run in runs:
            run.retry_of = retry_of
        await self._store.submit(runs)
        armed.live += len(runs)
        if runs:
            armed.newest = runs[-1]
        self._stirred()
        return runs
