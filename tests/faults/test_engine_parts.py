"""An error thrown into each part of the engine: fires go on, or ``serve`` ends with the error."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

import pytest

from asyncsched import Registry, Scheduler
from asyncsched._engine.living import Reminder
from asyncsched.clock import to_us
from asyncsched.errors import StoreError
from asyncsched.stores import MemoryStore

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class OwnEnd(BaseException):
    """Not even an Exception."""


def healthy(interval: str = "1s") -> Registry:
    registry = Registry()

    @registry.every(interval, id="healthy")
    async def beat() -> None: ...

    return registry


def throw_once(owner: Any, name: str, error: BaseException, *, after: bool = False) -> Callable[[], bool]:
    """Let the method raise at its next call, before or after its work; whether it has."""
    method, thrown = getattr(owner, name), []

    def thrower(*args: Any, **kwargs: Any) -> Any:
        if thrown:
            return method(*args, **kwargs)
        thrown.append(True)
        if after:
            method(*args, **kwargs)
        raise error

    setattr(owner, name, thrower)
    return lambda: bool(thrown)


PARTS = [
    "timer.look",
    "timer.take_due",
    "firing.fire",
    "cycle.turn",
    "cycle.runner.start",
    "capacity.free",
    "bus.tell",
    "store.fire",
    "store.cycle",
]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("error", [RuntimeError("thrown in"), OwnEnd()])
async def test_fires_go_on(virtual: Any, part: str, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    async with virtual(healthy(), at=T0, tz="UTC") as sched:
        await sched.advance("1500ms")
        owner, _, name = part.rpartition(".")
        thrown = throw_once(attrgetter(owner)(sched.scheduler._engine), name, error)
        await sched.advance("18500ms")
        assert thrown()
        starts = [run.started_at for run in sched.runs("healthy")]
        assert starts[-17:] == [T0 + timedelta(seconds=second) for second in range(4, 21)]
        assert any(record.exc_info and record.exc_info[1] is error for record in caplog.records)


async def test_a_wakeup_that_raises_holds_up_no_other(virtual: Any, caplog: pytest.LogCaptureFixture) -> None:
    def raises() -> None:
        raise RuntimeError("in a wakeup")

    async with virtual(healthy(), at=T0, tz="UTC") as sched:
        await sched.advance("500ms")
        sched.scheduler._engine.timer.set(Reminder(raises), to_us(T0 + timedelta(seconds=1)), -1000)
        await sched.advance("2s")
        assert [run.started_at for run in sched.runs("healthy")] == [
            T0 + timedelta(seconds=second) for second in (1, 2)
        ]
        assert "in a wakeup" in caplog.text


async def test_a_timerfd_that_fails_is_replaced_by_timers_of_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[float] = []
    registry = Registry()

    @registry.every("20ms")
    async def beat() -> None:
        ran.append(asyncio.get_running_loop().time())

    async with Scheduler(registry=registry, tz="UTC") as scheduler:
        while not ran:
            await asyncio.sleep(0.01)
        throw_once(scheduler._engine.timer._alarm, "set", OSError("no such timer"))
        ran.clear()
        while len(ran) < 10:
            await asyncio.sleep(0.01)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "the timerfd fails; timers of the event loop take its place"
    ]


async def test_serve_ends_with_the_error_when_nothing_waits_for_time_any_more() -> None:
    registry = healthy("20ms")

    @registry.task(id="endless")
    async def endless() -> None:
        await asyncio.Event().wait()

    @registry.every("1h", immediate=True)
    async def breaks() -> None:
        await registry["endless"].submit()
        throw_once(scheduler._engine.timer, "rearm", RuntimeError("thrown in"))

    scheduler = Scheduler(registry=registry, tz="UTC")
    began = asyncio.get_running_loop().time()
    with pytest.raises(RuntimeError, match="thrown in"):
        await scheduler.serve()
    assert asyncio.get_running_loop().time() - began < 5
    assert not scheduler.running


class LyingStore(MemoryStore):
    """Says that it answers at once, and waits."""

    async def cycle(self, *args: Any) -> Any:
        await asyncio.sleep(0)
        return await super().cycle(*args)


async def test_serve_ends_with_the_error_when_the_store_breaks_its_word() -> None:
    scheduler = Scheduler(LyingStore(), registry=healthy(), tz="UTC")
    with pytest.raises(StoreError, match="LyingStore says that it answers at once, but it waited"):
        await scheduler.serve()


async def test_the_watcher_outlives_its_own_failure(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()

    @registry.task
    async def waits() -> None:
        await asyncio.sleep(0.2)

    async with Scheduler(registry=registry, tz="UTC", stall_warning="50ms") as scheduler:
        thrown = throw_once(scheduler._engine.watcher, "_ask", RuntimeError("thrown in"))
        await (await waits.submit())
        assert thrown()
        assert scheduler._engine.watcher.lag.last_us > 0
    assert "the watcher of the event loop failed; it goes on" in caplog.text


INTERRUPTED = """
import asyncio, sys
from asyncsched import Registry, Scheduler
from asyncsched.events import RunEnded

app = Scheduler(registry=Registry(), tz="UTC", shutdown_timeout="10s")

@app.every("1h", immediate=True)
async def under_way():
    try:
        await asyncio.sleep(60)
    finally:
        print("left")

@app.every("50ms")
async def beat(): ...

def stop(event):
    raise {error}

async def main():
    app.events.on({{RunEnded}}, stop, task=beat.id)
    async with app:
        await asyncio.sleep(60)
    print("never")

asyncio.run(main())
"""


@pytest.mark.parametrize("error", ["SystemExit(7)", "KeyboardInterrupt()"])
def test_what_ends_the_program_ends_it_well_even_inside_a_turn(error: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", INTERRUPTED.format(error=error)],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stdout == "left\n"
    assert "was never awaited" not in done.stderr
    assert done.returncode == (7 if "Exit" in error else -signal.SIGINT)


def quiet_filter(record: logging.LogRecord) -> bool:
    raise RuntimeError("in a filter of the program's own")


@pytest.fixture
def raising_filter() -> Iterator[None]:
    log = logging.getLogger("asyncsched.engine")
    log.addFilter(quiet_filter)
    yield
    log.removeFilter(quiet_filter)


@pytest.mark.usefixtures("raising_filter")
async def test_a_raising_log_filter_silences_the_log_and_nothing_else(virtual: Any) -> None:
    registry = healthy()

    @registry.every("1s", id="failing", retry=1)
    async def failing() -> None:
        raise OSError

    @registry.every("1s", id="long")
    async def long() -> None:
        await asyncio.sleep(1.5)

    async with virtual(registry, at=T0, tz="UTC") as sched:
        await sched.advance("10s")
        await sched.jump("1m")
        await sched.advance("10s")
        assert len(sched.runs("healthy")) == 21
        assert [run.status for run in sched.runs("failing")] == ["FAILED"] * 21
        assert len(sched.skips("long")) > 5
