"""One object for every framework: a context manager, and an iterator of one step."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from asyncsched import Registry, Scheduler
from asyncsched.errors import MisuseError
from asyncsched.events import SchedulerStarted, SchedulerStopped


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    # Other processes that run these tests beside this one are no group with it.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return Scheduler(registry=Registry(), tz="UTC")


@pytest.fixture
def told(scheduler: Scheduler) -> list[str]:
    told: list[str] = []
    scheduler.events.on({SchedulerStarted, SchedulerStopped}, lambda event: told.append(type(event).__name__))
    return told


async def test_it_is_what_frameworks_ask_for(scheduler: Scheduler) -> None:
    lifespan = scheduler.lifespan("an app")
    assert isinstance(lifespan, AbstractAsyncContextManager)
    assert isinstance(lifespan, AsyncGenerator)


async def test_as_a_context_manager(scheduler: Scheduler, told: list[str]) -> None:
    async with scheduler.lifespan() as state:
        assert state == {"scheduler": scheduler}
        assert scheduler.running
    assert told == ["SchedulerStarted", "SchedulerStopped"]


async def test_as_an_iterator_of_one_step(scheduler: Scheduler, told: list[str]) -> None:
    lifespan = scheduler.lifespan()
    async for step in lifespan:
        assert step is None
        assert scheduler.running
    assert told == ["SchedulerStarted", "SchedulerStopped"]
    assert [step async for step in lifespan] == []
    assert len(told) == 2


async def test_an_iterator_that_is_closed_stops_the_scheduler(scheduler: Scheduler, told: list[str]) -> None:
    lifespan = scheduler.lifespan()
    await anext(lifespan)
    await lifespan.aclose()
    await lifespan.aclose()
    assert told == ["SchedulerStarted", "SchedulerStopped"]


async def test_what_is_thrown_in_comes_out(scheduler: Scheduler, told: list[str]) -> None:
    lifespan = scheduler.lifespan()
    await anext(lifespan)
    with pytest.raises(ValueError, match="bad"):
        await lifespan.athrow(ValueError("bad"))
    assert told == ["SchedulerStarted", "SchedulerStopped"]


async def test_one_that_never_began_ends_well(scheduler: Scheduler, told: list[str]) -> None:
    await scheduler.lifespan().aclose()
    assert told == []


async def test_a_running_scheduler_is_not_started_again(scheduler: Scheduler) -> None:
    async with scheduler:
        with pytest.raises(MisuseError, match="running already"):
            await anext(scheduler.lifespan())
        with pytest.raises(MisuseError, match="running already"):
            async with scheduler.lifespan():
                pass
        assert scheduler.running
