"""What is listed at one node while others write."""

from __future__ import annotations

import asyncio

from addresses import Place
from asyncsched import Registry


def declared() -> Registry:
    registry = Registry()

    @registry.task(id="work")
    async def work(number: int) -> None: ...

    return registry


async def test_no_run_is_listed_twice_though_others_are_made_meanwhile(shared: Place) -> None:
    made = declared()
    async with (
        shared.scheduler(made, queues=[]),
        shared.scheduler(declared(), queues=[]) as looks,
        asyncio.timeout(60),
    ):
        await made["work"].submit_many([(number,) for number in range(450)])

        async def submit() -> None:
            for number in range(30):
                await made["work"].submit(number)

        submitting = asyncio.create_task(submit())
        while not submitting.done():
            found = [run.id for run in await looks.runs.list(task="work", limit=10_000)]
            assert len(found) == len(set(found)) >= 450
        await submitting
