"""Starting and stopping, over and over, at once, and cancelled at every step: nothing is left of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest

from asyncsched import Registry, Scheduler
from asyncsched.stores import MemoryStore, Store
from faults.stores import SlowStore

Main = Callable[[], Coroutine[Any, Any, Any]]


def by_debug(main: Main) -> Any:
    return asyncio.run(main(), debug=True)


def by_eager(main: Main) -> Any:
    def eager_loop() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        return loop

    with asyncio.Runner(loop_factory=eager_loop, debug=True) as runner:
        return runner.run(main())


def by_uvloop(main: Main) -> Any:
    return pytest.importorskip("uvloop").run(main(), debug=True)


EAGER = pytest.param(by_eager, marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are 3.12's"))
loops = pytest.mark.parametrize("by", [by_debug, EAGER, by_uvloop])
stores = pytest.mark.parametrize("store", [MemoryStore, SlowStore])


class Census:
    """What is alive: asyncio tasks, threads, descriptors, timers of the loop."""

    def __init__(self) -> None:
        self.before = self.count()

    def count(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        timers = [timer for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled()]
        descriptors = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
        return {
            "tasks": {task.get_name() for task in asyncio.all_tasks()},
            "threads": {thread.name for thread in threading.enumerate()},
            "descriptors": descriptors,
            "timers": len(timers),
        }

    async def assert_nothing_is_left(self) -> None:
        for _ in range(3):  # what was cancelled in the last line may end
            await asyncio.sleep(0)
        for thread in threading.enumerate():
            if thread.name == "asyncsched worker":  # nobody waits for it who was cancelled: it ends all the same
                thread.join(1)
        assert self.count() == self.before


def busy() -> Registry:
    """A registry whose tasks start at once and do not end by themselves."""
    registry = Registry()

    @registry.every("1h", immediate=True)
    async def endless() -> None:
        await asyncio.Event().wait()

    @registry.every("1h", immediate=True, timeout="1h")
    async def careful() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)

    @registry.task(id="plain")
    def plain() -> int:
        return 2

    @registry.task(id="quick")
    async def quick() -> int:
        await asyncio.sleep(0)
        return 1

    return registry


async def live(scheduler: Scheduler, registry: Registry) -> None:
    async with scheduler:
        assert await (await registry["quick"].submit()) == 1
        assert await (await registry["plain"].submit()) == 2


@loops
@stores
def test_fifty_times(by: Callable[[Main], Any], store: type[Store], caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        registry = busy()
        scheduler = Scheduler(store(), registry=registry, tz="UTC", shutdown_timeout="0s")
        census = Census()
        for _ in range(50):
            await live(scheduler, registry)
            await census.assert_nothing_is_left()

    by(main)
    assert complaints(caplog) == []


@loops
@stores
def test_fifty_at_once(by: Callable[[Main], Any], store: type[Store], caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        census = Census()
        lives = []
        for _ in range(50):
            registry = busy()
            lives.append(live(Scheduler(store(), registry=registry, tz="UTC", shutdown_timeout="0s"), registry))
        await asyncio.gather(*lives)
        await census.assert_nothing_is_left()

    by(main)
    assert complaints(caplog) == []


@loops
@stores
@pytest.mark.parametrize("every", [0, 1, 2, 7])
def test_cancelled_at_every_step(
    by: Callable[[Main], Any], store: type[Store], every: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, or again and again.

    One scheduler and one store live through all of it, so each life also shows that the one before let go.
    """

    async def main() -> int:
        registry = busy()
        scheduler = Scheduler(store(), registry=registry, tz="UTC", shutdown_timeout="0s")
        census = Census()
        steps = 0
        while True:
            task = asyncio.create_task(live(scheduler, registry))
            for _ in range(steps):
                await asyncio.sleep(0)
            if task.done():
                return steps
            await cancel(task, every=every)
            assert not scheduler.running
            await census.assert_nothing_is_left()
            steps += 1

    assert by(main) > (5 if store is MemoryStore else 20)
    assert complaints(caplog) == []


@loops
@stores
def test_fifty_that_are_cancelled_until_they_end(
    by: Callable[[Main], Any], store: type[Store], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        census = Census()
        random = Random(7)

        async def unlucky() -> None:
            registry = busy()
            scheduler = Scheduler(store(), registry=registry, tz="UTC", shutdown_timeout="1h")
            task = asyncio.create_task(live(scheduler, registry))
            for _ in range(random.randrange(30)):
                await asyncio.sleep(0)
            await cancel(task, every=random.randrange(1, 9))
            assert not scheduler.running

        await asyncio.gather(*(unlucky() for _ in range(50)))
        await census.assert_nothing_is_left()

    by(main)
    assert complaints(caplog) == []


@loops
def test_a_run_is_cancelled_at_once_even_before_its_first_step(by: Callable[[Main], Any]) -> None:
    async def main() -> None:
        registry = busy()
        scheduler = Scheduler(registry=registry, tz="UTC", shutdown_timeout="0s")
        await scheduler.start()
        while not (runs := await scheduler.runs.list(status="RUNNING")):
            await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        drained = await scheduler.stop()
        assert asyncio.get_running_loop().time() - began < 1
        assert (set(drained.cancelled), drained.left) == (set(runs), ())
        assert {run.status for run in runs} == {"CANCELLED"}

    by(main)


async def cancel(task: asyncio.Task[None], every: int) -> None:
    """Cancel the task, and if it has not ended again after so many steps of the loop; 0 is once."""
    task.cancel()
    while every and not task.done():
        for _ in range(every):
            await asyncio.sleep(0)
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What asyncio and the engine said of it: tasks that were destroyed, exceptions that nobody took."""
    gc.collect()
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
