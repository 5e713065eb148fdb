"""The rows of features about pains: whatever loop runs, whatever dies, however much there is, however late it gets."""

from __future__ import annotations

import asyncio
import gc
import selectors
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import attrgetter
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched.clock import to_us
from asyncsched.triggers import Once

# Made where no loop runs, as at the import of a program.
T0 = datetime(2025, 1, 1, tzinfo=UTC)

registry = Registry()
scheduler = Scheduler(registry=registry, tz="UTC")
fired: list[str] = []


@registry.every("20ms", immediate=True)
async def beat() -> None:
    fired.append(type(asyncio.get_running_loop()).__module__)


@registry.task
def plain(number: int) -> int:
    return number + 1


async def live() -> int:
    async with scheduler:
        while len(fired) < 3:
            await asyncio.sleep(0.01)
        return await (await plain.submit(1))


def by_asyncio(main: Callable[[], Any]) -> Any:
    return asyncio.run(main())


def by_debug(main: Callable[[], Any]) -> Any:
    return asyncio.run(main(), debug=True)


def by_eager(main: Callable[[], Any]) -> Any:
    def eager_loop() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        return loop

    with asyncio.Runner(loop_factory=eager_loop) as runner:
        return runner.run(main())


def by_uvloop(main: Callable[[], Any]) -> Any:
    return pytest.importorskip("uvloop").run(main())


