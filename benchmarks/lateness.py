"""How late one timer rings: the engine's timer beside ``loop.call_later``, random phase, interleaved.

    python benchmarks/lateness.py [--rounds 5] [--timers 200] [--json FILE]

Prints p50 and p99 of each in milliseconds, and their ratios, as medians over the rounds. A whole scheduler is
measured beside them: from the instant of a one-off task to the first line of its function.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asyncsched import Registry, Scheduler, Task
from asyncsched._engine.timer import Timer
from asyncsched._heap import Wakeup
from asyncsched.clock import SystemClock

Lateness = list[float]


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


async def one_round(timers: int) -> dict[str, Lateness]:
    found: dict[str, Lateness] = {"call_later": [], "timer": [], "scheduler": []}
    bell = asyncio.Event()
    timer = Timer(SystemClock(), bell.set, lambda _by_us: None)
    async with Scheduler(registry=Registry(), tz="UTC") as scheduler:
        for number in range(timers):
            found["call_later"].append(await by_call_later())
            found["timer"].append(await by_timer(timer, bell))
            found["scheduler"].append(await by_scheduler(scheduler, number))
    timer.close()
    return found


def percentile(values: Lateness, share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--timers", type=int, default=200)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    rounds = [asyncio.run(one_round(chosen.timers)) for _ in range(chosen.rounds)]
    result = {
        name: {
            label: statistics.median(percentile(found[name], share) for found in rounds) * 1e3
            for label, share in (("p50", 0.5), ("p99", 0.99))
        }
        for name in ("call_later", "timer", "scheduler")
    }
    base = result["call_later"]
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
          f"{chosen.rounds} rounds of {chosen.timers}")  # fmt: skip
    print("| timer | p50 ms | p99 ms | p50 ratio | p99 ratio |\n|---|---|---|---|---|")
    for name, figures in result.items():
        ratios = [figures[label] / base[label] for label in ("p50", "p99")]
        print(f"| {name} | {figures['p50']:.3f} | {figures['p99']:.3f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
