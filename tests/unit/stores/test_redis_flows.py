"""Large flows at the Redis store: written by many short calls, there whole or not at all, and seen by nobody before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from asyncsched.clock import SystemClock
from asyncsched.errors import StoreError
from asyncsched.limits import Unique
from asyncsched.run import Run, Terms
from asyncsched.stores import Decision
from asyncsched.stores._redis import stages
from asyncsched.stores._redis.audit import Walk
from asyncsched.stores._redis.link import sync_client
from asyncsched.stores._redis.stages import LARGE
from asyncsched.stores._redis.unit import Unit, transact
from asyncsched.stores.redis import RedisStore
from asyncsched.testing.store_contract._making import (
    DONE,
    a_run,
    ack_of,
    claim,
    declared,
    ids,
    keyed_run,
    names,
    needing,
    order,
    where,
)
from servers import Valkey

SIZE = 2 * LARGE
_numbers = count()


class Keys:
    """What is kept of a namespace."""

    def __init__(self, store: RedisStore) -> None:
        self.prefix = store._address.prefix
        self.client: Any = sync_client(store._address)

    def of_runs(self) -> set[str]:
        """All keys that tell of runs, and of flows under way."""
        found = {key.removeprefix(self.prefix) for key in self.client.scan_iter(f"{self.prefix}*", count=1_000)}
        return {key for key in found if key.partition(":")[0] in ("r", "n", "f", "l", "a", "busy", "stages", "staged")}

    def calls(self) -> int:
        """How many scripts were carried out at the server."""
        return int(self.client.info("commandstats")["cmdstat_evalsha"]["calls"])

    def expire(self, store: RedisStore) -> None:
        """Let the lease of this node be over, long ago."""
        self.client.zadd(f"{self.prefix}nodes", {store._id: 1}, xx=True)


@asynccontextmanager
async def opened(server: Valkey, namespace: str | None = None) -> AsyncIterator[tuple[RedisStore, Keys]]:
    store = RedisStore(server.url(), namespace=namespace or f"flows-{next(_numbers)}", allow_volatile=True)
    await store.open("n", SystemClock())
    keys = Keys(store)
    try:
        yield store, keys
    finally:
        await store.close()
        keys.client.close()


def beside(server: Valkey, store: RedisStore) -> Any:
    """Another node at the same store."""
    return opened(server, store._address.namespace)


def flow(root: Run[Any] | None = None) -> list[Run[Any]]:
    """A root, and below it a tree in which each run has up to ten below it."""
    runs = [root or needing("root")]
    for number in range(1, SIZE):
        runs.append(needing(f"below{number % 7}", runs[(number - 1) // 10], flow=runs[0].id))
    return runs


@asynccontextmanager
async def written_ahead(store: RedisStore, runs: list[Run[Any]]) -> AsyncIterator[stages.Ahead]:
    new = [store._known.new(run) for run in runs]
    async with stages.ahead(store._server, store._builder, new) as written:
        yield written


async def open_it(
    store: RedisStore, written: stages.Ahead, meanwhile: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Do the last step; ``meanwhile`` is done between what it reads and what it writes."""

    async def work(unit: Unit) -> None:
        await stages._submit(unit, written)
        if meanwhile is not None:
            await meanwhile()

    await transact(store._server, work)


async def is_whole(store: RedisStore, runs: list[Run[Any]]) -> None:
    """The flow is there, and goes on as each of its runs ends."""
    assert set(await ids(store, flow=runs[0].id, limit=2 * SIZE)) == set(names(runs))
    done: set[str] = set()
    while len(done) < 40:
        claimed = await claim(store, 10)
        assert claimed, done
        await store.cycle([await ack_of(store, run, DONE) for run in claimed], 0)
        done.update(names(claimed))
        followers = await store.followers(names(claimed))
        assert {one.run.id for one in followers} <= set(names(runs))
        await store.settle([Decision(one.run, one.token, None) for one in followers])
    assert done <= set(names(runs))


