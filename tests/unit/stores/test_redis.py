"""The Redis store as a place: what it refuses, what a server that forgets does, and what several nodes do at once."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from asyncsched import Scheduler
from asyncsched.clock import SystemClock
from asyncsched.errors import ConfigError, MisuseError, StoreError
from asyncsched.run import RunStatus, Terms
from asyncsched.stores._redis.link import sync_client
from asyncsched.stores.redis import RedisStore, store_at
from asyncsched.testing.store_contract._making import a_run, claim, declared, end, finish, names
from servers import Valkey, valkey

PATIENCE_S = 20
_numbers = count()


@pytest.fixture
def namespace() -> str:
    return f"unit-{next(_numbers)}"


@asynccontextmanager
async def opened(server: Valkey, namespace: str, node: str = "n", **options: Any) -> AsyncIterator[RedisStore]:
    store = RedisStore(server.url(), namespace=namespace, allow_volatile=True, **options)
    await store.open(node, SystemClock())
    try:
        yield store
    finally:
        await store.close()


async def until(check: Callable[[], object]) -> None:
    """Return once it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not check():
            await asyncio.sleep(0.02)


# -- what it is given


def test_a_url_says_all_that_the_store_may_be_told() -> None:
    store = store_at(
        "redis://user:secret@host:6380/2?namespace=app&lease=5s&volatile=allow&max_value_size=9&protocol=2"
    )
    assert store._address.url == "redis://user:secret@host:6380/2?protocol=2"
    assert (store._address.prefix, store._address.volatile, store._lease_us) == ("{app}:", True, 5_000_000)
    assert store._known.value_limit == 9
    assert store_at("unix:///run/redis.sock?db=1&volatile=allow")._address.url == "unix:///run/redis.sock?db=1"


