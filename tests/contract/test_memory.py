"""The memory store keeps every promise of a store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncsched.testing.store_contract import Bench, StoreContract

from .benches import MemoryBench


class TestMemory(StoreContract):
    @pytest.fixture
    def make_bench(self) -> Callable[[], Bench]:
        return MemoryBench
