"""What bare asyncpg does at a PostgreSQL server, and how trials there are measured."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
from tests import servers

from benchmarks.durable import timed
from benchmarks.measures import Found
from benchmarks.sizes import Sizes

_RAW_CLAIM = (
    "UPDATE bench SET state = 1 WHERE id = ANY(ARRAY(SELECT id FROM bench WHERE state = 0 "
    "ORDER BY priority DESC, due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING *"
)


def cpu_s() -> float:
    """The CPU that this process has taken, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def server_cpu_s(postmaster: int) -> float:
    """The CPU that a server has taken, all its processes."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            told = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(stat.parent.name) == postmaster:
            ticks += sum(map(int, told[11:15]))  # with those that have ended
        elif int(told[1]) == postmaster:
            ticks += sum(map(int, told[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


class Trials:
    """Trials at one server."""

    def __init__(self, server: servers.Postgres, sizes: Sizes) -> None:
        self.url = server.url()
        assert server._process is not None
        self._postmaster = server._process.pid
        self.sizes = sizes

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        db = await asyncpg.connect(self.url)
        try:
            yield db
        finally:
            await db.close()

    async def median_ms(self, once: Callable[[], Awaitable[float]]) -> float:
        found = []
        for _ in range(self.sizes.starts):
            found.append(await once())
            await asyncio.sleep(0.03)  # idle: a hint that follows another one at once would wait for it
        return median(found) * 1e3

    async def each(self, figure: str, number: int, work: Callable[[], Awaitable[object]]) -> Found:
        """Microseconds by the clock, of CPU here and at the server, for each of so many."""
        begun, here, there = time.perf_counter(), cpu_s(), server_cpu_s(self._postmaster)
        await work()
        took = (time.perf_counter() - begun, cpu_s() - here, server_cpu_s(self._postmaster) - there)
        return {
            f"{figure}{what}": one / number * 1e6 for what, one in zip(("us", "cpu_us", "server_us"), took, strict=True)
        }


class Bare(Trials):
    """Those of the limit: a narrow table with one index, and no more than it takes."""

    async def backlog(self, size: int) -> Found:
        """The limit: claim so many, then delete them."""
        number = self.sizes.drained
        async with self.connection() as db:
            await _narrow(db)
            await db.execute(
                "INSERT INTO bench (due_at, task, args) SELECT 1, 'work', '[[1]]' FROM generate_series(1, $1::int)",
                number,
            )

            async def drain() -> None:
                while rows := await db.fetch(_RAW_CLAIM, size):
                    await db.execute("DELETE FROM bench WHERE id = ANY($1::bigint[])", [row["id"] for row in rows])

            return await self.each(f"drain_{size}_", number, drain)

    async def submits(self) -> Found:
        number = self.sizes.durable
        async with self.connection() as db:
            await _narrow(db)
            one = "INSERT INTO bench (due_at, task, args) VALUES ($1, $2, $3)"
            many = "INSERT INTO bench (due_at, task, args) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[])"
            alone_us = await timed(1, number // 4, lambda: db.execute(one, 1, "work", "[[1]]"))
            rows = ([1] * 1_000, ["work"] * 1_000, ["[[1]]"] * 1_000)
            batch_us = await timed(1, max(1, number // 200), lambda: db.execute(many, *rows)) / 1_000
            return {"submit_us": alone_us, "submit_ten_us": alone_us, "submit_batch_us": batch_us}

    async def start(self) -> Found:
        loop = asyncio.get_running_loop()
        async with self.connection() as db, self.connection() as worker:
            await _narrow(db)
            heard = asyncio.Event()
            await worker.add_listener("bench", lambda *_told: heard.set())

            async def once() -> float:
                begun = loop.time()
                async with db.transaction():
                    await db.execute("INSERT INTO bench (due_at, task, args) VALUES (1, 'work', '[[1]]')")
                    await db.execute("SELECT pg_notify('bench', '')")
                await heard.wait()
                heard.clear()
                rows = await worker.fetch(_RAW_CLAIM, 10)
                took = loop.time() - begun
                await worker.execute("DELETE FROM bench WHERE id = ANY($1::bigint[])", [row["id"] for row in rows])
                return took

            return {"start_ms": await self.median_ms(once)}


async def _narrow(db: Any) -> None:
    """The table of who does no more than it takes."""
    await db.execute(
        "DROP TABLE IF EXISTS bench; "
        "CREATE TABLE bench (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state smallint NOT NULL DEFAULT 0, "
        "priority int NOT NULL DEFAULT 0, due_at bigint NOT NULL, task text, args text); "
        "CREATE INDEX bench_ready ON bench (priority DESC, due_at, id) WHERE state = 0"
    )
