"""Somebody looks at the database for long while runs flow (F13): what has ended cannot be cleared away meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from statistics import median, quantiles
from typing import Any

import asyncpg
import pytest

import servers
from asyncsched import Registry, Scheduler
from asyncsched.clock import SystemClock
from asyncsched.events import CleanupHeld
from asyncsched.stores._postgres import pile, pulse, stroke, unit
from asyncsched.stores._postgres.connection import Database, connect
from asyncsched.stores.postgres import PostgresStore
from asyncsched.testing.store_contract._making import DONE, a_run, ack_of, declared, end
from contract.postgres_bench import server

PATIENCE_S = 120
LONG = os.environ.get("ASYNCSCHED_FAULTS") == "long"
HELD_S = int(os.environ.get("ASYNCSCHED_HELD_S", "600"))


@asynccontextmanager
async def looking(url: str, name: str = "report") -> AsyncIterator[Any]:
    """A transaction that still sees what there is now, left open."""
    connection = await asyncpg.connect(url, server_settings={"application_name": name})
    try:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1")
        yield connection
    finally:
        await connection.close()


async def until(fits: Callable[[], Any], told: Callable[[], object] = lambda: "") -> None:
    """Return once it does; ``told`` is said if it never does."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not fits():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it has not come to be within {PATIENCE_S} s: {told()}") from None


def write_and_delete(schema: str, rows: int) -> None:
    """Leave so many rows behind in the table of runs."""
    server().sql(
        f"INSERT INTO {schema}.runs (id, task, created_at, due_at, stands_for, status, attempt, token, queue, state, "
        f"plain, priority, arrived_at, maker) SELECT 'gone-' || n, 'gone', 0, 0, 1, 'PENDING', 0, 0, 'gone', 5, true, "
        f"0, 0, 'test' FROM generate_series(1, {rows}) AS n"
    )
    server().sql(f"DELETE FROM {schema}.runs WHERE task = 'gone'")


async def test_who_keeps_the_server_from_clearing_away_is_named_once_and_so_is_the_end_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pile, "PILE", 5_000)
    monkeypatch.setattr(pulse, "LOOK_S", 0.2)
    monkeypatch.setattr(pulse, "_SWEEP_US", 200_000)
    # A user with no more rights than a node needs is not told since when others look, but who they are.
    server().sql("CREATE ROLE clerk LOGIN; GRANT CREATE ON DATABASE postgres TO clerk")
    url = server().url().replace("postgres@", "clerk@") + "&schema=bloat"
    told: list[CleanupHeld] = []
    async with Scheduler(url, registry=Registry()) as scheduler:
        scheduler.events.on([CleanupHeld], told.append)
        async with looking(server().url()) as connection:
            write_and_delete("bloat", 5_000)
            await until(lambda: told)
            await asyncio.sleep(1)  # some more looks
            assert len(told) == 1
        server().sql("VACUUM bloat.runs")
        await until(lambda: len(told) > 1)
    assert [(one.over, one.rows) for one in told] == [(False, 5_000), (True, 0)]
    pid = connection.get_server_pid()
    assert told[0].holders == (
        f"process {pid} (report, user postgres): end its transaction, or: SELECT pg_terminate_backend({pid})",
    )


async def flow(store: PostgresStore, rounds: int) -> None:
    """Let as many hundreds of runs be submitted, claimed and ended."""
    acks: list[Any] = []
    for _ in range(rounds):
        now_us = await store.now_us()
        await store.submit([a_run(due_us=now_us) for _ in range(100)])
        claimed = (await store.cycle(acks, 100)).claimed
        assert len(claimed) == 100
        acks = [await ack_of(store, run, DONE) for run in claimed]
    assert len((await store.cycle(acks, 0)).accepted) == 100


async def blocks_of_a_claim(store: PostgresStore) -> int:
    """How many blocks the server looks at to claim ten runs."""
    now_us = await store.now_us()
    await store.submit([a_run(due_us=now_us) for _ in range(10)])
    sent, values = stroke._STATEMENTS[stroke._SUCCESSES, True, True], (store._id, "n", 10, [], "", [], [], "", True)
    if store._low_us is None:
        return await blocks_of(store, sent, *values)
    return await blocks_of(store, pile.bounded(sent, 10), *values, store._low_us)


async def blocks_of(store: PostgresStore, sent: str, *values: Any) -> int:
    """How many blocks the server looks at to carry out a statement."""
    connection = await connect(store._address, "test")
    try:
        sent = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sent}"
        ((said,),) = await Database(connection, store._address.schema).rows(sent, *values)
    finally:
        await connection.close()
    (plan,) = json.loads(said)
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


def seen(store: PostgresStore, now_us: int) -> str:
    """What is known of the pile, and what waits."""
    assert store._pulse is not None
    waiting = server().sql(f"SELECT state, count(*), min(due_at) - {now_us} FROM passed.runs GROUP BY state")
    dead = server().sql("SELECT pg_stat_get_dead_tuples('passed.runs'::regclass)")
    return f"held {store._pulse._pile.held}, from {store._low_us} instead of {now_us}, {dead} dead, {waiting}"


