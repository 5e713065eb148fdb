"""Keys of a Redis store that others have written: what was taken from its place is put back, and is told once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest

from asyncsched.clock import SystemClock
from asyncsched.graph import Tally
from asyncsched.limits import Rate
from asyncsched.run import RunStatus
from asyncsched.stores import Standing
from asyncsched.stores._redis.audit import Walk
from asyncsched.stores._redis.link import sync_client
from asyncsched.stores.redis import RedisStore
from asyncsched.testing.store_contract._making import (
    DONE,
    a_run,
    ack_of,
    claim,
    declared,
    end,
    finish,
    ids,
    keyed_run,
    names,
    needing,
    order,
    told,
    where,
)
from servers import Valkey

LONG = os.environ.get("ASYNCSCHED_FAULTS") == "long"
_numbers = count()
FAR_US = 4_000_000_000_000_000
KINDS = {
    "string": lambda client, key: client.set(key, "rubbish"),
    "hash": lambda client, key: client.hset(key, "a", "b"),
    "zset": lambda client, key: client.zadd(key, {"a": 1}),
    "set": lambda client, key: client.sadd(key, "a"),
}


class Keys:
    """The keys of a store that is open, for others to write to."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.prefix = store._address.prefix
        self.client: Any = sync_client(store._address)

    def at(self, name: str) -> str:
        return f"{self.prefix}{name}"

    async def walk(self) -> int:
        """Walk through everything; how many runs were put right."""
        walk = Walk()
        found = await walk.go_on(self.store._server)
        while walk._cursor:
            found += await walk.go_on(self.store._server)
        return found


@asynccontextmanager
async def opened(server: Valkey, lease: str = "20s") -> AsyncIterator[Keys]:
    store = RedisStore(server.url(), namespace=f"audit-{next(_numbers)}", allow_volatile=True, lease=lease)
    await store.open("n", SystemClock())
    keys = Keys(store)
    try:
        yield keys
    finally:
        await store.close()
        keys.client.close()


