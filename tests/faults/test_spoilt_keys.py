"""Anything at any key of a Redis store: two nodes go on, nothing is lost without a word, and nobody is busy with it.

``test_poisoned_servers.py`` spoils the fields of runs and limits; here it is any key: taken away, of another kind,
without a member or with one more, with another score.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import redis

from addresses import new_url, valkey_server
from asyncsched import Registry, Scheduler, result_of
from asyncsched.clock import SystemClock
from asyncsched.run import Run

LONG = os.environ.get("ASYNCSCHED_FAULTS") == "long"
ROUNDS = 60 if LONG else 1
AT_ONCE = 5
PATIENCE_S = 120
# A node that has nothing to do looks once a second, and renews its lease; one that spins asks hundreds of times.
IDLE_CALLS_A_SECOND = 15
RUBBISH: list[bytes] = [
    *(b"", b"nonsense", b"null", b"[]", b"{}", b"\xff\xfe", b"-1", b"0", b"1", b"5", b"9", b"1.5", b"inf", b"nan"),
    *(str(2**53).encode(), str(2**62).encode(), b"RUNNING", b'["SUCCESS",null]', b'{"needs": [[]]}'),
]  # fmt: skip
SCORES = [float("inf"), float("-inf"), -5.0, 0.0, 1.5, 2.0**62]
KINDS = (b"string", b"hash", b"zset", b"set", b"list")


def registry() -> Registry:
    registry = Registry()

    @registry.task(id="healthy", history_limit=1_000)
    async def healthy(number: int) -> int:
        return number

    @registry.task(id="poor", key="number", max_running=1, rate="1000/1s")
    async def poor(number: int, before: int = 0) -> int:
        return number

    @registry.task(id="narrow", max_running=1)
    async def narrow(number: int) -> int:
        return number

    @registry.task(id="bounded", expires="1h")
    async def bounded(number: int) -> int:
        return number

    @registry.every("1h", id="hourly")
    async def hourly() -> None: ...

    @registry.after(hourly, id="below")
    async def below(_: None = result_of(hourly)) -> None: ...

    @registry.after(hourly, below, id="both")
    async def both() -> None: ...

    return registry


async def filled(url: str) -> None:
    """Something of each kind: ended runs, waiting ones, limits, rates, keys for submits, and a flow under way."""
    tasks = registry()
    async with Scheduler(url, registry=tasks) as scheduler:
        await scheduler.tasks.run_now("hourly")
        await tasks["poor"].using(unique="u", unique_for="1h").submit(0)
        await tasks["poor"].using(idempotency_key="k").submit(1)
        await tasks["healthy"].submit(1)
        await scheduler.idle()
    async with Scheduler(url, registry=tasks, queues=[]) as scheduler:
        await scheduler.tasks.run_now("hourly")
        first = await tasks["poor"].using(unique="v").submit(2)
        await tasks["poor"].using(idempotency_key="l").submit(3)
        await tasks["poor"].using(delay="1h").submit(4)
        await tasks["poor"].submit(5, before=result_of(first))
        await tasks["healthy"].using(delay="1h").submit(6)
        await tasks["healthy"].using(delay="1s").submit(7)
        await tasks["healthy"].submit(8)
        for number in range(3):
            await tasks["narrow"].submit(number)
        await tasks["bounded"].submit(1)
        await tasks["bounded"].using(delay="1h").submit(2)


def prefix_of(url: str) -> bytes:
    return b"{" + parse_qs(urlsplit(url).query)["namespace"][0].encode() + b"}:"


def spoil(client: Any, prefix: bytes, random: Random) -> tuple[object, ...]:
    """Spoil one thing somewhere; each kind of key as often. What was done."""
    kinds: dict[bytes, list[bytes]] = defaultdict(list)
    for key in sorted(client.scan_iter(prefix + b"*")):
        kinds[key.removeprefix(prefix).partition(b":")[0]].append(key)
    key = random.choice(kinds[random.choice(sorted(kinds))])
    kind, how = client.type(key), random.random()
    if how < 0.3:
        client.delete(key)
        if how > 0.12:
            other = random.choice([one for one in KINDS if one != kind])
            put(client, key, other)
            return key, "is of another kind", other
        return key, "is gone"
    match kind:
        case b"hash":
            return key, *spoil_field(client, key, random)
        case b"zset":
            return key, *spoil_member(client, key, random)
        case b"set":
            member = random.choice(sorted(client.smembers(key)))
            if random.random() < 0.5:
                client.srem(key, member)
                return key, "lacks", member
            client.sadd(key, rubbish := random.choice(RUBBISH))
            return key, "also has", rubbish
    client.set(key, rubbish := random.choice(RUBBISH))
    return key, "is", rubbish


def put(client: Any, key: bytes, kind: bytes) -> None:
    match kind:
        case b"string":
            client.set(key, "rubbish")
        case b"hash":
            client.hset(key, "a", "b")
        case b"zset":
            client.zadd(key, {"a": 1})
        case b"set":
            client.sadd(key, "a")
        case _:
            client.rpush(key, "a")


def spoil_field(client: Any, key: bytes, random: Random) -> tuple[object, ...]:
    field = random.choice(sorted(client.hkeys(key)))
    if random.random() < 0.25:
        client.hdel(key, field)
        return "lacks", field
    client.hset(key, field, rubbish := random.choice(RUBBISH))
    return "has in", field, rubbish


def spoil_member(client: Any, key: bytes, random: Random) -> tuple[object, ...]:
    member, score, how = random.choice(client.zrange(key, 0, -1)), random.choice(SCORES), random.random()
    if how < 0.3:
        client.zrem(key, member)
        return "lacks", member
    if how > 0.6:
        member = random.choice([*RUBBISH, member + b"x", b"0:nobody"])
    client.zadd(key, {member: score})
    return "has", member, "at", score


class Scene:
    """Spoilt copies of a filled store, with two nodes at each."""

    def __init__(self, base: str, seeds: range, tmp_path: Any) -> None:
        self.client: Any = redis.Redis.from_url(valkey_server().url())
        self.urls = [new_url("redis", tmp_path) for _ in seeds]
        self.spoilt = []
        start = prefix_of(base)
        dumped = {key.removeprefix(start): self.client.dump(key) for key in self.client.scan_iter(start + b"*")}
        for url, seed in zip(self.urls, seeds, strict=True):
            for name, value in dumped.items():
                self.client.restore(prefix_of(url) + name, 0, value)
            self.spoilt.append((seed, *spoil(self.client, prefix_of(url), Random(seed))))
        self.registries = [(registry(), registry()) for _ in seeds]
        self.schedulers: list[Scheduler] = []

    async def start(self, stack: AsyncExitStack) -> None:
        for url, pair in zip(self.urls, self.registries, strict=True):
            for tasks in pair:
                self.schedulers.append(await stack.enter_async_context(Scheduler(url, registry=tasks)))

    async def work(self) -> None:
        """What each node submits is done."""
        for pair in self.registries:
            runs = [await tasks["healthy"].submit(number) for tasks in pair for number in range(3)]
            assert [await run for run in runs] == [0, 1, 2] * 2

    async def settled(self) -> None:
        """Wait until nothing is due any more that was not put aside."""
        for what, scheduler in zip(self.spoilt, self.schedulers[::2], strict=True):
            while left := await overdue(scheduler):
                await asyncio.sleep(0.2)
                self.waits_for = what, left

    def calls(self) -> int:
        return int(self.client.info("commandstats")["cmdstat_evalsha"]["calls"])


async def overdue(scheduler: Scheduler) -> list[Run[Any]]:
    """The runs that wait though they are due, and nobody says why."""
    now_us = SystemClock().now_us()
    waiting = await scheduler.runs.list(status=["PENDING", "RUNNING"], limit=1_000)
    return [run for run in waiting if run.due_us <= now_us and run.reason is None]


class Heard(logging.Handler):
    """What the library has said."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_whatever_is_done_to_any_key_work_goes_on_and_the_trouble_is_said_once(
    tmp_path: Any, round_: int
) -> None:
    base = new_url("redis", tmp_path)
    await filled(base)
    scene = Scene(base, range(round_ * AT_ONCE, (round_ + 1) * AT_ONCE), tmp_path)
    heard = Heard()
    logging.getLogger("asyncsched.stores").addHandler(heard)
    try:
        async with asyncio.timeout(PATIENCE_S), AsyncExitStack() as stack:
            await scene.start(stack)
            await scene.work()
            await scene.settled()
            before = scene.calls()
            await asyncio.sleep(1)
            assert scene.calls() - before < 2 * AT_ONCE * IDLE_CALLS_A_SECOND, scene.spoilt
            await scene.work()
    except TimeoutError:
        pytest.fail(f"{getattr(scene, 'waits_for', None)}, {scene.spoilt}")
    finally:
        logging.getLogger("asyncsched.stores").removeHandler(heard)
        scene.client.close()
    # Each node may have met it before it was put right.
    assert max(Counter(heard.said).values(), default=0) <= 2, (scene.spoilt, heard.said)
