"""Several processes of one host, each with a memory store: one fires, the others stand by and take over."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched._engine.host import HostLock
from asyncsched.events import SchedulerStarted, StandingBy, TaskAdded, TaskBroken, TookOver
from asyncsched.stores import MemoryStore
from asyncsched.triggers import Trigger

if sys.platform == "win32":
    pytest.skip("there is no such lock", allow_module_level=True)

import fcntl

T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@asynccontextmanager
async def standing_by(sched: Any, temporary: Path) -> AsyncIterator[None]:
    """Within this block another process of the host fires; the scheduler is in its lifespan from its begin on."""
    await sched.scheduler.stop()
    sched.events.clear()
    lock = HostLock([task.id for task in sched.scheduler.served()])
    assert lock.take()
    (path,) = temporary.iterdir()
    lock.release()
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        await sched.scheduler.lifespan().__aenter__()
        yield


def beating() -> Registry:
    registry = Registry()

    @registry.every("1m", id="beat")
    async def beat() -> None: ...

    @registry.task(id="asked")
    async def asked(number: int) -> int:
        return 2 * number

    return registry


def kinds(sched: Any) -> list[type]:
    return [type(event) for event in sched.events]


async def test_who_stands_by_neither_fires_nor_records_and_goes_on_from_when_it_takes_over(
    virtual: Any, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with virtual(Scheduler(registry=beating()), at=T0) as sched:
        with caplog.at_level(logging.WARNING, "asyncsched"):
            async with standing_by(sched, temporary):
                at_once = await sched.scheduler.tasks.add(Task(every="1h", immediate=True, func=print, id="at_once"))
                await sched.advance("10m30s")
                assert at_once.next_fires(1) == [T0 + timedelta(hours=1)]
        assert kinds(sched) == [SchedulerStarted, StandingBy, TaskAdded]
        assert await sched.scheduler.runs.list() == []
        (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert "another process of this host fires the tasks" in record.getMessage()
        assert "A store that the processes share" in record.getMessage()
        await sched.advance("500ms")
        assert kinds(sched)[-1] is TookOver
        assert sched.now() - T0 == timedelta(minutes=10, seconds=30.5)
        await sched.advance("2m")
        assert sched.fires("beat") == ["2026-01-01T00:11+00:00", "2026-01-01T00:12+00:00"]
        assert sched.skips() == sched.fires("at_once") == []
        await sched.advance("50m")
        assert sched.fires("at_once") == ["2026-01-01T01:00+00:00"]


async def test_who_stands_by_runs_what_is_submitted_to_it(virtual: Any, temporary: Path) -> None:
    async with virtual(Scheduler(registry=beating()), at=T0) as sched, standing_by(sched, temporary):
        run = await sched.scheduler.tasks.run_now("beat")
        assert await run is None
        run = await (await sched.scheduler.tasks.get("asked")).submit(21)
        assert await run == 42
        await sched.scheduler.idle()
        assert len(sched.runs()) == 2


async def test_who_stands_by_tells_the_fires_that_are_to_come_elsewhere(virtual: Any, temporary: Path) -> None:
    async with virtual(Scheduler(registry=beating()), at=T0) as sched, standing_by(sched, temporary):
        await sched.advance("5m")
        soon = await sched.scheduler.tasks.next_fires(2)
        assert soon == [("beat", T0 + timedelta(minutes=6)), ("beat", T0 + timedelta(minutes=7))]
        beat = await sched.scheduler.tasks.get("beat")
        assert beat.next_fires(1) == [T0 + timedelta(minutes=6)]


async def test_it_costs_two_looks_a_second_while_it_stands_by_and_nothing_after(virtual: Any, temporary: Path) -> None:
    registry = Registry()
    async with virtual(Scheduler(registry=registry), at=T0) as sched:
        async with standing_by(sched, temporary):
            engine = sched.scheduler._running()
            await sched.advance("1m")
            assert len(engine.timer._wakeups) == 1
        await sched.advance("1s")
        assert kinds(sched)[-1] is TookOver
        assert len(engine.timer._wakeups) == 0


async def test_what_an_operator_does_meanwhile_counts_from_the_takeover_on(virtual: Any, temporary: Path) -> None:
    async with virtual(Scheduler(registry=beating()), at=T0) as sched:
        async with standing_by(sched, temporary):
            await sched.scheduler.tasks.pause("beat", until=T0 + timedelta(minutes=13))
            await sched.advance("10m")
        await sched.advance("6m")
        assert sched.fires("beat") == ["2026-01-01T00:14+00:00", "2026-01-01T00:15+00:00", "2026-01-01T00:16+00:00"]
        assert [f"{run.scheduled_for:%H:%M} {run.reason}" for run in sched.skips()] == [
            f"00:{minute} paused" for minute in (11, 12, 13)
        ]


class Backwards(Trigger):
    """Right for a minute, then it gives what has been."""

    def next_after(self, moment: datetime) -> datetime | None:
        return min(moment, T0) + timedelta(minutes=1)


async def test_a_broken_trigger_stops_no_takeover(virtual: Any, temporary: Path) -> None:
    registry = beating()

    @registry.when(Backwards(), id="broken")
    async def broken() -> None: ...

    async with virtual(Scheduler(registry=registry), at=T0) as sched:
        async with standing_by(sched, temporary):
            await sched.advance("5m")
        await sched.advance("1m")
        assert sched.fires("beat") == ["2026-01-01T00:06+00:00"]
        assert sched.fires("broken") == []
        assert kinds(sched).count(TaskBroken) == 1


async def test_who_stops_while_it_stands_by_does_not_take_over(virtual: Any, temporary: Path) -> None:
    registry = beating()

    @registry.task(id="slow")
    async def slow() -> None:
        await asyncio.sleep(10)

    async with virtual(Scheduler(registry=registry), at=T0) as sched:
        async with standing_by(sched, temporary):
            await sched.scheduler.tasks.run_now("slow")
            await sched.advance("1s")
        drained = await sched.scheduler.stop()
        assert drained.finished == 1
        assert sched.now() - T0 == timedelta(seconds=10)
        assert TookOver not in kinds(sched)


async def test_who_fires_lets_go_once_it_has_stopped(virtual: Any, temporary: Path) -> None:
    async with virtual(Scheduler(registry=beating()), at=T0) as sched:
        await sched.scheduler.stop()
        async with sched.scheduler.lifespan():
            (path,) = temporary.iterdir()
            with path.open("w") as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert list(temporary.iterdir()) == []


async def test_a_clock_that_is_set_back_does_not_keep_it_from_taking_over(virtual: Any, temporary: Path) -> None:
    async with virtual(Scheduler(registry=beating()), at=T0) as sched:
        async with standing_by(sched, temporary):
            await sched.advance("10m")
            await sched.jump("-1h")
        await sched.advance("1s")
        assert kinds(sched)[-1] is TookOver


async def test_each_fires_if_that_is_wanted(virtual: Any, temporary: Path) -> None:
    async with virtual(Scheduler(registry=beating(), once_per_host=False), at=T0) as sched:
        await sched.scheduler.stop()
        async with sched.scheduler.lifespan():
            await sched.advance("1m")
        assert list(temporary.iterdir()) == []
        assert sched.fires("beat") == ["2026-01-01T00:01+00:00"]


class SharedStore(MemoryStore):
    """Says of itself that processes share it."""

    shared = True


async def test_a_store_that_processes_share_needs_no_lock(temporary: Path) -> None:
    async with Scheduler(SharedStore(), registry=beating(), tz="UTC").lifespan():
        assert list(temporary.iterdir()) == []


async def test_serving_oneself_takes_no_lock(temporary: Path) -> None:
    async with Scheduler(registry=beating(), tz="UTC"):
        assert list(temporary.iterdir()) == []