def test_nobody_is_shown_a_password() -> None:
    assert str(store_at("redis://user:secret@host:6380/2")) == "redis://host:6380/2 (asyncsched)"
    assert str(store_at("unix:///run/redis.sock?db=3")) == "unix:///run/redis.sock (asyncsched)"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("redis://host?namespace=a{b}", "namespace="),
        ("redis://host?namespace=", "namespace="),
        ("redis://host?volatile=yes", "volatile="),
        ("redis://host?max_value_size=many", "max_value_size="),
        ("redis://host?max_value_size=0", "max_value_size="),
        ("redis://host?lease=1s", "lease="),
        ("redis://host?lease=soon", "lease="),
        ("http://host", "url="),
    ],
)
def test_what_cannot_be_is_refused(url: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        store_at(url)


@pytest.mark.parametrize("query", ["db=many", "color=red"])
async def test_an_option_that_the_client_does_not_have_is_told_of(server: Valkey, query: str) -> None:
    store = store_at(f"{server.url().partition('?')[0]}?volatile=allow&{query}")
    with pytest.raises(ConfigError, match="url of unix://"):
        await store.open("n", SystemClock())


def test_a_scheduler_takes_its_url() -> None:
    assert str(Scheduler("unix:///run/redis.sock?namespace=app")._store) == "unix:///run/redis.sock (app)"


async def test_a_store_that_is_not_open_says_so() -> None:
    with pytest.raises(MisuseError, match="enter the scheduler first"):
        await RedisStore("redis://localhost").submit([a_run()])


async def test_a_server_that_is_not_there_is_told_of() -> None:
    store = RedisStore("unix:///nowhere/socket")
    with pytest.raises(StoreError, match="see whether the server runs there"):
        await store.open("n", SystemClock())


# -- servers that forget


async def test_it_may_be_left_at_once_again_and_again(server: Valkey, namespace: str) -> None:
    """Whoever listens for hints is still connecting then, and the client swallows a cancellation now and then."""
    for _ in range(20):
        async with asyncio.timeout(60), opened(server, namespace):
            pass


async def test_a_server_that_writes_no_log_is_refused_unless_that_is_allowed(server: Valkey, namespace: str) -> None:
    with pytest.raises(StoreError, match="set 'appendonly yes', or say allow_volatile=True"):
        await RedisStore(server.url(), namespace=namespace).open("n", SystemClock())
    async with opened(server, namespace) as store:
        assert await store.now_us() > 0


async def test_a_server_that_throws_keys_away_is_refused_and_one_that_keeps_all_is_taken(namespace: str) -> None:
    with valkey("--appendonly", "yes", "--save", "", "--maxmemory-policy", "allkeys-lru") as server:
        store = RedisStore(server.url(), namespace=namespace)
        with pytest.raises(StoreError, match="maxmemory-policy noeviction"):
            await store.open("n", SystemClock())
        client = sync_client(store._address)
        client.config_set("maxmemory-policy", "noeviction")
        client.close()
        await store.open("n", SystemClock())
        await store.close()


async def test_what_was_answered_is_there_when_the_server_was_killed(namespace: str) -> None:
    with valkey("--appendonly", "yes", "--save", "") as server:
        async with opened(server, namespace) as store:
            runs = await store.submit([a_run() for _ in range(10)])
            running = await claim(store, 4)
            server.stop(signal.SIGKILL)
            with pytest.raises(StoreError):
                await store.submit([a_run()])
            server.start()
            await _again(store)
            await finish(store, running)
            rest = await claim(store)
            assert {*names(running), *names(rest)} == set(names(runs))


async def _again(store: RedisStore) -> None:
    """Ask until the connections of before are gone."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await store.now_us()
                return
            except StoreError:
                await asyncio.sleep(0.05)


async def test_a_server_that_has_gone_back_is_told_of_and_the_node_comes_anew(
    namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    with valkey() as server:
        async with opened(server, namespace) as store:
            await store.submit([a_run()])
            before = store._id
            server.stop(signal.SIGKILL)
            server.start()
            with caplog.at_level(logging.ERROR):
                await until(lambda: "has forgotten what it had acknowledged" in caplog.text)
            await until(lambda: store._id != before and not store._entering)
            await _again(store)
            (run,) = await store.submit([a_run()])
            assert names(await _claimed(store)) == [run.id]


# -- nodes


async def test_a_node_whose_lease_was_taken_away_comes_anew_and_its_ends_do_not_count(
    server: Valkey, namespace: str
) -> None:
    async with opened(server, namespace, "a") as store, opened(server, namespace, "b") as other:
        await store.submit([a_run(name="r")])
        (run,) = await claim(store)
        token = run.token
        client = sync_client(store._address)
        client.zadd(f"{store._address.prefix}nodes", {store._id: 1})
        client.close()
        other._sweep()
        pulse = store._pulse
        assert pulse is not None
        (again,) = await _claimed(other)
        pulse.renew()
        async with asyncio.timeout(PATIENCE_S):
            while (notice := (await store.cycle([], 0)).notice) is None:
                await asyncio.sleep(0.02)
        assert [lost.id for lost in notice.lost or ()] == ["r"]
        assert again.token > token
        await end(other, again)


async def _claimed(store: RedisStore) -> list[Any]:
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await claim(store)):
            await asyncio.sleep(0.02)
    return found


async def test_a_lease_is_renewed_while_the_loop_is_blocked(server: Valkey, namespace: str) -> None:
    async with opened(server, namespace, lease=timedelta(seconds=3)) as store:
        client = sync_client(store._address)
        (before,) = [score for _node, score in client.zrange(f"{store._address.prefix}nodes", 0, -1, withscores=True)]
        time.sleep(1.2)
        (after,) = [score for _node, score in client.zrange(f"{store._address.prefix}nodes", 0, -1, withscores=True)]
        client.close()
        assert after - before > 500_000


async def test_a_limit_holds_where_many_submit_and_end_at_once(server: Valkey, namespace: str) -> None:
    async with opened(server, namespace, "a") as one, opened(server, namespace, "b") as two:
        nodes = [one, two]
        terms = Terms(limit_key="k", limit=2)

        async def submit(number: int) -> None:
            run = a_run()
            run.terms = terms
            await nodes[number % 2].submit([run])

        await asyncio.gather(*map(submit, range(20)))
        done = 0
        while done < 20:
            claimed = [run for found in await asyncio.gather(*(claim(node) for node in nodes)) for run in found]
            assert 0 < len(claimed) <= 2
            for run in claimed:
                await finish(one if run.node == "a" else two, [run])
            done += len(claimed)
        client = sync_client(one._address)
        assert client.keys(f"{one._address.prefix}[kqh]:*") == []  # nothing is kept of a key that nobody uses
        client.close()


async def test_what_may_have_been_claimed_without_an_answer_is_handed_back(server: Valkey, namespace: str) -> None:
    async with opened(server, namespace) as store:
        await store.submit([a_run(name="r")])
        assert names(await claim(store)) == ["r"]
        store._known.here.clear()  # as where the answer was lost
        store._unsure = True
        (run,) = await claim(store)
        assert (run.id, run.status) == ("r", RunStatus.RUNNING)


async def test_tasks_are_forgotten_whole(server: Valkey, namespace: str) -> None:
    async with opened(server, namespace) as store:
        await store.put_task(declared("t", history_limit=0))
        await store.submit([a_run("t")])
        await finish(store, await claim(store))
        await store.drop_task("t")
        client = sync_client(store._address)
        left = {
            key.removeprefix(store._address.prefix).partition(":")[0] for key in client.keys("{" + namespace + "}:*")
        }
        client.close()
    assert left & {"t", "l", "e", "a", "r", "ms", "mt"} == set()
