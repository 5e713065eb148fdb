"""The benches on which the contract is tried: one for each store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from asyncsched.clock import Clock
from asyncsched.stores import MemoryStore, Store
from asyncsched.stores.sqlite import SQLiteStore

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


class SQLiteBench(Bench):
    """A file, and nodes of this process that may vanish as killed processes do."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._path = directory / "jobs.db"
        self._open: SQLiteStore | None = None

    async def enter(self, node: str) -> Store:
        await self._vanish()
        # What outlives a loss of power costs a wait for the disk each time, and this suite pulls no plugs.
        self._open = SQLiteStore(self._path, synchronous="normal")
        await self._open.open(node, self.clock)
        return self._open

    async def _vanish(self) -> None:
        """Let go of the file as the end of a process does."""
        if self._open is not None and self._open._lock is not None:
            self._open._lock.vanish()
            self._open._lock = None
            await self._open._stop()

    async def clear(self) -> None:
        await self._vanish()


# A store joins the suite by a line here; it is given a directory of its own.
BENCHES: dict[str, Callable[[Path], Bench]] = {
    "memory": lambda _directory: MemoryBench(),
    "sqlite": SQLiteBench,
}


@pytest.fixture(params=list(BENCHES))
def make_bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Bench]:
    """Makes an empty bench, as often as it is called."""
    return lambda: BENCHES[request.param](tmp_path_factory.mktemp(request.param))


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
