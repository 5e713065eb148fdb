"""A run that is submitted at a Redis store is claimed by what goes to the server right behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from addresses import valkey_server
from asyncsched import Registry, Scheduler
from asyncsched._engine import sweep
from asyncsched.clock import SystemClock
from asyncsched.run import Run
from asyncsched.stores._base import Cycled
from asyncsched.stores._redis import pulse
from asyncsched.stores._redis.link import scripts
from asyncsched.stores._redis.wire import LOOK
from asyncsched.stores.redis import RedisStore
from asyncsched.testing.store_contract._making import a_run


class Noted(RedisStore):
    """Notes when it is asked, and when something has been written."""

    notes: list[str]

    async def submit(self, runs: Sequence[Run[Any]]) -> list[Run[Any]]:
        written = await super().submit(runs)
        self.notes.append("written")
        return written

    async def cycle(self, *asked: Any) -> Cycled:
        self.notes.append("asked")
        return await super().cycle(*asked)


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """No node looks by itself: what is not claimed at once never is."""
    for part, name in ((pulse, "POLL_US"), (pulse, "_SWEEP_US"), (sweep, "_PERIOD_US")):
        monkeypatch.setattr(part, name, 3_600_000_000)


async def noted(name: str, knows: str = "", **options: Any) -> list[str]:
    """What happens at the store while a run is submitted and carried out at a node that idles.

    knows: the only script that the server has not forgotten meanwhile.
    """
    store, registry = Noted(valkey_server().url(), namespace=f"ahead-{name}", allow_volatile=True), Registry()
    store.notes = []

    @registry.task(**options)
    async def double(number: int) -> int:
        return 2 * number

    async with Scheduler(store, registry=registry, tz="UTC") as scheduler:
        await asyncio.wait_for(await double.submit(1), 60)
        await scheduler.idle()
        if knows:
            async with Redis.from_url(valkey_server().url()) as client:
                await client.script_flush()
                await client.script_load(scripts()[knows].text)
                await client.client_pause(300)  # so that both are on their way before either is answered
        store.notes.clear()
        assert await asyncio.wait_for(await double.submit(4), 60) == 8
        return list(store.notes)


async def test_the_node_asks_for_a_run_before_it_is_told_that_it_is_written() -> None:
    assert await noted("plain") == ["asked", "written", "asked"]  # the last time it tells of the end


async def test_a_run_whose_key_matters_is_asked_for_once_it_is_written() -> None:
    assert (await noted("unique", unique=True))[:2] == ["written", "asked"]


async def test_a_run_that_was_not_there_yet_when_it_was_asked_for_is_asked_for_again() -> None:
    assert (await noted("late", knows=LOOK))[:3] == ["asked", "written", "asked"]


async def test_a_claim_behind_a_submit_finds_its_run_though_the_server_has_forgotten_both_scripts() -> None:
    store = RedisStore(valkey_server().url(), namespace="ahead-flushed", allow_volatile=True)
    await store.open("n", SystemClock())
    try:
        async with Redis.from_url(valkey_server().url()) as client:
            await client.script_flush()
        run = a_run()
        before = [store._server.ask(("GET", "seq")) for _ in range(2)]  # what is asked behind these goes together
        *_answers, _standing, cycled = await asyncio.gather(*before, store.submit([run]), claimed(store))
        assert cycled.claimed == [run]
    finally:
        await store.close()


async def claimed(store: RedisStore) -> Cycled:
    return await store.cycle([], 1)
