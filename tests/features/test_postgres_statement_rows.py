"""The rows of features about how seldom a PostgreSQL server is asked: it counts its statements itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import servers
from asyncsched import Registry, Scheduler, Task
from asyncsched.events import NodeLost
from asyncsched.run import RunStatus

_COUNT = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'"

_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'asyncsched%'"


@pytest.fixture(scope="module")
def counting() -> Iterator[servers.Postgres]:
    """A server that counts what it is asked."""
    with servers.postgres(shared_preload_libraries="pg_stat_statements") as server:
        server.sql("CREATE EXTENSION pg_stat_statements")
        yield server


@pytest.mark.feature("PE19")
async def test_pe19_ten_thousand_runs_are_submitted_in_twenty_statements_at_most(counting: servers.Postgres) -> None:
    registry = Registry()

    @registry.task
    async def work(number: int) -> None: ...

    url = f"{counting.url()}&schema=pe19"
    async with Scheduler(url, registry=registry, roles=()), asyncio.timeout(120):
        counting.sql("SELECT pg_stat_statements_reset()")
        runs = await work.submit_many([(number,) for number in range(10_000)])
        assert int(counting.sql(_COUNT)) <= 20
    assert len(runs) == 10_000
    assert counting.sql("SELECT count(*), count(DISTINCT args) FROM pe19.runs").strip() == "10000|10000"


@pytest.mark.feature("NB23")
@pytest.mark.full_speed
async def test_nb23_two_thousand_runs_due_at_once_cost_two_statements_each_at_most(counting: servers.Postgres) -> None:
    registry, ran = Registry(), [0]

    async def work() -> None:
        ran[0] += 1

    due = datetime.now(UTC) + timedelta(seconds=3)
    for number in range(2_000):
        registry.register(Task(work, run_at=due, id=f"task-{number}"))
    async with Scheduler(f"{counting.url()}&schema=nb23", registry=registry) as scheduler, asyncio.timeout(120):
        counting.sql("SELECT pg_stat_statements_reset()")
        while ran[0] < 2_000:
            await asyncio.sleep(0.05)
        await scheduler.idle()
        assert int(counting.sql(_COUNT)) <= 2 * 2_000


@pytest.mark.feature("PQ13")
async def test_pq13_fifty_runs_at_once_leave_two_connections_free_and_keep_the_lease(
    counting: servers.Postgres,
) -> None:
    registry, together = Registry(), asyncio.Barrier(50)
    used: list[int] = []

    @registry.task
    async def meet(number: int) -> int:
        await together.wait()
        if number == 0:
            used.append(int(counting.sql(_CONNECTIONS)))
        await asyncio.sleep(5)  # longer than the lease
        return number

    url = f"{counting.url()}&schema=pq13&connections=2&lease=4s"
    async with Scheduler(url, registry=registry) as scheduler, asyncio.timeout(60):
        lost: list[NodeLost] = []
        scheduler.events.on([NodeLost], lost.append)
        runs = await meet.submit_many([(number,) for number in range(50)])
        assert [await run for run in runs] == list(range(50))
        assert {(run.status, run.attempt) for run in runs} == {(RunStatus.SUCCESS, 1)}
        assert lost == []
    assert used[0] <= 2 + 2  # the two, the lease's, and perhaps one that looks after the schema
