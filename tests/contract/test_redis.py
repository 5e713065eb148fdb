"""The Redis store keeps every promise of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from asyncsched.clock import Clock
from asyncsched.stores import Store
from asyncsched.stores._redis.link import sync_client
from asyncsched.stores.redis import RedisStore
from asyncsched.testing.store_contract import Bench, SharedBench, SharedStoreContract
from servers import Valkey, valkey

_numbers = count()


class RedisBench(SharedBench):
    """A namespace at a server, and nodes of this process that may vanish as killed processes do."""

    def __init__(self, server: Valkey) -> None:
        super().__init__()
        self._url, self._namespace = server.url(), f"bench-{next(_numbers)}"
        self._open: list[RedisStore] = []
        self._store = RedisStore(self._url, namespace=self._namespace, allow_volatile=True)
        self._prefix = self._store._address.prefix
        self._client = sync_client(self._store._address)
        self._set_clock()

    def _set_clock(self) -> None:
        self._client.set(f"{self._prefix}clock", self.clock.now_us())

    async def advance(self, us: int) -> None:
        await super().advance(us)
        self._set_clock()

    async def enter(self, node: str) -> Store:
        await self._vanish()
        return await self.beside(node)

    async def beside(self, node: str) -> Store:
        store = RedisStore(self._url, namespace=self._namespace, allow_volatile=True)
        self._open.append(store)
        await store.open(node, _Unasked())
        return store

    async def _vanish(self) -> None:
        """Let go of the server as the end of a process does, so long ago that all leases are over."""
        for store in self._open:
            if store._link is not None:
                await store._stop()
                self._client.zadd(f"{self._prefix}nodes", {store._id: 1}, xx=True)
        self._open.clear()

    async def clear(self) -> None:
        await self._vanish()
        self._client.close()


class _Unasked(Clock):
    """A clock that nobody is to ask: the server has one."""

    def now_us(self) -> int:
        raise AssertionError("the store asked the node's clock")

    def steady_us(self) -> int:
        raise AssertionError("the store asked the node's clock")


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


class TestRedis(SharedStoreContract):
    @pytest.fixture
    def make_bench(self, server: Valkey) -> Callable[[], Bench]:
        return lambda: RedisBench(server)
