"""A Valkey primary is lost and a replica takes over (F20): nodes follow, and say so if anything acknowledged is gone.

The long form does each of these ten times.
"""

from __future__ import annotations

import asyncio
import contextlib
import random as chances
import signal
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from asyncsched import Registry, Run, Scheduler
from asyncsched.errors import ConfigError, StoreError
from asyncsched.events import StoreRolledBack
from asyncsched.stores._redis.primary import Seen, forgotten
from asyncsched.stores.redis import store_at

from .crew import LONG, SEED, seeded
from .replicas import Watched, cluster, free_port, listening, watched

PATIENCE_S = 60
TIMES = 10 if LONG else 1


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not check():
            await asyncio.sleep(0.02)


class Program:
    """A scheduler with a task that fires all the time, and one of which runs are submitted that stay."""

    def __init__(self, url: str) -> None:
        self.fires = 0
        self.kept: list[Run[None]] = []
        registry = Registry()
        self.scheduler = Scheduler(url, registry=registry)
        self.told: list[StoreRolledBack] = []
        self.scheduler.events.on([StoreRolledBack], self.told.append)

        @registry.every("100ms", id="tick", overlap="allow")
        async def tick() -> None:
            self.fires += 1

        @registry.task(id="later")
        async def later() -> None: ...

        @registry.task(id="now")
        async def now(number: int) -> int:
            return number

        self.later, self.now = later, now

    async def submit_on(self) -> None:
        while True:
            try:
                self.kept.append(await self.later.using(delay="1h").submit())
            except StoreError:
                await asyncio.sleep(0.05)

    async def goes_on(self) -> None:
        """Return when it fires and runs as before."""
        before = self.fires
        await until(lambda: self.fires > before + 3)
        async with asyncio.timeout(PATIENCE_S):
            for number in range(1_000):
                try:
                    assert await (await self.now.submit(number)) == number
                except StoreError:
                    await asyncio.sleep(0.1)
                else:
                    return


def lost_of(program: Program, client: Any) -> int:
    """How many of the acknowledged runs are not at this server."""
    with client, client.pipeline(transaction=False) as pipeline:
        for run in program.kept:
            pipeline.exists(f"{{asyncsched}}:r:{run.id}")
        return pipeline.execute().count(0)


async def depose(there: Watched) -> None:
    """Let the replica take over from a primary that goes on answering until it hears of that."""
    async with asyncio.timeout(PATIENCE_S):
        while there.sentinel.primary() != there.ports[1]:
            with contextlib.suppress(redis.ResponseError):  # one is under way, or the replica was not heard of lately
                await asyncio.to_thread(there.sentinel.client().execute_command, "SENTINEL FAILOVER", "shop")
            for _ in range(100):
                if there.sentinel.primary() != there.ports[1]:
                    await asyncio.sleep(0.1)


async def fail_over(there: Watched, random: chances.Random, how: str) -> tuple[int, int, int]:
    """How many submits were acknowledged, how many of them were lost, and how often that was told."""
    one, other = Program(there.url()), Program(there.url())
    async with one.scheduler, other.scheduler:
        await one.goes_on()
        submitting = asyncio.create_task(one.submit_on())
        await asyncio.sleep(random.uniform(0.1, 0.5))
        if how != "killed":
            there.between.hold()
            before = len(one.kept)
            await asyncio.sleep(random.uniform(0.02, 0.5))
            await until(lambda: len(one.kept) > before + 3)  # that of which the replica does not hear
        if how == "deposed":
            await depose(there)
        else:
            there.pair[0].stop(signal.SIGKILL)
        await until(lambda: there.sentinel.primary() == there.ports[1])
        await until(lambda: there.client(1).info("replication")["role"] == "master")
        there.between.cut()
        await one.goes_on()
        await other.goes_on()
        submitting.cancel()
        lost = lost_of(one, there.client(1))
        if lost:
            await until(lambda: one.told and other.told) if how == "held" else await until(lambda: one.told)
            await one.goes_on()
        return len(one.kept), lost, len(one.told)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["killed", "held", "deposed"] if LONG else ["held"])
async def test_nodes_follow_where_sentinel_points_and_any_loss_is_told_of(how: str) -> None:
    random, losses = seeded(f"sentinel {how}"), 0
    for number in range(TIMES):
        with watched() as there:
            kept, lost, told = await fail_over(there, random, how)
        print(f"seed {SEED}, {how} {number}: {kept} acknowledged, {lost} of them lost, told {told} times")
        assert kept > 0
        assert (told == 1) if lost else (told <= 1)
        losses += lost > 0
    assert losses == TIMES or how == "killed"  # what lags behind does lose something


