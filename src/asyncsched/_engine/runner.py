"""One run, start to finish, in named phases: prepare, call, judge."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Any

from asyncsched._engine.bus import complain
from asyncsched._engine.living import LivingRun
from asyncsched._engine.timer import Timer
from asyncsched.context import enter_run
from asyncsched.duration import format_duration
from asyncsched.executors import Executor
from asyncsched.run import Cancelled, Outcome, Raised, Succeeded

# An eager task saves a turn of the loop, and two thirds of the cost, for coroutines that never wait.
_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class Runner:
    """Executes attempts, each as one asyncio task that it owns, and hands on what came out.

    ``ended`` is called once for each attempt, with its outcome.
    """

    def __init__(
        self, timer: Timer, executors: Mapping[str, Executor], ended: Callable[[LivingRun, Outcome], None]
    ) -> None:
        self._timer = timer
        self._executors = executors
        self._ended = ended
        self._loop = asyncio.get_running_loop()

    def start(self, living: LivingRun, now_us: int) -> None:
        """Begin the attempt."""
        policy = living.armed.policy
        if policy.timeout is not None:
            assert policy.timeout_us is not None
            self._timer.set(living, now_us + policy.timeout_us)
        handle = asyncio.Task(self._execute(living), loop=self._loop, name=living.run.id, **_EAGER)
        if not handle.done():
            living.handle = handle  # the strong reference: living runs are held until they are settled

    async def close(self) -> None:
        """Let the executors give back what they keep for further calls."""
        for executor in set(self._executors.values()):
            try:
                await executor.close()
            except Exception as error:
                complain("%s could not be closed", type(executor).__name__, error=error)

    async def _execute(self, living: LivingRun) -> None:
        living.handle = asyncio.current_task()
        living.begun = True
        outcome: Outcome
        if living.ending is None:
            run, task = living.run, living.armed.task
            enter_run(run)
            try:
                args, kwargs = run.args, run.kwargs
                if (signature := task.signature).context:
                    args, kwargs = signature.with_context(run, args, kwargs)
                outcome = Succeeded(await self._executors[task.executor].call(task.__wrapped__, args, kwargs))
            except asyncio.CancelledError as error:
                outcome = self._stopped(living, error)
            # Whatever is raised ends this run and nothing else; that is the promise of a scheduler.
            except BaseException as error:
                outcome = Raised(error)
        else:
            outcome = self._stopped(living, None)
        living.handle = None
        if living.entry:
            self._timer.drop(living)
        self._ended(living, outcome)

    def _stopped(self, living: LivingRun, error: asyncio.CancelledError | None) -> Outcome:
        if living.ending == "timeout":
            limit = living.armed.policy.timeout
            assert limit is not None
            late = TimeoutError(f"attempt {living.run.attempt} took longer than timeout={format_duration(limit)!r}")
            late.__cause__ = error
            return Raised(late)
        return Cancelled(living.reason or "it was cancelled from inside the program")
