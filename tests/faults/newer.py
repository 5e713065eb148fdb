"""A process with a later version of a program, and mostly of the library; it says line by line what happens in it.

Started as ``python newer.py URL ACT``: ``"come"`` and leave; ``"submit"`` three runs that it does not run itself, and
say how they end; ``"serve"`` until its standard input ends; ``"hang"`` in the first run of each.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncsched import Registry, Scheduler, current_run
from asyncsched.triggers import Trigger
from asyncsched.version import VERSION

registry = Registry()
RUNS = 3


@dataclass(frozen=True)
class Tides(Trigger):
    """A trigger that the older program does not have."""

    period: timedelta = timedelta(milliseconds=200)

    def next_after(self, moment: datetime) -> datetime | None:
        start = datetime(2020, 1, 1, tzinfo=UTC)
        return start + ((moment - start) // self.period + 1) * self.period


def say(word: str, **more: Any) -> None:
    print(json.dumps({"word": word, **more}), flush=True)


# That it has a priority means that its runs have terms, and a later library says more there.
@registry.task(id="work", priority=1, key="number", max_running=1, history_limit=1_000)
async def work(number: int) -> str:
    say("began", run=current_run().id)
    if ACT == "hang":
        await asyncio.Event().wait()
    return VERSION


@registry.when(Tides(), id="tick", overlap="allow", history_limit=1_000)
async def tick() -> None: ...


async def submit() -> None:
    async with Scheduler(URL, registry=registry, queues=[], tz="UTC") as scheduler:
        runs = [await work.submit(number) for number in range(RUNS)]
        say("submitted", runs=[run.id for run in runs])
        say("ended", by=[await run for run in runs])
        del scheduler


async def serve() -> None:
    async with Scheduler(URL, registry=registry, tz="UTC"):
        say("ready", pid=os.getpid())
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def come() -> None:
    async with Scheduler(URL, registry=Registry(), queues=[], tz="UTC"):
        say("ready", pid=os.getpid())


if __name__ == "__main__":
    URL, ACT = sys.argv[1:]
    asyncio.run({"submit": submit, "come": come}.get(ACT, serve)())
