"""How long others wait for the event loop when very many tasks are due at one instant.

    python benchmarks/stall.py [--tasks 100000] [--rounds 5] [--loop asyncio|uvloop] [--json FILE]

A heartbeat is posted anew each time it is called, so the longest gap between two beats is the longest that any
other callback had to wait. Garbage collection is part of it: the objects of 100,000 tasks are what a real program
would have, and its pauses stall the loop as well.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import NamedTuple

from asyncsched import Registry, Scheduler, Task
from asyncsched.triggers import Once

# From the last registration to the instant: enough to arm all of them.
_LEAD = timedelta(seconds=3)


class Burst(NamedTuple):
    """What one burst took, in milliseconds."""

    longest_stall: float
    longest_without_gc: float
    all_ended: float


async def burst(tasks: int) -> Burst:
    """Let so many tasks be due at one instant, and watch the gaps between the beats until all have ended."""
    ran = 0

    async def work() -> None:
        nonlocal ran
        ran += 1

    registry = Registry()
    async with Scheduler(registry=registry, tz="UTC", stall_warning=None) as scheduler:
        moment = datetime.now(UTC) + _LEAD + timedelta(seconds=tasks / 20_000)
        trigger = Once(moment)
        for number in range(tasks):
            await scheduler.tasks.add(Task(work, trigger=trigger, id=f"t{number}", missed="all"))
        gc.collect()
        await asyncio.sleep((moment - datetime.now(UTC)).total_seconds() - 0.1)
        gaps, pauses = await beats(lambda: ran < tasks)
        await scheduler.idle()
    took = (time.time() - moment.timestamp()) * 1e3
    return Burst(max(gaps), max(gap - pause for gap, pause in zip(gaps, pauses, strict=True)), took)


async def beats(going: Callable[[], bool]) -> tuple[list[float], list[float]]:
    """The milliseconds between the beats while it is going, and those of them that were garbage collection."""
    loop = asyncio.get_running_loop()
    gaps: list[float] = []
    pauses: list[float] = []
    over = loop.create_future()
    last = time.perf_counter()
    paused = begun = 0.0

    def collecting(phase: str, _info: dict[str, int]) -> None:
        nonlocal paused, begun
        if phase == "start":
            begun = time.perf_counter()
        else:
            paused += time.perf_counter() - begun

    def beat() -> None:
        nonlocal last, paused
        now = time.perf_counter()
        gaps.append((now - last) * 1e3)
        pauses.append(paused * 1e3)
        last, paused = now, 0.0
        if going():
            loop.call_soon(beat)
        else:
            over.set_result(None)

    gc.callbacks.append(collecting)
    try:
        loop.call_soon(beat)
        await over
    finally:
        gc.callbacks.remove(collecting)
    return gaps, pauses


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rounds = [run_burst(given.loop, given.tasks) for _ in range(given.rounds)]
    shown = {name: [round(getattr(one, name), 2) for one in rounds] for name in Burst._fields}
    print(f"{given.tasks} tasks due at once, {given.loop}, Python {platform.python_version()}; milliseconds")
    for name, values in shown.items():
        print(f"{name.replace('_', ' '):20} median {median(values):9.2f}   {values}")
    if given.json:
        given.json.write_text(json.dumps({"python": sys.version, "loop": given.loop, "tasks": given.tasks, **shown}))


def run_burst(loop: str, tasks: int) -> Burst:
    if loop == "uvloop":
        import uvloop

        return uvloop.run(burst(tasks))
    return asyncio.run(burst(tasks))


if __name__ == "__main__":
    main()
