"""How late one timer rings: the engine's timer and a whole scheduler beside ``loop.call_later``, in turns.

Each delay is a few milliseconds and random, so that its phase to the loop's clock is random too. For the whole
scheduler it is told from the instant of a one-off task to the first line of its function.
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta

from asyncsched import Registry, Scheduler, Task
from asyncsched._engine.timer import Timer
from asyncsched._heap import Wakeup
from asyncsched.clock import SystemClock
from benchmarks.measures import percentile
from benchmarks.sizes import Sizes


class _Ring(Wakeup):
    __slots__ = ("rang",)

    def __init__(self, rang: asyncio.Future[None]) -> None:
        super().__init__()
        self.rang = rang

    def ring(self) -> None:
        self.rang.set_result(None)


def _delay() -> float:
    return 0.003 + random.random() * 0.004


async def by_call_later() -> float:
    loop = asyncio.get_running_loop()
    rang: asyncio.Future[float] = loop.create_future()
    delay = _delay()
    due = time.monotonic() + delay
    loop.call_later(delay, lambda: rang.set_result(time.monotonic() - due))
    return await rang


async def by_timer(timer: Timer, bell: asyncio.Event) -> float:
    """One wakeup of the engine's timer, waited for as the engine waits."""
    clock = SystemClock()
    due_us = clock.now_us() + int(_delay() * 1e6)
    wakeup = _Ring(asyncio.get_running_loop().create_future())
    timer.set(wakeup, due_us)
    while True:
        bell.clear()
        await bell.wait()
        now_us = timer.look()
        due = timer.take_due(now_us, 10)
        timer.rearm(SystemClock().now_us())
        if due:
            return (now_us - due_us) / 1e6


async def by_scheduler(scheduler: Scheduler, number: int) -> float:
    started: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def note() -> None:
        started.set_result(time.time())

    due = datetime.now(UTC) + timedelta(seconds=_delay())
    await scheduler.tasks.add(Task(note, run_at=due, id=f"one-{number}"))
    at = await started
    await scheduler.tasks.remove(f"one-{number}")
    return at - due.timestamp()


def measure(sizes: Sizes) -> dict[str, dict[str, float]]:
    """Milliseconds late, p50 and p99."""
    found = asyncio.run(_in_turns(sizes.timers))
    figures: dict[str, dict[str, float]] = {}
    for subject, measured, figure in (
        ("call_later", "call_later", "timer"),
        ("asyncsched", "timer", "timer"),
        ("call_later", "call_later", "whole"),
        ("asyncsched", "scheduler", "whole"),
    ):
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            late_ms = percentile(found[measured], share) * 1e3
            figures.setdefault(subject, {})[f"{figure}_{label}_ms"] = late_ms
    return figures


async def _in_turns(timers: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"call_later": [], "timer": [], "scheduler": []}
    bell = asyncio.Event()
    timer = Timer(SystemClock(), bell.set, lambda _by_us: None)
    async with Scheduler(registry=Registry(), tz="UTC") as scheduler:
        for number in range(timers):
            found["call_later"].append(await by_call_later())
            found["timer"].append(await by_timer(timer, bell))
            found["scheduler"].append(await by_scheduler(scheduler, number))
    timer.close()
    return found
