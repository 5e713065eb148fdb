"""The PostgreSQL store keeps every promise of a store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import servers
from asyncsched.testing.store_contract import Bench, SharedStoreContract

from .postgres_bench import PostgresBench, server


class TestPostgres(SharedStoreContract):
    tried_in_transactions = True

    @pytest.fixture
    def make_bench(self) -> Callable[[], Bench]:
        url = server().url()
        return lambda: PostgresBench(url)


if (OLDEST := servers.oldest_postgres()) is not None:

    class TestOldestPostgres(SharedStoreContract):
        """The same by the oldest server of this system, which is older than that of the wheel."""

        tried_in_transactions = True

        @pytest.fixture
        def make_bench(self) -> Callable[[], Bench]:
            url = server(OLDEST).url()
            return lambda: PostgresBench(url)
