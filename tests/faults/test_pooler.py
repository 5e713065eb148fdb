"""Nodes that reach PostgreSQL only through PgBouncer in transaction mode: without sessions of their own.

Only the long form has a PgBouncer, which must be installed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import asyncpg
import pytest

import servers
from asyncsched import Registry, Run, RunStatus, Scheduler, Transaction, injected
from asyncsched.errors import StoreError
from asyncsched.events import NodeLost, StoreLost
from asyncsched.stores._postgres.address import address_of
from asyncsched.stores._postgres.connection import sessionless

from .crew import LONG
from .pooler import pgbouncer

PATIENCE_S = 120
NODES = 3


def tasks(began: Counter[str]) -> Registry:
    registry = Registry()

    @registry.task(id="double", history_limit=100_000)
    async def double(number: int) -> int:
        return 2 * number

    @registry.task(id="keyed", key="name", max_running=1, history_limit=100_000)
    async def keyed(name: str) -> str:
        began[name] += 1
        assert began[name] == 1, "two at once"
        await asyncio.sleep(0.01)
        began[name] -= 1
        return name

    @registry.task(id="write", history_limit=100_000)
    async def write(number: int, tx: Transaction = injected) -> None:
        await tx.execute("INSERT INTO notes VALUES ($1)", number)

    @registry.task(id="long")
    async def long() -> str:
        await asyncio.sleep(9)  # three leases
        return "done"

    @registry.every("250ms", id="tick", overlap="allow", history_limit=100_000)
    async def tick() -> None: ...

    return registry


def test_a_refusal_of_settings_is_told_from_other_refusals() -> None:
    address = address_of("postgresql://host/app", "jobs", 4, notify=True)
    refusal = asyncpg.ProtocolViolationError("unsupported startup parameter: jit")
    without = sessionless(address, caused_by(refusal))
    assert without is not None
    assert (without.dsn, without.schema, without.notify) == (address.dsn, "jobs", False)
    assert sessionless(without, caused_by(refusal)) is None
    assert sessionless(address, caused_by(asyncpg.ProtocolViolationError("invalid message length"))) is None
    assert sessionless(address, caused_by(OSError("unsupported startup parameter: jit"))) is None


def caused_by(cause: Exception) -> StoreError:
    error = StoreError("no connection")
    error.__cause__ = cause
    return error


if LONG:

    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("query", ["", "&notify=off"])
    async def test_several_nodes_work_through_a_transaction_pooler(
        query: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with servers.postgres() as server, pgbouncer(server, sessions=3) as port:
            server.sql("CREATE TABLE notes (number int)")
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres?lease=3s{query}"
            with caplog.at_level(logging.WARNING, "asyncsched"):
                await work_through(url, server)
        said = [one.getMessage() for one in caplog.records if "a transaction pooler stands before" in one.getMessage()]
        assert len(said) == (0 if query else NODES)

    async def work_through(url: str, server: servers.Postgres) -> None:
        began: Counter[str] = Counter()
        registries = [tasks(began) for _ in range(NODES)]
        schedulers = [Scheduler(url, registry=registry) for registry in registries]
        lost: list[object] = []
        for scheduler in schedulers:
            scheduler.events.on([NodeLost, StoreLost], lost.append)
        first, *_rest = schedulers
        async with schedulers[0], schedulers[1], schedulers[2]:
            patient = await registries[0]["long"].submit()
            submitted: list[Run[object]] = []
            for number in range(60):
                registry = registries[number % NODES]
                submitted.append(await registry["double"].using(idempotency_key=f"{number // 2}").submit(number // 2))
                submitted.append(await registry["keyed"].submit(f"name {number % 4}"))
                submitted.append(await registry["write"].submit(number))
            async with asyncio.timeout(PATIENCE_S):
                for run in submitted:
                    await run
                assert await patient == "done"
                assert patient.attempt == 1
            doubled = await first.runs.list(task="double", limit=1_000, status=RunStatus.SUCCESS)
            assert sorted(run.args[0] for run in doubled) == list(range(30))
            ticks = await first.runs.list(task="tick", limit=1_000)
            assert len({run.scheduled_for for run in ticks}) == len(ticks) > 20
            assert lost == []
        assert server.sql("SELECT count(*), count(DISTINCT number) FROM notes").strip() == "60|60"
