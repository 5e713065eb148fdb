"""What a Redis server is asked does not grow with all that it keeps."""

from __future__ import annotations

from typing import Any

import redis

from asyncsched.clock import SystemClock
from asyncsched.limits import Debounce
from asyncsched.run import RunStatus
from asyncsched.stores import Decision, Met, RunFilter
from asyncsched.stores._redis.tasks import check_met
from asyncsched.stores._redis.wire import Unit
from asyncsched.stores.redis import RedisStore
from asyncsched.testing.store_contract._bench import SECOND, START_US
from asyncsched.testing.store_contract._making import DONE, a_run, ack_of, claim, ids, keyed_run, names, needing
from servers import valkey

MANY, FEW = 3_000, 150
LATER_US = 2**52


def looked_at(client: Any) -> int:
    """How many runs were ever read as a whole."""
    return calls(client, "hgetall")


def calls(client: Any, command: str) -> int:
    """How often this was done at the server."""
    return int(client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def test_the_newest_of_very_many_that_wait_are_listed_without_reading_all() -> None:
    with valkey() as server, redis.Redis.from_url(server.url()) as client:
        store = RedisStore(server.url(), allow_volatile=True)
        await store.open("n", SystemClock())
        try:
            runs = [a_run(due_us=LATER_US, created_us=number) for number in range(MANY)]
            await store.submit(runs)
            for task in (None, runs[0].task):
                before = looked_at(client)
                found = await store.runs(RunFilter(task=task, status={RunStatus.PENDING}, limit=5))
                assert names(found) == [run.id for run in runs[:-6:-1]]
                assert looked_at(client) - before <= 500
        finally:
            await store.close()


async def test_what_is_on_its_way_is_counted_without_a_look_at_all_that_waits() -> None:
    """Of those that wait for an instant, for others, or to make up for a fire, none is read."""
    with valkey() as server, redis.Redis.from_url(server.url()) as client:
        store = RedisStore(server.url(), allow_volatile=True)
        await store.open("n", SystemClock())
        try:
            await store.submit([a_run(due_us=LATER_US) for _ in range(MANY)])
            await store.submit([keyed_run(limit=1, due_us=LATER_US) for _ in range(FEW)])
            up = needing("up")
            await store.submit([up, *(needing("t", up, flow=up.id) for _ in range(FEW))])
            late = [a_run(backfill=True) for _ in range(FEW)]
            for number, run in enumerate(late):
                run.scheduled_us = number
            await store.submit(late)
            await store.submit([a_run(), keyed_run(limit=1), keyed_run(limit=1)])
            before = calls(client, "hmget")
            done = await store._server.carry_out([Unit([check_met("t", Met(3, 1_000))], [])])
            assert done.answers[0] is not None
            assert calls(client, "hmget") - before < 20
        finally:
            await store.close()


async def test_what_has_waited_for_its_instant_counts_from_then_on() -> None:
    """Also one that was moved, was blocked, or was put aside meanwhile."""
    with valkey() as server, redis.Redis.from_url(server.url(), decode_responses=True) as client:
        store = RedisStore(server.url(), allow_volatile=True)
        await store.open("n", SystemClock())
        try:

            async def counted() -> int:
                for number in range(10):
                    done = await store._server.carry_out([Unit([check_met("t", Met(number, 1_000))], [])])
                    if done.answers[0] is not None:
                        return number
                raise AssertionError("more than nine")

            def clock(us: int) -> None:
                client.set("{asyncsched}:clock", us)

            clock(START_US)
            debounce = Debounce(SECOND)
            for due_us in (START_US + 9 * SECOND, START_US + 3 * SECOND):
                await store.submit([keyed_run(key=None, once=debounce, due_us=due_us)])
            await store.submit([a_run(due_us=START_US + 5 * SECOND)])
            await store.submit([up := needing("up"), low := needing("t", up, flow=up.id)])
            assert await counted() == 0
            clock(START_US + 4 * SECOND)
            assert await counted() == 1
            clock(START_US + 5 * SECOND)
            assert await counted() == 2
            await store.cycle([await ack_of(store, run, DONE) for run in await claim(store) if run.id == up.id], 0)
            (follower,) = await store.followers([up.id])
            await store.settle([Decision(follower.run, follower.token, None)])
            assert await counted() == 3
            assert low.id in await ids(store, task="t")
        finally:
            await store.close()
