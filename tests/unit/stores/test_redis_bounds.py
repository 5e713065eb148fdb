"""What a Redis server is asked does not grow with all that it keeps."""

from __future__ import annotations

from typing import Any

import redis

from asyncsched.clock import SystemClock
from asyncsched.run import RunStatus
from asyncsched.stores import RunFilter
from asyncsched.stores.redis import RedisStore
from asyncsched.testing.store_contract._making import a_run, names
from servers import valkey

MANY = 3_000
LATER_US = 2**52


def looked_at(client: Any) -> int:
    """How many runs were ever read as a whole."""
    stats = client.info("commandstats")
    return int(stats.get("cmdstat_hgetall", {"calls": 0})["calls"])


async def test_the_newest_of_very_many_that_wait_are_listed_without_reading_all() -> None:
    with valkey() as server, redis.Redis.from_url(server.url()) as client:
        store = RedisStore(server.url(), allow_volatile=True)
        await store.open("n", SystemClock())
        try:
            runs = [a_run(due_us=LATER_US, created_us=number) for number in range(MANY)]
            await store.submit(runs)
            for task in (None, runs[0].task):
                before = looked_at(client)
                found = await store.runs(RunFilter(task=task, status={RunStatus.PENDING}, limit=5))
                assert names(found) == [run.id for run in runs[:-6:-1]]
                assert looked_at(client) - before <= 500
        finally:
            await store.close()
