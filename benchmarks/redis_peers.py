"""Other libraries at the same Redis server, set up as their documentation says is fastest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
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


PEERS: dict[str, Callable[[str, Sizes], Found]] = {"taskiq": taskiq, "saq": saq}
