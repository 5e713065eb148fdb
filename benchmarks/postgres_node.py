"""One node of several that empty a queue: ``python -m benchmarks.postgres_node URL SCHEMA KEPT``, until it is ended."""

from __future__ import annotations

import asyncio
import sys

from asyncsched import Registry, Scheduler
from asyncsched.stores.postgres import PostgresStore


def main() -> None:
    url, schema, kept = sys.argv[1:]
    registry = Registry()

    @registry.task(id="work", history_limit=int(kept))
    async def work(number: int) -> int:
        return number

    async def serve() -> None:
        store = PostgresStore(url, schema=schema)
        scheduler = Scheduler(store, registry=registry, tz="UTC", stall_warning=None, max_running=100)
        await scheduler.serve()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
