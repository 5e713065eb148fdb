"""A node that is alone at PostgreSQL hints at nothing: nobody is there who would hear it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from addresses import Place, postgres_server
from asyncsched import Registry, Task

SOON = 60.0
AT_ONCE = 10


def registry() -> Registry:
    found = Registry()

    async def work(number: int) -> int:
        return number

    found.register(Task(work, id="work"))
    return found


async def test_a_lone_node_sends_no_hints_until_another_one_comes_and_again_when_it_has_gone(tmp_path: Path) -> None:
    place = Place("postgres", tmp_path)
    schema = parse_qs(urlsplit(place.url).query)["schema"][0]
    heard: list[object] = []
    listening: Any = await asyncpg.connect(postgres_server().url())
    declared = registry()

    async def runs_of_a_while() -> int:
        """How many hints there were while some runs came, one after the other, and went."""
        before = len(heard)
        for number in range(AT_ONCE):
            assert await (await declared["work"].submit(number)) == number
            await asyncio.sleep(0.03)  # more than what is between two hints
        return len(heard) - before

    async def until(holds: Any) -> None:
        async with asyncio.timeout(SOON):
            while not holds(await runs_of_a_while()):
                pass

    try:
        await listening.add_listener(f"asyncsched_{schema}", lambda *said: heard.append(said))
        async with place.scheduler(declared):
            await until(lambda hints: hints == 0)
            async with place.scheduler(registry(), queues=[]) as other:
                await until(lambda hints: hints >= AT_ONCE // 2)
                run = await (await other.tasks.get("work")).submit(1)
                assert await run == 1
            await until(lambda hints: hints == 0)
    finally:
        await listening.close()
