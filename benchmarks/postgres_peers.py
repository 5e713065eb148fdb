"""Other libraries on PostgreSQL, set up as their documentation says is fastest, at the server that all have.

A worker is asked for the number of runs that are under way at once, or where a library has batches, for their size.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.durable import timed
from benchmarks.measures import Found
from benchmarks.postgres_bare import cpu_s
from benchmarks.sizes import Sizes

Submit = Callable[[], Awaitable[object]]
_BATCH = 1_000


async def _drained(number: int, worked: list[int], run: Awaitable[Any]) -> Found:
    """What each run takes by the clock, and of CPU, from the start of a worker until it has done all."""
    begun, here = time.perf_counter(), cpu_s()
    worker = asyncio.ensure_future(run)
    while worked[0] < number and not worker.done():  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    took, used = time.perf_counter() - begun, cpu_s() - here
    worker.cancel()
    ended = await asyncio.gather(worker, return_exceptions=True)
    assert worked[0] == number, f"{worked[0]} of {number} have run: {ended}"
    return {"us": took / number * 1e6, "cpu_us": used / number * 1e6}


async def _idle_ms(sizes: Sizes, run: Awaitable[Any]) -> float:
    worker = asyncio.ensure_future(run)
    await asyncio.sleep(min(2, sizes.idle_there_s))
    begun = cpu_s()
    await asyncio.sleep(sizes.idle_there_s)
    used = cpu_s() - begun
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    return used * 1e3 / sizes.idle_there_s


async def _submitted(sizes: Sizes, one: Submit, many: Submit) -> Found:
    alone_us = await timed(1, sizes.durable // 4, one)
    batch_us = await timed(1, max(1, sizes.durable // 200), many) / _BATCH
    return {"submit_us": alone_us, "submit_batch_us": batch_us}


def pgqueuer(url: str, sizes: Sizes) -> Found:
    """PgQueuer on asyncpg: a pool for its worker, batches half as large as what may be under way, as it demands."""
    return asyncio.run(_pgqueuer(url, sizes))


async def _pgqueuer(url: str, sizes: Sizes) -> Found:
    import asyncpg
    from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, PgQueuer, Queries

    db = await asyncpg.connect(url)
    queries = Queries(AsyncpgDriver(db))
    await queries.install()
    found: Found = {}
    worked = [0]

    def worker(pool: Any, size: int) -> Awaitable[Any]:
        made = PgQueuer(AsyncpgPoolDriver(pool))

        @made.entrypoint("work")
        async def work(_job: Any) -> None:
            worked[0] += 1

        return made.run(batch_size=size, max_concurrent_tasks=2 * size)  # the least that it takes

    number = sizes.drained
    async with asyncpg.create_pool(url, min_size=2, max_size=10) as pool:
        for size in (10, 100):
            for _ in range(number // 100):
                await queries.enqueue(["work"] * 100, [b"[1]"] * 100, [0] * 100)
            worked[0] = 0
            told = await _drained(number // 100 * 100, worked, worker(pool, size))
            found |= {f"drain_{size}_{name}": value for name, value in told.items()}
        found["idle_ms"] = await _idle_ms(sizes, worker(pool, 10))
    found |= await _submitted(
        sizes,
        lambda: queries.enqueue("work", b"[1]"),
        lambda: queries.enqueue(["work"] * _BATCH, [b"[1]"] * _BATCH, [0] * _BATCH),
    )
    await db.close()
    return found


def procrastinate(url: str, sizes: Sizes) -> Found:
    """procrastinate on psycopg 3: LISTEN on, jobs that succeeded are deleted."""
    return asyncio.run(_procrastinate(url, sizes))


async def _procrastinate(url: str, sizes: Sizes) -> Found:
    from procrastinate import App, PsycopgConnector

    app = App(connector=PsycopgConnector(conninfo=url, min_size=4, max_size=20))
    worked = [0]

    @app.task(name="work")
    async def work(number: int) -> None:  # noqa: ARG001
        worked[0] += 1

    def worker(size: int) -> Awaitable[Any]:
        return app.run_worker_async(concurrency=size, install_signal_handlers=False, delete_jobs="successful")

    found: Found = {}
    # It takes what it claims one by one: so much as it does in some seconds.
    number = max(1, sizes.drained // 5)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for size in (10, 100):
            await work.batch_defer_async(*[{"number": one} for one in range(number)])
            worked[0] = 0
            told = await _drained(number, worked, worker(size))
            found |= {f"drain_{size}_{name}": value for name, value in told.items()}
        found["idle_ms"] = await _idle_ms(sizes, worker(10))
        rows: list[Any] = [{"number": one} for one in range(_BATCH)]
        found |= await _submitted(sizes, lambda: work.defer_async(number=1), lambda: work.batch_defer_async(*rows))
    return found


def saq(url: str, sizes: Sizes) -> Found:
    """SAQ on psycopg 3, jobs that succeeded are deleted."""
    return asyncio.run(_saq(url, sizes))


async def _saq(url: str, sizes: Sizes) -> Found:
    from saq import Queue, Worker

    queue = Queue.from_url(url)
    await queue.connect()
    worked = [0]

    async def work(_context: Any, *, number: int) -> None:  # noqa: ARG001
        worked[0] += 1

    found: Found = {}
    number = max(1, sizes.drained // 5)

    async def worker(size: int) -> None:
        made: Any = Worker(queue, [("work", work)], concurrency=size)
        made.SIGNALS = []
        try:
            await made.start()
        finally:
            await made.stop()

    for size in (10, 100):
        for one in range(number):
            await queue.enqueue("work", number=one, ttl=-1)
        worked[0] = 0
        told = await _drained(number, worked, worker(size))
        found |= {f"drain_{size}_{name}": value for name, value in told.items()}
    found["submit_us"] = await timed(1, sizes.durable // 4, lambda: queue.enqueue("work", number=1, ttl=-1))
    await queue.disconnect()
    return found


PEERS: dict[str, Callable[[str, Sizes], Found]] = {"pgqueuer": pgqueuer, "procrastinate": procrastinate, "saq": saq}
