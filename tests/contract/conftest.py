"""The benches on which the contract is tried: one for each store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable

import pytest

from asyncsched.clock import Clock
from asyncsched.stores import MemoryStore, Store

START_US = 1_767_225_600_000_000


class HandClock(Clock):
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.moved_us = 0

    def now_us(self) -> int:
        return START_US + self.moved_us

    def steady_us(self) -> int:
        return self.moved_us


class Bench(ABC):
    """One place where runs are kept, and the nodes that come and go there."""

    def __init__(self) -> None:
        self.clock = HandClock()

    @abstractmethod
    async def enter(self, node: str) -> Store:
        """The store, opened by ``node``. What nodes before it have left there is there."""

    async def advance(self, us: int) -> None:
        """Let so many microseconds pass by the store's clock."""
        self.clock.moved_us += us

    @abstractmethod
    async def clear(self) -> None:
        """Throw away all that is kept."""


class MemoryBench(Bench):
    def __init__(self) -> None:
        super().__init__()
        self._store = MemoryStore()

    async def enter(self, node: str) -> Store:
        await self._store.open(node, self.clock)
        return self._store

    async def clear(self) -> None:
        self._store = MemoryStore()


# A store joins the suite by a line here.
BENCHES: dict[str, Callable[[], Bench]] = {
    "memory": MemoryBench,
}


@pytest.fixture(params=list(BENCHES))
def make_bench(request: pytest.FixtureRequest) -> Callable[[], Bench]:
    """Makes an empty bench, as often as it is called."""
    return BENCHES[request.param]


@pytest.fixture
async def bench(make_bench: Callable[[], Bench]) -> AsyncIterator[Bench]:
    """An empty bench."""
    bench = make_bench()
    yield bench
    await bench.clear()


@pytest.fixture
async def store(bench: Bench) -> AsyncIterator[Store]:
    """An empty store, opened by the node ``"n1"``."""
    store = await bench.enter("n1")
    yield store
    await store.close()
