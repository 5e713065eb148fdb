"""The PostgreSQL store as a place: what it refuses, who lives there, and what becomes of a server that goes away."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import servers
from asyncsched import Scheduler
from asyncsched.clock import SystemClock
from asyncsched.errors import ConfigError, MisuseError, StoreError
from asyncsched.run import Run, RunStatus
from asyncsched.stores import Ack, Cycled
from asyncsched.stores._postgres.schema import STEPS
from asyncsched.stores.postgres import PostgresStore, store_at
from asyncsched.testing.store_contract._making import DONE, a_run, ack_of, claim, declared, names, where
from contract.postgres_bench import server

URL = "postgresql://user:secret@host:5433/jobs"
PATIENCE_S = 20


@pytest.fixture
async def schema() -> AsyncIterator[str]:
    """The name of a schema that is gone afterwards."""
    name = f"unit_{time.monotonic_ns()}"
    yield name
    server().sql(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@asynccontextmanager
async def opened(
    schema: str, node: str = "n", at: servers.Postgres | None = None, **options: Any
) -> AsyncIterator[PostgresStore]:
    store = PostgresStore((at or server()).url(), schema=schema, **options)
    await store.open(node, SystemClock())
    try:
        yield store
    finally:
        await store.close()


async def until(check: Any) -> None:
    """Return once it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not check():
            await asyncio.sleep(0.02)


# -- what it is given


def test_a_store_is_named_by_a_url_with_the_drivers_options_and_its_own() -> None:
    store = store_at(f"{URL}?schema=mine&lease=1m&connections=7&notify=off&migrate=no&sslmode=require")
    assert str(store) == "postgresql host:5433/jobs schema mine"
    assert store._address.dsn == f"{URL}?sslmode=require"
    assert (store._address.connections, store._address.notify, store._lease_us) == (7, False, 60_000_000)
    assert not store._migrates


def test_a_scheduler_takes_the_url() -> None:
    assert str(Scheduler("postgresql:///jobs?host=/run/postgresql")._store) == (
        "postgresql /run/postgresql/jobs schema asyncsched"
    )


