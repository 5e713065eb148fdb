"""What the Redis store keeps does not grow with what has been, and no call is long because much is kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from asyncsched.clock import SystemClock
from asyncsched.limits import Idempotency, Rate, Unique
from asyncsched.run import Bounds, Raised, Run, RunStatus
from asyncsched.stores import Decision
from asyncsched.stores._redis.link import sync_client
from asyncsched.stores.redis import RedisStore
from asyncsched.testing.store_contract._bench import SECOND, START_US
from asyncsched.testing.store_contract._making import (
    DONE,
    a_run,
    ack_of,
    claim,
    declared,
    finish,
    ids,
    keyed_run,
    names,
    needing,
    where,
)
from servers import Valkey

_numbers = count()
OLD, NEW = declared("old", history_limit=1_000), declared("new", history_limit=1_000)


class Scene:
    """A store whose clock is moved by hand."""

    def __init__(self, server: Valkey) -> None:
        self.store = RedisStore(server.url(), namespace=f"growth-{next(_numbers)}", allow_volatile=True)
        self.prefix = self.store._address.prefix
        self.client = sync_client(self.store._address)
        self.now_us = START_US
        self.advance(0)

    def advance(self, us: int) -> None:
        self.now_us += us
        self.client.set(f"{self.prefix}clock", self.now_us)

    def kinds(self) -> Counter[str]:
        """How many members all keys of a kind have, by what their names begin with."""
        found: Counter[str] = Counter()
        for key in self.client.scan_iter(f"{self.prefix}*", count=1_000):
            kind = key.removeprefix(self.prefix).partition(":")[0]
            match self.client.type(key):
                case "hash":
                    found[kind] += self.client.hlen(key) if kind != "r" else 1
                case "zset":
                    found[kind] += self.client.zcard(key)
                case "set":
                    found[kind] += self.client.scard(key)
                case _:
                    found[kind] += 1
        return found

    def bytes(self) -> int:
        """How much memory all keys take."""
        return sum(self.client.memory_usage(key) or 0 for key in self.client.scan_iter(f"{self.prefix}*", count=1_000))

    def calls(self, command: str) -> int:
        """So often was this done at the server so far."""
        return int(self.client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


@asynccontextmanager
async def opened(server: Valkey) -> AsyncIterator[Scene]:
    scene = Scene(server)
    await scene.store.open("n", SystemClock())
    try:
        yield scene
    finally:
        await scene.store.close()
        scene.client.close()


# -- what goes away


def of_each_kind(number: int, now_us: int) -> list[Run[Any]]:
    """Runs that leave something of each kind behind, under keys of their own."""
    again = a_run("again", created_us=now_us, idempotency=Idempotency(f"again~{number}", SECOND))
    bounded = a_run("bounded", created_us=now_us, bounds=Bounds(60 * SECOND, None))
    root, other = needing("root"), needing("other")
    return [
        a_run("plain", created_us=now_us),
        keyed_run(task="limited", key=f"limited/{number}", limit=1, now_us=now_us),
        keyed_run(task="rated", key=f"rated/{number}", rate=Rate(5, SECOND), now_us=now_us),
        keyed_run(task="once", key=None, once=Unique(SECOND), once_key=f"once~{number}", now_us=now_us),
        *(again, bounded, root, other, needing("below", root, other, flow=root.id)),
    ]


async def a_batch(scene: Scene, numbers: range) -> None:
    """Submit, run and end such runs; flows are settled, and some fail."""
    store = scene.store
    for number in numbers:
        await store.submit([*of_each_kind(number, scene.now_us), a_run("dropped", created_us=scene.now_us)])
    while claimed := (await store.cycle([], 200)).claimed:
        acks = [await ack_of(store, run, Raised(ValueError("no")) if run.task == "plain" else DONE) for run in claimed]
        await store.cycle(acks, 0)
        followers = await store.followers([run.id for run in claimed])
        await store.settle([Decision(one.run, one.token, None) for one in followers if one.tally.succeeded == 2])
    await store.drop_task("dropped")
    scene.advance(3 * SECOND)
    await store.cycle([], 0)
    while (await store.prune({}, None)).more:
        pass


async def test_what_is_kept_does_not_grow_with_what_has_been(server: Valkey) -> None:
    async with opened(server) as scene:
        tasks = "plain", "limited", "rated", "once", "again", "bounded", "root", "other", "below"
        await scene.store.reconcile([declared(task, history_limit=5) for task in tasks])
        for start in range(0, 100, 25):  # of the task that is dropped a hundred are kept
            await a_batch(scene, range(start, start + 25))
        before, bytes_before = scene.kinds(), scene.bytes()
        for start in range(100, 200, 25):
            await a_batch(scene, range(start, start + 25))
        assert scene.kinds() == before
        assert scene.bytes() < 1.2 * bytes_before


# -- renames


LIVE, ENDED = 160, 120


async def much_of_old(scene: Scene) -> tuple[list[Run[Any]], Run[Any]]:
    """Runs of ``old`` of each kind: ended ones, those that wait for its key behind one that runs, and others."""
    store = scene.store
    await store.reconcile([OLD])
    await store.submit([a_run("old") for _ in range(ENDED)])
    await finish(store, await claim(store, ENDED))
    await store.submit([keyed_run(task="old", key="old", limit=1) for _ in range(LIVE)])
    (held,) = await claim(store)
    await store.submit([a_run("old", due_us=START_US + SECOND * 3_600, idempotency=Idempotency("old~k", SECOND * 9))])
    await store.submit(
        [keyed_run("u", task="old", key=None, once=Unique(), once_key="old/x", due_us=START_US + SECOND)]
    )
    waiting = [run for run in await store.unfinished(["old"]) if run.terms.limit_key and run is not held]
    return sorted(waiting, key=lambda run: run.id), held


async def is_all_of_new(scene: Scene, waiting: list[Run[Any]], held: Run[Any]) -> None:
    """Everything is known by the new id, and its key still lets one after another begin, in their order."""
    store = scene.store
    assert (await where(store, "new")).history_limit == 1_000
    assert len(await ids(store, task="new", status={RunStatus.SUCCESS}, limit=1_000)) == ENDED
    assert await ids(store, task="old") == []
    again = (
        a_run("new", idempotency=Idempotency("new~k", SECOND * 9)),
        keyed_run(task="new", key=None, once=Unique(), once_key="new/x"),
    )
    assert {one.id for one in await store.submit(list(again))}.isdisjoint(names(again))
    assert await claim(store) == []
    await finish(store, [held])
    for run in waiting[:3]:
        claimed = await claim(store)
        assert names(claimed) == [run.id]
        await finish(store, claimed)
    assert not [
        key
        for key in scene.client.scan_iter(f"{scene.prefix}*")
        if key.endswith((":old", "~k", ":old/x")) and "new" not in key
    ]


async def test_a_rename_is_many_short_calls(server: Valkey) -> None:
    async with opened(server) as scene:
        waiting, held = await much_of_old(scene)
        before = scene.calls("evalsha")
        await scene.store.reconcile([replace(NEW, aliases=("old",))])
        assert scene.calls("evalsha") - before > (LIVE + ENDED) / 50
        await is_all_of_new(scene, waiting, held)


@pytest.mark.parametrize("turns", [3, 20, 60, 100])
async def test_a_rename_that_was_broken_off_is_finished_by_whoever_comes_next(server: Valkey, turns: int) -> None:
    async with opened(server) as scene:
        waiting, held = await much_of_old(scene)
        renaming = asyncio.ensure_future(scene.store.reconcile([replace(NEW, aliases=("old",))]))
        so_far = scene.store._server._wire._exchanges
        while scene.store._server._wire._exchanges < so_far + turns and not renaming.done():
            await asyncio.sleep(0)
        renaming.cancel()
        await asyncio.wait([renaming])
        assert await claim(scene.store) == []  # whatever has moved: the one place is taken
        await scene.store.reconcile([replace(NEW, aliases=("old",))])
        await is_all_of_new(scene, waiting, held)
