"""A store that raises now and then: nothing is lost, nothing runs twice, and the scheduler is on time again."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Retry, Scheduler, current_run
from asyncsched.errors import StoreError
from asyncsched.events import Event, RunEnded, StoreBack, StoreLost
from faults.stores import FlakyStore, SlowFlakyStore

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def tasks() -> Registry:
    registry = Registry()

    @registry.every("1s", id="healthy")
    async def healthy() -> None: ...

    @registry.every("1s", id="after", anchor="completion")
    async def after() -> None:
        await asyncio.sleep(0.1)

    @registry.every("2s", id="retried", retry=Retry(attempts=3, wait="100ms"))
    async def retried() -> None:
        if current_run().attempt < 3:
            raise OSError

    @registry.task(id="one-off")
    async def one_off() -> str:
        return "done"

    return registry


async def submitted(registry: Registry) -> Any:
    """The result of a one-off run, asked for until the store takes it."""
    while True:
        try:
            return await (await registry["one-off"].submit())
        except StoreError:
            continue


@pytest.mark.parametrize("kind", [FlakyStore, SlowFlakyStore])
@pytest.mark.parametrize("seed", range(1, 5))
async def test_every_fire_runs_once_and_late_by_less_than_a_second(
    virtual: Any, kind: type[FlakyStore], seed: int
) -> None:
    store, registry, events = kind(seed, 0.1), tasks(), list[Event]()
    async with virtual(Registry(), at=T0, tz="UTC") as stage:
        scheduler = Scheduler(store, registry=registry, clock=stage.clock, tz="UTC")
        scheduler.events.on({Event}, events.append)
        async with scheduler:
            for _ in range(20):
                await stage.advance("1s")
                assert await submitted(registry) == "done"
            assert {"cycle", "fire", "submit"} <= set(store.failed)
            store.rate = 0
            await stage.advance("5s")
            await scheduler.idle()
    ended = [event.run for event in events if isinstance(event, RunEnded)]
    assert set(Counter(run.id for run in ended).values()) == {1}
    assert Counter(run.status for run in ended) == {"SUCCESS": len(ended)}
    runs = [run for run in ended if run.task == "healthy"]
    assert [run.scheduled_for for run in runs] == [T0 + timedelta(seconds=second) for second in range(1, 26)]
    assert all(run.started_at - run.scheduled_for < timedelta(seconds=1) for run in runs)
    assert all(run.started_at == run.scheduled_for for run in runs[-4:])
    assert len([run for run in ended if run.task == "after"]) >= 18
    assert len([run for run in ended if run.task == "retried"]) == 12


async def test_a_store_that_is_gone_for_a_while_is_asked_less_and_less_often(
    virtual: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store, registry = FlakyStore(0, 0), tasks()
    async with (
        virtual(Registry(), at=T0, tz="UTC") as stage,
        Scheduler(store, registry=registry, clock=stage.clock, tz="UTC") as scheduler,
    ):
        await stage.advance("5500ms")
        events: list[Any] = []
        scheduler.events.on({StoreLost, StoreBack}, events.append)
        store.rate = 1
        await stage.advance("20s")
        asked = store.failed["fire"]
        assert 20 <= asked <= 27
        (told,) = [record for record in caplog.records if "the store fails" in record.getMessage()]
        assert told.levelno == logging.ERROR
        assert "the store blipped at fire" in str(told.exc_info)
        store.rate = 0
        await stage.advance("5s")
        (over,) = [record.getMessage() for record in caplog.records if "answers again" in record.getMessage()]
        assert 19 <= float(over.split()[-2]) <= 21
        assert [type(event) for event in events] == [StoreLost, StoreBack]
        assert timedelta(seconds=19) <= events[1].after <= timedelta(seconds=21)
        runs = await scheduler.runs.list(task="healthy")
        assert sum(run.stands_for for run in runs) == 30
        assert [run.started_at for run in runs[:4]] == [T0 + timedelta(seconds=second) for second in (30, 29, 28, 27)]


async def test_a_store_that_fails_at_the_start_leaves_nothing_running(virtual: Any) -> None:
    registry = tasks()
    async with virtual(Registry(), at=T0, tz="UTC") as stage:
        for verb in ("open", "reconcile", "unfinished"):
            spared = {"open", "reconcile", "unfinished", "close", "standings"} - {verb}
            store = FlakyStore(0, 1, tuple(spared))
            scheduler = Scheduler(store, registry=registry, clock=stage.clock, tz="UTC")
            with pytest.raises(StoreError, match=f"blipped at {verb}"):
                await scheduler.start()
            assert not scheduler.running
            assert registry["healthy"].next_fire is None
            store.rate = 0
            async with scheduler:
                await stage.advance("1s")
                assert len(await scheduler.runs.list(task="healthy")) == 1


async def test_a_store_that_fails_at_the_end_does_not_hinder_leaving(virtual: Any) -> None:
    registry = tasks()
    async with virtual(Registry(), at=T0, tz="UTC") as stage:
        store = FlakyStore(0, 0)
        scheduler = Scheduler(store, registry=registry, clock=stage.clock, tz="UTC", shutdown_timeout="1s")
        await scheduler.start()
        await stage.advance("5050ms")
        store.rate, store.spared = 1, ()
        with pytest.raises(StoreError, match="blipped"):
            await scheduler.stop()
        assert not scheduler.running
        assert registry["healthy"].next_fire is None