@pytest.mark.timeout(400)
async def test_neither_claims_nor_pruning_pass_over_all_that_was_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pile, "PILE", 1_000)
    monkeypatch.setattr(pulse, "LOOK_S", 0.2)
    monkeypatch.setattr(pulse, "_SWEEP_US", 200_000)
    monkeypatch.setattr(pulse, "_LOW_PART", 0)  # a slow machine would look seldom
    store = PostgresStore(server().url(), schema="passed")
    await store.open("n", SystemClock())
    try:
        await store.reconcile([declared(next_us=1, history_limit=10)])
        await flow(store, 1)
        few = await blocks_of_a_claim(store)
        async with looking(server().url()):
            await flow(store, 40)
            over_us = await store.now_us()
            await until(lambda: (store._low_us or 0) > over_us, lambda: seen(store, over_us))
            many = await blocks_of_a_claim(store)
            some = await blocks_of(store, unit._PRUNE, ["t"], [store._forgotten["t"]])
            whole = await blocks_of(store, unit._PRUNE, ["t"], [0])
            with monkeypatch.context() as unbounded:
                unbounded.setattr(PostgresStore, "_low_us", None)
                all_of_them = await blocks_of_a_claim(store)
        await until(lambda: store._low_us is None)
        await blocks_of_a_claim(store)  # the first one that passes over them makes up for it
        after = await blocks_of_a_claim(store)
        assert max(few, many, after) < all_of_them / 2
        assert some * 10 < whole
    finally:
        await store.close()


if LONG:  # it is about time, and about a machine that does little else

    @pytest.mark.timeout(1_500)
    async def test_claims_stay_quick_for_ten_minutes_and_are_as_before_a_minute_later() -> None:
        with servers.postgres(shared_buffers="256MB", synchronous_commit="on") as own:
            store = PostgresStore(own.url(), schema="flow")
            await store.open("n", SystemClock())
            try:
                await store.reconcile([declared(next_us=1, history_limit=10)])
                before = await paced(store, 20)
                async with looking(own.url()):
                    during = await paced(store, HELD_S)
                    left = int(own.sql("SELECT pg_stat_get_dead_tuples('flow.runs'::regclass)"))
                await paced(store, 60)
                after = await paced(store, 20)
            finally:
                await store.close()
        print(f"{left} rows left behind; a claim of 100, p50 and p99 in ms: {before}, then {during}, then {after}")
        assert left > HELD_S * 1_000
        assert during[1] < 100
        assert after[0] <= 1.5 * before[0]


async def paced(store: PostgresStore, seconds: float) -> tuple[float, float]:
    """Let 1,000 runs a second flow for so long; how many milliseconds a claim of 100 takes, p50 and p99."""
    took: list[float] = []
    acks: list[Any] = []
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    for number in range(round(seconds * 10)):
        await asyncio.sleep(began_s + number / 10 - loop.time())
        now_us = await store.now_us()
        await store.submit([a_run(due_us=now_us) for _ in range(100)])
        asked_s = loop.time()
        claimed = (await store.cycle(acks, 100)).claimed
        took.append((loop.time() - asked_s) * 1e3)
        acks = [await ack_of(store, run, DONE) for run in claimed]
    await store.cycle(acks, 0)
    return round(median(took), 1), round(quantiles(took, n=100)[-1], 1)


async def test_what_comes_late_is_claimed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pile, "PILE", 1_000)
    monkeypatch.setattr(pulse, "LOOK_S", 0.2)
    monkeypatch.setattr(pulse, "_SWEEP_US", 200_000)
    store = PostgresStore(server().url(), schema="late")
    await store.open("n", SystemClock())
    try:
        await store.reconcile([declared(next_us=1, history_limit=10)])
        async with looking(server().url()):
            write_and_delete("late", 1_000)
            await until(lambda: store._low_us)
            await store.submit([a_run(due_us=1)])
            assert not (await store.cycle([], 1)).claimed
            await until(lambda: store._low_us == 1)
            (late,) = (await store.cycle([], 1)).claimed
            await end(store, late)
    finally:
        await store.close()


async def test_what_was_left_behind_is_passed_over_once_more_when_nobody_looks_any_longer() -> None:
    store = PostgresStore(server().url(), schema="reopened")
    await store.open("n", SystemClock())
    try:
        await store.reconcile([declared(next_us=1, history_limit=10)])
        await flow(store, 1)
        before = await blocks_of_a_claim(store)
        async with looking(server().url()):
            await flow(store, 40)
            during = [await blocks_of_a_claim(store) for _ in range(2)]
        await blocks_of_a_claim(store)
        after = await blocks_of_a_claim(store)
    finally:
        await store.close()
    assert min(during) > 2 * max(before, after)
