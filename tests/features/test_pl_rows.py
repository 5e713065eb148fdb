"""The rows of features about a loop that knows the time: when it wakes, and what shares it."""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from effort import counted_lines
from workshop import shapes, tasks


class CountingSelector(selectors.DefaultSelector):
    """Counts how often the loop comes back from waiting."""

    wakes = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.wakes += 1
        return super().select(timeout)


@pytest.mark.feature("PL1")
async def test_pl1_a_time_of_day_is_that_of_the_tasks_zone(virtual: Any) -> None:
    registry = Registry()

    @registry.at("13:30", tz="Asia/Seoul")
    async def lunch() -> None: ...

    async with virtual(registry, at="2025-01-01T00:00+00:00", tz="UTC") as sched:
        await sched.advance("48h")
        instants = [run.started_at for run in sched.runs("lunch")]
    assert instants == [datetime.fromisoformat(text) for text in ("2025-01-01T04:30Z", "2025-01-02T04:30Z")]
    assert [run.scheduled_for for run in sched.runs("lunch")] == instants


@pytest.mark.feature("PL2")
@pytest.mark.feature("JS10")
@pytest.mark.feature("LS14")
def test_pl2_js10_ls14_the_loop_sleeps_until_something_is_due() -> None:
    registry, selector = Registry(), CountingSelector()

    @registry.every("1d")
    async def daily() -> None: ...

    async def idle() -> tuple[int, int]:
        async with Scheduler(registry=registry, tz="UTC"):
            await asyncio.sleep(0.1)
            wakes = selector.wakes
            with counted_lines() as lines:
                await asyncio.sleep(2)
            return selector.wakes - wakes, lines.count

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        wakes, lines = runner.run(idle())
    assert wakes <= 2  # one of them is the test's own sleep
    assert lines < 1_000  # its CPU is a figure of the benchmarks


@pytest.mark.feature("PL3")
async def test_pl3_what_became_due_while_the_loop_was_away_still_fires(virtual: Any) -> None:
    registry = Registry()

    @registry.at("13:30")
    async def lunch() -> None: ...

    async with virtual(registry, at="2025-01-01 13:29:59", tz="UTC") as sched:
        await sched.jump("3s")
        assert sched.now() == datetime.fromisoformat("2025-01-01T13:30:02Z")
        assert sched.fires("lunch") == ["2025-01-01T13:30+00:00"]
        await sched.advance("1h")
        assert len(sched.runs("lunch")) == 1


@pytest.mark.feature("PL4")
async def test_pl4_a_clock_set_back_fires_nothing_twice(virtual: Any) -> None:
    registry = Registry()

    @registry.at("13:30")
    async def lunch() -> None: ...

    async with virtual(registry, at="2025-01-01 13:29:59", tz="UTC") as sched:
        await sched.advance("1s")
        assert sched.fires("lunch") == ["2025-01-01T13:30+00:00"]
        await sched.jump("-10s")
        assert sched.now() == datetime.fromisoformat("2025-01-01T13:29:50Z")
        await sched.advance("20s")
        assert len(sched.runs("lunch")) == 1
        await sched.advance("1d")
        assert sched.fires("lunch") == ["2025-01-01T13:30+00:00", "2025-01-02T13:30+00:00"]


@pytest.mark.feature("PL5")
async def test_pl5_a_plain_function_never_blocks_the_loop() -> None:
    registry = Registry()
    begun, beats = threading.Event(), threading.Semaphore(0)

    @registry.task
    def heavy() -> bool:
        begun.set()
        return all(beats.acquire(timeout=30) for _ in range(4))

    @registry.every("100ms")
    async def beat() -> None:
        if begun.is_set():
            beats.release()

    async with Scheduler(registry=registry, tz="UTC"):
        assert await (await heavy.submit())


@pytest.mark.feature("PL6")
@pytest.mark.full_speed
async def test_pl6_any_number_of_tasks_may_share_an_instant(virtual: Any) -> None:
    registry = Registry()
    moment = datetime(2025, 1, 1, 12, tzinfo=UTC)
    started: dict[int, datetime] = {}

    def declare(number: int) -> None:
        @registry.when(moment.isoformat(), id=f"t{number}")
        async def note() -> None:
            started[number] = stage.now()

    for number in range(1000):
        declare(number)
    async with virtual(registry, at=moment - timedelta(seconds=0.5), tz="UTC") as stage:
        with counted_lines() as lines:
            await stage.advance("1s")
        assert started == dict.fromkeys(range(1000), moment)
    assert lines.count < 1_000 * 1000


def nightly(home: Path) -> tuple[Task[..., Any], list[str]]:
    shapes.stock(home / "parts")
    return (
        Task(tasks.compute, at="02:30", args=(home / "parts", home / "results")),
        [f"results/{name}.json" for name in ("ball", "block", "pinion", "plate", "wheel")],
    )


def periodic(home: Path) -> tuple[Task[..., Any], list[str]]:
    shapes.stock(home / "parts")
    last_three = ["parts-20250102T000000Z", "parts-20250102T120000Z", "parts-20250103T000000Z"]
    return (
        Task(tasks.backup, every="12h", args=(home / "parts", home / "backups", 3)),
        [f"backups/{name}.tar.gz" for name in last_three],
    )


def cleaning(home: Path) -> tuple[Task[..., Any], list[str]]:
    (home / "results").mkdir()
    # The cleanings of both days are at 04:00, and take what is older than a day.
    for name, date in (("first", "2024-12-30T12:00Z"), ("second", "2025-01-01T03:59Z"), ("young", "2025-01-01T04:01Z")):
        (home / "results" / f"{name}.json").touch()
        os.utime(home / "results" / f"{name}.json", (datetime.fromisoformat(date).timestamp(),) * 2)
    return Task(tasks.clean, cron="0 4 * * *", args=(home / "results", timedelta(days=1))), ["results/young.json"]


@pytest.mark.feature("PL8")
@pytest.mark.parametrize("example", [nightly, periodic, cleaning])
async def test_pl8_each_example_leaves_exactly_its_files(
    virtual: Any, tmp_path: Path, example: Callable[[Path], tuple[Task[..., Any], list[str]]]
) -> None:
    scheduler = Scheduler(registry=Registry())
    task, expected = example(tmp_path)
    parts = sorted(tmp_path.glob("parts/*"))
    scheduler.register(task)
    async with virtual(scheduler, at="2025-01-01", tz="UTC") as sched:
        await sched.advance("2 days")
        assert {run.status for run in sched.runs()} == {"SUCCESS"}
    found = [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and path not in parts]
    assert [path.relative_to(tmp_path).as_posix() for path in found] == expected
