"""What the Redis store costs, beside a bare Lua script and other libraries at the same server.

The server is made for this, on a Unix socket; it keeps nothing on disk. All subjects take turns in one process, each
with keys of its own.

``lua``: one sorted set and a hash for each run, claimed and deleted by one script in batches, by redis-py.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from redis.asyncio import Redis
from tests import servers

from asyncsched import Registry, Scheduler
from asyncsched.run import RunStatus
from asyncsched.stores import RunFilter
from asyncsched.stores.redis import RedisStore
from benchmarks import redis_peers
from benchmarks.durable import timed
from benchmarks.measures import Found
from benchmarks.sizes import Sizes
from benchmarks.work import idler, nothing, registry_of

_numbers = count()
_RAW_SUBMIT = """
for number = 2, #ARGV do
  local id = redis.call('INCR', 'bench:seq')
  redis.call('HSET', 'bench:r:' .. id, 'task', 'work', 'args', ARGV[number], 'token', 0, 'due_at', 1)
  redis.call('ZADD', 'bench:ready', id, id)
end
return #ARGV - 1"""
_RAW_CYCLE = """
for number = 2, #ARGV do redis.call('DEL', 'bench:r:' .. ARGV[number]) end
local found = redis.call('ZPOPMIN', 'bench:ready', ARGV[1])
local runs = {}
for place = 1, #found, 2 do
  redis.call('HINCRBY', 'bench:r:' .. found[place], 'token', 1)
  runs[#runs + 1] = { found[place], redis.call('HGETALL', 'bench:r:' .. found[place]) }
end
return runs"""
_BATCH = 1_000


def measure(sizes: Sizes) -> dict[str, Found]:
    """All figures, by subject; a peer that is not installed is left out."""
    found: dict[str, Found] = {"lua": {}, "asyncsched": {}}
    with servers.valkey() as server:
        bench = Bench(server, sizes)
        for size in (10, 100):
            found["lua"] |= asyncio.run(bench.bare_backlog(size))
            found["asyncsched"] |= asyncio.run(bench.backlog(size))
        for name, trial in (
            ("lua", bench.bare_submits), ("asyncsched", bench.submits), ("lua", bench.bare_start),
            ("asyncsched", bench.start), ("asyncsched", bench.idle),
        ):  # fmt: skip
            found[name] |= asyncio.run(trial())
        for name, peer in redis_peers.PEERS.items():
            try:
                found[name] = peer(server.url(), sizes)
            except ImportError:
                continue
    return found


