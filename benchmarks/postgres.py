"""What the PostgreSQL store costs, beside bare asyncpg, pgqueuer, procrastinate and SAQ at the same server.

The server is made for this, on a Unix socket, and keeps its promises to the disk. All subjects take turns in one
process, but for the nodes that are measured one beside another. Each trial has a schema of its own.

``asyncpg``: a narrow table with one index, rows claimed and deleted in batches. ``statements``: what the store itself
sends, by a bare connection, without runs, tasks or an event loop that does anything else.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from statistics import median, quantiles
from typing import Any

from tests import servers

from asyncsched import Registry, Scheduler, Task
from asyncsched.stores._postgres import stroke
from asyncsched.stores._postgres.address import address_of
from asyncsched.stores._postgres.connection import Database, connect
from asyncsched.stores._postgres.plain import joined
from asyncsched.stores.postgres import PostgresStore
from asyncsched.triggers import Once
from benchmarks import postgres_peers
from benchmarks.durable import timed
from benchmarks.measures import Found
from benchmarks.postgres_bare import Bare, Trials, cpu_s
from benchmarks.sizes import Sizes
from benchmarks.work import idler, nothing, registry_of

_numbers = count()
_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "shared_preload_libraries": "pg_stat_statements",
}


def measure(sizes: Sizes) -> dict[str, Found]:
    """All figures, by subject; a peer that is not installed is left out."""
    found: dict[str, Found] = {"asyncpg": {}, "statements": {}, "asyncsched": {}}
    with servers.postgres(**_SETTINGS) as server:
        bare, bench = Bare(server, sizes), Ours(server, sizes)
        trials: list[tuple[str, Callable[[], Awaitable[Found]]]] = []
        for name, one in (("asyncpg", bare.backlog), ("statements", bench.statements), ("asyncsched", bench.ours)):
            trials += [(name, lambda one=one: one(10)), (name, lambda one=one: one(100))]  # type: ignore[misc]
        trials += [
            ("asyncpg", bare.submits), ("asyncsched", bench.submits), ("asyncpg", bare.start),
            ("asyncsched", bench.start), ("asyncsched", bench.start_here), ("asyncsched", bench.due),
            ("asyncsched", bench.scheduled), ("asyncsched", bench.nodes), ("asyncsched", bench.idle),
            ("asyncsched", bench.pending),
        ]  # fmt: skip
        for name, trial in trials:
            found[name] |= asyncio.run(trial())
        for name, peer in postgres_peers.PEERS.items():
            try:
                found[name] = peer(server.url(), sizes)
            except ImportError:
                continue
    return found


class Ours(Trials):
    """Those of the store, with and without the engine."""

    def _store(self, schema: str | None = None) -> PostgresStore:
        return PostgresStore(self.url, schema=schema or f"bench{next(_numbers)}")

    # -- a backlog

    async def statements(self, size: int) -> Found:
        """The store's own statements, one after the other."""
        number = self.sizes.drained
        async with _backlog(self._store(), number) as store:
            db = await connect(address_of(self.url, store._address.schema, 1, notify=True), "bench")
            database = Database(db, store._address.schema)

            async def drain() -> None:
                ended = stroke.NOTHING
                while True:
                    asked = (ended, store._id, "bench", size, (), None)
                    done = await stroke.strike(database, *asked, claims=True, wakes=False)
                    if done.claimed is None or not done.claimed.rows:
                        return
                    rows = done.claimed.rows
                    ids, results = joined([row.id for row in rows]), joined(["1"] * len(rows))
                    tokens, finished = [row.token for row in rows], [row.started_at for row in rows]
                    ended = stroke.Ends(stroke._SUCCESSES, [ids, tokens, finished, results])

            found = await self.each(f"drain_{size}_", number, drain)
            await db.close()
            return found

    async def ours(self, size: int) -> Found:
        """From entering a scheduler until all of the backlog has run and been recorded."""
        number = self.sizes.drained
        async with _backlog(self._store(), number) as store:
            pass
        registry, _work = registry_of(number)
        again = self._store(store._address.schema)
        scheduler = Scheduler(again, registry=registry, tz="UTC", stall_warning=None, max_running=size)

        async def drain() -> None:
            async with scheduler:
                await scheduler.idle()

        found = await self.each(f"drain_{size}_", number, drain)
        await self._check(again, number)
        return found

    async def _check(self, store: PostgresStore, number: int) -> None:
        async with self.connection() as db:
            ended = await db.fetchval(f"SELECT count(*) FROM {store._address.schema}.history WHERE status = 'SUCCESS'")
            assert ended == number, f"{ended} of {number} have run"

    # -- submits

    async def submits(self) -> Found:
        number = self.sizes.durable
        async with idler(self._store()) as work:
            alone_us = await timed(1, number // 4, lambda: work.submit(1))
            ten_us = await timed(10, number, lambda: work.submit(1))
            rows = [(one,) for one in range(1_000)]
            batch_us = await timed(1, max(1, number // 200), lambda: work.submit_many(rows)) / 1_000
            return {"submit_us": alone_us, "submit_ten_us": ten_us, "submit_batch_us": batch_us}

    # -- from a submit to the start elsewhere

    async def start(self) -> Found:
        """Submitted at a node that runs nothing, started at another one."""
        schema = f"bench{next(_numbers)}"
        async with idler(self._store(schema)) as work, _worker(self._store(schema)) as started:
            return {"start_ms": await self.median_ms(lambda: _started(work, started))}

    async def start_here(self) -> Found:
        """Submitted at the node that runs it."""
        async with _worker(self._store()) as started:
            return {"start_here_ms": await self.median_ms(lambda: _started(started.work, started))}

    # -- schedules

    async def due(self) -> Found:
        """From the instant of so many tasks until all have run and been recorded."""
        number = self.sizes.due_there
        store = self._store()
        registry, ran = Registry(), [0]

        async def work() -> None:
            ran[0] += 1

        moment = datetime.now(UTC) + timedelta(seconds=0.5 + number / 250)
        for one in range(number):
            registry.register(Task(work, trigger=Once(moment), id=f"task-{one}"))
        async with Scheduler(store, registry=registry, tz="UTC", stall_warning=None) as scheduler:
            while ran[0] < number:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            await scheduler.idle()
            took_ms = (datetime.now(UTC) - moment).total_seconds() * 1e3
        await self._check(store, number)
        return {"due_ms": took_ms}

    async def scheduled(self) -> Found:
        """Statements for each scheduled run, transactions' own commands included: one busy task, and a hundred."""
        return {
            "statements": await self._statements(1, "100ms"),
            "statements_100": await self._statements(100, "1s"),
        }

    async def _statements(self, tasks: int, every: str) -> float:
        registry = Registry()
        ran = [0]

        async def work() -> None:
            ran[0] += 1

        for one in range(tasks):
            registry.register(Task(work, every=every, id=f"task-{one}"))
        async with (
            self.connection() as db,
            Scheduler(self._store(), registry=registry, tz="UTC", stall_warning=None),
        ):
            await db.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            await asyncio.sleep(1.2)
            await db.execute("SELECT pg_stat_statements_reset()")
            before = ran[0]
            await asyncio.sleep(self.sizes.watched_s)
            calls = await db.fetchval(
                "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat%'"
            )
            return float(calls) / max(1, ran[0] - before)

    # -- nodes

    async def nodes(self) -> Found:
        """A backlog by one process, and by two."""
        one_us = await self._nodes(1)
        return {"one_node_us": one_us, "two_nodes_us": await self._nodes(2)}

    async def _nodes(self, number: int) -> float:
        runs, store = self.sizes.drained, self._store()
        schema = store._address.schema
        async with idler(store, runs) as work, self.connection() as db:
            command = (sys.executable, "-m", "benchmarks.postgres_node", self.url, schema, str(runs))
            started = [await asyncio.create_subprocess_exec(*command) for _ in range(number)]
            try:
                while await db.fetchval(f"SELECT count(*) FROM {schema}.nodes") <= number:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                begun = time.perf_counter()
                await work.submit_many([(one,) for one in range(runs)])
                while await db.fetchval(f"SELECT count(*) FROM {schema}.history") < runs:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                return (time.perf_counter() - begun) / runs * 1e6
            finally:
                for process in started:
                    process.terminate()
                    await process.wait()

    async def idle(self) -> Found:
        """CPU of a node with ten tasks that are due in an hour."""
        registry = Registry()
        for one in range(10):
            registry.register(Task(nothing, every="1h", id=f"task-{one}"))
        async with Scheduler(self._store(), registry=registry, tz="UTC"):
            await asyncio.sleep(min(2, self.sizes.idle_there_s))
            begun = cpu_s()
            await asyncio.sleep(self.sizes.idle_there_s)
            return {"idle_ms": (cpu_s() - begun) * 1e3 / self.sizes.idle_there_s}

    async def pending(self) -> Found:
        """A claim of 100 while a million wait for their instants."""
        store, number = self._store(), self.sizes.pending
        async with _backlog(store, 100 * self.sizes.claims) as store:
            schema = store._address.schema
            async with self.connection() as db:
                await db.execute(delayed_runs(schema, number))
                # They have been there for long: nothing is left to do about their having come.
                await db.execute(f"VACUUM (ANALYZE) {schema}.runs")
                await db.execute("CHECKPOINT")
            own = await connect(address_of(self.url, schema, 1, notify=True), "bench")
            database, took = Database(own, schema), []
            for _ in range(self.sizes.claims):
                begun = time.perf_counter()
                asked = (stroke.NOTHING, store._id, "bench", 100, (), None)
                done = await stroke.strike(database, *asked, claims=True, wakes=False)
                took.append((time.perf_counter() - begun) * 1e3)
                assert done.claimed is not None
                assert len(done.claimed.rows) == 100
            await own.close()
        return {"claim_p50_ms": median(took), "claim_p99_ms": quantiles(took, n=100, method="inclusive")[-1]}


def delayed_runs(schema: str, number: int) -> str:
    """So many runs that are due within the hours that begin tomorrow."""
    return (
        f"INSERT INTO {schema}.runs (id, task, created_at, due_at, stands_for, status, attempt, token, state, plain, "
        "queue, priority, arrived_at, maker) SELECT 'later-' || n, 'later', 0, "
        f"{schema}.now_us() + 86400000000 + n * 1000, 1, 'PENDING', 0, 0, 2, true, 'default', 0, 0, 'bench' "
        f"FROM generate_series(1, {number}) AS n"
    )


@asynccontextmanager
async def _backlog(store: PostgresStore, number: int) -> AsyncIterator[PostgresStore]:
    """A store that is open, with so many runs."""
    async with idler(store, number) as work:
        await work.submit_many([(one,) for one in range(number)])
        yield store


class _Starts:
    """What a node has started."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.work: Any = None


@asynccontextmanager
async def _worker(store: PostgresStore) -> AsyncIterator[_Starts]:
    """A node that tells when it starts a run."""
    registry, starts = Registry(), _Starts()

    @registry.task(id="work")
    async def work(number: int) -> int:
        starts.begun.set()
        return number

    starts.work = work
    async with Scheduler(store, registry=registry, tz="UTC", stall_warning=None):
        yield starts


async def _started(work: Any, starts: _Starts) -> float:
    """Seconds from a submit until the run has begun."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    submitted = asyncio.ensure_future(work.submit(1))
    await starts.begun.wait()
    took = loop.time() - begun
    starts.begun.clear()
    await submitted
    return took
