"""What the PostgreSQL store sends, and that no statement reads the runs through.

However many there are, and whatever the server believes of them: it writes down how it carried out each statement, by
``auto_explain``; a plan is made once and kept. The long form has a million runs: ``ASYNCSCHED_FAULTS=long``.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, NamedTuple

import asyncpg
import pytest

from asyncsched import Registry, Scheduler
from asyncsched.clock import SystemClock
from asyncsched.retry import Retry
from asyncsched.run import Raised, RunStatus
from asyncsched.stores._postgres import pulse
from asyncsched.stores.postgres import PostgresStore
from asyncsched.testing.store_contract._making import DONE, a_run, ack_of, declared, end, keyed_run, order, where
from contract.postgres_bench import server

MANY = 1_000_000 if os.environ.get("ASYNCSCHED_FAULTS") == "long" else 100_000
SETTINGS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
}
TASK = declared(next_us=1, history_limit=10)
TABLES = ("runs", "history")
# Of these few a statement takes 25 at most, and looks at some of them more than once.
LOOKED_AT_MOST = 300


class Reading(NamedTuple):
    """What a part of a plan did with one of the large tables."""

    how: str
    table: str
    rows: int
    statement: str


class Plans:
    """A database of its own, in which all plans are written down."""

    def __init__(self, name: str) -> None:
        self._log = server().folder / "log"
        self.url = server().url(name)
        self._name = name

    def fill(self, first: int, last: int) -> None:
        """Have runs that wait for their instants, and as many that have ended."""
        columns = "id, task, created_at, due_at, stands_for, status, attempt, token, queue"
        live, ended = (
            f"SELECT '{kind}-' || n, 'later', 0, plans.now_us() + 86400000000 + n, 1, '{status}', 0, 0, 'default'"
            for kind, status in (("later", "PENDING"), ("old", "SUCCESS"))
        )
        series = f"FROM generate_series({first}, {last}) AS n"
        self.sql(
            f"INSERT INTO plans.runs ({columns}, state, plain, priority, arrived_at, maker) "
            f"{live}, 2, true, 0, 0, 'test' {series}; INSERT INTO plans.history ({columns}) {ended} {series}"
        )

    def sql(self, statement: str) -> None:
        server().sql(f"SET auto_explain.log_min_duration = -1; {statement}", self._name)

    def mark(self) -> int:
        return self._log.stat().st_size

    def read(self, mark: int) -> list[Reading]:
        """How the large tables were read since then."""
        return [one for said in self._said(mark) for one in _readings(said["Plan"], said["Query Text"])]

    def sent(self, mark: int) -> list[str]:
        """The statements since then, but for the polls."""
        return [said["Query Text"] for said in self._said(mark) if not _polls(said)]

    def polls(self, mark: int) -> int:
        """How often a node has looked since then what others have done."""
        return sum(map(_polls, self._said(mark)))

    def _said(self, mark: int) -> list[dict[str, Any]]:
        with self._log.open() as log:
            log.seek(mark)
            parts = log.read().split("  plan:\n")[1:]
        # What is said of one statement are all lines that are indented. The last may not have been written whole.
        said = ["".join(takewhile(lambda line: line[0] == "\t", part.splitlines(keepends=True))) for part in parts]
        return [json.loads(one) for one in said if one.endswith("\t}\n")]


def _polls(said: dict[str, Any]) -> bool:
    return "pg_snapshot_xmin" in said["Query Text"]


def _readings(plan: dict[str, Any], statement: str) -> Iterator[Reading]:
    how = plan["Node Type"]
    if plan.get("Relation Name") in TABLES and how != "ModifyTable":
        looked = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        yield Reading(
            f"{how} {plan.get('Index Name', '')}".strip(),
            plan["Relation Name"],
            round(looked * plan["Actual Loops"]),
            statement[:300],
        )
    for below in plan.get("Plans", ()):
        yield from _readings(below, statement)


@pytest.fixture
def plans() -> Iterator[Plans]:
    server().sql("CREATE DATABASE plans")
    try:
        for name, value in SETTINGS.items():
            server().sql(f"ALTER DATABASE plans SET {name} = '{value}'")
        yield Plans("plans")
    finally:
        server().sql("DROP DATABASE plans WITH (FORCE)")


async def use(store: PostgresStore, plans: Plans) -> None:
    """Declare, submit, fire, let wake, claim, end, try again, cancel, look at one, and leave, few runs each."""
    await store.reconcile([TASK])
    now_us = await store.now_us()
    later = [a_run(due_us=now_us + 3_600_000_000) for _ in range(5)]
    await store.submit([a_run(due_us=now_us) for _ in range(10)])
    await store.submit(later)
    await store.submit([keyed_run(limit=1, now_us=now_us) for _ in range(2)])
    standing = await where(store)
    assert await store.fire([order(standing, runs=[a_run(due_us=now_us)])])
    ids = ", ".join(f"'{run.id}'" for run in later)
    plans.sql(f"UPDATE plans.runs SET due_at = 1 WHERE id IN ({ids})")
    claimed = list((await store.cycle([], 20)).claimed)
    assert len(claimed) == 17
    again = await ack_of(store, claimed[0], Raised(OSError()), Retry(attempts=2, wait="1h"))
    assert (await store.cycle([again, *[await ack_of(store, run, DONE) for run in claimed[1:]]], 0)).accepted
    await end(store, *(await store.cycle([], 20)).claimed)  # the other one of the key
    await store.cancel([claimed[0].id], "enough")
    assert await store.run(claimed[0].id) is claimed[0]
    await die_and_leave(store, plans)


async def die_and_leave(store: PostgresStore, plans: Plans) -> None:
    """Count what runs at other nodes, of which one leaves and another one dies with its run under way."""
    gone, dead = (PostgresStore(plans.url, schema="plans", connections=1) for _ in range(2))
    await gone.open("gone", SystemClock())
    await dead.open("dead", SystemClock())
    now_us = await store.now_us()
    try:
        for other in (gone, dead):
            await store.submit([a_run(due_us=now_us)])
            assert len((await other.cycle([], 1)).claimed) == 1
        assert [node.running for node in await store.nodes()] == [0, 1, 1]
    finally:
        await gone.close()
        await dead._stop()
    plans.sql("UPDATE plans.nodes SET expires_at = 0 WHERE name = 'dead'")
    async with asyncio.timeout(60):
        while len(await store.nodes()) > 1:
            await asyncio.sleep(0.05)
    given_back = (await store.cycle([], 20)).claimed
    assert len(given_back) == 2
    await end(store, *given_back)


async def test_no_statement_reads_the_runs_through(plans: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "_SWEEP_US", 100_000)
    await PostgresStore(plans.url, schema="plans").migrate()
    plans.sql("ALTER TABLE plans.runs SET (autovacuum_enabled = off)")  # what is believed is what is said here
    plans.sql("ALTER TABLE plans.history SET (autovacuum_enabled = off)")
    store = PostgresStore(plans.url, schema="plans", connections=1)
    await store.open("n", SystemClock())
    try:
        await store.reconcile([TASK])
        await tried(store, plans, "empty, nothing known")
        plans.sql("ANALYZE plans.runs; ANALYZE plans.history")
        plans.fill(1, 1_000)
        await tried(store, plans, "a thousand, believed to be empty")
        plans.fill(1_001, MANY)
        await tried(store, plans, "many, believed to be empty")
        plans.sql("ANALYZE plans.runs; ANALYZE plans.history")
        await tried(store, plans, "many, and known to be")
        plans.sql("DELETE FROM plans.runs WHERE task = 'later'")
        await tried(store, plans, "few, believed to be many")
    finally:
        await store.close()


async def tried(store: PostgresStore, plans: Plans, when: str) -> None:
    mark = plans.mark()
    await use(store, plans)
    found = plans.read(mark)
    assert len(found) > 20, f"{when}: no plans were written down"
    wrong = [one for one in found if one.how == "Seq Scan" or one.rows > LOOKED_AT_MOST]
    assert not wrong, f"{when}: {len(wrong)} such as {wrong[:3]}"


async def test_that_a_table_is_read_through_is_seen(plans: Plans) -> None:
    await PostgresStore(plans.url, schema="plans").migrate()
    mark = plans.mark()
    connection = await asyncpg.connect(plans.url)
    await connection.execute("SELECT count(*) FROM plans.runs")
    await connection.close()
    assert [(one.how, one.table) for one in plans.read(mark)] == [("Seq Scan", "runs")]


async def test_an_exchange_about_runs_that_concern_nobody_else_is_one_statement(plans: Plans) -> None:
    store = PostgresStore(plans.url, schema="plans")
    await store.open("n", SystemClock())
    try:
        await store.put_task(declared())
        now_us = await store.now_us()
        await store.submit([a_run(due_us=now_us) for _ in range(5)])
        mark = plans.mark()
        first, second = (await store.cycle([], 2)).claimed
        again = await ack_of(store, first, Raised(OSError()), Retry(attempts=2, wait="1h"))
        done = await ack_of(store, second, DONE)
        cycled = await store.cycle([again, done], 2)
        assert cycled.accepted == [again, done]
        assert len(cycled.claimed) == 2
        assert (first.status, second.status) == (RunStatus.PENDING, RunStatus.SUCCESS)
        assert len([one for one in plans.sent(mark) if ".runs" in one]) == 2
    finally:
        await store.close()


async def test_polls_that_find_nothing_new_do_not_wake_the_program(
    plans: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(plans.url, schema="plans", lease="1h")
    await store.open("n", SystemClock())
    loop = asyncio.get_running_loop()
    calling, wakes = loop.call_soon_threadsafe, []

    def counted(callback: Any, *args: Any, **options: Any) -> Any:
        wakes.append(callback)
        return calling(callback, *args, **options)

    async def polled(times: int) -> None:
        mark = plans.mark()
        async with asyncio.timeout(60):
            while plans.polls(mark) < times:
                await asyncio.sleep(0.1)

    try:
        await polled(2)  # the first tells of what it began with
        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        await polled(2)
        assert wakes == []
    finally:
        await store.close()


async def test_a_submit_by_a_node_that_runs_nothing_is_one_statement(plans: Plans) -> None:
    registry = Registry()

    @registry.task
    async def work(number: int) -> None: ...

    store = PostgresStore(plans.url, schema="plans")
    async with Scheduler(store, registry=registry, tz="UTC", queues=[]):
        mark = plans.mark()
        for number in range(20):
            await work.submit(number)
        sent = [one for one in plans.sent(mark) if ".runs" in one]
    assert len([one for one in sent if "INSERT INTO" in one and "history" not in one]) == 20
    assert len(sent) < 30  # that it looks now and then has nothing to do with it
