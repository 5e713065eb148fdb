"""What is measured of a scheduler, each in a process of its own. Needs nothing but the standard library.

CPU is that of the whole process with all its threads. Lateness is told from the instant on the task's grid to
the first line of its function.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import random
import selectors
import statistics
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from benchmarks.adapters._base import Adapter, Order, Work
from benchmarks.sizes import Sizes

Found = dict[str, float]
Measure = Callable[[type[Adapter], Sizes], Coroutine[Any, Any, Found]]

HOUR_S = 3600
_CHUNKS = 9
_PAGE = 4096
_ROUNDS = 5
_LAYER = 100


class CountingSelector(selectors.DefaultSelector):
    """Counts how often it is waited for: once in each turn of a loop."""

    turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        return super().select(timeout)


class CountingLoop(asyncio.SelectorEventLoop):
    """Knows how many turns it has taken."""

    def __init__(self) -> None:
        self.counter = CountingSelector()
        super().__init__(self.counter)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def nothing() -> None:
    pass


def _base(adapter: type[Adapter], tasks: int, least_s: float) -> float:
    """An instant far enough ahead that all tasks are there before it comes, on a machine that is busy otherwise."""
    at = time.time() + least_s + 2 * tasks * adapter.add_us / 1e6
    return float(int(at) + 1) if adapter.whole_seconds else at


async def fires(adapter: type[Adapter], sizes: Sizes) -> Found:
    """``rate`` tasks that fire every second, spread over it: CPU per fire, lateness, fires that came."""
    return await _window(adapter, sizes, sizes.rate, blocking=False)


async def thread_fires(adapter: type[Adapter], sizes: Sizes) -> Found:
    """The same with a plain function in threads, at ``thread_rate``."""
    if not adapter.plain_functions:
        return {}
    return await _window(adapter, sizes, sizes.thread_rate, blocking=True)


async def _window(adapter: type[Adapter], sizes: Sizes, rate: int, *, blocking: bool) -> Found:
    seen: list[tuple[int, float]] = []
    note, now = seen.append, time.time
    scheduler = adapter(_noting(note, blocking))
    base = _base(adapter, rate, 0.2)
    firsts = [base if adapter.whole_seconds else base + number / rate for number in range(rate)]
    await scheduler.add([Order(number, 1, first) for number, first in enumerate(firsts)])
    await scheduler.start()
    late_s = max(0.0, now() - base)
    warm_s, window_s = sizes.warm_s, sizes.window_s
    if adapter.whole_seconds:  # from between two fires to between two fires
        warm_s, window_s = warm_s + 0.5, math.ceil(window_s)
    await asyncio.sleep(max(0.0, base - now()) + warm_s)
    seen.clear()
    begun, cpu = now(), time.process_time()
    await asyncio.sleep(window_s)
    cpu, passed = time.process_time() - cpu, now() - begun
    found = {"rate": len(seen) / passed, "asked": float(rate), "began_late_s": late_s}
    if seen:
        found["cpu_us"] = cpu / len(seen) * 1e6
        if adapter.anchored:
            # A fire belongs to the last instant of its grid; one up to 50 ms early to the next.
            lates = [(at - firsts[number] + 0.05) % 1 - 0.05 for number, at in seen]
            found |= {"late_p50_ms": percentile(lates, 0.5) * 1e3, "late_p99_ms": percentile(lates, 0.99) * 1e3}
    return found


def _noting(note: Callable[[tuple[int, float]], None], blocking: bool) -> Work:
    now = time.time

    async def fire(number: int) -> None:
        note((number, now()))

    def fire_in_thread(number: int) -> int:
        note((number, now()))
        return number

    return Work(fire_in_thread if blocking else fire, numbered=True, blocking=blocking)


async def burst(adapter: type[Adapter], sizes: Sizes) -> Found:
    """``burst`` tasks due at one instant: until the last has started."""
    started: list[float] = []
    begun = await _all_at_once(adapter, sizes.burst, started)
    return {"burst_ms": (max(started) - begun) * 1e3} if len(started) >= sizes.burst else {}


async def stall(adapter: type[Adapter], sizes: Sizes) -> Found:
    """``stall`` tasks due at one instant: the longest turn of the loop until all have started.

    In wall time, in CPU time of the loop's thread (which a busy machine does not move), the longest pause of the
    garbage collector, which is a part of both, and the longest turn without its pauses.
    """
    if adapter.most < sizes.stall:
        return {}
    started: list[float] = []
    walls: list[float] = []
    cpus: list[float] = []
    paused: list[float] = []
    begun, longest, total = 0.0, 0.0, 0.0

    def collecting(phase: str, _facts: dict[str, int]) -> None:
        nonlocal begun, longest, total
        if phase == "start":
            begun = time.thread_time()
        else:
            pause = time.thread_time() - begun
            longest, total = max(longest, pause), total + pause

    async def beat() -> None:
        while True:
            walls.append(time.perf_counter())
            cpus.append(time.thread_time())
            paused.append(total)
            await asyncio.sleep(0)

    beating: list[asyncio.Task[None]] = []

    def watch() -> None:
        gc.callbacks.append(collecting)
        beating.append(asyncio.create_task(beat()))

    await _all_at_once(adapter, sizes.stall, started, watch)
    beating[0].cancel()
    gc.callbacks.remove(collecting)
    if len(started) < sizes.stall:
        return {}
    return {
        "stall_ms": _longest(walls) * 1e3,
        "stall_cpu_ms": _longest(cpus) * 1e3,
        "stall_gc_ms": longest * 1e3,
        "stall_own_ms": _longest([cpu - pause for cpu, pause in zip(cpus, paused, strict=True)]) * 1e3,
    }


def _longest(times: list[float]) -> float:
    return max(after - before for before, after in itertools.pairwise(times))


async def _all_at_once(
    adapter: type[Adapter], tasks: int, started: list[float], watch: Callable[[], None] | None = None
) -> float:
    """Let so many tasks come due at one instant, and wait until all have started; ``watch`` is called before it."""

    async def fire() -> None:
        started.append(time.time())

    scheduler = adapter(Work(fire, numbered=False))
    due = _base(adapter, tasks, 0.3)
    await scheduler.add([Order(number, HOUR_S, due) for number in range(tasks)])
    await scheduler.start()
    await asyncio.sleep(max(0.0, due - 0.05 - time.time()))
    if watch is not None:
        watch()
    give_up = max(due, time.time()) + 30
    while len(started) < tasks and time.time() < give_up:  # noqa: ASYNC110 - an event would be looked at in every fire
        await asyncio.sleep(0.02)
    return due


async def add(adapter: type[Adapter], sizes: Sizes) -> Found:
    """CPU of adding one task while ``present`` are served, each in its simplest form, without and with an argument."""
    found = {}
    for figure, numbered in (("add_us", False), ("add_argument_us", True)):
        scheduler = adapter(_noting(lambda _seen: None, blocking=False) if numbered else Work(nothing, numbered=False))
        ahead = _base(adapter, sizes.present, 0) + HOUR_S
        await scheduler.add([Order(number, HOUR_S, ahead) for number in range(sizes.present)])
        await scheduler.start()
        await asyncio.sleep(0.1)
        costs = []
        for chunk in range(_CHUNKS):
            first = sizes.present + chunk * sizes.added
            orders = [Order(number, HOUR_S, None) for number in range(first, first + sizes.added)]
            cpu = time.process_time_ns()
            await scheduler.add(orders)
            await asyncio.sleep(0)  # what adding put off to the next turn is a part of it
            costs.append((time.process_time_ns() - cpu) / sizes.added / 1e3)
        found[figure] = statistics.median(costs)
        await scheduler.stop()
    return found


async def bulk(adapter: type[Adapter], sizes: Sizes) -> Found:
    """Resident memory for each of ``bulk`` tasks, and CPU of removing one of them."""
    scheduler = adapter(Work(nothing, numbered=False))
    ahead = _base(adapter, sizes.bulk, 0) + HOUR_S
    orders = [Order(number, HOUR_S, ahead + number / sizes.bulk) for number in range(sizes.bulk)]
    before = _resident()
    handles = await scheduler.add(orders)
    await scheduler.start()
    await asyncio.sleep(0.3)
    found = {} if before is None else {"memory_b": ((_resident() or 0) - before) / sizes.bulk}
    chosen = random.Random(1).sample(handles, sizes.removed)
    cpu = time.process_time_ns()
    for handle in chosen:
        await scheduler.remove(handle)
    await asyncio.sleep(0)
    found["remove_us"] = (time.process_time_ns() - cpu) / sizes.removed / 1e3
    before = _resident()
    values = scheduler.values(orders)
    if before is not None:
        found["memory_over_b"] = found["memory_b"] - ((_resident() or 0) - before) / len(orders)
    del values
    return found


def _resident() -> int | None:
    """Bytes of this process in memory; ``None`` where the system does not tell."""
    gc.collect()
    told = Path("/proc/self/statm")
    return int(told.read_text().split()[1]) * _PAGE if told.exists() else None


async def idle(adapter: type[Adapter], sizes: Sizes) -> Found:
    """CPU and wakes of the loop while ``idle`` tasks wait for an hour to pass."""
    scheduler = adapter(Work(nothing, numbered=False))
    ahead = _base(adapter, sizes.idle, 0) + HOUR_S
    await scheduler.add([Order(number, 2 * HOUR_S, ahead) for number in range(sizes.idle)])
    await scheduler.start()
    gc.collect()
    await asyncio.sleep(sizes.idle_s / 10)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    turns, cpu = loop.counter.turns, time.process_time()
    await asyncio.sleep(sizes.idle_s)
    # The timer of this sleep takes two turns: one in which it rings, one in which this coroutine goes on.
    wakes = max(0, loop.counter.turns - turns - 2)
    return {"idle_cpu_ms": (time.process_time() - cpu) * 1e3, "idle_wakes": float(wakes)}


async def graph(adapter: type[Adapter], sizes: Sizes) -> Found:
    """CPU per run of one graph of ``graph`` tasks in layers of 100, and of as many runs that need nothing."""
    if not adapter.graphs:
        return {}
    scheduler = adapter(Work(nothing, numbered=False))
    begin = await scheduler.add_graph(_layers(sizes.graph))
    alone = await scheduler.add_graph([()])
    await scheduler.start()
    found = {}
    for figure, submit, runs in (("run_us", begin, 1), ("alone_us", alone, sizes.graph)):
        costs = []
        for _ in range(_ROUNDS):
            gc.collect()
            cpu = time.process_time()
            await submit(runs)
            costs.append((time.process_time() - cpu) / sizes.graph * 1e6)
        found[figure] = min(costs)
    await scheduler.stop()
    return {**found, "ratio": found["run_us"] / found["alone_us"]}


def _layers(tasks: int) -> list[tuple[int, ...]]:
    """What each task needs: the first one nothing, each other one up to three of the layer above it."""
    needs: list[tuple[int, ...]] = [()]
    for number in range(1, tasks):
        layer, place = divmod(number - 1, _LAYER)
        above = 1 + (layer - 1) * _LAYER
        needs.append(tuple(sorted({above + place * step % _LAYER for step in (1, 7, 31)})) if layer else (0,))
    return needs


MEASURES: dict[str, Measure] = {
    measure.__name__: measure for measure in (fires, thread_fires, burst, stall, add, bulk, idle, graph)
}