def said(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("gone", ["y:default", "queues", "l:t", "busy", "a", "a:t"])
async def test_a_waiting_run_that_nothing_leads_to_is_found_and_runs(
    server: Valkey, gone: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server) as keys:
        await keys.store.submit([run := a_run()])
        keys.client.delete(keys.at(gone))
        assert await keys.walk() == 1
        assert await keys.walk() == 0
        assert said(caplog, f"run {run.id} of task t was not where it is looked for") == 1
        assert names(await claim(keys.store)) == [run.id]
        await finish(keys.store, [run])
        assert await ids(keys.store, task="t", status={RunStatus.SUCCESS}) == [run.id]
        assert keys.client.zcard(keys.at("l:t")) == 0


async def test_runs_that_are_where_they_should_be_are_left_there(server: Valkey) -> None:
    async with opened(server) as keys:
        store = keys.store
        await store.put_task(declared(history_limit=3))
        await store.submit([a_run() for _ in range(4)])
        await finish(store, await claim(store))
        up = needing("up")
        await store.submit([up, needing("low", up), a_run(due_us=FAR_US), keyed_run(limit=1), keyed_run(limit=1)])
        await claim(store, 1)
        before = {key: keys.client.dump(key) for key in keys.client.scan_iter(f"{keys.prefix}r:*")}
        assert await keys.walk() == 0
        assert {key: keys.client.dump(key) for key in before} == before


@pytest.mark.parametrize("gone", ["delayed", "kdelayed"])
async def test_a_delayed_run_is_put_back_to_its_instant(server: Valkey, gone: str) -> None:
    async with opened(server) as keys:
        await keys.store.submit([run := keyed_run(key="k" if gone == "kdelayed" else None, due_us=FAR_US)])
        for spoil in (
            lambda: keys.client.delete(keys.at(gone)),
            lambda: keys.client.zadd(keys.at(gone), {run.id: 1e300}),
        ):
            spoil()
            assert await keys.walk() == 1
            assert keys.client.zscore(keys.at(gone), run.id) == FAR_US


async def test_who_waits_for_its_key_is_put_back_into_its_line(server: Valkey) -> None:
    async with opened(server) as keys:
        await keys.store.submit([first := keyed_run(limit=1), second := keyed_run(limit=1)])
        assert names(await claim(keys.store)) == [first.id]
        keys.client.delete(keys.at("q:k"))
        assert await keys.walk() == 1
        assert await claim(keys.store) == []
        await finish(keys.store, [first])
        assert names(await claim(keys.store)) == [second.id]


async def test_who_has_the_place_of_its_key_and_stood_in_no_queue_begins_before_who_waits(server: Valkey) -> None:
    async with opened(server) as keys:
        await keys.store.submit([first := keyed_run(limit=1), keyed_run(limit=1)])
        keys.client.delete(keys.at("y:default"))
        assert await keys.walk() == 1
        assert names(await claim(keys.store)) == [first.id]


@pytest.mark.parametrize("begun", [True, False])
async def test_who_has_the_place_of_a_limit_that_forgot_it_has_it_again(
    server: Valkey, begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server) as keys:
        await keys.store.submit([first := keyed_run(limit=1), second := keyed_run(limit=1)])
        claimed = await claim(keys.store) if begun else []
        keys.client.delete(keys.at("h:k"))
        await keys.walk()
        assert await keys.walk() == 0
        assert said(caplog, "it has its place under its limit again") == 1
        assert keys.client.hgetall(keys.at("h:k")) == {first.id: "1"}
        claimed += await claim(keys.store)
        assert names(claimed) == [first.id]
        await keys.store.submit([keyed_run(limit=1)])
        assert await claim(keys.store) == []
        await finish(keys.store, claimed)
        assert names(await claim(keys.store)) == [second.id]


async def test_a_start_that_a_rate_has_promised_is_known_again(server: Valkey) -> None:
    async with opened(server) as keys:
        rate = Rate(1, 3_600_000_000)
        await keys.store.submit([first := keyed_run(rate=rate), keyed_run(rate=rate)])
        keys.client.delete(keys.at("h:k"))
        await keys.walk()
        assert await keys.walk() == 0
        assert keys.client.hgetall(keys.at("h:k")) == {first.id: "2"}
        assert names(await claim(keys.store)) == [first.id]
        await keys.store.submit([keyed_run(rate=rate)])
        assert await claim(keys.store) == []
        assert await keys.walk() == 0


@pytest.mark.parametrize("how", ["nobody", "ended", "of another limit"])
async def test_a_place_that_nobody_gives_back_is_free_again(
    server: Valkey, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server) as keys:
        await keys.store.submit([other := keyed_run(key="other", limit=1) if how != "ended" else a_run()])
        if how == "ended":
            await finish(keys.store, await claim(keys.store))
        stray = "nobody" if how == "nobody" else other.id
        keys.client.hset(keys.at("h:k"), stray, "1")
        await keys.store.submit([waits := keyed_run(limit=1)])
        assert waits.id not in names(await claim(keys.store))
        await keys.walk()
        assert await keys.walk() == 0
        assert said(caplog, f"{stray} had a place under the limit k") == 1
        assert names(await claim(keys.store)) == [waits.id]


@pytest.mark.parametrize("gone", ["owners", "o:"])
async def test_what_runs_at_a_node_is_known_to_run_there(server: Valkey, gone: str) -> None:
    async with opened(server) as keys:
        await keys.store.submit([run := a_run()])
        await claim(keys.store)
        keys.client.delete(keys.at(gone if gone == "owners" else f"o:{keys.store._id}"))
        assert await keys.walk() == 1
        assert keys.client.smembers(keys.at(f"o:{keys.store._id}")) == {run.id}
        assert keys.client.smembers(keys.at("owners")) == {keys.store._id}
        await end(keys.store, run)


@pytest.mark.parametrize("gone", ["n:", "f:"])
async def test_a_blocked_run_hears_of_what_it_needs_again(server: Valkey, gone: str) -> None:
    async with opened(server) as keys:
        up = needing("up")
        low = needing("low", up)
        await keys.store.submit([up, low])
        keys.client.delete(keys.at(f"{gone}{low.id if gone == 'n:' else up.id}"))
        assert await keys.walk() == 1
        assert await keys.walk() == 0
        await end(keys.store, *await claim(keys.store))
        assert await told(keys.store, up.id) == {low.id: Tally(succeeded=1)}


async def test_a_blocked_run_that_was_not_told_of_an_end_is_told(server: Valkey) -> None:
    async with opened(server) as keys:
        up = needing("up")
        low = needing("low", up)
        await keys.store.submit([up, low])
        keys.client.delete(keys.at(f"f:{up.id}"))
        await end(keys.store, *await claim(keys.store))
        assert await keys.store.followers(None) == []
        assert await keys.walk() == 1
        (follower,) = await keys.store.followers(None)
        assert (follower.run.id, follower.tally) == (low.id, Tally(succeeded=1))


@pytest.mark.parametrize("gone", ["e:t", "ended", "a:t"])
async def test_an_ended_run_is_in_the_history_again(server: Valkey, gone: str) -> None:
    async with opened(server) as keys:
        await keys.store.submit([run := a_run()])
        await finish(keys.store, await claim(keys.store))
        keys.client.delete(keys.at(gone))
        assert (await keys.walk(), await keys.walk()) == (1, 0)
        assert await ids(keys.store, task="t") == [run.id]
        assert keys.client.zcard(keys.at("ended")) == keys.client.zcard(keys.at("e:t")) == 1


@pytest.mark.parametrize(
    ("field", "value"), [("state", "x"), ("state", "9"), ("status", "SUCCESS"), ("due_at", "soon")]
)
async def test_what_cannot_be_that_is_put_aside_once_with_the_reason(server: Valkey, field: str, value: str) -> None:
    async with opened(server) as keys:
        await keys.store.submit([run := a_run(due_us=FAR_US)])
        keys.client.hset(keys.at(f"r:{run.id}"), field, value)
        assert (await keys.walk(), await keys.walk()) == (1, 0)
        found = await keys.store.run(run.id)
        assert found is not None
        assert keys.client.hget(keys.at(f"r:{run.id}"), "reason").startswith("parked, it cannot be read: its ")
        assert [one.id for one in await keys.store.cancel([run.id], "not wanted")] == [run.id]


async def test_a_hash_that_does_not_say_of_which_task_it_is_is_kept_aside(
    server: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server) as keys:
        await keys.store.submit([run := a_run(due_us=FAR_US)])
        keys.client.hdel(keys.at(f"r:{run.id}"), "task")
        assert (await keys.walk(), await keys.walk()) == (1, 0)
        assert said(caplog, "does not say of which task it is") == 1
        assert keys.client.hget(keys.at(f"marred:r:{run.id}"), "id") == run.id
        assert keys.client.zcard(keys.at("delayed")) == 0


async def test_what_stands_in_a_queue_and_is_not_kept_is_taken_out_and_told(
    server: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server) as keys:
        await keys.store.submit([bad := a_run(), good := a_run()])
        keys.client.delete(keys.at(f"r:{bad.id}"))
        keys.client.zadd(keys.at("y:default"), {"rubbish": 0, "~~:": 0})
        assert names(await claim(keys.store)) == [good.id]
        assert said(caplog, f"run {bad.id} stands in a queue, and nothing is kept of it") == 1
        assert keys.client.zcard(keys.at("y:default")) == 0


@pytest.mark.parametrize("name", ["nodes", "names", "came", "owners", "o:", "st:", "epoch", "serving"])
async def test_a_node_goes_on_when_what_is_known_of_it_is_of_another_kind(server: Valkey, name: str) -> None:
    async with opened(server, lease="3s") as keys:
        await keys.store.submit([a_run()])
        (running,) = await claim(keys.store)
        key = keys.at(f"{name}{keys.store._id}" if name.endswith(":") else name)
        keys.client.delete(key)
        keys.client.rpush(key, "rubbish")
        async with asyncio.timeout(60):
            await keys.store.submit([run := a_run()])
            while not (claimed := await claim(keys.store)):  # it may have to come anew
                await asyncio.sleep(0.05)
            found = names(claimed)
            while run.id not in found:
                found += names(await claim(keys.store))
                await asyncio.sleep(0.05)
            while keys.client.type(keys.at("nodes")) != "zset":
                await asyncio.sleep(0.05)
        assert set(found) <= {run.id, running.id}


@pytest.mark.parametrize("zset", ["kwake", "klast", "kfade", "kdelayed", "lapses", "delayed"])
@pytest.mark.parametrize("score", [float("-inf"), float("inf"), 1.5, 4e15])
async def test_what_time_brings_of_nothing_is_looked_at_once(server: Valkey, zset: str, score: float) -> None:
    async with opened(server) as keys:
        await keys.store.submit([a_run(due_us=FAR_US), waiting := a_run()])
        keys.client.zadd(keys.at(zset), {"nobody": score, waiting.id: score})
        assert names(await claim(keys.store)) == [waiting.id]
        calls = keys.client.info("commandstats")["cmdstat_evalsha"]["calls"]
        await keys.store.cycle([], 10)
        assert keys.client.info("commandstats")["cmdstat_evalsha"]["calls"] - calls <= 3


COUNTERS = ("seq", "eseq", "edits", "versions", "count")
KEYS = [
    *COUNTERS,
    *("queues", "busy", "owners", "due", "ed", "delayed", "kdelayed"),
    *("lapses", "kwake", "klast", "kfade", "fired", "a", "ended", "told", "parked", "y:default", "l:t", "e:t", "a:t"),
    *("k:k", "h:k", "q:k", "names", "came", "said", "rosters", "until", "serving", "asked", "standing", "idem"),
    "aside",
    "stages",
]  # fmt: skip


@pytest.mark.parametrize("kind", sorted(KINDS) if LONG else ["mixed"])
async def test_a_key_of_another_kind_is_set_aside_and_holds_nobody_up(
    server: Valkey, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All that a node does works though each key that it uses is of another kind, one after another."""
    for name in KEYS:
        async with opened(server) as keys:
            standing = await keys.store.put_task(declared(history_limit=5))
            keys.client.delete(keys.at(name))
            KINDS[kind if LONG else "hash" if name in COUNTERS else "string"](keys.client, keys.at(name))
            await all_that_a_node_does(keys, standing, name)
            assert said(caplog, f": {name} holds what this library did not write") <= 1, name


async def all_that_a_node_does(keys: Keys, standing: Standing, name: str) -> None:
    store = keys.store
    await store.fire([order(standing, runs=[fired := a_run()])])
    await store.submit([first := a_run(), keyed := keyed_run(limit=1, once_key="x")])
    await keys.walk()
    claimed = await claim(store)
    assert sorted(names(claimed)) == sorted([fired.id, first.id, keyed.id]), name
    acks = [await ack_of(store, run, DONE) for run in claimed]
    assert (await store.cycle(acks, 0)).accepted == acks, name
    await store.followers(None)
    await store.prune({}, None)
    await store.tasks()
    await store.due(5)
    assert len(await ids(store, status={RunStatus.SUCCESS})) == 3, name
    assert (await where(store, "t")).task == "t"
    await keys.walk()
    assert await keys.walk() == 0, name
