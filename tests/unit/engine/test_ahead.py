"""Very many runs: some start while the store is told of those that ended before; each starts once, none is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from asyncsched import Registry, RunStatus, Scheduler
from asyncsched.errors import StoreError
from asyncsched.stores import MemoryStore
from asyncsched.stores._base import Cycled

Work = Callable[[int], Awaitable[None]]


class Waiting(MemoryStore):
    """Takes some turns of the loop for an exchange."""

    answers_at_once = False

    def __init__(self) -> None:
        super().__init__()
        self.under_way = False
        self.exchanges = 0
        self.fails: set[int] = set()
        """The exchanges that raise, once what they were asked is done or not even begun."""

    async def cycle(self, *asked: Any) -> Cycled:
        self.exchanges += 1
        number, self.under_way = self.exchanges, True
        try:
            for _ in range(4):
                await asyncio.sleep(0)
            if number in self.fails:
                raise StoreError("the store blipped")
            return await super().cycle(*asked)
        finally:
            self.under_way = False


class Bench:
    def __init__(self, **limits: Any) -> None:
        self.store = Waiting()
        self.began: Counter[int] = Counter()
        self.meanwhile: Counter[bool] = Counter()
        """How many began while the store was asked, and how many not."""
        self.most = 0
        registry = Registry()
        under_way = 0

        @registry.task(id="work", history_limit=1_000)
        async def work(number: int) -> None:
            nonlocal under_way
            self.began[number] += 1
            self.meanwhile[self.store.under_way] += 1
            under_way += 1
            self.most = max(self.most, under_way)
            try:
                await self.body(number)
            finally:
                under_way -= 1

        self.work = work
        self.scheduler = Scheduler(self.store, registry=registry, tz="UTC", **limits)

    async def body(self, number: int) -> None:
        """What a run does."""

    async def drain(self, number: int) -> None:
        await self.work.submit_many([(one,) for one in range(number)])
        while await self.scheduler.runs.list(status=["PENDING", "RUNNING"]):
            await asyncio.sleep(0)

    async def ended(self, status: RunStatus = RunStatus.SUCCESS) -> int:
        return len(await self.scheduler.runs.list(status=status, limit=10_000))


@pytest.mark.parametrize("limit", [None, 32, 64])
async def test_short_runs_begin_while_the_store_is_told_of_those_before(limit: int | None) -> None:
    bench = Bench(max_running=limit)
    async with bench.scheduler:
        await bench.drain(600)
        assert await bench.ended() == 600
    assert bench.began == dict.fromkeys(range(600), 1)
    assert bench.meanwhile[True] > 300


async def test_no_more_are_under_way_than_may_be() -> None:
    class Longer(Bench):
        async def body(self, number: int) -> None:
            for _ in range(number % 7):
                await asyncio.sleep(0)

    bench = Longer(max_running=32)
    async with bench.scheduler:
        await bench.drain(400)
        assert await bench.ended() == 400
    assert bench.began == dict.fromkeys(range(400), 1)
    assert 16 < bench.most <= 32


async def test_long_runs_all_begin_and_nothing_is_told_ahead() -> None:
    class Long(Bench):
        let = asyncio.Event()

        async def body(self, number: int) -> None:
            await self.let.wait()

    bench = Long(max_running=64)
    async with bench.scheduler:
        draining = asyncio.create_task(bench.drain(64))
        while len(bench.began) < 64:
            await asyncio.sleep(0)
        assert bench.meanwhile[True] == 0
        bench.let.set()
        await draining
        assert await bench.ended() == 64


@pytest.mark.parametrize("first", range(2, 8))
async def test_an_exchange_that_fails_meanwhile_loses_nothing(first: int) -> None:
    bench = Bench(max_running=32)
    bench.store.fails = {first, first + 1}
    async with bench.scheduler:
        await bench.drain(300)
        assert await bench.ended() == 300
    assert bench.began == dict.fromkeys(range(300), 1)


async def test_one_that_was_claimed_and_has_not_begun_can_be_cancelled() -> None:
    class Cancelling(Bench):
        async def body(self, number: int) -> None:
            if number == 0:  # those behind it are claimed with it
                claimed = await self.scheduler.runs.list(status="RUNNING")
                stopped.extend([await self.scheduler.runs.cancel(run.id) for run in claimed[:-1]])

    stopped: list[bool] = []
    bench = Cancelling(max_running=32)
    async with bench.scheduler:
        await bench.drain(32)
        cancelled = await bench.ended(RunStatus.CANCELLED)
        assert await bench.ended() + cancelled == 32
    assert cancelled == sum(stopped)
    assert len(bench.began) + cancelled >= 32


async def test_whoever_leaves_meanwhile_leaves_nothing_behind() -> None:
    bench = Bench(max_running=32)
    async with bench.scheduler:
        await bench.work.submit_many([(one,) for one in range(500)])
        while not bench.meanwhile[True]:
            await asyncio.sleep(0)
    assert set(bench.began.values()) == {1}
    async with bench.scheduler:
        while await bench.scheduler.runs.list(status=["PENDING", "RUNNING"]):
            await asyncio.sleep(0)
        assert await bench.ended() == 500
    assert bench.began == dict.fromkeys(range(500), 1)
