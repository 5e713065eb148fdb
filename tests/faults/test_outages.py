"""All nodes are down for a while, or the clock is set: each fire is a run or a recorded skip, once, as the policy says.

A real file, on virtual time: while SQLite is at work virtual time stands still.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched.clock import Clock
from asyncsched.run import RunStatus
from asyncsched.stores.sqlite import SQLiteStore
from asyncsched.testing._loop import VirtualLoop
from asyncsched.triggers import AllOf, AnyOf, Cron, Daily, Every, Except, Trigger

LONG = os.environ.get("ASYNCSCHED_FAULTS") == "long"
T0 = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class StillStore(SQLiteStore):
    """Holds virtual time still while one of its threads has something to do."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, synchronous="normal")
        self._out: set[asyncio.Future[Any]] = set()
        self._on_its_way = False
        """Whether the threads come to be or end."""

    async def open(self, node: str, clock: Clock) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self._still = loop.watch(lambda: self._on_its_way or self._out)
        with self._under_way():
            await super().open(node, clock)
        for thread in (self._writer, self._reader):
            self._count(thread)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        self._on_its_way = True
        try:
            yield
        finally:
            self._on_its_way = False

    def _count(self, thread: Any) -> None:
        post = thread.post

        def counted(work: Any, take: Any) -> asyncio.Future[Any]:
            future: asyncio.Future[Any] = post(work, take)
            self._out.add(future)
            future.add_done_callback(self._out.discard)
            return future

        thread.post = counted

    async def close(self) -> None:
        try:
            with self._under_way():
                await super().close()
        finally:
            self._still()


async def nothing() -> None: ...


POLICIES: dict[str, dict[str, Any]] = {
    "latest": {"missed": "latest"},
    "skip": {"missed": "skip"},
    "all": {"missed": "all", "overlap": "queue_all"},
    "all, at most 3": {"missed": "all", "missed_limit": 3, "overlap": "queue_all"},
    "latest, of 2 minutes": {"missed": "latest", "grace": "2m"},
    "all, of 2 minutes": {"missed": "all", "grace": "2m", "overlap": "queue_all"},
}
TRIGGERS: dict[str, Trigger] = {
    "often": Every("7s"),
    "each minute": Every("1m"),
    "cron": Cron("*/3 * * * *"),
    "cron with seconds": Cron("*/20 * * * * *"),
    "daily": Daily("00:07"),
    "any of": AnyOf(Cron("*/4 * * * *"), Every("90s")),
    "all of": AllOf(Cron("* * * * *"), Cron("*/2 * * * *")),
    "except": Except(Every("30s"), Cron("*/5 * * * *")),
}


def instants(trigger: Trigger, first_us: int, until_us: int) -> list[int]:
    """Its instants from the first until then."""
    found = [first_us]
    while (next_us := trigger.next_us(found[-1])) is not None and next_us <= until_us:
        found.append(next_us)
    return found


def late_by_us(trigger: Trigger, after_us: int, now_us: int) -> int:
    """For how long its latest instant after the other one is over."""
    latest_us = after_us - 2_000_000
    while (next_us := trigger.next_us(max(after_us, latest_us))) is not None and next_us <= now_us:
        latest_us = next_us
    return now_us - latest_us


def check_accounted(records: list[Any], expected: list[int]) -> None:
    """Each instant is stood for by one record: the one of its own, or the next one of a record that stands for more."""
    assert {run.status for run in records} <= {RunStatus.SUCCESS, RunStatus.SKIPPED}
    at = [run.scheduled_us for run in records]
    assert len(set(at)) == len(at)
    assert set(at) <= set(expected)
    assert sum(run.stands_for for run in records) == len(expected)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", TRIGGERS)
async def test_after_an_outage_each_fire_is_accounted_for_as_its_policy_says(
    virtual: Any, tmp_path: Path, policy: str, kind: str
) -> None:
    chosen = zlib.crc32(f"{policy} {kind}".encode())
    down = timedelta(seconds=6 + chosen % (1_794 if LONG else 594))  # 0.1 to 30 minutes, or 10
    registry = Registry()
    registry.register(Task(nothing, id="t", trigger=TRIGGERS[kind], history_limit=10_000, **POLICIES[policy]))
    async with virtual(Registry(), at=T0, tz="UTC") as stage:
        url = tmp_path / "jobs.db"
        async with Scheduler(StillStore(url), registry=registry, clock=stage.clock, tz="UTC") as scheduler:
            (standing,) = await scheduler._engine.store.standings(["t"])
            trigger, first_us = standing.trigger, standing.next_us
            assert trigger is not None
            assert first_us is not None
            await stage.advance("2m 3s")
        left_us = stage.clock.now_us()
        await stage.advance(down)
        while late_by_us(trigger, left_us, stage.clock.now_us()) <= 1_000_000:
            await stage.advance("1s")  # what is due at the very end would not be missed
        back_us = stage.clock.now_us()
        async with Scheduler(StillStore(url), registry=registry, clock=stage.clock, tz="UTC") as scheduler:
            await stage.advance("8m")
            records = await scheduler.runs.list(task="t", limit=100_000)
            end_us = stage.clock.now_us()
    if first_us > end_us:
        assert records == []
        return
    check_accounted(records, instants(trigger, first_us, end_us))
    missed = [at_us for at_us in instants(trigger, first_us, end_us) if left_us < at_us <= back_us]
    late = [run for run in records if run.scheduled_us in missed]
    ran = [run.scheduled_us for run in late if run.status is RunStatus.SUCCESS]
    recent = [at_us for at_us in missed if back_us - at_us <= 120_000_000]
    expected = {
        "latest": missed[-1:],
        "skip": [],
        "all": missed[-100:],
        "all, at most 3": missed[-3:],
        "latest, of 2 minutes": recent[-1:],
        "all, of 2 minutes": recent,
    }[policy]
    assert sorted(ran) == expected


