"""``asyncsched run``: serve in the foreground, a line for each thing that happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from asyncsched import __version__
from asyncsched._engine.drained import Drained
from asyncsched.arguments import Role
from asyncsched.cli._show import Part, Screen, short_names
from asyncsched.clock import from_us
from asyncsched.events import (
    ClockJumped,
    Event,
    FireSkipped,
    RunEnded,
    RunRetrying,
    RunStarted,
    SchedulerStarted,
    SchedulerStopping,
    TaskBroken,
)
from asyncsched.phrases import coming_words, error_words, number_words, wait_words
from asyncsched.run import Run, RunStatus
from asyncsched.scheduler import Scheduler
from asyncsched.task import Task
from asyncsched.zone import load_zone

OUT_OF_TIME = 75
"""The exit code of a drain that ran out of time: sysexits' EX_TEMPFAIL."""
_SHOWN = 20
_NAMED = 5
_STYLES = {"SUCCESS": "green", "FAILED": "red", "BROKEN": "red", "RETRY": "yellow"}


class Teller:
    """Tells on the screen what a scheduler does, from before its start on."""

    def __init__(self, screen: Screen, scheduler: Scheduler, zone: str, roles: Collection[Role] | None = None) -> None:
        self._screen = screen
        self._roles = roles
        self._zone = load_zone(zone)
        self._names = short_names(task.id for task in scheduler.served())
        self._width = max((len(name) for name in self._names.values()), default=0)
        self._under_way: dict[str, str] = {}
        self._started: SchedulerStarted | None = None
        scheduler.events.on({Event}, self.tell)

    @asynccontextmanager
    async def companion(self, scheduler: Scheduler) -> AsyncIterator[None]:
        """Shows what is served, once it is."""
        assert self._started is not None
        tasks = await scheduler.tasks.list()
        head: list[Part] = [("asyncsched", "bold"), f" {__version__}  {self._started.store}  "]
        fires, runs = (self._roles is None or role in self._roles for role in ("fire", "run"))
        does = "" if fires and runs else "  only fires" if fires else "  only runs"
        self._screen.say(*head, number_words(len(tasks), "task"), does)
        if not tasks:
            self._screen.say("  no task is declared: decorate a function, as in @every('10s')")
        if fires:
            self._show_next(tasks, from_us(self._started.at_us))
        yield

    def _show_next(self, tasks: Collection[Task[..., Any]], now: datetime) -> None:
        coming = [(task.next_fire, self._name(task.id)) for task in tasks if task.trigger is not None]
        soonest = sorted(((at, name) for at, name in coming if at is not None), key=lambda fire: fire[0])
        for at, name in soonest[:_SHOWN]:
            self._screen.say(("  next  ", "dim"), f"{name:{self._width}}  {coming_words(at, now)}")
        if len(soonest) > _SHOWN:
            self._screen.say(f"        and {len(soonest) - _SHOWN} more")
        for never in [name for at, name in coming if at is None]:
            self._screen.say(("  never ", "yellow"), f"{never:{self._width}}  its trigger has no instants left")

    def tell(self, event: Event) -> None:
        """The line for this event, if there is one."""
        match event:
            case SchedulerStarted():
                self._started = event
            case RunStarted(run=run):
                self._under_way[run.id] = run.task
            case RunEnded(run=run):
                here = self._under_way.pop(run.id, None) is not None
                where = "" if here or run.node is None else f"  at {run.node}"
                self._line(event, run.status, run.task, ended_words(run) + where)
            case RunRetrying(run=run):
                self._under_way.pop(run.id, None)
                self._line(event, "RETRY", run.task, retry_words(run))
            case FireSkipped(run=run):
                fires = f"{run.stands_for:,} fires, " if run.stands_for > 1 else ""
                self._line(event, run.status, run.task, f"{fires}{run.reason}")
            case TaskBroken(task=task, error=error):
                self._line(event, "BROKEN", task, f"fires no more: {error_words(error)}")
            case ClockJumped(by=by):
                self._line(event, "CLOCK", None, jump_words(by))
            case SchedulerStopping(left=left) if left:
                names = self._listed(self._under_way.values())
                runs = number_words(left, "run")
                self._screen.say((f"draining: {runs} left ({names}); again to force", "bold"))

    def drained(self, drained: Drained) -> int:
        """Tells what became of the runs at the end; the exit code."""
        left = {run.id for run in drained.left}
        cancelled = [run for run in drained.cancelled if run.id not in left]
        parts = [f"{number_words(drained.finished, 'run')} finished"] if drained.finished else []
        for runs, how in ((cancelled, "cancelled, out of time"), (drained.left, "left running")):
            if runs:
                parts.append(f"{len(runs)} {how} ({self._listed(run.task for run in runs)})")
        self._screen.say(f"drained: {', '.join(parts) or 'nothing was running'}")
        return OUT_OF_TIME if drained.cancelled or drained.left else 0

    def _listed(self, tasks: Any) -> str:
        names = [self._name(task) for task in tasks]
        more = len(names) - _NAMED
        return ", ".join(names[:_NAMED]) + (f", and {more} more" if more > 0 else "")

    def _line(self, event: Event, what: str, task: str | None, words: str) -> None:
        clock = from_us(event.at_us).astimezone(self._zone).strftime("%H:%M:%S")
        name = "" if task is None else f"  {self._name(task):{self._width}}"
        self._screen.say((clock, "dim"), "  ", (f"{what:7}", _STYLES.get(what, "yellow")), name, f"  {words}".rstrip())

    def _name(self, task: str) -> str:
        return self._names.get(task, task)


def ended_words(run: Run[Any]) -> str:
    """How long a run took, and what is unusual about its end."""
    parts = [] if run.duration is None else [wait_words(run.duration)]
    if run.attempt > 1:
        parts.append(f"attempt {run.attempt}")
    if run.stands_for > 1:
        parts.append(f"for {run.stands_for:,} fires")
    if run.error is not None and run.status is RunStatus.FAILED:
        parts.append(error_words(run.error))
    elif run.reason:
        parts.append(run.reason)
    return "  ".join(parts)


def retry_words(run: Run[Any]) -> str:
    """Which attempt failed, of what, and when the next one comes."""
    said = "" if run.error is None else f"  {error_words(run.error)}"
    wait = timedelta(microseconds=run.due_us - (run.started_us or run.due_us))
    return f"attempt {run.attempt} failed, next in {wait_words(wait)}{said}"


def jump_words(by: timedelta) -> str:
    """What happened to the clock."""
    if by < timedelta(0):
        return f"set back by {wait_words(-by)}: nothing fires twice"
    return f"jumped {wait_words(by)} forward: it was set, or the machine slept"


def log_to_stderr() -> None:
    """Lets errors with their tracebacks, and the warnings of others, go to standard error.

    The engine's own warnings are lines of ours already. A program that has set up its logging keeps it.
    """
    if logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.levelno >= logging.ERROR or record.name != "asyncsched.engine")
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def serve(scheduler: Scheduler, zone: str, *, until_idle: bool, roles: Collection[Role] | None = None) -> int:
    """Serve until a signal comes, or until nothing is left to do; the exit code. ``roles``: as the scheduler's."""
    log_to_stderr()
    teller = Teller(Screen(), scheduler, zone, roles)
    return teller.drained(asyncio.run(scheduler.serve(teller.companion, until_idle=until_idle, roles=roles)))
