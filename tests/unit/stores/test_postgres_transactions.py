"""Transactions at the PostgreSQL store: who waits for whom, what is refused, and what becomes of a lost answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import asyncpg
import psycopg
import pytest

from addresses import Place
from asyncsched.clock import SystemClock
from asyncsched.errors import ArgumentsError, MisuseError, StoreError
from asyncsched.limits import Idempotency, Unique
from asyncsched.run import Raised, Run, RunStatus, Settled, Terms
from asyncsched.stores._postgres.run_transaction import _Work
from asyncsched.stores.postgres import PostgresStore, store_at
from asyncsched.testing.store_contract._making import a_run, ack_of, claim, finish, ids, keyed_run, new_id
from contract.postgres_bench import server

PATIENCE_S = 30


@pytest.fixture
async def store(tmp_path: Any) -> AsyncIterator[PostgresStore]:
    store = store_at(Place("postgres", tmp_path).url)
    await store.open("n", SystemClock())
    yield store
    await store.close()


@pytest.fixture
async def own() -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server().url())
    yield connection
    await connection.close()


@pytest.fixture
async def other() -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server().url())
    yield connection
    await connection.close()


async def now(store: PostgresStore, **terms: Any) -> Run[Any]:
    """A run that is due at once."""
    now_us = await store.now_us()
    return Run(new_id(), "t", now_us, now_us, terms=Terms(**terms))


async def claimed(store: PostgresStore) -> Run[Any]:
    async with asyncio.timeout(PATIENCE_S):
        while not (runs := await claim(store, 1)):
            await asyncio.sleep(0.02)
    return runs[0]


async def somebody_waits(other: asyncpg.Connection) -> None:
    """Return once a session waits for another one's lock."""
    async with asyncio.timeout(PATIENCE_S):
        while not await other.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            await asyncio.sleep(0.02)


# -- runs that are written in transactions of users


async def test_who_submits_under_a_limit_makes_nobody_wait(
    store: PostgresStore, own: asyncpg.Connection, other: asyncpg.Connection
) -> None:
    async with own.transaction():
        await store.submit_within(own, [keyed_run("open", limit=1)])
        async with other.transaction():
            await store.submit_within(other, [keyed_run("first", limit=1), keyed_run("second", limit=1)])
        run = await claimed(store)
        assert run.id in ("first", "second")
        assert await claim(store) == []  # the limit holds
        await finish(store, [run])
        assert (await claimed(store)).id == ({"first", "second"} - {run.id}).pop()
    assert sorted(await ids(store)) == ["first", "open", "second"]


async def test_where_an_earlier_run_stands_for_the_key_it_is_given_and_may_end_meanwhile(
    store: PostgresStore, own: asyncpg.Connection
) -> None:
    earlier = await now(store, once=Unique(0), once_key="k")
    await store.submit([earlier])
    await claimed(store)
    async with own.transaction():
        (stands, alone) = await store.submit_within(
            own, [await now(store, once=Unique(0), once_key="k"), await now(store)]
        )
        assert stands is earlier
        await finish(store, [earlier])  # who waits for a lock gives up after a while
    assert earlier.status is RunStatus.SUCCESS
    assert sorted(await ids(store)) == sorted([earlier.id, alone.id])


@pytest.mark.parametrize("terms", [{"once": Unique(0), "once_key": "k"}, {"idempotency": Idempotency("k", 60_000_000)}])
async def test_two_transactions_with_one_key_take_turns_and_make_one_run_while_the_loop_goes_on(
    store: PostgresStore, own: asyncpg.Connection, other: asyncpg.Connection, terms: dict[str, Any]
) -> None:
    first, second = await now(store, **terms), await now(store, **terms)
    with psycopg.connect(server().url()) as blocking:
        async with own.transaction():
            await store.submit_within(own, [first])
            waiting = asyncio.ensure_future(store.submit_within(blocking, [second]))
            await somebody_waits(other)
            assert not waiting.done()
        (stands,) = await waiting
        assert stands.id == first.id
    assert await ids(store) == [first.id]


async def test_a_key_is_free_again_where_the_transaction_with_it_was_rolled_back(
    store: PostgresStore, own: asyncpg.Connection
) -> None:
    transaction = own.transaction()
    await transaction.start()
    await store.submit_within(own, [await now(store, once=Unique(0), once_key="k")])
    await transaction.rollback()
    run = await now(store, once=Unique(0), once_key="k")
    assert await store.submit([run]) == [run]


