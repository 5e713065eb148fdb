"""It takes a node longer to come than the time after which it renews its lease: it comes once, under one name."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg

from addresses import postgres_server
from asyncsched import Registry, Scheduler

from .grounds import Schema


async def test_a_node_that_comes_slowly_is_not_taken_for_one_that_was_given_up(tmp_path: Path) -> None:
    ground, registry = Schema(tmp_path), Registry()

    @registry.task(id="quick")
    async def quick() -> int:
        return 1

    async with Scheduler(ground.url, registry=registry):
        pass  # there are tables now
    other = await asyncpg.connect(postgres_server().url())
    scheduler = Scheduler(ground.url, registry=registry)
    try:
        async with other.transaction():
            await other.execute(f"LOCK TABLE {ground.name}.counts IN ACCESS EXCLUSIVE MODE")
            coming = asyncio.create_task(scheduler.start())
            await asyncio.sleep(1.6)  # a lease of three seconds is renewed after less than one
            assert not coming.done()
        await coming
        assert await (await quick.submit()) == 1
        assert await other.fetchval(f"SELECT count(*) FROM {ground.name}.nodes") == 1
    finally:
        await scheduler.stop()
        await other.close()
