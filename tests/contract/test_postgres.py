"""The PostgreSQL store keeps every promise of a store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncsched.testing.store_contract import Bench, SharedStoreContract

from .postgres_bench import PostgresBench, server


class TestPostgres(SharedStoreContract):
    @pytest.fixture
    def make_bench(self) -> Callable[[], Bench]:
        url = server().url()
        return lambda: PostgresBench(url)
