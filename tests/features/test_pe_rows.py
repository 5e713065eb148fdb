"""The rows of features about triggers that users write, and about runs that are awaited, ranked, cancelled, typed."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched.errors import RunCancelled
from asyncsched.triggers import Trigger

ROOT = Path(__file__).resolve().parents[2]

T0 = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Tides(Trigger):
    """High water: every 12 hours and 25 minutes after one that was seen."""

    seen: datetime
    period: timedelta = timedelta(hours=12, minutes=25)

    def next_after(self, moment: datetime) -> datetime | None:
        count = (moment - self.seen) // self.period + 1
        return self.seen + max(count, 0) * self.period


@pytest.mark.feature("PE5")
async def test_pe5_a_trigger_of_ones_own_fires_as_a_built_in_one(virtual: Any) -> None:
    registry = Registry()
    tides = Tides(T0 + timedelta(hours=3))

    @registry.when(tides)
    async def open_sluice() -> None: ...

    @registry.when([tides, "every day at 12:00"])
    async def either() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("30h")
        high = [T0 + timedelta(hours=3) + number * timedelta(hours=12, minutes=25) for number in range(3)]
        assert [run.started_at for run in sched.runs("open_sluice")] == high
        assert [run.started_at for run in sched.runs("either")] == sorted([*high, T0 + timedelta(hours=12)])


@pytest.mark.feature("PE5")
async def test_pe5_it_survives_a_store(virtual: Any) -> None:
    tides = Tides(T0 + timedelta(hours=3), period=timedelta(hours=1, microseconds=1))
    assert Trigger.from_json(tides.to_json()) == tides
    assert tides.to_json()["kind"].endswith(":Tides")
    registry = Registry()
    task = registry.register(Task(lambda: None, id="sluice", trigger=Trigger.from_json(tides.to_json())))
    async with virtual(Scheduler(registry=registry), at=T0) as sched:
        await sched.advance("3h")
        await sched.crash()
        await sched.restart()
        assert task.next_fire == T0 + timedelta(hours=4, microseconds=1)
        await sched.advance("2h")
        assert len(sched.runs("sluice")) == 2


@pytest.mark.feature("PE3")
async def test_pe3_a_run_gives_its_result_or_its_exception_and_waiting_may_have_an_end(virtual: Any) -> None:
    registry = Registry()
    error = ValueError("no")

    @registry.task
    async def good() -> str:
        await asyncio.sleep(10)
        return "value"

    @registry.task
    async def bad() -> None:
        raise error

    async with virtual(registry, at=T0) as sched:
        runs = sched.scheduler.runs
        run = await good.submit()
        assert await runs.wait(run.id) == await run == "value"
        failed = await bad.submit()
        for _ in range(2):
            with pytest.raises(ValueError, match="no") as caught:
                await runs.wait(failed.id)
            assert caught.value is error
        slow = await good.submit()
        with pytest.raises(TimeoutError, match="has not ended within 3s"):
            await runs.wait(slow.id, within="3s")
        assert (slow.status, sched.now()) == ("RUNNING", T0 + timedelta(seconds=13))
        assert await runs.wait(slow.id, within="1h") == "value"
        assert sched.now() == T0 + timedelta(seconds=20)


@pytest.mark.feature("PE7")
async def test_pe7_greater_priorities_go_first_equal_ones_as_they_came(virtual: Any) -> None:
    registry = Registry()
    order: list[str] = []

    @registry.task
    async def work(name: str) -> None:
        order.append(name)
        await asyncio.sleep(1)

    async with virtual(Scheduler(registry=registry, max_running=1), at=T0) as sched:
        await work.using(priority=-5).submit("low")
        await work.using(priority=5).submit("high")
        await work.submit("normal")
        await work.submit("normal too")
        await sched.drain()
    assert order == ["high", "normal", "normal too", "low"]


@pytest.mark.feature("PE16")
async def test_pe16_a_run_is_cancelled_by_its_id() -> None:
    registry = Registry()
    inside: list[str] = []
    began = asyncio.Event()

    @registry.task
    async def slow() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            inside.append("cancelled")
            raise

    async with Scheduler(registry=registry, tz="UTC") as scheduler:
        waiting = await slow.using(delay="1h").submit()
        assert await scheduler.runs.cancel(waiting.id) is True
        assert (waiting.status, waiting.attempt) == ("CANCELLED", 0)
        running = await slow.submit()
        await began.wait()
        assert await scheduler.runs.cancel(running.id) is True
        with pytest.raises(RunCancelled):
            await running
        assert inside == ["cancelled"]
        assert running.status == "CANCELLED"


FOLLOWED = """
from asyncsched import Registry, Scheduler, every, task
scheduler = Scheduler(tz="UTC")

