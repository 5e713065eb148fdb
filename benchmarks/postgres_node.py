"""One node of several that empty a queue: ``python -m benchmarks.postgres_node URL SCHEMA KEPT``, until it is ended."""

from __future__ import annotations

import asyncio
import sys

from asyncsched import Scheduler
from asyncsched.stores.postgres import PostgresStore
from benchmarks.work import registry_of


def main() -> None:
    url, schema, kept = sys.argv[1:]
    registry, _work = registry_of(int(kept))

    async def serve() -> None:
        store = PostgresStore(url, schema=schema)
        scheduler = Scheduler(store, registry=registry, tz="UTC", stall_warning=None, max_running=100)
        await scheduler.serve()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