EAGER = pytest.param(by_eager, marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are 3.12's"))


@pytest.mark.feature("PA19")
@pytest.mark.parametrize("run", [by_asyncio, by_debug, EAGER, by_uvloop])
def test_pa19_a_scheduler_made_at_import_lives_in_whatever_loop_runs(run: Callable[[Callable[[], Any]], Any]) -> None:
    fired.clear()
    assert run(live) == 2
    kinds = {"uvloop"} if run is by_uvloop else {"asyncio.unix_events", "asyncio.windows_events"}
    assert set(fired) <= kinds
    assert not scheduler.running


@pytest.mark.feature("PA4")
@pytest.mark.parametrize("part", ["timer.look", "firing.fire", "cycle.turn", "cycle.runner.start", "store.cycle"])
async def test_pa4_fires_go_on_after_an_error_in_any_part(virtual: Any, part: str) -> None:
    """All the parts: tests/faults/test_engine_parts.py."""
    working = Registry()
    working.register(Task(nothing, every="1s", id="work"))
    async with virtual(working, at=T0, tz="UTC") as sched:
        await sched.advance("500ms")
        owner, _, name = f"scheduler._engine.{part}".rpartition(".")
        break_once(attrgetter(owner)(sched), name, RuntimeError("in a part"))
        await sched.advance("9500ms")
        assert [run.started_at for run in sched.runs("work")][-8:] == [
            T0 + timedelta(seconds=second) for second in range(3, 11)
        ]


@pytest.mark.feature("PA4")
async def test_pa4_or_serve_ends_with_the_error() -> None:
    working = Registry()
    alive = Scheduler(registry=working, tz="UTC")

    @working.every("20ms")
    async def breaks() -> None:
        break_once(alive._engine.timer, "rearm", RuntimeError("nothing waits for time any more"))

    async with asyncio.timeout(30):
        with pytest.raises(RuntimeError, match="nothing waits for time any more"):
            await alive.serve()


async def nothing() -> None: ...


def break_once(owner: Any, name: str, error: Exception) -> None:
    """Let the next call of this method raise."""

    def breaks(*_args: Any) -> Any:
        delattr(owner, name)
        raise error

    setattr(owner, name, breaks)


@pytest.mark.feature("PA14")
@pytest.mark.full_speed
async def test_pa14_memory_is_bounded(virtual: Any) -> None:
    """20,000 tasks added and removed, 100,000 runs: grown by less than 5 MB."""
    busy = Registry()
    for number in range(100):
        busy.register(Task(nothing, every="1s", id=f"t{number}", history_limit=10))
    async with virtual(Registry(), at=T0, tz="UTC") as stage:  # its own scheduler keeps every event
        living = Scheduler(registry=busy, tz="UTC", clock=stage.clock)

        async def live(seconds: int) -> None:
            for second in range(seconds):
                await stage.advance("1s")
                for number in range(20):
                    await living.tasks.add(Task(nothing, every="1h", id=f"added-{second}-{number}"))
                    await living.tasks.remove(f"added-{second}-{number}")

        async with living:
            tracemalloc.start()
            try:
                await live(20)
                gc.collect()
                before, _peak = tracemalloc.get_traced_memory()
                await live(1_000)
                gc.collect()
                after, _peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert len(await living.runs.list(limit=10_000)) == 100 * 10
    assert after - before < 5_000_000


@pytest.mark.feature("PA15")
@pytest.mark.full_speed
async def test_pa15_a_hundred_thousand_due_at_once_all_fire_in_slices(virtual: Any) -> None:
    """How long a slice takes is measured by benchmarks/stall.py; here, that others come in between."""
    count = 100_000
    ran = [0]
    between: list[int] = []

    async def work() -> None:
        ran[0] += 1

    many = Registry()
    moment = T0 + timedelta(seconds=1)
    trigger = Once(moment)
    for number in range(count):
        many.register(Task(work, trigger=trigger, id=f"t{number}"))
    async with virtual(Registry(), at=T0, tz="UTC") as stage:
        loop = asyncio.get_running_loop()

        def beat() -> None:
            between.append(ran[0])
            if ran[0] < count:
                loop.call_soon(beat)

        async with Scheduler(registry=many, tz="UTC", clock=stage.clock):
            loop.call_at(stage.clock.loop_time(to_us(moment)), beat)
            await stage.advance("1s")
            assert stage.now() == moment
    assert ran == [count]
    assert max(later - earlier for earlier, later in pairwise(between)) <= 200


STOPS = """
import asyncio, threading
from asyncsched import Registry, Scheduler

registry, release, returned, began = Registry(), threading.Event(), [], []

@registry.every("10ms")
async def often():
    await asyncio.sleep(0.005)

@registry.every("1h", immediate=True)
async def endless():
    began.append("endless")
    await asyncio.Event().wait()

@registry.every("1h", immediate=True)
def thread():
    began.append("thread")
    returned.append(release.wait(60))

async def main():
    loop = asyncio.get_running_loop()
    for timeout in ("0s", "100ms", "200ms"):
        scheduler = Scheduler(registry=registry, tz="UTC", shutdown_timeout=timeout)
        async with scheduler:
            while len(began) < 2:
                await asyncio.sleep(0.005)
            leaving = loop.time()
        print(len(scheduler.drained.cancelled), loop.time() - leaving)
        assert returned == []
        began.clear()
    release.set()

asyncio.run(main(), debug=False)
"""


@pytest.mark.feature("PA20")
def test_pa20_stopping_is_bounded_and_quiet() -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", STOPS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    lines = [line.split() for line in done.stdout.splitlines()]
    for limit, (cancelled, took) in zip((0, 0.1, 0.2), lines, strict=True):
        assert int(cancelled) >= 2
        assert limit <= float(took)


@pytest.mark.feature("PA2")
async def test_pa2_lateness_drops_nothing_and_is_recorded(virtual: Any, caplog: pytest.LogCaptureFixture) -> None:
    declared = Registry()

    @declared.every("1h", id="hourly")
    async def hourly() -> None: ...

    @declared.when(Once(T0 + timedelta(seconds=3599)))
    async def blocks() -> None:
        loop._now_us += 3_000_000  # as `time.sleep(3)` would: the loop is away, and its time goes on

    async with virtual(declared, at=T0) as sched:
        loop = sched.clock.loop
        await sched.advance("61m")
        (run,) = sched.runs("hourly")
        assert (run.scheduled_for, run.started_at) == (T0 + timedelta(hours=1), T0 + timedelta(hours=1, seconds=2))
        assert (run.status, run.stands_for, sched.skips()) == ("SUCCESS", 1, [])
        assert "task hourly is 2.000 s late" in caplog.text
        assert hourly.next_fire == T0 + timedelta(hours=2)


class CountingSelector(selectors.DefaultSelector):
    """Counts how often the loop comes back from waiting."""

    wakes = 0

    def select(self, timeout: float | None = None) -> Any:
        self.wakes += 1
        return super().select(timeout)


@pytest.mark.feature("PA13")
def test_pa13_a_paused_task_costs_nothing_and_stays_paused() -> None:
    declared, selector = Registry(), CountingSelector()
    ran: list[int] = []

    @declared.every("10ms", id="often", immediate=True)
    async def often() -> None:
        ran.append(1)

    async def paused() -> int:
        mine = Scheduler(registry=declared, tz="UTC", stall_warning=None)
        async with mine:
            await mine.tasks.pause("often")
            await asyncio.sleep(0.05)
            before, began = selector.wakes, len(ran)
            await asyncio.sleep(1)
            wakes = selector.wakes - before
        async with mine:
            await asyncio.sleep(0.05)
            assert (len(ran), often.next_fire) == (began, None)
            await mine.tasks.resume("often")
            await asyncio.sleep(0.05)
            assert len(ran) > began
        return wakes

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        assert runner.run(paused()) <= 2  # one of them is the test's own sleep


@pytest.mark.feature("PA27")
async def test_pa27_run_now_runs_once_and_moves_nothing(virtual: Any) -> None:
    declared = Registry()

    @declared.every("1h", id="hourly", args=(2,))
    async def hourly(number: int) -> int:
        return number

    async with virtual(declared, at=T0) as sched:
        await sched.advance("20m")
        run = await sched.scheduler.tasks.run_now("hourly")
        assert await run == 2
        assert (sched.runs(), run.scheduled_for) == ([run], None)
        assert hourly.next_fire == T0 + timedelta(hours=1)
        await sched.advance("40m")
        assert [one.started_at for one in sched.runs()] == [T0 + timedelta(minutes=20), T0 + timedelta(hours=1)]