async def test_a_large_flow_is_many_short_calls_and_is_whole(server: Valkey) -> None:
    async with opened(server) as (store, keys):
        runs, before = flow(), keys.calls()
        assert names(await store.submit(runs)) == names(runs)
        assert keys.calls() - before > 2 * SIZE / LARGE
        assert not {key for key in keys.of_runs() if key.startswith("stage")}
        assert await Walk().go_on(store._server) == 0
        await is_whole(store, runs)


async def test_a_small_flow_is_one_call(server: Valkey) -> None:
    async with opened(server) as (store, keys):
        before = keys.calls()
        await store.submit(flow()[:20])
        assert keys.calls() - before <= 3  # it is read once, and nodes look now and then


async def test_nobody_sees_any_of_a_flow_before_it_is_opened(server: Valkey) -> None:
    async with opened(server) as (store, _keys), beside(server, store) as (other, _):
        runs = flow()
        async with written_ahead(store, runs) as written:
            assert len(written.left) == 1
            for looks in (store, other):
                assert await ids(looks, limit=2 * SIZE) == await ids(looks, task="below1") == []
                assert await looks.run(runs[5].id) is None
                assert await looks.unfinished(["below1", "below2"]) == []
                assert await looks.followers([runs[1].id]) == await looks.followers(None) == []
                assert await claim(looks) == []
            assert await Walk().go_on(other._server) == 0
            await open_it(store, written)
        await is_whole(other, runs)


async def test_what_is_not_opened_leaves_nothing_behind(server: Valkey) -> None:
    async with opened(server) as (store, keys):
        await store.submit([outside := needing("outside")])
        before = keys.of_runs()
        runs = flow()
        runs[-1] = needing("both", runs[-2], outside, flow=runs[0].id)
        async with written_ahead(store, runs):
            assert len(keys.of_runs()) > SIZE
        assert keys.of_runs() == before


@pytest.mark.parametrize("turns", [1, 3, 6, 9, 14, 20, 30])
async def test_a_flow_whose_writer_is_gone_is_there_whole_or_not_at_all(server: Valkey, turns: int) -> None:
    async with opened(server) as (witness, keys):
        store = RedisStore(server.url(), namespace=witness._address.namespace, allow_volatile=True)
        await store.open("writer", SystemClock())
        runs = flow()
        writing = asyncio.ensure_future(store.submit(runs))
        so_far = store._server._wire._exchanges
        while store._server._wire._exchanges < so_far + turns and not writing.done():
            await asyncio.sleep(0)
        while not writing.done():  # as the end of a process does, it leaves things as they are
            writing.cancel()
            await asyncio.sleep(0)
        await store._stop()
        keys.expire(store)
        async with beside(server, witness) as (other, _):
            assert not {key for key in keys.of_runs() if key.startswith("stage")}
            if found := await ids(other, limit=2 * SIZE):
                assert set(found) == set(names(runs))
                await is_whole(other, runs)
            else:
                assert keys.of_runs() == set()


@pytest.mark.parametrize("when", ["before", "last"])
async def test_a_node_that_was_taken_for_dead_meanwhile_has_written_nothing(server: Valkey, when: str) -> None:
    async with opened(server) as (store, keys), beside(server, store) as (other, _):
        swept: list[int] = []

        async def sweep() -> None:
            keys.client.zrem(f"{keys.prefix}nodes", store._id)
            swept.append(await stages.sweep(other._server, other._id, ()))

        async with written_ahead(store, flow()) as written:
            if when == "before":
                await sweep()
            with pytest.raises(StoreError, match="taken for dead while it wrote a flow; nothing of it is there"):
                await open_it(store, written, sweep if when == "last" else None)
        assert swept[0] == 1
        assert keys.of_runs() == set()


async def test_a_node_sweeps_what_it_gave_up_and_nothing_that_it_has_under_way(server: Valkey) -> None:
    async with opened(server) as (store, keys), written_ahead(store, flow()) as written:
        assert await stages.sweep(store._server, store._id, store._building) == 0
        store._building.clear()
        assert await stages.sweep(store._server, store._id, store._building) == 1
        assert keys.of_runs() == set()
        with pytest.raises(StoreError):
            await open_it(store, written)


