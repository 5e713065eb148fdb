"""The scheduler that each host embeds. What happens is appended to the file $BEATS, a line each."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from asyncsched import Registry, Scheduler, current_run
from asyncsched.events import Event, SchedulerStarted, SchedulerStopped, StandingBy, TookOver

logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
registry = Registry()
scheduler = Scheduler(
    os.environ.get("STORE", "memory://"),
    registry=registry,
    tz="UTC",
    shutdown_timeout="2s",
    once_per_host="EACH_FIRES" not in os.environ,
)


def note(what: str, at: float) -> None:
    # One write to a file opened for appending is never mixed with those of other processes.
    with Path(os.environ["BEATS"]).open("a", encoding="utf-8") as file:
        file.write(f"{what} {os.getpid()} {at}\n")


def note_event(event: Event) -> None:
    note(type(event).__name__, time.time())


scheduler.events.on({SchedulerStarted, SchedulerStopped, StandingBy, TookOver}, note_event)


@registry.every("250ms", missed="all", overlap="allow")
async def beat() -> None:
    scheduled_for = current_run().scheduled_for
    assert scheduled_for is not None
    note("beat", scheduled_for.timestamp())


@registry.task
async def double(number: int) -> int:
    return 2 * number


async def answer(number: int) -> dict[str, int]:
    """What each host answers to a request: the result of a run that it submits."""
    run = await double.submit(number)
    return {"result": await run, "pid": os.getpid()}
