"""Other libraries at the same Redis server, set up as their documentation says is fastest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from benchmarks.durable import timed
from benchmarks.measures import Found
from benchmarks.sizes import Sizes

_TOGETHER = 50


async def _drained(number: int, worked: list[int], run: Awaitable[Any]) -> Found:
    """What each run takes by the clock, and of CPU, from the start of a worker until it has done all."""
    begun, here = time.perf_counter(), time.process_time()
    worker = asyncio.ensure_future(run)
    while worked[0] < number and not worker.done():  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    took, used = time.perf_counter() - begun, time.process_time() - here
    worker.cancel()
    await asyncio.wait([worker], timeout=5)  # some do not heed it
    assert worked[0] == number, f"{worked[0]} of {number} have run"
    return {"us": took / number * 1e6, "cpu_us": used / number * 1e6}


def taskiq(url: str, sizes: Sizes) -> Found:
    """taskiq on a Redis stream, its receiver in this process; nothing is done with results."""
    loop = asyncio.new_event_loop()  # a receiver does not end when it is told to: nobody waits for it
    return loop.run_until_complete(_taskiq(url, sizes))


async def _taskiq(url: str, sizes: Sizes) -> Found:
    from taskiq.api import run_receiver_task
    from taskiq_redis import RedisStreamBroker

    found: Found = {}
    worked = [0]
    number = sizes.drained
    for size in (10, 100):
        broker = RedisStreamBroker(url, queue_name=f"taskiq{size}")

        async def work(number: int) -> None:  # noqa: ARG001
            worked[0] += 1

        task = broker.register_task(work, task_name="work")
        await broker.startup()
        for start in range(0, number, _TOGETHER):
            await asyncio.gather(*(task.kiq(one) for one in range(start, min(number, start + _TOGETHER))))
        worked[0] = 0
        told = await _drained(number, worked, run_receiver_task(broker, max_async_tasks=size))
        found |= {f"drain_{size}_{name}": value for name, value in told.items()}
        if size == 10:
            found["submit_us"] = await timed(1, sizes.durable // 4, lambda: task.kiq(1))  # noqa: B023
        await broker.shutdown()
    return found


def saq(url: str, sizes: Sizes) -> Found:
    """SAQ, with as many coroutines as are under way."""
    return asyncio.run(_saq(url, sizes))


async def _saq(url: str, sizes: Sizes) -> Found:
    from redis.asyncio import Redis
    from saq import Worker
    from saq.queue.redis import RedisQueue

    logging.getLogger("saq").setLevel(logging.ERROR)
    found: Found = {}
    worked = [0]
    number = max(1, sizes.drained // 2)

    async def work(_context: Any, *, number: int) -> None:  # noqa: ARG001
        worked[0] += 1

    for size in (10, 100):
        queue: Any = RedisQueue(Redis.from_url(url), name=f"saq{size}")
        await queue.connect()
        for start in range(0, number, 100):
            await asyncio.gather(*(queue.enqueue("work", number=one, ttl=-1) for one in range(start, start + 100)))
        worked[0] = 0
        worker: Any = Worker(queue, functions=[("work", work)], concurrency=size)
        worker.SIGNALS = []
        told = await _drained(number // 100 * 100 or 100, worked, worker.start())
        found |= {f"drain_{size}_{name}": value for name, value in told.items()}
        if size == 10:
            found["submit_us"] = await timed(1, sizes.durable // 4, lambda: queue.enqueue("work", number=1, ttl=-1))  # noqa: B023
        await queue.disconnect()
    return found


def arq(url: str, sizes: Sizes) -> Found:
    """arq, asked for more every 10 ms: as seldom as it looks by default, most of the time it would wait."""
    return asyncio.run(_arq(url, sizes))


async def _arq(url: str, sizes: Sizes) -> Found:
    from arq import create_pool
    from arq.connections import RedisSettings
    from arq.worker import Worker
    from arq.worker import func as named

    logging.getLogger("arq").setLevel(logging.ERROR)
    found: Found = {}
    worked = [0]
    number = max(_TOGETHER, sizes.drained // 4 // _TOGETHER * _TOGETHER)

    async def work(_context: Any, number: int) -> None:  # noqa: ARG001
        worked[0] += 1

    for size in (10, 100):
        pool = await create_pool(RedisSettings.from_dsn(url), default_queue_name=f"arq{size}")
        for start in range(0, number, _TOGETHER):
            await asyncio.gather(*(pool.enqueue_job("work", one) for one in range(start, start + _TOGETHER)))
        worked[0] = 0
        worker: Any = Worker(
            [named(work, name="work", keep_result=0)],
            redis_pool=pool,
            queue_name=f"arq{size}",
            max_jobs=size,
            poll_delay=0.01,
            handle_signals=False,
        )
        told = await _drained(number, worked, worker.async_run())
        found |= {f"drain_{size}_{name}": value for name, value in told.items()}
        if size == 10:
            found["submit_us"] = await timed(1, sizes.durable // 4, lambda: pool.enqueue_job("work", 1))  # noqa: B023
        await pool.aclose()
    return found


def streaq(url: str, sizes: Sizes) -> Found:
    """streaq, with as many coroutines and as many fetched ahead, which is its default; results are not kept."""
    return asyncio.run(_streaq(url, sizes))


async def _streaq(url: str, sizes: Sizes) -> Found:
    from streaq import Worker

    logging.getLogger("streaq").setLevel(logging.ERROR)
    found: Found = {}
    worked = [0]
    number = max(_TOGETHER, sizes.drained // 4 // _TOGETHER * _TOGETHER)

    async def work(number: int) -> None:  # noqa: ARG001
        worked[0] += 1

    for size in (10, 100):
        worker: Any = Worker(redis_url=url, queue_name=f"streaq{size}", concurrency=size, handle_signals=False)
        task = worker.task(ttl=0, silent=True)(work)
        async with worker:
            begun = time.perf_counter()
            await worker.enqueue_many([task.enqueue(one) for one in range(number)])
            if size == 10:
                found["submit_batch_us"] = (time.perf_counter() - begun) / number * 1e6
            worked[0] = 0
        told = await _drained(number, worked, worker.run_async())
        found |= {f"drain_{size}_{name}": value for name, value in told.items()}
        if size == 10:
            async with worker:
                found["submit_us"] = await timed(1, sizes.durable // 4, lambda: task.enqueue(1))  # noqa: B023
    return found


def docket(url: str, sizes: Sizes) -> Found:
    """docket, its results kept for no time, looking every 10 ms for what is due, with connections for all of them."""
    return asyncio.run(_docket(f"{url}{'&' if '?' in url else '?'}max_connections=400", sizes))


async def _docket(url: str, sizes: Sizes) -> Found:
    from docket import Docket, Worker

    logging.getLogger("docket").setLevel(logging.ERROR)
    found: Found = {}
    worked = [0]
    number = max(_TOGETHER, sizes.drained // 10 // _TOGETHER * _TOGETHER)

    async def work(number: int) -> None:  # noqa: ARG001
        worked[0] += 1

    for size in (10, 100):
        async with Docket(name=f"docket{size}", url=url, execution_ttl=timedelta(0)) as tasks:
            tasks.register(work)
            for start in range(0, number, _TOGETHER):
                await asyncio.gather(*(tasks.add(work)(one) for one in range(start, start + _TOGETHER)))
            worked[0] = 0
            quick = timedelta(milliseconds=10)
            settings = {"minimum_check_interval": quick, "scheduling_resolution": quick}
            async with Worker(tasks, concurrency=size, **settings) as worker:  # type: ignore[arg-type]
                told = await _drained(number, worked, worker.run_forever())
            found |= {f"drain_{size}_{name}": value for name, value in told.items()}
            if size == 10:
                found["submit_us"] = await timed(1, sizes.durable // 10, lambda: tasks.add(work)(1))
    return found


PEERS: dict[str, Callable[[str, Sizes], Found]] = {
    "taskiq": taskiq,
    "saq": saq,
    "arq": arq,
    "streaq": streaq,
    "docket": docket,
}