async def test_what_cannot_be_written_leaves_the_transaction_as_it_was(
    store: PostgresStore, own: asyncpg.Connection
) -> None:
    good, bad, doubled = await now(store), await now(store), await now(store)
    bad.args = (object(),)
    both = await now(store, once=Unique(0), once_key="k", idempotency=Idempotency("k", 1))
    async with own.transaction():
        await store.submit_within(own, [doubled])
        for runs, error in (
            ([good, bad], ArgumentsError),
            ([good, both], MisuseError),
            ([good, doubled], StoreError),
        ):
            with pytest.raises(error):
                await store.submit_within(own, runs)
        assert await own.fetchval("SELECT 1") == 1
    assert await ids(store) == [doubled.id]


async def test_who_may_write_runs_and_see_nodes_may_submit(store: PostgresStore) -> None:
    schema, clerk = store._address.schema, f"clerk_of_{store._address.schema}"
    server().sql(
        f"CREATE ROLE {clerk} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {clerk}; "
        f"GRANT SELECT, INSERT ON {schema}.runs TO {clerk}; GRANT SELECT ON {schema}.nodes TO {clerk}"
    )
    own = await asyncpg.connect(server().url(), user=clerk)
    keyed = [{"once": Unique(0), "once_key": "k"}, {"idempotency": Idempotency("k", 1_000_000)}]
    try:
        async with own.transaction():
            await store.submit_within(own, [await now(store), await now(store, limit_key="k", limit=1)])
            for terms in keyed:
                with pytest.raises(StoreError, match="this user lacks a right there: grant it"):
                    await store.submit_within(own, [await now(store, **terms)])
        keys = f"{schema}.standing, {schema}.idempotency"
        server().sql(f"GRANT SELECT, INSERT, UPDATE ON {keys} TO {clerk}")
        async with own.transaction():
            for terms in keyed:
                await store.submit_within(own, [await now(store, **terms)])
    finally:
        await own.close()
        server().sql(f"DROP OWNED BY {clerk}; DROP ROLE {clerk}")
    assert len(await ids(store)) == 4


async def test_a_transaction_that_has_failed_and_a_connection_that_was_given_back_are_told(
    store: PostgresStore, own: asyncpg.Connection
) -> None:
    run = await now(store)
    transaction = own.transaction()
    await transaction.start()
    with pytest.raises(asyncpg.DivisionByZeroError):
        await own.execute("SELECT 1 / 0")
    with pytest.raises(StoreError, match="has failed before, it does nothing any more: roll back"):
        await store.submit_within(own, [run])
    await transaction.rollback()
    async with asyncpg.create_pool(server().url(), min_size=1, max_size=1) as pool:
        connection = await pool.acquire()
        await pool.release(connection)
        with pytest.raises(MisuseError, match="cannot be used any more"):
            await store.submit_within(connection, [run])


async def test_a_database_with_the_same_schema_is_another_one(store: PostgresStore, own: asyncpg.Connection) -> None:
    schema = store._address.schema
    server().sql("DROP DATABASE IF EXISTS twin")
    server().sql("CREATE DATABASE twin")
    try:
        await PostgresStore(server().url("twin"), schema=schema).migrate()
        connection = await asyncpg.connect(server().url("twin"))
        async with connection.transaction():
            with pytest.raises(MisuseError, match="is one to another database than"):
                await store.submit_within(connection, [a_run()])
        await connection.close()
    finally:
        server().sql("DROP DATABASE twin")
    assert await ids(store) == []


async def test_a_committed_run_is_looked_for_at_once_and_nobody_is_told_before(
    store: PostgresStore, own: asyncpg.Connection
) -> None:
    hinted = asyncio.Event()
    store.hint = hinted.set
    async with own.transaction():
        (run,) = await store.submit_within(own, [await now(store)])
        assert run in store._uncommitted
    async with asyncio.timeout(PATIENCE_S):
        while run in store._uncommitted:
            await asyncio.sleep(0.005)
        await hinted.wait()
    assert store._open == {}
    assert (await claimed(store)) is run


# -- transactions in which runs work


async def attempt(
    store: PostgresStore, run: Run[Any], statement: str, settled: Settled | None = None, around: Any = lambda own: own
) -> None:
    """Work in a transaction of the run's, whatever comes of the statement, and end it."""
    settled = settled or Settled(RunStatus.SUCCESS, await store.now_us())
    async with store.transaction() as work:
        assert isinstance(work, _Work)
        work.transaction = around(work.transaction)
        with suppress(asyncpg.DivisionByZeroError):
            await work.connection.execute(statement)
        await work.end(run, run.token, settled)