def test_no_password_is_ever_shown() -> None:
    store = store_at(URL)
    assert "secret" not in f"{store} {store._address!r}"
    with pytest.raises(ConfigError) as refused:
        PostgresStore("mysql://user:secret@host/db")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "mysql://x"}, "give a URL such as 'postgresql://"),
        ({"url": 7}, "give a URL such as 'postgresql://"),
        ({"url": "postgresql://host:nowhere/db"}, "give a URL such as"),
        ({"schema": "Robert'); DROP TABLE"}, "small letters, digits and _"),
        ({"schema": "a" * 42}, "at most 41"),
        ({"connections": 0}, "a whole number from 1 to 100"),
        ({"lease": "1s"}, "from '3s' to '1d'"),
        ({"max_value_size": 0}, "a whole number of bytes above zero"),
    ],
)
def test_a_wrong_argument_is_refused_at_once(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PostgresStore(**{"url": URL, **given})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("notify=maybe", "notify='maybe' in the URL of the store: on, or off"),
        ("migrate=later", "migrate='later' in the URL of the store: yes, or no"),
        ("connections=many", "connections='many' in the URL of the store: a whole number"),
    ],
)
def test_a_wrong_option_of_a_url_is_refused_at_once(option: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        store_at(f"{URL}?{option}")


# -- what it finds


async def refusal(url: str, **options: Any) -> str:
    """What is said when such a store is opened."""
    store = PostgresStore(url, **options)
    with pytest.raises(StoreError) as refused:
        await store.open("n", SystemClock())
    return str(refused.value)


async def test_where_no_server_is_that_is_said(tmp_path: Any) -> None:
    said = await refusal(f"postgresql://postgres@/postgres?host={tmp_path}")
    assert "look whether the server runs there and can be reached" in said


async def test_a_database_that_does_not_exist_is_said() -> None:
    assert "make it first (createdb)" in await refusal(server().url("nowhere"))


async def test_a_user_who_may_not_come_in_is_said() -> None:
    url = server().url().replace("postgres@", "nobody_at_all:secret@")
    said = await refusal(url)
    assert "check the user and the password" in said
    assert "secret" not in said


async def test_a_user_who_may_not_make_the_schema_is_said() -> None:
    server().sql("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN")
    said = await refusal(server().url().replace("postgres@", "guest@"), schema="forbidden")
    assert "lacks a right there" in said


async def test_a_database_in_another_encoding_is_refused() -> None:
    if not server().sql("SELECT 1 FROM pg_database WHERE datname = 'latin'"):
        server().sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    assert "keeps texts as LATIN1" in await refusal(server().url("latin"))


async def test_a_schema_is_made_only_if_the_store_may(schema: str) -> None:
    said = await refusal(server().url(), schema=schema, migrate=False)
    assert f"its schema lacks step '{STEPS[0].name}'" in said
    state = await PostgresStore(server().url(), schema=schema).schema()
    assert (state.seen, state.missing) == ((), tuple(step.name for step in STEPS))
    server().sql(state.sql)
    async with opened(schema, migrate=False) as store:
        with pytest.raises(MisuseError, match="is open"):
            await store.migrate()
    assert (await PostgresStore(server().url(), schema=schema).schema()).missing == ()


async def test_nodes_that_begin_together_make_one_schema(schema: str) -> None:
    stores = [PostgresStore(server().url(), schema=schema) for _ in range(4)]
    await asyncio.gather(*(store.open(f"n{number}", SystemClock()) for number, store in enumerate(stores)))
    await asyncio.gather(*(store.close() for store in stores))
    assert server().sql(f"SELECT count(*) FROM {schema}.migrations").strip() == str(len(STEPS))


async def test_a_newer_schema_and_one_that_was_changed_are_refused(schema: str) -> None:
    async with opened(schema):
        pass
    later = "(9999, '9999 later', 'x', 0, '9.9', 9999)"
    server().sql(f"INSERT INTO {schema}.migrations VALUES {later}")
    assert "Install version 9.9, or a later one" in await refusal(server().url(), schema=schema)
    server().sql(f"UPDATE {schema}.migrations SET checksum = 'y' WHERE number = 1")
    assert "is not that of asyncsched" in await refusal(server().url(), schema=schema)


async def test_a_verb_before_it_is_open_is_misuse() -> None:
    with pytest.raises(MisuseError, match="enter the scheduler first"):
        await PostgresStore(server().url()).submit([a_run()])


# -- who lives there


async def test_what_a_node_ran_whose_lease_is_over_runs_elsewhere_and_its_end_counts_for_nothing(schema: str) -> None:
    async with opened(schema, "n1", lease="3s") as first, opened(schema, "n2", lease="3s") as second:
        await first.submit([run := a_run(due_us=await first.now_us())])
        assert names(await claim(first)) == [run.id]
        late = await ack_of(first, run, DONE)
        server().sql(f"DELETE FROM {schema}.nodes WHERE name = 'n1'")
        server().sql(f"UPDATE {schema}.nodes SET expires_at = 0 WHERE name = 'n1'")
        lost: list[Any] = []

        async def hear() -> bool:
            notice = (await first.cycle([], 0)).notice
            lost.extend(() if notice is None or notice.lost is None else notice.lost)
            return bool(lost)

        async with asyncio.timeout(PATIENCE_S):
            while not await hear():
                await asyncio.sleep(0.05)
        assert lost == [run]
        assert run.lost
        assert (await first.cycle([late], 0)).accepted == []
        (again,) = await claim(second)
        assert (again.id, again.attempt, again.token) == (run.id, 1, 3)
        assert (await second.cycle([await ack_of(second, again, DONE)], 0)).accepted != []
        await until(lambda: run.status is RunStatus.SUCCESS)


async def test_a_lease_that_is_over_claims_nothing_until_it_is_renewed(schema: str) -> None:
    async with opened(schema) as store:
        await store.submit([a_run(due_us=await store.now_us())])
        server().sql(f"UPDATE {schema}.nodes SET expires_at = 0")
        assert await claim(store) == []
        async with asyncio.timeout(PATIENCE_S):
            while not (claimed := await claim(store)):
                await asyncio.sleep(0.02)
        assert len(claimed) == 1


async def test_a_loop_that_hangs_for_longer_than_its_lease_keeps_it(schema: str) -> None:
    async with opened(schema, "n1", lease="3s") as first, opened(schema, "n2", lease="3s"):
        await first.submit([run := a_run(due_us=await first.now_us())])
        await claim(first)
        time.sleep(4)
        assert (await first.cycle([await ack_of(first, run, DONE)], 0)).accepted != []


async def test_a_node_that_is_gone_is_found_by_another_and_a_killer_of_nodes_is_given_up(schema: str) -> None:
    async with opened(schema, "n0", lease="3s") as store:
        await store.submit([run := a_run(due_us=await store.now_us())])
        for number in range(3):
            other = PostgresStore(server().url(), schema=schema, lease="3s")
            await other.open(f"n{number + 1}", SystemClock())
            assert names(await claim(other)) == [run.id]
            other._leaving = True
            await other._stop()  # as the end of a process does
            server().sql(f"UPDATE {schema}.nodes SET expires_at = 0 WHERE name = 'n{number + 1}'")
            await other_gone(store, schema, number + 1)
        found = await store.run(run.id)
        assert found is not None
        assert (found.status, found.reason) == (RunStatus.FAILED, "lost")


async def other_gone(store: PostgresStore, schema: str, number: int) -> None:
    """Sweep until the node is none any more, as the thread does every few seconds."""
    async with asyncio.timeout(PATIENCE_S):
        while server().sql(f"SELECT 1 FROM {schema}.nodes WHERE name = 'n{number}'"):
            assert store._pulse is not None
            store._pulse._sweep_us = 0
            store._pulse.renew()
            await asyncio.sleep(0.05)


async def test_fifty_times_open_and_closed_leaves_nothing_behind(schema: str) -> None:
    threads = threading.active_count()
    for number in range(50):
        async with opened(schema, connections=1 + number % 3):
            pass
    assert threading.active_count() == threads
    assert server().sql(f"SELECT count(*) FROM {schema}.nodes").strip() == "0"
    said = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'asyncsched%'"
    await until(lambda: server().sql(said).strip() == "0")


# -- what it does


async def test_without_notify_nodes_hear_of_one_another_all_the_same(schema: str) -> None:
    async with opened(schema, "n1", notify=False) as first, opened(schema, "n2", notify=False) as second:
        hinted = asyncio.Event()
        first.hint = hinted.set
        await second.submit([run := a_run(due_us=await first.now_us())])
        async with asyncio.timeout(PATIENCE_S):
            while not (claimed := await claim(first)):
                await hinted.wait()
                hinted.clear()
        assert names(claimed) == [run.id]


async def test_submits_that_come_together_are_written_together_and_fail_alone(schema: str) -> None:
    async with opened(schema) as store:
        good, twice, bad = a_run(), a_run(), a_run("\0")
        answers = await asyncio.gather(
            *(store.submit([run]) for run in (good, twice, twice, bad)), return_exceptions=True
        )
        assert [isinstance(answer, StoreError) for answer in answers] == [False, False, True, True]
        assert set(names(await claim(store))) == {good.id, twice.id}
        assert (await store.run(good.id), await store.run(twice.id)) == (good, twice)


async def test_an_answer_that_was_lost_counts_once(schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the connection broke after the server had committed."""
    async with opened(schema) as store:
        await store.submit([run := a_run(due_us=await store.now_us())])
        claiming = store._read

        async def lost(work: Any) -> Any:
            await claiming(work)
            raise StoreError("the answer was lost")

        monkeypatch.setattr(store, "_read", lost)
        with pytest.raises(StoreError):
            await store.cycle([], 10)
        monkeypatch.undo()
        (run,) = await claim(store)
        assert (run.attempt, run.status) == (1, RunStatus.RUNNING)
        ack: Ack = await ack_of(store, run, DONE)
        monkeypatch.setattr(store, "_read", lost)
        with pytest.raises(StoreError):
            await store.cycle([ack], 0)
        monkeypatch.undo()
        assert (await store.cycle([ack], 0)).accepted == [ack]
        assert (await store.cycle([ack], 0)).accepted == []


# -- a server that goes away


@pytest.fixture
def frail() -> Iterator[servers.Postgres]:
    """A server of its own, which may be killed."""
    with servers.postgres(fsync="on", full_page_writes="on", synchronous_commit="on") as frail:
        yield frail


async def test_a_server_that_crashes_and_comes_back_is_used_again_and_nothing_is_lost(
    frail: servers.Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened("jobs", at=frail) as store:
        await store.put_task(declared())
        await store.submit([a_run(due_us=await store.now_us()) for _ in range(2)])
        (running,) = await claim(store, 1)
        with caplog.at_level(logging.WARNING, "asyncsched.stores"):
            await asyncio.to_thread(frail.stop, signal.SIGQUIT)
            with pytest.raises(StoreError, match="later calls work again"):
                await store.submit([a_run()])
            await asyncio.sleep(1)
            await asyncio.to_thread(frail.start)
            ended = await answered(store, running)
        assert [ack.run for ack in ended.accepted] == [running]
        claimed = ended.claimed
        async with asyncio.timeout(PATIENCE_S):
            while not claimed:  # the claim whose answer was lost is handed back before the next one
                await asyncio.sleep(0.05)
                claimed = await claim(store)
        assert len(claimed) == 1
        assert (await where(store)).task == "t"
        assert len([record for record in caplog.records if "cannot be renewed" in record.message]) <= 1


async def answered(store: PostgresStore, running: Run[Any]) -> Cycled:
    """What an exchange gives that ends a run, asked again until the store answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await store.cycle([await ack_of(store, running, DONE)], 10)
            except StoreError:
                await asyncio.sleep(0.1)


async def test_a_connection_that_is_killed_is_made_anew(schema: str) -> None:
    async with opened(schema) as store:
        ours = "FROM pg_stat_activity WHERE application_name LIKE 'asyncsched%'"
        killed = f"SELECT count(pg_terminate_backend(pid)) {ours}"
        server().sql(killed)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await store.submit([run := a_run(due_us=await store.now_us())])
                    break
                except StoreError:
                    await asyncio.sleep(0.02)
        assert names(await claim(store)) == [run.id]
        hinted = asyncio.Event()
        store.hint = hinted.set
        await until(lambda: server().sql(f"SELECT count(*) {ours}").strip() != "0")
        async with opened(schema, "beside") as other:
            await other.submit([a_run(due_us=await store.now_us())])
            async with asyncio.timeout(PATIENCE_S):
                await hinted.wait()
