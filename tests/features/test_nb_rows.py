"""The rows of features about clocks that are set, and about years that pass while one looks at them."""

from __future__ import annotations

import asyncio
import logging
import selectors
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Retry, Scheduler, Task, current_run
from asyncsched._engine.timer import HopAlarm, TimerfdAlarm
from asyncsched.clock import Alarm, Clock, SystemClock
from asyncsched.events import ClockJumped, Event, LoopStalled, RunEnded
from effort import noted_jumps

T0 = datetime(2025, 1, 1, tzinfo=UTC)


def every_ten_minutes() -> Registry:
    registry = Registry()

    @registry.every("10m")
    async def often() -> None: ...

    return registry


@pytest.mark.feature("NB1")
@pytest.mark.feature("PA3")
async def test_nb1_pa3_a_clock_set_forward_is_told_and_the_policy_decides(
    virtual: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with virtual(every_ten_minutes(), at=T0) as sched:
        await sched.jump("125m")
        (jump,) = [event for event in sched.events if isinstance(event, ClockJumped)]
        assert jump.by == timedelta(seconds=7500)
        (line,) = [record for record in caplog.records if "clock jumped" in record.getMessage()]
        assert (line.levelno, "2:05:00" in line.getMessage()) == (logging.WARNING, True)
        (run,) = sched.runs("often")
        assert (run.stands_for, run.scheduled_for) == (12, T0 + timedelta(minutes=120))
        await sched.advance("5m")
        assert sched.fires("often")[1:] == ["2025-01-01T02:10+00:00"]


@pytest.mark.feature("NB1")
@pytest.mark.feature("PA3")
async def test_nb1_pa3_a_clock_set_back_fires_nothing_twice(virtual: Any) -> None:
    async with virtual(every_ten_minutes(), at=T0) as sched:
        await sched.advance("125m")
        assert len(sched.runs("often")) == 12
        await sched.jump("-2h")
        (jump,) = [event for event in sched.events if isinstance(event, ClockJumped)]
        assert jump.by == timedelta(hours=-2)
        await sched.advance("125m")
        instants = [run.scheduled_for for run in sched.runs("often")]
        assert instants == [T0 + timedelta(minutes=10 * number) for number in range(1, 14)]


class SetClock(Clock):
    """The real clock and a real alarm, and somebody who sets the one while the other is armed."""

    def __init__(self, make: Callable[[SetClock, Callable[[], None]], Alarm]) -> None:
        self._real = SystemClock()
        self._make = make
        self.ahead_us = 0
        self.ring: Callable[[], None] = lambda: None

    def now_us(self) -> int:
        return self._real.now_us() + self.ahead_us

    def steady_us(self) -> int:
        return self._real.steady_us()

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        self.ring = ring
        return self._make(self, ring)


class Shifted:
    """A timerfd, which lives by the real clock, set to instants of one that is ahead."""

    def __init__(self, clock: SetClock, ring: Callable[[], None]) -> None:
        self._clock, self._alarm = clock, TimerfdAlarm(ring)

    def set(self, due_us: int | None) -> None:
        self._alarm.set(None if due_us is None else due_us - self._clock.ahead_us)

    def close(self) -> None:
        self._alarm.close()


@pytest.mark.feature("NB1")
@pytest.mark.feature("PA3")
@pytest.mark.parametrize("make", [Shifted, HopAlarm], ids=["timerfd", "hops"])
async def test_nb1_pa3_with_either_timer(make: Callable[[SetClock, Callable[[], None]], Alarm]) -> None:
    clock = SetClock(make)
    scheduler = Scheduler(registry=every_ten_minutes(), tz="UTC", clock=clock)
    jumps: list[ClockJumped] = []
    ended: list[RunEnded] = []
    scheduler.events.on({ClockJumped}, jumps.append)  # type: ignore[arg-type]
    scheduler.events.on({RunEnded}, ended.append)  # type: ignore[arg-type]
    async with scheduler:
        clock.ahead_us += 125 * 60 * 1_000_000
        clock.ring()  # the kernel rings a timerfd when the clock is set; a hop ends by itself within 30 s
        await asyncio.sleep(0.05)
        assert [round(jump.by.total_seconds()) for jump in jumps] == [7500]
        assert [event.run.stands_for for event in ended] == [12]
        clock.ahead_us -= 120 * 60 * 1_000_000
        clock.ring()
        await asyncio.sleep(0.05)
        assert [round(jump.by.total_seconds()) for jump in jumps] == [7500, -7200]
        assert len(ended) == 1


def five_tasks() -> Registry:
    registry = Registry()

    @registry.every("6h", id="thread")
    def thread() -> str:
        time.sleep(0.0001)
        return current_run().id

    @registry.at("02:30", id="nightly")
    async def nightly() -> None:
        await asyncio.sleep(60)

    @registry.cron("*/30 1-3 * * sun", id="sundays")
    async def sundays() -> None: ...

    @registry.every("1d", id="slow", timeout="1h")
    async def slow() -> None:
        await asyncio.sleep(7200)

    @registry.when("every weekday at 09:00", id="flaky", retry=Retry(attempts=3, wait="10m", factor=2))
    def flaky() -> None:
        if current_run().attempt < 3:
            raise OSError(current_run().attempt)

    return registry


@pytest.mark.feature("NB16")
@pytest.mark.full_speed
async def test_nb16_a_year_of_five_tasks_is_a_jump_an_instant_and_happens_the_same_again(virtual: Any) -> None:
    logs = []
    for _ in range(2):
        async with virtual(five_tasks(), at="2025-01-01", tz="Europe/Berlin") as sched:
            with noted_jumps(asyncio.get_running_loop()) as jumps:
                await sched.advance("365 days")
            assert len(jumps) <= len({event.at_us for event in sched.events})
            logs.append(sched.log())
            nights = sched.fires("nightly")
            ends = Counter((event.task, str(event.run.status), event.run.attempt) for event in ended(sched.events))
    assert logs[0].encode() == logs[1].encode()
    assert len(nights) == 365
    assert [night for night in nights if night[11:16] != "02:30"] == ["2025-03-30T03:00+02:00"]
    assert ends[("thread", "SUCCESS", 1)] == 4 * 365
    assert ends[("slow", "FAILED", 1)] == 364  # that of the last midnight is under way
    assert ends[("flaky", "SUCCESS", 3)] == 261
    # Six half hours on each of 52 Sundays: four in spring, when one hour is missing, eight in autumn.
    assert ends[("sundays", "SUCCESS", 1)] == 6 * 52 - 2 + 2


def ended(events: list[Event]) -> list[RunEnded]:
    return [event for event in events if isinstance(event, RunEnded)]


@pytest.mark.feature("NB17")
async def test_nb17_who_blocks_the_loop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()
    told: list[LoopStalled] = []

    @registry.task(id="blocks")
    async def blocks() -> None:
        await asyncio.sleep(0)
        time.sleep(0.5)  # what blocks the loop

    scheduler = Scheduler(registry=registry, tz="UTC")
    scheduler.events.on({LoopStalled}, told.append)  # type: ignore[arg-type]
    async with scheduler:
        run = await blocks.submit()
        await run
        watcher = scheduler._engine.watcher
        assert watcher.lag.max_us >= 400_000
    (warning,) = [
        record for record in caplog.records if record.levelno == logging.WARNING and "asyncsched" in record.name
    ]
    assert warning.getMessage().startswith(f"task blocks, run {run.id}, blocks the event loop, for 250 ms so far:")
    assert "# what blocks the loop" in warning.getMessage()
    (event,) = told
    assert (event.task, timedelta(seconds=0.4) <= event.by < timedelta(seconds=2)) == ("blocks", True)
    assert "# what blocks the loop" in event.stack


class CountingSelector(selectors.DefaultSelector):
    """Counts how often the loop comes back from waiting."""

    wakes = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.wakes += 1
        return super().select(timeout)


@pytest.mark.feature("NB22")
def test_nb22_idle_costs_nothing() -> None:
    registry, selector = Registry(), CountingSelector()

    async def nothing() -> None: ...

    for number in range(10_000):
        registry.register(Task(nothing, every="1h", id=f"t{number}"))
    awake = registry.register(Task(nothing, id="awake"))

    async def idle() -> int:
        async with Scheduler(registry=registry, tz="UTC"):
            await (await awake.submit())  # which wakes the watcher of the loop: it must go to sleep again
            await asyncio.sleep(0.3)
            wakes = selector.wakes
            await asyncio.sleep(5)
            return selector.wakes - wakes

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        assert runner.run(idle()) <= 2  # one of them is the test's own sleep; its CPU is a figure of the benchmarks


@pytest.mark.feature("NB24")
async def test_nb24_a_drain_with_a_deadline_reports_what_was_left(caplog: pytest.LogCaptureFixture) -> None:
    registry, release, returned = Registry(), threading.Event(), list[bool]()

    @registry.task(id="long", max_running=1)
    def long() -> str:
        returned.append(release.wait(60))
        return "done"

    scheduler = Scheduler(registry=registry, tz="UTC", shutdown_timeout="1s")
    try:
        await scheduler.start()
        under_way, waiting = await long.submit(), await long.submit()
        while under_way.status == "PENDING":
            await asyncio.sleep(0.01)
        began = time.perf_counter()
        drained = await scheduler.stop()
        assert time.perf_counter() - began >= 1
        assert returned == []
    finally:
        release.set()
    assert drained.finished == 0
    assert [(run.id, run.task, run.status) for run in drained.cancelled] == [(under_way.id, "long", "CANCELLED")]
    assert f"run {under_way.id}" in caplog.text
    assert waiting.status == "PENDING"
    async with scheduler:
        assert await waiting == "done"
