"""The benches on which the contract is tried here: one for each store."""

from __future__ import annotations

from pathlib import Path

from asyncsched.stores import MemoryStore, Store
from asyncsched.stores.sqlite import SQLiteStore
from asyncsched.testing.store_contract import Bench, SharedBench


class MemoryBench(Bench):
    """A store of this process, which nodes of this process enter one after another."""

    def __init__(self) -> None:
        super().__init__()
        self._store = MemoryStore()

    async def enter(self, node: str) -> Store:
        await self._store.open(node, self.clock)
        return self._store

    async def clear(self) -> None:
        self._store = MemoryStore()


class SQLiteBench(SharedBench):
    """A file, and nodes of this process that may vanish as killed processes do."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._path = directory / "jobs.db"
        self._open: list[SQLiteStore] = []

    async def enter(self, node: str) -> Store:
        await self.clear()
        return await self.beside(node)

    async def beside(self, node: str) -> Store:
        # What outlives a loss of power costs a wait for the disk each time, and this suite pulls no plugs.
        store = SQLiteStore(self._path, synchronous="normal")
        self._open.append(store)
        await store.open(node, self.clock)
        return store

    async def clear(self) -> None:
        """Let go of the file as the end of a process does."""
        for store in self._open:
            if store._lock is not None:
                store._lock.vanish()
                store._lock = None
                await store._stop()
        self._open.clear()