@pytest.mark.parametrize("by", ["5m", "-5m", "1h", "-1h"])
async def test_a_clock_that_is_set_loses_and_doubles_no_fire(virtual: Any, tmp_path: Path, by: str) -> None:
    registry = Registry()

    @registry.every("10s", id="t", history_limit=10_000, overlap="skip")
    async def slow() -> None:
        await asyncio.sleep(25)  # the clock is set while it runs

    async with virtual(Registry(), at=T0, tz="UTC") as stage:
        store = StillStore(tmp_path / "jobs.db")
        async with Scheduler(store, registry=registry, clock=stage.clock, tz="UTC") as scheduler:
            (standing,) = await store.standings(["t"])
            assert standing.next_us is not None
            for _ in range(3):
                await stage.advance("1m 5s")
                stage.clock.jump(timedelta(minutes=int(by[:-1])) * (60 if by.endswith("h") else 1))
            await stage.advance("1m 5s")
            await scheduler.idle()
            records = await scheduler.runs.list(task="t", limit=100_000)
            (stands,) = await store.standings(["t"])
    assert standing.trigger is not None
    assert stands.next_us is not None
    check_accounted(records, instants(standing.trigger, standing.next_us, stands.next_us - 1))


async def test_a_clock_that_drifts_loses_and_doubles_no_fire(virtual: Any, tmp_path: Path) -> None:
    registry = Registry()
    registry.register(Task(nothing, id="t", every="10s", history_limit=10_000))
    async with virtual(Registry(), at=T0, tz="UTC") as stage:
        store = StillStore(tmp_path / "jobs.db")
        async with Scheduler(store, registry=registry, clock=stage.clock, tz="UTC") as scheduler:
            for step in range(60):  # one per cent, now fast and now slow
                await stage.advance("10s")
                stage.clock.jump(timedelta(milliseconds=100 if step < 30 else -100))
            records = await scheduler.runs.list(task="t", limit=100_000)
    at = sorted(run.scheduled_us for run in records)
    assert all(later - earlier == 10_000_000 for earlier, later in pairwise(at))
    assert {(run.status, run.stands_for) for run in records} == {("SUCCESS", 1)}
    assert len(at) >= 59


class Apart(Clock):
    """Shows another time than the clock that it follows, and waits for its own."""

    def __init__(self, clock: Any, by: timedelta) -> None:
        self._clock = clock
        self._by_us = by // timedelta(microseconds=1)

    def now_us(self) -> int:
        return int(self._clock.now_us()) + self._by_us

    def steady_us(self) -> int:
        return int(self._clock.steady_us())

    def alarm(self, ring: Any) -> Any:
        return _ApartAlarm(self._clock.alarm(ring), self._by_us)


class _ApartAlarm:
    def __init__(self, alarm: Any, by_us: int) -> None:
        self._alarm = alarm
        self._by_us = by_us

    def set(self, due_us: int | None) -> None:
        self._alarm.set(None if due_us is None else due_us - self._by_us)

    def close(self) -> None:
        self._alarm.close()


async def test_of_two_schedulers_whose_clocks_differ_by_five_minutes_each_fire_is_one_run(
    virtual: Any, tmp_path: Path
) -> None:
    async with virtual(Registry(), at=T0, tz="UTC") as stage:
        stores = [StillStore(tmp_path / "jobs.db") for _ in range(2)]
        schedulers = []
        for store, clock in zip(stores, (stage.clock, Apart(stage.clock, 5 * MINUTE)), strict=True):
            registry = Registry()
            registry.register(Task(nothing, id="t", every="1m", history_limit=1_000))
            schedulers.append(Scheduler(store, registry=registry, clock=clock, tz="UTC"))
        async with schedulers[0]:
            (standing,) = await stores[0].standings(["t"])
            assert standing.trigger is not None
            assert standing.next_us is not None
            async with schedulers[1]:
                await stage.advance("10m")
            records = await schedulers[0].runs.list(task="t", limit=1_000)
            (stands,) = await stores[0].standings(["t"])
    assert stands.next_us is not None
    check_accounted(records, instants(standing.trigger, standing.next_us, stands.next_us - 1))
    assert len(records) >= 10
