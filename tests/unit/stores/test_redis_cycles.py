"""The exchange of a node with the Redis store where nothing is to be decided: what ends and what begins go together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest

from asyncsched.clock import SystemClock
from asyncsched.run import Bounds, Run
from asyncsched.stores._redis.link import sync_client
from asyncsched.stores.redis import RedisStore
from asyncsched.testing.store_contract._making import DONE, a_run, ack_of, claim, finish, names
from servers import Valkey

_numbers = count()


@asynccontextmanager
async def opened(server: Valkey) -> AsyncIterator[RedisStore]:
    store = RedisStore(server.url(), namespace=f"cycles-{next(_numbers)}", allow_volatile=True)
    await store.open("n", SystemClock())
    try:
        yield store
    finally:
        await store.close()


async def acquainted(store: RedisStore, *tasks: str) -> None:
    """Let the store have claimed runs of these tasks once."""
    await store.submit([a_run(task) for task in tasks])
    await finish(store, await claim(store))


def exchanges(store: RedisStore) -> int:
    return store._server._wire._exchanges


async def test_what_ended_and_what_begins_is_one_exchange(server: Valkey) -> None:
    async with opened(server) as store:
        await acquainted(store, "t")
        await store.submit([a_run() for _ in range(6)])
        first = await claim(store, 3)
        acks = [await ack_of(store, run, DONE) for run in first]
        before = exchanges(store)
        cycled = await store.cycle(acks, 3)
        assert exchanges(store) == before + 1
        assert (cycled.accepted, len(cycled.claimed)) == (acks, 3)
        assert {(run.token, run.attempt, run.node) for run in cycled.claimed} == {(1, 1, "n")}
        assert not {run.id for run in first} & {run.id for run in cycled.claimed}


async def test_that_more_has_happened_when_a_look_is_told_is_not_taken_for_less(server: Valkey) -> None:
    async with opened(server) as store:
        await acquainted(store, "t")
        for _ in range(20):
            await store.submit([a_run() for _ in range(3)])
            asked = [store.cycle([], 3), *(store.submit([a_run("other")]) for _ in range(3))]
            cycled: Any = (await asyncio.gather(*asked))[0]
            await finish(store, cycled.claimed)
            assert not store._server.seen.less


@pytest.mark.parametrize("known", [False, True])
async def test_what_begins_is_the_same_whether_or_not_the_node_is_known_to_serve_it(
    server: Valkey, known: bool
) -> None:
    async with opened(server) as store:
        if known:
            await acquainted(store, "t", "u")
        await store.submit([
            a_run("t", name="low", queue="a"), a_run("t", name="high", queue="a", priority=5),
            a_run("u", name="elsewhere", queue="c", priority=9), a_run("u", name="mid", queue="b", priority=3),
            a_run("u", name="more", queue="b"), a_run("t", name="first", queue="b", group="g", priority=4),
            a_run("t", name="second", queue="b", group="g", priority=4),
            a_run("t", name="lowest", queue="b", priority=-1),
        ])  # fmt: skip
        cycled = await store.cycle([], 10, {"a": 1, "b": 3}, {"g": 1})
        assert names(cycled.claimed) == ["high", "first", "mid", "more"]
        assert names(await claim(store, 2)) == ["elsewhere", "second"]


async def test_what_has_waited_too_long_does_not_begin_instead(server: Valkey) -> None:
    async with opened(server) as store:
        await acquainted(store, "t")
        now_us = await store.now_us()
        late = a_run(name="late", created_us=now_us - 2_000_000, bounds=Bounds(1_000_000, None))
        await store.submit([late, a_run(name="fine")])
        cycled = await store.cycle([], 10)
        assert (names(cycled.claimed), names(cycled.lapsed)) == (["fine"], ["late"])


async def test_of_many_that_end_together_those_that_are_not_the_nodes_do_not_count(server: Valkey) -> None:
    async with opened(server) as store:
        await store.submit([a_run(name=name) for name in "abc"])
        acks = [await ack_of(store, run, DONE) for run in await claim(store)]
        stale = acks[1]._replace(token=acks[1].token + 1)
        cycled = await store.cycle([acks[0], stale, acks[2], acks[2]], 0)
        assert [ack.run.id for ack in cycled.accepted] == ["a", "c"]


async def test_a_set_that_is_none_does_not_harm_other_tasks_runs(server: Valkey) -> None:
    async with opened(server) as store:
        await store.submit([a_run(task, name=f"{task}{one}") for task in ("bad", "good") for one in range(3)])
        acks = [await ack_of(store, run, DONE) for run in await claim(store)]
        client = sync_client(store._address)
        client.set(f"{store._address.prefix}e:bad", "no set")
        assert (await store.cycle(acks, 0)).accepted == acks
        prefix = store._address.prefix
        for task in ("bad", "good"):
            assert set(client.zrange(f"{prefix}e:{task}", 0, -1)) == {f"{task}{one}" for one in range(3)}
            assert (client.zcard(f"{prefix}l:{task}"), client.scard(f"{prefix}owners")) == (0, 0)
        assert client.get(f"{prefix}marred:e:bad") == "no set"
        client.close()


async def test_more_begin_than_one_look_lets_begin(server: Valkey) -> None:
    async with opened(server) as store:
        await acquainted(store, "t")
        submitted: list[Run[Any]] = [a_run() for _ in range(450)]
        await store.submit(submitted)
        claimed = await claim(store, 430)
        assert names(claimed) == names(submitted[:430])
