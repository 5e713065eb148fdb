"""The store of the example keeps every promise of a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from asyncsched.stores import Store
from asyncsched.testing.store_contract import Bench, StoreContract
from own_store import JournalStore


class JournalBench(Bench):
    """A journal, and nodes that begin from it each time."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._path = directory / "journal.jsonl"
        self._open: JournalStore | None = None

    async def enter(self, node: str) -> Store:
        await self.clear()
        self._open = JournalStore(self._path)
        await self._open.open(node, self.clock)
        return self._open

    async def clear(self) -> None:
        if self._open is not None:
            self._open.file.close()  # as the end of a process does, however that comes


class TestJournal(StoreContract):
    @pytest.fixture
    def make_bench(self, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Bench]:
        return lambda: JournalBench(tmp_path_factory.mktemp("journal"))
