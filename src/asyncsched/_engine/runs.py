"""The runs: ``scheduler.runs``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias, overload

from asyncsched._engine.engine import Engine
from asyncsched._engine.living import Reminder
from asyncsched._engine.many import cancel_all, repeat, retry_all
from asyncsched._engine.selection import Selection, Statuses
from asyncsched.duration import as_duration, format_duration
from asyncsched.errors import MisuseError, UnknownRun, UnknownTask
from asyncsched.executors import Abandoned
from asyncsched.run import Run, RunStatus, SkipReason
from asyncsched.stores import RunFilter

Found: TypeAlias = list[Run[Any]]
_BY_HAND = "it was cancelled by hand"


class Runs:
    """The runs that are waiting or running, and those that have ended, as far as they are kept."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    @property
    def abandoned(self) -> tuple[Abandoned, ...]:
        """What goes on of cancelled runs: threads, which cannot be stopped, and coroutines that do not heed it."""
        engine = self._engine()
        left = [left for executor in engine.executors.values() for left in executor.abandoned]
        return (*left, *engine.cycle.runner.abandoned)

    async def list(
        self,
        *,
        task: str | None = None,
        status: Statuses | None = None,
        reason: SkipReason | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        queue: str | None = None,
        tag: str | None = None,
        limit: int = 100,
    ) -> list[Run[Any]]:
        """Up to ``limit`` runs and recorded skips, newest first; all that fit each part that is given.

        Args:
            task: the id of their task.
            status: theirs, or several.
            reason: why they were skipped or cancelled.
            since: those from then on, by the instant of their fire, or of their submission; naive: in the zone of the
                task that is given, else of the scheduler.
            until: those before then.
            queue: the one for which they wait, or were run.
            tag: one of those of their task, which is served here.
            limit: at most so many.

        Raises:
            ValueError: there is no such status.
        """
        engine = self._engine()
        return await engine.store.runs(Selection(task, status, since, until, queue, tag).filter(engine, limit, reason))

    async def get(self, run_id: str) -> Run[Any]:
        """The run of this id.

        Raises:
            UnknownRun: there is none, or it is no longer kept.
        """
        run = await self._engine().store.run(run_id)
        if run is None:
            raise UnknownRun(f"no run {run_id!r}: ended runs are kept up to their task's history_limit")
        return run

    @overload
    async def cancel(self, run_id: str, reason: str = _BY_HAND) -> bool: ...
    @overload
    async def cancel(
        self,
        run_id: None = None,
        reason: str = _BY_HAND,
        *,
        task: str | None = None,
        status: Statuses | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        queue: str | None = None,
        tag: str | None = None,
    ) -> int: ...
    async def cancel(
        self,
        run_id: str | None = None,
        reason: str = _BY_HAND,
        *,
        task: str | None = None,
        status: Statuses | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        queue: str | None = None,
        tag: str | None = None,
    ) -> bool | int:
        """Stop the run: a waiting one never starts, in a running one ``CancelledError`` is raised. Whether it had to.

        Without an id all that fit each part that is given, as in ``list``; how many had to be. ``status="PENDING"``
        drops those that wait, and lets go on what runs.

        A thread cannot be stopped from outside: its run ends at once, the thread when it returns.

        Raises:
            UnknownRun: there is none of this id, or it is no longer kept.
            MisuseError: it is not said which, or a status is that of runs that have ended.
        """
        chosen = Selection(task, status, since, until, queue, tag)
        engine = self._engine()
        if run_id is None:
            return await cancel_all(engine, chosen, reason)
        _alone(run_id, chosen)
        await self.get(run_id)
        return bool(await engine.custody.cancel([run_id], reason))

    async def cancel_flow(self, run_id: str, reason: str = "its flow was cancelled by hand") -> int:
        """Stop all runs of the flow to which this run belongs: as ``cancel``, each of them. How many had to be.

        Raises:
            UnknownRun: there is none of this id, or it is no longer kept.
        """
        flow = (await self.get(run_id)).flow
        unfinished = RunFilter(flow=flow, status={RunStatus.PENDING, RunStatus.RUNNING}, limit=2**31)
        engine = self._engine()
        return len(await engine.custody.cancel([run.id for run in await engine.store.runs(unfinished)], reason))

    @overload
    async def retry(self, run_id: str) -> Run[Any]: ...
    @overload
    async def retry(
        self,
        run_id: None = None,
        *,
        task: str | None = None,
        status: Statuses | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        queue: str | None = None,
        tag: str | None = None,
        limit: int = 1_000,
    ) -> Found: ...
    async def retry(
        self,
        run_id: str | None = None,
        *,
        task: str | None = None,
        status: Statuses | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        queue: str | None = None,
        tag: str | None = None,
        limit: int = 1_000,
    ) -> Run[Any] | Found:
        """A new run with the arguments of one that has ended; its ``retry_of`` is that one's id.

        Without an id a new one for each of those that fit each part that is given, as in ``list``: of those that
        FAILED unless ``status`` says otherwise, the newest ``limit``, of tasks that are served here. One that has been
        repeated so is not repeated again.

        Raises:
            UnknownRun: there is none of this id, or it is no longer kept.
            UnknownTask: its task is not served here.
            MisuseError: it has not ended, or it is not said which.
        """
        engine = self._engine()
        chosen = Selection(task, status, since, until, queue, tag)
        if run_id is None:
            return await retry_all(engine, chosen, limit)
        _alone(run_id, chosen)
        run = await self.get(run_id)
        if not run.status.final:
            raise MisuseError(f"run {run_id} of {run.task!r} is {run.status}: cancel it first, or await it")
        if run.task not in engine.living.tasks:
            raise UnknownTask(f"run {run_id} belongs to task {run.task!r}, which is not served here")
        return await repeat(engine, run)

    async def wait(self, run_id: str, *, within: timedelta | str | None = None) -> Any:
        """The result of the run when it has ended, or its exception, raised.

        Raises:
            UnknownRun: there is none of this id, or it is no longer kept.
            TimeoutError: it has not ended ``within`` this time; it goes on.
        """
        run = await self.get(run_id)
        if within is None or run.status.final:
            return await run
        engine = self._engine()
        limit = as_duration("within", within, zero=True)
        waiter = asyncio.ensure_future(_ended(run))
        reminder = Reminder(lambda: _stop(waiter))
        engine.timer.set(reminder, engine.clock.now_us() + limit // timedelta(microseconds=1))
        try:
            await asyncio.wait([waiter])
        finally:
            engine.timer.drop(reminder)
            waiter.cancel()
        if waiter.cancelled():
            raise TimeoutError(f"run {run_id} of {run.task!r} has not ended within {format_duration(limit)}")
        waiter.result()
        return run.value()

    async def drain(self) -> None:
        """Start no more runs here; return when those under way have ended, or wait for their next attempt.

        What is ready from then on is left to other processes; this one still fires and submits until it is left.
        """
        await self._engine().drain()


def _alone(run_id: str, chosen: Selection) -> None:
    if any(part is not None for part in chosen):
        raise MisuseError(f"run {run_id} and which runs are meant: give one or the other")


async def _ended(run: Run[Any]) -> None:
    try:
        await run
    except BaseException:
        if not run.status.final:  # it was not the run that raised
            raise


def _stop(waiter: asyncio.Future[None]) -> None:
    waiter.cancel()
