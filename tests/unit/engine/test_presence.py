"""A node among others: its clock is set by the store's, what it says is told when it is new, and it drains once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncsched import Registry, Scheduler
from asyncsched._engine.presence import opened
from asyncsched.clock import Clock, DistantClock, SystemClock
from asyncsched.errors import StoreError
from asyncsched.events import NodeDrains
from asyncsched.nodes import NodeReport
from asyncsched.stores import MemoryStore

SECOND = 1_000_000
PATIENCE_S = 30


class FarOff(MemoryStore):
    """A store with a clock of its own, which may be set, and that forgets a node when it is told to.

    It is not shared, so that nobody looks at it every few seconds.
    """

    own_clock = True

    def __init__(self, ahead_us: int = 0) -> None:
        super().__init__()
        self.ahead_us = ahead_us
        self.looks = 0
        self.reports: list[NodeReport] = []
        self.fails = False

    async def open(self, node: str, clock: Clock) -> None:
        await super().open(node, clock)
        self._now_us = lambda: SystemClock().now_us() + self.ahead_us
        self.closed = False

    async def close(self) -> None:
        await super().close()
        self.closed = True

    async def now_us(self) -> int:
        self.looks += 1
        if self.fails:
            raise StoreError("not there")
        return await super().now_us()

    async def report(self, said: NodeReport | None) -> bool | None:
        if said is not None:
            self.reports.append(said)
        return await super().report(said)

    def forget(self) -> None:
        self._said = None


async def until(holds: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_store_without_a_clock_leaves_the_nodes_own() -> None:
    clock = SystemClock()
    assert await opened(MemoryStore(), "n", clock) is clock


async def test_a_store_with_a_clock_is_looked_at_a_few_times() -> None:
    store = FarOff(300 * SECOND)
    clock = await opened(store, "n", SystemClock())
    assert isinstance(clock, DistantClock)
    assert store.looks == 3
    assert abs(clock.skew_us() + 300 * SECOND) < SECOND


async def test_a_store_whose_clock_cannot_be_asked_is_closed_again() -> None:
    store = FarOff()
    store.fails = True
    with pytest.raises(StoreError, match="not there"):
        await opened(store, "n", SystemClock())
    assert store.closed


async def test_a_fire_that_is_refused_lets_the_clock_be_looked_at_at_once() -> None:
    registry, store, ran = Registry(), FarOff(), asyncio.Event()

    @registry.every("100ms", id="tick", overlap="allow")
    async def tick() -> None:
        ran.set()

    async with Scheduler(store, registry=registry, stall_warning=None) as node:
        await asyncio.wait_for(ran.wait(), PATIENCE_S)
        looks = store.looks
        store.ahead_us = -2 * SECOND  # it was set: what is due here is not due there
        await until(lambda: store.looks > looks)
        ran.clear()
        await asyncio.wait_for(ran.wait(), PATIENCE_S)
        (run, *_others) = await node.runs.list(task="tick", status="SUCCESS")
        assert run.started_us is not None
        assert run.started_us < SystemClock().now_us() - SECOND


async def test_what_is_said_is_told_once_and_again_to_a_store_that_has_forgotten_it() -> None:
    store = FarOff()
    async with Scheduler(store, registry=Registry(), node="n") as node:
        await until(lambda: store.reports)
        store.edited(())
        await asyncio.sleep(0.05)
        assert len(store.reports) == 1
        store.forget()
        store.edited(())
        await until(lambda: len(store.reports) == 2)
        told: list[NodeDrains] = []
        node.events.on([NodeDrains], told.append)
        await node.nodes.drain("n")
        await until(lambda: told)
        await node.nodes.drain("n")
        await asyncio.sleep(0.05)
        assert len(told) == 1
        assert [said.draining for said in store.reports] == [False, False, True]
        store.forget()  # it comes anew after others took it for dead: it goes on draining
        store.edited(())
        await until(lambda: len(store.reports) == 4)
        assert store.reports[-1].draining