class Unanswered:
    """A transaction whose commit is not answered: the connection breaks before it comes there, or after it."""

    def __init__(self, own: Any, *, arrives: bool) -> None:
        self._own = own
        self._arrives = arrives

    async def commit(self) -> None:
        if self._arrives:
            await self._own.commit()
        raise ConnectionResetError("the connection broke")

    async def rollback(self) -> None:
        if not self._arrives:
            await self._own.rollback()


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_commit_that_was_not_answered_is_asked_for_when_the_attempt_is_acknowledged(
    store: PostgresStore, arrives: bool
) -> None:
    await store.submit([await now(store)])
    run = await claimed(store)
    settled = Settled(RunStatus.SUCCESS, await store.now_us(), result=7)
    with pytest.raises(StoreError, match="broke"):
        await attempt(store, run, "SELECT 1", settled, lambda own: Unanswered(own, arrives=arrives))
    failed = await ack_of(store, run, Raised(StoreError("broke")))
    cycled = await store.cycle([failed], 0)
    assert cycled.accepted == [failed._replace(settled=settled) if arrives else failed]
    assert run.status is (RunStatus.SUCCESS if arrives else RunStatus.FAILED)
    assert (await ids(store, status={run.status}), store._ends) == ([run.id], {})


async def test_who_is_cancelled_at_the_end_waits_for_the_answer(
    store: PostgresStore, own: asyncpg.Connection, other: asyncpg.Connection
) -> None:
    await store.submit([await now(store)])
    run = await claimed(store)
    async with own.transaction():
        await own.execute(f'SELECT 1 FROM "{store._address.schema}".runs WHERE id = $1 FOR UPDATE', run.id)
        working = asyncio.ensure_future(attempt(store, run, "SELECT 1"))
        await somebody_waits(other)
        working.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await ids(store, status={RunStatus.SUCCESS}) == [run.id]


async def test_an_error_that_was_caught_in_the_transaction_is_told_with_what_to_do(store: PostgresStore) -> None:
    await store.submit([await now(store)])
    run = await claimed(store)
    with pytest.raises(StoreError, match=r"has failed before, and was caught: .*async with tx.transaction"):
        await attempt(store, run, "SELECT 1 / 0")
    assert await ids(store, status={RunStatus.RUNNING}) == [run.id]


async def test_a_deferred_constraint_that_does_not_hold_is_raised_as_what_it_is(
    store: PostgresStore, own: asyncpg.Connection
) -> None:
    table = f"deferred_{store._address.schema}"
    await own.execute(f"CREATE TABLE {table} (id INT UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    await store.submit([await now(store)])
    run = await claimed(store)
    with pytest.raises(asyncpg.UniqueViolationError):
        await attempt(store, run, f"INSERT INTO {table} VALUES (1), (1)")
    failed = await ack_of(store, run, Raised(ValueError()))
    assert (await store.cycle([failed], 0)).accepted == [failed]


async def test_what_a_node_wrote_that_was_taken_for_dead_is_not_kept(
    store: PostgresStore, own: asyncpg.Connection
) -> None:
    schema = store._address.schema
    await own.execute(f"CREATE TABLE written_{schema} (node TEXT)")
    await store.submit([await now(store)])
    run = await claimed(store)
    token, settled = run.token, Settled(RunStatus.SUCCESS, await store.now_us())
    second = PostgresStore(server().url(), schema=schema)
    async with store.transaction() as late:
        await late.connection.execute(f"INSERT INTO written_{schema} VALUES ('first')")
        await own.execute(f"DELETE FROM {schema}.nodes")  # as if its lease had run out
        await second.open("second", SystemClock())
        again = await claimed(second)
        async with second.transaction() as work:
            await work.connection.execute(f"INSERT INTO written_{schema} VALUES ('second')")
            assert await work.end(again, again.token, settled)
        assert not await late.end(run, token, settled)
    assert [row["node"] for row in await own.fetch(f"SELECT node FROM written_{schema}")] == ["second"]
    await second.close()


async def test_a_store_that_is_closed_or_left_with_work_under_way_says_so_and_ends(tmp_path: Any) -> None:
    store = store_at(Place("postgres", tmp_path).url)
    with pytest.raises(MisuseError, match="is not open"):
        await attempt(store, a_run(), "SELECT 1")
    await store.open("n", SystemClock())
    async with asyncio.timeout(PATIENCE_S), store.transaction() as work:
        await store.close()
        with pytest.raises(asyncpg.InterfaceError):
            await work.connection.execute("SELECT 1")