@every("1h")
async def never_today(): ...

@every("1h", immediate=True)
async def five():
    for number in range(5):
        await first.submit(number)

@task(max_running=2)
async def first(number: int):
    await follower.submit(number)

@task
def follower(number: int):
    return number
"""


@pytest.mark.feature("PE33")
def test_pe33_the_command_line_may_end_when_nothing_is_left_to_do(tmp_path: Path) -> None:
    (tmp_path / "followed.py").write_text(FOLLOWED, encoding="utf-8")
    command = [sys.executable, "-W", "error", "-m", "asyncsched", "run", "--until-idle", "followed:scheduler"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert sum("SUCCESS  follower" in line for line in done.stdout.splitlines()) == 5
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.feature("PE33")
async def test_pe33_serve_may_end_when_nothing_is_left_to_do(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def countdown(number: int) -> None:
        await asyncio.sleep(1)
        if number:
            await countdown.submit(number - 1)

    @registry.every("1h", immediate=True)
    async def begin() -> None:
        await countdown.submit(4)

    async with virtual(Registry(), at=T0) as sched:
        scheduler = Scheduler(registry=registry, clock=sched.clock, tz="UTC")
        await scheduler.serve(until_idle=True)
        assert sched.now() == T0 + timedelta(seconds=5)
        assert not scheduler.running


TYPED = """
from asyncsched import task

@task
def add(left: int, right: int) -> int:
    return left + right

async def main() -> None:
    run = await add.submit(1, 2)
    good: int = await run
    bad: str = await run
    await add.submit(1, "2")
    add(1)
"""


@pytest.mark.feature("PE35")
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_pe35_a_wrong_argument_is_found_by_type_checkers(tmp_path: Path, checker: str) -> None:
    pytest.importorskip(checker, reason="type checkers come with the group 'types'")
    (tmp_path / "typed.py").write_text(TYPED, encoding="utf-8")
    options = {
        "mypy": ["--config-file", str(ROOT / "pyproject.toml"), "--no-pretty"],
        "pyright": ["--pythonpath", sys.executable],
    }
    command = [sys.executable, "-m", checker, *options[checker], str(tmp_path / "typed.py")]
    where = ROOT if checker == "mypy" else tmp_path  # mypy's cache lies where the project does
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=300)
    found = {int(line) for line in re.findall(r"typed\.py:(\d+)(?::\d+)?(?: -)?:? error", done.stdout)}
    assert found == {11, 12, 13}, done.stdout + done.stderr


@pytest.mark.feature("PE35")
async def test_pe35_a_decorated_name_stays_a_function(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    def add(left: int, right: int) -> int:
        return left + right

    async with virtual(registry, at=T0) as sched:
        assert add(1, 2) == 3
        assert await sched.scheduler.runs.list() == []
        assert (add.__name__, str(inspect.signature(add))) == ("add", "(left: 'int', right: 'int') -> 'int'")


@pytest.mark.feature("PE36")
async def test_pe36_the_next_fire_may_be_skipped(virtual: Any) -> None:
    registry = Registry()

    @registry.every("10s", id="work")
    async def work() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("12s")
        assert await sched.scheduler.tasks.skip_next("work") == T0 + timedelta(seconds=20)
        assert work.next_fire == T0 + timedelta(seconds=30)
        await sched.advance("20s")
        (skip,) = sched.skips()
        assert (skip.scheduled_for, skip.status, skip.reason) == (T0 + timedelta(seconds=20), "SKIPPED", "skipped")
        assert [run.scheduled_for for run in sched.runs()] == [T0 + timedelta(seconds=second) for second in (10, 30)]