async def test_a_fire_that_begins_a_large_flow_counts_whole_or_not_at_all(server: Valkey) -> None:
    async with opened(server) as (store, keys):
        await store.put_task(declared("root"))
        standing = await where(store, "root")
        stale = replace(standing, version=standing.version - 1)
        assert await store.fire([order(stale, runs=flow())]) == set()
        assert {key for key in keys.of_runs() if key != "stages"} == set()
        runs = flow()
        assert await store.fire([order(standing, runs=runs)]) == {"root"}
        assert await store.fire([order(standing, runs=flow())]) == set()
        await is_whole(store, runs)


async def test_two_nodes_that_begin_the_same_fire_write_one_flow(server: Valkey) -> None:
    async with opened(server) as (store, keys), beside(server, store) as (other, _):
        await store.put_task(declared("root"))
        standing = await where(store, "root")
        mine, theirs = flow(), flow()
        won = await asyncio.gather(store.fire([order(standing, runs=mine)]), other.fire([order(standing, runs=theirs)]))
        assert sorted(map(len, won)) == [0, 1]
        assert set(await ids(store, limit=3 * SIZE)) == set(names(mine if won[0] else theirs))
        assert sum(key.startswith("r:") for key in keys.of_runs()) == SIZE


async def test_what_is_below_a_run_for_which_another_one_stands_is_not_written(server: Valkey) -> None:
    async with opened(server) as (store, keys):
        first = keyed_run(task="root", key=None, once=Unique())
        await store.submit([first])
        root = needing("root")
        root.terms = Terms(once=Unique(), once_key="o")
        assert set(names(await store.submit(flow(root)))) == {first.id}
        assert {key for key in keys.of_runs() if key.startswith("r:")} == {f"r:{first.id}"}


async def test_a_join_begins_a_large_flow_once(server: Valkey) -> None:
    async with opened(server) as (store, keys):
        runs = flow()
        assert await store.join("root", {}, {"left": "1"}, runs)
        assert not await store.join("root", {}, {"left": "1"}, flow())
        assert sum(key.startswith("r:") for key in keys.of_runs()) == SIZE
        await is_whole(store, runs)


async def test_a_rename_meanwhile_takes_the_runs_along(server: Valkey) -> None:
    async with opened(server) as (store, _keys), beside(server, store) as (other, _):
        await store.put_task(declared("below1"))
        runs = flow()
        async with written_ahead(store, runs) as written:
            await other.reconcile([replace(declared("renamed"), aliases=("below1",))])
            await open_it(store, written)
        assert await ids(store, task="below1", limit=SIZE) == []
        assert len(await ids(store, task="renamed", limit=SIZE)) == len([run for run in runs if run.task == "below1"])
        assert await Walk().go_on(store._server) == 0


async def test_many_runs_under_a_limit_are_several_calls_and_keep_their_order(server: Valkey) -> None:
    async with opened(server) as (store, keys):
        runs, before = [keyed_run(limit=1) for _ in range(3 * LARGE)], keys.calls()
        await store.submit(runs)
        assert keys.calls() - before >= 6
        for number in range(3):
            claimed = await claim(store)
            assert names(claimed) == [runs[number].id]
            await store.cycle([await ack_of(store, claimed[0], DONE)], 0)


async def test_a_run_that_needs_very_many_is_told_of_each(server: Valkey) -> None:
    async with opened(server) as (store, _keys):
        many = [a_run() for _ in range(SIZE)]
        await store.submit(many)
        await store.submit([low := needing("low", *many)])
        claimed = await claim(store, SIZE)
        await store.cycle([await ack_of(store, run, DONE) for run in claimed], 0)
        ((follower),) = await store.followers(names(claimed))
        assert (follower.run.id, follower.tally.succeeded) == (low.id, SIZE)
