"""The runs: ``scheduler.runs``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from asyncsched._engine.engine import Engine
from asyncsched._engine.living import Reminder
from asyncsched.clock import to_us
from asyncsched.duration import as_duration, format_duration
from asyncsched.errors import MisuseError, UnknownRun, UnknownTask
from asyncsched.executors import Abandoned
from asyncsched.results import needed_runs
from asyncsched.run import Run, RunStatus, SkipReason
from asyncsched.stores import RunFilter
from asyncsched.submission import Submission
from asyncsched.zone import load_zone


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
        status: RunStatus | str | Collection[RunStatus | str] | None = None,
        reason: SkipReason | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
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
            limit: at most so many.

        Raises:
            ValueError: there is no such status.
        """
        wanted = None
        if status is not None:
            wanted = {RunStatus(one) for one in ([status] if isinstance(status, str) else status)}
        engine = self._engine()
        armed = None if task is None else engine.living.tasks.get(task)
        zone = load_zone(engine.tz) if armed is None else armed.zone
        since_us, until_us = (
            None if moment is None else to_us(moment if moment.tzinfo else moment.replace(tzinfo=zone))
            for moment in (since, until)
        )
        reasons = None if reason is None else {reason}
        chosen = RunFilter(task=task, status=wanted, reason=reasons, since_us=since_us, until_us=until_us, limit=limit)
        return await engine.store.runs(chosen)

    async def get(self, run_id: str) -> Run[Any]:
        """The run of this id.

        Raises:
            UnknownRun: there is none, or it is no longer kept.
        """
        run = await self._engine().store.run(run_id)
        if run is None:
            raise UnknownRun(f"no run {run_id!r}: ended runs are kept up to their task's history_limit")
        return run

    async def cancel(self, run_id: str, reason: str = "it was cancelled by hand") -> bool:
        """Stop the run: a waiting one never starts, in a running one ``CancelledError`` is raised. Whether it had to.

        A thread cannot be stopped from outside: its run ends at once, the thread when it returns.

        Raises:
            UnknownRun: there is none of this id, or it is no longer kept.
        """
        await self.get(run_id)
        return bool(await self._engine().custody.cancel([run_id], reason))

    async def cancel_flow(self, run_id: str, reason: str = "its flow was cancelled by hand") -> int:
        """Stop all runs of the flow to which this run belongs: as ``cancel``, each of them. How many had to be.

        Raises:
            UnknownRun: there is none of this id, or it is no longer kept.
        """
        flow = (await self.get(run_id)).flow
        unfinished = RunFilter(flow=flow, status={RunStatus.PENDING, RunStatus.RUNNING}, limit=2**31)
        engine = self._engine()
        return len(await engine.custody.cancel([run.id for run in await engine.store.runs(unfinished)], reason))

    async def retry(self, run_id: str) -> Run[Any]:
        """A new run with the arguments of one that has ended; its ``retry_of`` is that one's id.

        Raises:
            UnknownRun: there is none of this id, or it is no longer kept.
            UnknownTask: its task is not served here.
            MisuseError: it has not ended.
        """
        engine = self._engine()
        run = await self.get(run_id)
        if not run.status.final:
            raise MisuseError(f"run {run_id} of {run.task!r} is {run.status}: cancel it first, or await it")
        armed = engine.living.tasks.get(run.task)
        if armed is None:
            raise UnknownTask(f"run {run_id} belongs to task {run.task!r}, which is not served here")
        how = Submission(by_hand=True)
        if run.edges is not None:
            how = how._replace(needs={0: needed_runs(run.args, run.kwargs)})
        (again,) = await engine.intake.submit(armed.task, [(run.args, run.kwargs)], how, run_id)
        return again

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


async def _ended(run: Run[Any]) -> None:
    try:
        await run
    except BaseException:
        if not run.status.final:  # it was not the run that raised
            raise


def _stop(waiter: asyncio.Future[None]) -> None:
    waiter.cancel()
