"""The SQLite store keeps every promise of a store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncsched.testing.store_contract import Bench, SharedStoreContract

from .benches import SQLiteBench


class TestSQLite(SharedStoreContract):
    @pytest.fixture
    def make_bench(self, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Bench]:
        return lambda: SQLiteBench(tmp_path_factory.mktemp("sqlite"))
