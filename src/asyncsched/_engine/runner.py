"""One run, start to finish, in named phases: prepare, call, judge."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Any

from asyncsched import crash_points
from asyncsched._engine.bus import complain, warn
from asyncsched._engine.living import LivingRun
from asyncsched._engine.timer import Timer
from asyncsched.clock import from_us
from asyncsched.context import enter_run
from asyncsched.deadlines import out_of_time, run_ends_us
from asyncsched.duration import format_duration
from asyncsched.executors import Abandoned, Executor
from asyncsched.links import with_edges
from asyncsched.policy import DEFAULT_POLICY
from asyncsched.run import Cancelled, HandedBack, Outcome, Raised, Succeeded

# An eager task saves a turn of the loop, and two thirds of the cost, for coroutines that never wait.
_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class Runner:
    """Executes attempts, each as one asyncio task that it owns, and hands on what came out.

    ``ended`` is called once for each attempt, with its outcome.
    """

    def __init__(
        self,
        timer: Timer,
        executors: Mapping[str, Executor],
        ended: Callable[[LivingRun, Outcome], None],
        now_us: Callable[[], int],
    ) -> None:
        self._timer = timer
        self._executors = executors
        self._ended = ended
        self._now_us = now_us
        self._abandoned: dict[asyncio.Task[Any], Abandoned] = {}
        self._loop = asyncio.get_running_loop()

    @property
    def abandoned(self) -> tuple[Abandoned, ...]:
        """The coroutines that were given up, until they return."""
        return tuple(self._abandoned.values())

    @crash_points.before("before-start")
    def start(self, living: LivingRun, now_us: int) -> None:
        """Begin the attempt."""
        policy = living.armed.policy
        if policy is not DEFAULT_POLICY and policy.timed:
            self._bound(living, now_us)
        handle = asyncio.Task(self._execute(living), loop=self._loop, name=living.run.id, **_EAGER)
        if not handle.done():
            living.handle = handle  # the strong reference: living runs are held until they are settled

    async def close(self) -> None:
        """Let the executors give back what they keep for further calls; what was given up is told to stop once more."""
        for handle, left in self._abandoned.items():
            warn("%s is left behind: it was told to stop, and its coroutine goes on", left.what)
            handle.cancel()
        for executor in set(self._executors.values()):
            try:
                await executor.close()
            except Exception as error:
                complain("%s could not be closed", type(executor).__name__, error=error)

    def _bound(self, living: LivingRun, now_us: int) -> None:
        """Let the attempt ring when it, or the whole run, is out of time."""
        timeout_us, ends_us = living.armed.policy.timeout_us, run_ends_us(living.run)
        bounds = [ends_us] if timeout_us is None else [now_us + timeout_us, ends_us]
        if by := [at_us for at_us in bounds if at_us is not None]:
            self._timer.set(living, min(by))

    def give_up(self, living: LivingRun) -> bool:
        """End a run whose coroutine was told to stop and goes on; that is kept in ``abandoned`` until it returns.

        Whether it had to be: it may have ended just now.
        """
        handle = living.handle
        if handle is None:
            return False
        run = living.run
        self._abandoned[handle] = Abandoned(what=f"task {run.task}, run {run.id},", since=from_us(self._now_us()))
        living.handle = None
        warn("task %s: run %s goes on long after it was told to stop; it is ended without it", run.task, run.id)
        self._ended(living, self._stopped(living, None))
        return True

    def _returned(self) -> None:
        handle = asyncio.current_task()
        assert handle is not None
        left = self._abandoned.pop(handle)
        took = from_us(self._now_us()) - left.since
        warn("%s was given up; its coroutine has returned only now, %.3f s later", left.what, took.total_seconds())

    @crash_points.within("mid-task")
    async def _execute(self, living: LivingRun) -> None:
        living.handle = asyncio.current_task()
        living.begun = True
        outcome: Outcome
        if living.ending is None:
            run, task = living.run, living.armed.task
            enter_run(run)
            try:
                args, kwargs, executor = run.args, run.kwargs, self._executors[task.executor]
                if run.edges is not None:
                    args, kwargs = with_edges(run, task.links, task.signature)
                if (around := living.armed.around) is not None:
                    outcome = Succeeded(await around.call(executor, run, args, kwargs, living.token))
                else:
                    if (signature := task.signature).filled:
                        args, kwargs = signature.with_context(run, args, kwargs)
                    outcome = Succeeded(await executor.call(task.__wrapped__, args, kwargs))
            except asyncio.CancelledError as error:
                outcome = self._stopped(living, error)
            # Whatever is raised ends this run and nothing else; that is the promise of a scheduler.
            except BaseException as error:
                outcome = Raised(error)
        else:
            outcome = self._stopped(living, None)
        if living.handle is None:
            self._returned()
            return
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
        if living.ending == "run_timeout":
            late = out_of_time(living.run)
            late.__cause__ = error
            return Raised(late)
        if living.ending == "lost":  # whoever has the run says how it ends
            return HandedBack()
        return Cancelled(living.reason or "it was cancelled from inside the program")
