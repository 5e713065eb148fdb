"""Nodes that do everything at once at one PostgreSQL schema: nothing is lost, done twice, or held up for ever."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from asyncsched.clock import SystemClock
from asyncsched.graph import Tally
from asyncsched.limits import Idempotency, Rate, Unique
from asyncsched.retry import NO_RETRY, Retry
from asyncsched.run import HandedBack, Outcome, Raised, Run, RunStatus, Succeeded
from asyncsched.stores import Decision, FireOrder, Met, RunFilter
from asyncsched.stores._postgres.rescue import leave
from asyncsched.stores.postgres import PostgresStore
from asyncsched.testing.store_contract._making import a_run, ack_of, declared, needing, where
from contract.postgres_bench import server

NODES = 4


@pytest.fixture
async def nodes() -> AsyncIterator[list[PostgresStore]]:
    schema = f"together_{time.monotonic_ns()}"
    async with AsyncExitStack() as stack:
        found = []
        for number in range(NODES):
            store = PostgresStore(server().url(), schema=schema)
            await store.open(f"n{number}", SystemClock())
            stack.push_async_callback(store.close)
            found.append(store)
        yield found
    server().sql(f"DROP SCHEMA {schema} CASCADE")


def made(chance: random.Random, now_us: int) -> list[Run[Any]]:
    """Runs as people submit them: alone, with limits, as one of several, as a graph."""
    key = f"t/{chance.randrange(2)}"
    match chance.choice((0, 1, 1, 1, 2, 3, 4, 5)):
        case 0:
            return [a_run(due_us=now_us + chance.randrange(20_000))]
        case 1:
            return [a_run(due_us=now_us, limit_key=key, limit=2) for _ in range(3)]
        case 2:
            return [a_run(due_us=now_us, limit_key=f"{key}r", limit=None, rate=Rate(5, 50_000))]
        case 3:
            return [a_run(due_us=now_us, once=Unique(), once_key=f"t~{chance.randrange(3)}", limit_key=key, limit=2)]
        case 4:
            given = Idempotency(f"t/i{chance.randrange(9)}", 60_000_000)
            return [a_run(due_us=now_us, idempotency=given)]
        case _:
            top = needing("top")
            return [top, needing("low", top), needing("low", top)]


async def live(
    store: PostgresStore,
    seed: int,
    running: Counter[str],
    most: Counter[str],
    done: Counter[str],
    stands: set[str],
) -> None:
    """Do what nodes do, for some rounds, and then what is left."""
    chance = random.Random(seed)
    quiet = 0
    for number in range(2_000):
        now_us = await store.now_us()
        if number < 40:
            stands.update(run.id for run in await store.submit(made(chance, now_us)))
        cycled = await store.cycle([], 5)
        for run in cycled.claimed:
            if run.terms.limit_key is not None and run.terms.limit is not None:
                running[run.terms.limit_key] += 1
                most[run.terms.limit_key] = max(most[run.terms.limit_key], running[run.terms.limit_key])
        await asyncio.sleep(chance.random() / 200)
        acks = []
        for run in cycled.claimed:
            outcome: Outcome = chance.choice([Succeeded(1), Succeeded(2), Raised(ValueError()), HandedBack()])
            if run.terms.limit_key is not None and run.terms.limit is not None:
                running[run.terms.limit_key] -= 1
            acks.append(await ack_of(store, run, outcome, Retry(attempts=2) if chance.random() < 0.5 else NO_RETRY))
        if number < 40 and chance.random() < 0.3:
            waiting = await store.runs(RunFilter(status={RunStatus.PENDING}, limit=5))
            await store.cancel([run.id for run in waiting], "by hand")
        for ack in (await store.cycle(acks, 0)).accepted:
            done[ack.run.id] += ack.settled.status is not RunStatus.PENDING
        followers = await store.followers(None)
        await store.settle([Decision(one.run, one.token, None) for one in followers])
        busy = cycled.claimed or followers
        quiet = 0 if busy or number < 40 else quiet + 1
        if quiet > 20 and not await store.runs(RunFilter(status={RunStatus.PENDING, RunStatus.RUNNING}, limit=1)):
            return
    raise AssertionError("something waits for ever")


@pytest.mark.full_speed
async def test_whatever_they_do_at_once_limits_hold_and_every_run_ends_once(nodes: list[PostgresStore]) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    done: Counter[str] = Counter()
    stands: set[str] = set()
    for task in ("t", "top", "low"):
        await nodes[0].put_task(declared(task, next_us=None, history_limit=100_000))
    await asyncio.gather(*(live(store, seed, running, most, done, stands) for seed, store in enumerate(nodes)))
    assert set(done.values()) <= {0, 1}
    assert set(most.values()) <= {1, 2}
    schema = nodes[0]._address.schema
    left = server().sql(
        f"SELECT (SELECT count(*) FROM {schema}.runs), (SELECT count(*) FROM {schema}.needs), "
        f"(SELECT count(*) FROM {schema}.history)"
    )
    live_runs, needs, ended = map(int, left.split("|"))
    assert (live_runs, needs) == (0, 0)
    assert ended == len(stands) >= sum(done.values())


def deadlocks() -> int:
    """How many there have been at the server, in whichever test."""
    return int(server().sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))


@pytest.mark.full_speed
async def test_of_nodes_that_race_for_fires_one_wins_each_and_none_is_missed(nodes: list[PostgresStore]) -> None:
    now_us, before = await nodes[0].now_us(), deadlocks()
    tasks = [f"t{number}" for number in range(20)]
    for store in nodes:
        await store.reconcile([declared(task, next_us=now_us - 1_000_000) for task in tasks])
    step_us, rounds = 1_000, 30
    won: Counter[tuple[str, int]] = Counter()

    async def race(store: PostgresStore, seed: int) -> None:
        chance = random.Random(seed)
        while standings := [
            one for one in await store.standings(tasks) if (one.next_us or 0) < now_us - 1_000_000 + rounds * step_us
        ]:
            chance.shuffle(standings)
            orders = [
                FireOrder(one.task, one.version, one.next_us, (one.next_us or 0) + step_us, [a_run(one.task)], [])
                for one in standings
            ]
            await asyncio.sleep(chance.random() / 100)  # what was read may be stale by now
            at = {order.task: order.was_us for order in orders}
            for task in await store.fire(orders):
                won[task, at[task] or 0] += 1

    await asyncio.gather(*(race(store, seed) for seed, store in enumerate(nodes)))
    assert set(won.values()) == {1}
    assert len(won) == len(tasks) * rounds
    schema = nodes[0]._address.schema
    assert int(server().sql(f"SELECT count(*) FROM {schema}.runs")) == len(won)
    assert deadlocks() == before


# -- one moment between two statements of two nodes, made to last


@pytest.fixture
async def admin() -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server().url())
    yield connection
    await connection.close()


async def waiting_for_locks(count: int = 1) -> None:
    """Return once so many statements wait for somebody else's transaction."""
    async with asyncio.timeout(10):
        while int(server().sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")) < count:
            await asyncio.sleep(0.01)


async def test_a_fire_that_does_not_see_who_was_let_go_meanwhile_loses(
    nodes: list[PostgresStore], admin: asyncpg.Connection
) -> None:
    store, other = nodes[:2]
    schema = store._address.schema
    await store.put_task(declared(next_us=1))
    top = needing("top")
    low = needing("t", top)
    await store.submit([top, low])
    (claimed,) = (await store.cycle([], 10)).claimed
    await store.cycle([await ack_of(store, claimed, Succeeded(None))], 0)
    standing = await where(store)
    # The clock of one session stands still from when its statement has begun until the lock is given back.
    await admin.execute(
        f"SELECT pg_advisory_lock(42); CREATE OR REPLACE FUNCTION {schema}.now_us() RETURNS bigint LANGUAGE plpgsql AS "
        "$$ BEGIN IF current_setting('application_name') = 'slow' THEN "
        "PERFORM pg_advisory_xact_lock_shared(42); END IF; "
        "RETURN extract(epoch FROM clock_timestamp()) * 1000000; END $$"
    )
    slow = PostgresStore(server().url(), schema=schema, connections=1)
    await slow.open("slow", SystemClock())
    await slow._read(lambda db: db.execute("SET application_name = 'slow'"))
    met = Met(0, 1)
    fire = asyncio.ensure_future(slow.fire([FireOrder("t", standing.version, 1, None, [a_run()], [], 0, met)]))
    await waiting_for_locks()
    assert len(await other.settle([Decision(low, low.token, None, None, met)])) == 1
    await admin.execute("SELECT pg_advisory_unlock(42)")
    assert await fire == set()
    await slow.close()


async def test_who_comes_to_need_a_run_that_is_just_ending_hears_how_it_ended(
    nodes: list[PostgresStore], admin: asyncpg.Connection
) -> None:
    store, schema = nodes[0], nodes[0]._address.schema
    (top,) = await store.submit([a_run("top")])
    ending = admin.transaction()
    await ending.start()
    await admin.execute(
        f"INSERT INTO {schema}.history (id, task, created_at, due_at, stands_for, status, attempt, token, queue) "
        f"SELECT id, task, created_at, due_at, stands_for, 'SUCCESS', 1, 2, queue FROM {schema}.runs; "
        f"DELETE FROM {schema}.runs"
    )
    low = needing("low", top)
    coming = asyncio.ensure_future(store.submit([low]))
    await waiting_for_locks()
    await ending.commit()
    assert await coming == [low]
    (follower,) = await store.followers(None)
    assert (follower.run, follower.tally) == (low, Tally(succeeded=1))


async def test_a_run_that_somebody_has_just_come_to_need_tells_how_it_ends(
    nodes: list[PostgresStore], admin: asyncpg.Connection
) -> None:
    store, other = nodes[:2]
    (top,) = await store.submit([a_run("top")])
    (claimed,) = (await other.cycle([], 10)).claimed
    holding = admin.transaction()
    await holding.start()
    await admin.execute(f"SELECT 1 FROM {store._address.schema}.runs FOR UPDATE")
    coming = asyncio.ensure_future(store.submit([low := needing("low", top)]))
    await waiting_for_locks()
    ending = asyncio.ensure_future(other.cycle([await ack_of(other, claimed, Succeeded(1))], 0))
    await waiting_for_locks(2)
    await holding.commit()
    assert await coming == [low]
    assert [ack.run for ack in (await ending).accepted] == [claimed]
    (follower,) = await store.followers(None)
    assert (follower.run, follower.tally) == (low, Tally(succeeded=1))


async def test_what_a_node_claims_while_it_is_taken_for_dead_is_handed_back(
    nodes: list[PostgresStore], admin: asyncpg.Connection
) -> None:
    store, other = nodes[:2]
    schema = store._address.schema
    await store.submit([run := a_run()])
    claiming = admin.transaction()
    await claiming.start()
    await admin.execute(
        f"SELECT 1 FROM {schema}.nodes WHERE id = '{store._id}' FOR KEY SHARE; UPDATE {schema}.runs SET state = 1, "
        f"status = 'RUNNING', owner = '{store._id}', node = 'n0', token = 1, attempt = 1"
    )
    assert store._pulse is not None
    await admin.execute("SELECT 1")
    rescuing = asyncio.ensure_future(other._write(lambda db: leave(db, store._id)))
    await waiting_for_locks()
    await claiming.commit()
    await rescuing
    found = await other.run(run.id)
    assert found is not None
    assert (found.status, found.token) == (RunStatus.PENDING, 2)