class Bench:
    """Trials at one server."""

    def __init__(self, server: servers.Valkey, sizes: Sizes) -> None:
        self._url = server.url()
        assert server._process is not None
        self._stat = Path(f"/proc/{server._process.pid}/stat")
        self._sizes = sizes

    def _store(self, namespace: str | None = None) -> RedisStore:
        return RedisStore(self._url, namespace=namespace or f"bench{next(_numbers)}", allow_volatile=True)

    def _server_s(self) -> float:
        used = self._stat.read_text().rpartition(")")[2].split()
        return (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK")

    async def _each(self, figure: str, number: int, work: Callable[[], Awaitable[object]]) -> Found:
        """Microseconds by the clock, of CPU here and at the server, for each of so many."""
        begun, here, there = time.perf_counter(), time.process_time(), self._server_s()
        await work()
        took = (time.perf_counter() - begun, time.process_time() - here, self._server_s() - there)
        return {
            f"{figure}{what}": one / number * 1e6 for what, one in zip(("us", "cpu_us", "server_us"), took, strict=True)
        }

    # -- a backlog

    async def bare_backlog(self, size: int) -> Found:
        """The limit: one script after another, each deletes so many and claims the next."""
        number = self._sizes.drained
        async with Redis.from_url(self._url, decode_responses=True) as client:
            for _ in range(max(1, number // _BATCH)):
                await client.eval(_RAW_SUBMIT, 0, "", *["[[1]]"] * min(_BATCH, number))
            cycle = client.register_script(_RAW_CYCLE)

            async def drain() -> None:
                ended: list[str] = []
                while runs := await cycle(args=[size, *ended]):
                    ended = [run for run, _fields in runs]

            return await self._each(f"drain_{size}_", number, drain)

    async def backlog(self, size: int) -> Found:
        """From entering a scheduler until all of the backlog has run and been recorded."""
        number, namespace = self._sizes.drained, f"bench{next(_numbers)}"
        async with idler(self._store(namespace), number) as work:
            for start in range(0, number, _BATCH):
                await work.submit_many([(one,) for one in range(start, min(number, start + _BATCH))])
        registry, _work = registry_of(number)
        store = self._store(namespace)
        scheduler = Scheduler(store, registry=registry, tz="UTC", stall_warning=None, max_running=size)

        async def drain() -> None:
            async with scheduler:
                await scheduler.idle()

        found = await self._each(f"drain_{size}_", number, drain)
        async with _opened(self._store(namespace)) as store:
            ended = await store.runs(RunFilter(status={RunStatus.SUCCESS}, limit=2 * number))
            assert len(ended) == number, f"{len(ended)} of {number} have run"
        return found

    # -- submits

    async def bare_submits(self) -> Found:
        number = self._sizes.durable
        async with Redis.from_url(self._url, decode_responses=True) as client:
            submit = client.register_script(_RAW_SUBMIT)
            alone_us = await timed(1, number // 4, lambda: submit(args=["", "[[1]]"]))
            many = ["", *["[[1]]"] * _BATCH]
            batch_us = await timed(1, max(1, number // 200), lambda: submit(args=many)) / _BATCH
            await client.delete("bench:ready")
            return {"submit_us": alone_us, "submit_batch_us": batch_us}

    async def submits(self) -> Found:
        number = self._sizes.durable
        async with idler(self._store()) as work:
            alone_us = await timed(1, number // 4, lambda: work.submit(1))
            begun = time.process_time()
            hundred_us = await timed(100, number, lambda: work.submit(1))
            used_us = (time.process_time() - begun) / number * 1e6
            rows = [(one,) for one in range(_BATCH)]
            batch_us = await timed(1, max(1, number // 200), lambda: work.submit_many(rows)) / _BATCH
        return {
            "submit_us": alone_us,
            "submit_hundred_us": hundred_us,
            "submit_hundred_cpu_us": used_us,
            "submit_batch_us": batch_us,
        }

    # -- from a submit to the start

    async def bare_start(self) -> Found:
        """A list that somebody waits at."""
        async with Redis.from_url(self._url) as client, Redis.from_url(self._url) as other:

            async def once() -> float:
                waiting = asyncio.ensure_future(other.blpop(["bench:list"], timeout=5))
                await asyncio.sleep(0.03)
                begun = time.perf_counter()
                await client.rpush("bench:list", "1")
                await waiting
                return time.perf_counter() - begun

            return {"start_ms": median([await once() for _ in range(self._sizes.starts)]) * 1e3}

    async def start(self) -> Found:
        """Submitted at the node that runs it; and at one that runs nothing, started at another one."""
        namespace = f"bench{next(_numbers)}"
        async with _worker(self._store(namespace)) as (here, begun):
            here_ms = await self._starts(here, begun)
            async with idler(self._store(namespace)) as work:
                return {"start_ms": here_ms, "start_elsewhere_ms": await self._starts(work, begun)}

    async def _starts(self, work: Any, begun: asyncio.Event) -> float:
        found = []
        for _ in range(self._sizes.starts):
            await asyncio.sleep(0.03)  # idle
            at = time.perf_counter()
            submitted = asyncio.ensure_future(work.submit(1))
            await begun.wait()
            found.append(time.perf_counter() - at)
            begun.clear()
            await submitted
        return median(found) * 1e3

    async def idle(self) -> Found:
        """CPU of a node with ten tasks that are due in an hour."""
        registry = Registry()
        for one in range(10):
            registry.every("1h", id=f"task-{one}")(nothing)
        async with Scheduler(self._store(), registry=registry, tz="UTC"):
            await asyncio.sleep(min(2, self._sizes.idle_there_s))
            begun = time.process_time()
            await asyncio.sleep(self._sizes.idle_there_s)
            return {"idle_ms": (time.process_time() - begun) * 1e3 / self._sizes.idle_there_s}


@asynccontextmanager
async def _opened(store: RedisStore) -> AsyncIterator[RedisStore]:
    async with Scheduler(store, registry=Registry(), tz="UTC"):
        yield store


@asynccontextmanager
async def _worker(store: RedisStore) -> AsyncIterator[tuple[Any, asyncio.Event]]:
    """A task at a node that tells when it starts a run."""
    registry, begun = Registry(), asyncio.Event()

    @registry.task(id="work")
    async def work(number: int) -> int:
        begun.set()
        return number

    async with Scheduler(store, registry=registry, tz="UTC", stall_warning=None):
        yield work, begun