def test_what_had_happened_at_the_primary_before_is_compared_with_where_the_next_one_began() -> None:
    assert not forgotten(["one 0", "two 100"], 500, {"one": 100, "two": 500})
    assert forgotten(["one 0", "two 100"], 500, {"one": 101})
    assert forgotten(["one 0", "two 100"], 500, {"two": 501})
    assert forgotten(["one 0"], 500, {"two": 1})
    assert not forgotten(["one 0", "two ?"], 500, {"one": 101})
    assert forgotten([], 0, {"one": 0})
    seen = Seen()
    seen.seated("one", 3)
    seen.counted(7)
    seen.seated("two", 5)
    known = seen.known()
    assert known == {"one": 7, "two": 5}
    seen.compared(known)
    assert seen.known() == {"two": 5}
    seen.counted(4)
    assert seen.less
    seen.forget()
    assert (seen.known(), seen.less) == ({}, False)
    seen.seated("three", 1)
    assert seen.known() == {"three": 1}


async def test_a_replica_is_refused_and_a_primary_that_becomes_one_is_told_of_until_it_is_primary_again() -> None:
    with listening(first := free_port()), listening(free_port(), "--replicaof", f"127.0.0.1 {first}") as second:
        with pytest.raises(StoreError, match="it is a replica, which only reads: name the primary"):
            async with Scheduler(f"{second.url()}&volatile=allow", registry=Registry()):
                pass
        program = Program(f"{second.url()}&volatile=allow&lease=3s")
        with redis.Redis(unix_socket_path=str(second.folder / "socket")) as there:
            there.execute_command("REPLICAOF NO ONE")
            async with program.scheduler:
                await program.goes_on()
                there.execute_command("REPLICAOF", "127.0.0.1", first)
                await until(lambda: there.info("replication")["master_link_status"] == "up")
                with pytest.raises(StoreError, match="it is a replica"):
                    await program.now.submit(1)
                there.execute_command("REPLICAOF NO ONE")
                await program.goes_on()
                await until(lambda: program.told)  # it has come to have what the other one had: nothing
                assert [event.times for event in program.told] == [1]


# -- a cluster


if LONG:

    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("how", ["killed", "asked"])
    async def test_in_a_cluster_the_keys_are_found_and_followed_to_the_replica_that_takes_over(how: str) -> None:
        with cluster(3) as there:
            name = next(f"place-{number}" for number in range(100) if key_slot(f"place-{number}".encode()) > 11_000)
            query = f"volatile=allow&lease=3s&namespace={name}"
            with pytest.raises(StoreError, match=r"one node of a cluster, .* name some of its nodes"):
                async with Scheduler(f"redis://127.0.0.1:{there.ports[0]}/0?{query}", registry=Registry()):
                    pass
            hosts = ",".join(f"127.0.0.1:{port}" for port in there.ports)
            program = Program(f"redis+cluster://{hosts}/?{query}")
            async with program.scheduler:
                await program.goes_on()
                if how == "killed":  # the others elect
                    there.servers[-2].stop(signal.SIGKILL)
                else:
                    there.client(-1).execute_command("CLUSTER FAILOVER")
                await until(lambda: there.client(-1).info("replication")["role"] == "master")
                await program.goes_on()
                print(f"cluster: told {len(program.told)} times")
                assert len(program.told) <= (how == "killed")


# -- addresses


def test_a_url_names_who_is_asked_for_the_primary() -> None:
    there = store_at("redis+sentinel://me:it@one,two:26380,[::1]:9/shop/2?sentinel_password=other&lease=5s")._address
    assert (there.asked, there.service) == ((("one", 26_379), ("two", 26_380), ("::1", 9)), "shop")
    assert there.url == "redis://me:it@one/2"
    assert there.secrets == (None, "other")
    assert str(there) == "redis+sentinel://one:26379,two:26380,[::1]:9/shop (asyncsched)"
    clustered = store_at("rediss+cluster://one,two:7000/?ssl_ca_certs=/ca.pem&namespace=app")._address
    assert (clustered.asked, clustered.service) == ((("one", 6_379), ("two", 7_000)), "")
    assert clustered.url == "rediss://one/?ssl_ca_certs=%2Fca.pem"
    assert str(clustered) == "rediss+cluster://one:6379,two:7000 (app)"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("redis+sentinel://one,two", "by its name"),
        ("redis+sentinel://one,/shop", "is no host"),
        ("redis+sentinel://one:many/shop", "is no host"),
        ("redis+sentinel://one/shop/first", "is no number"),
        ("redis+cluster://one/3", "only the database 0"),
        ("redis+group://one", "give 'redis://"),
        ("unix+sentinel:///run/redis.sock", "give 'redis://"),
    ],
)
def test_an_address_that_names_nobody_to_ask_is_refused(url: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        store_at(url)


async def test_where_no_sentinel_knows_the_service_that_is_said() -> None:
    with listening(port := free_port()):
        url = f"redis+sentinel://127.0.0.1:{port},127.0.0.1:1/shop/0?volatile=allow"
        with pytest.raises(StoreError, match="nobody says where the primary of 'shop' is"):
            async with Scheduler(url, registry=Registry()):
                pass
