"""Background jobs beside a database: one request is one job, a job is part of a transaction, workers live apart."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Retry, Scheduler
from asyncsched.errors import ConfigError, MisuseError, StoreError
from asyncsched.run import RunStatus

REQUEST = "request 4711"


async def test_a_request_that_is_sent_twice_is_one_job_for_as_long_as_its_key_is_kept(virtual: Any) -> None:
    registry = Registry()

    @registry.task(keep=0)
    async def charge(euros: int) -> str:
        return f"{euros} euros charged"

    async with virtual(registry) as sched:
        first = await charge.using(idempotency_key=REQUEST, keep_key="7d").submit(5)
        assert await first == "5 euros charged"
        await sched.advance("6d")
        again = await charge.using(idempotency_key=REQUEST).submit(5)
        assert (again.id, again.result) == (first.id, "5 euros charged")  # though the task keeps no history
        assert await charge.using(idempotency_key="another").submit(5) is not first
        await sched.advance("2d")
        assert (await charge.using(idempotency_key=REQUEST).submit(5)).id != first.id


async def test_a_key_gives_also_the_run_that_failed_or_waits(virtual: Any) -> None:
    registry = Registry()

    @registry.task(retry=Retry(attempts=2, wait="1h"))
    async def charge(euros: int) -> None:
        raise ValueError(f"no {euros} euros")

    async with virtual(registry) as sched:
        run = await charge.using(idempotency_key=REQUEST, delay="1h").submit(5)
        assert await charge.using(idempotency_key=REQUEST).submit(5) is run  # it waits
        await sched.advance("90m")
        assert await charge.using(idempotency_key=REQUEST).submit(5) is run  # between its attempts
        await sched.advance("2h")
        assert (await charge.using(idempotency_key=REQUEST).submit(5)).status is RunStatus.FAILED


async def test_many_calls_cannot_share_a_key(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def charge(euros: int) -> None: ...

    async with virtual(registry):
        with pytest.raises(MisuseError, match="for 2 calls: each run needs its own"):
            await charge.using(idempotency_key=REQUEST).submit_many([(1,), (2,)])


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ({"since": "yesterday"}, "since='yesterday': give a datetime"),
        ({"until": date(2026, 1, 1)}, r"until=datetime.date\(2026, 1, 1\): give a datetime"),
        ({"limit": -1}, "limit=-1: give a whole number, zero or more"),
        ({"limit": "all"}, "limit='all': give a whole number"),
    ],
)
async def test_which_runs_are_meant_is_said_in_instants_and_numbers(
    virtual: Any, which: dict[str, Any], says: str
) -> None:
    async with virtual(Registry()) as sched:
        for verb in (sched.scheduler.runs.list, sched.scheduler.runs.retry):
            with pytest.raises(MisuseError, match=says):
                await verb(task="charge", **which)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"idempotency_key": ""}, "using.idempotency_key=''.: give a text"),
        ({"keep_key": "1h"}, "give that too"),
        ({"idempotency_key": "k", "keep_key": "soon"}, "soon"),
        ({"idempotency_key": "k", "keep_key": "0s"}, "keep_key"),
    ],
)
def test_a_wrong_key_is_refused_where_it_is_given(options: dict[str, Any], says: str) -> None:
    registry = Registry()

    @registry.task
    async def charge() -> None: ...

    with pytest.raises(ConfigError, match=says):
        charge.using(**options)


async def test_a_job_is_part_of_the_transaction_that_needs_it(tmp_path: Path) -> None:
    registry, path, mails = Registry(), tmp_path / "shop.db", []

    @registry.task
    async def confirm(order: int) -> None:
        mails.append(order)

    async def order(own: sqlite3.Connection, number: int, *, paid: bool) -> None:
        with own:  # commits, or rolls back what raises
            own.execute("INSERT INTO orders VALUES (?)", (number,))
            await confirm.using(connection=own).submit(number)
            if not paid:
                raise PermissionError(number)

    async with Scheduler(f"sqlite:///{path}", registry=registry) as scheduler, asyncio.timeout(20):
        with closing(sqlite3.connect(path)) as own:
            own.execute("CREATE TABLE orders (number INTEGER)")
            await order(own, 1, paid=True)
            with pytest.raises(PermissionError):
                await order(own, 2, paid=False)
            await order(own, 3, paid=True)
            while len(mails) < 2:
                await asyncio.sleep(0.01)
            assert own.execute("SELECT number FROM orders").fetchall() == [(1,), (3,)]
        assert mails == [1, 3]
        assert len(await scheduler.runs.list()) == 2


async def test_what_fails_within_a_transaction_undoes_nothing_of_it(tmp_path: Path) -> None:
    registry, path = Registry(), tmp_path / "shop.db"

    @registry.task(unique="order")
    async def confirm(order: int) -> int:
        return order

    async with Scheduler(f"sqlite:///{path}", registry=registry) as scheduler, asyncio.timeout(20):
        with closing(sqlite3.connect(path)) as own, closing(sqlite3.connect(path)) as other:
            own.execute("CREATE TABLE orders (number INTEGER)")
            own.row_factory = sqlite3.Row  # is as it was afterwards
            own.execute("BEGIN")
            own.execute("SELECT * FROM orders").fetchall()
            other.execute("INSERT INTO orders VALUES (7)")
            other.commit()
            with pytest.raises(StoreError, match="roll back, and do it again with BEGIN IMMEDIATE"):
                await confirm.using(connection=own).submit(1)
            assert own.in_transaction
            own.rollback()
            runs = [await confirm.using(connection=own).submit(1) for _ in range(2)]
            assert runs[0] is runs[1]  # unique within the transaction too
            assert own.row_factory is sqlite3.Row
            own.commit()
        assert await runs[0] == 1
        assert len(await scheduler.runs.list()) == 1


async def test_a_graph_takes_part_in_no_transaction(tmp_path: Path) -> None:
    registry = Registry()

    @registry.task(id="first")
    async def first() -> None: ...

    @registry.task(id="second", depends_on="first")
    async def second() -> None: ...

    @registry.task(id="late", debounce="1s")
    async def late() -> None: ...

    async with Scheduler(f"sqlite:///{tmp_path / 'jobs.db'}", registry=registry):
        with closing(sqlite3.connect(tmp_path / "jobs.db")) as own:
            with pytest.raises(MisuseError, match="'first' is part of a graph"):
                await first.using(connection=own).submit()
            with pytest.raises(MisuseError, match="debounce="):
                await late.using(connection=own).submit()


async def test_a_connection_of_another_thread_says_how_to_make_it(tmp_path: Path) -> None:
    registry = Registry()

    @registry.task
    async def confirm(order: int) -> int:
        return order

    async with Scheduler(f"sqlite:///{tmp_path / 'jobs.db'}", registry=registry), asyncio.timeout(20):
        bound = await asyncio.to_thread(sqlite3.connect, tmp_path / "jobs.db")
        with pytest.raises(MisuseError, match="check_same_thread=False"):
            await confirm.using(connection=bound).submit(1)
        free = await asyncio.to_thread(sqlite3.connect, tmp_path / "jobs.db", check_same_thread=False)
        run = await confirm.using(connection=free).submit(1)
        await asyncio.to_thread(free.commit)
        assert await run == 1
        free.close()


async def test_who_awaits_what_was_rolled_back_is_told_when_the_scheduler_stops(tmp_path: Path) -> None:
    registry = Registry()

    @registry.task
    async def confirm(order: int) -> int:
        return order

    async with Scheduler(f"sqlite:///{tmp_path / 'jobs.db'}", registry=registry), asyncio.timeout(20):
        with closing(sqlite3.connect(tmp_path / "jobs.db")) as own:
            run = await confirm.using(connection=own).submit(1)
            own.rollback()
        waiting = asyncio.ensure_future(asyncio.wait_for(run, 10))
        await asyncio.sleep(0.1)
    with pytest.raises(MisuseError, match="stopped before this run ended"):
        await waiting


async def test_a_web_server_submits_a_scheduler_fires_and_a_worker_runs(tmp_path: Path) -> None:
    ran: list[str] = []

    def tasks() -> Registry:
        registry = Registry()

        async def clean() -> None:
            ran.append("clean")

        async def send(to: str) -> None:
            ran.append(to)

        registry.every("50ms", id="clean", max_runs=2)(clean)
        registry.task(id="send")(send)
        return registry

    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    for role in ((), {"fire"}):
        registry = tasks()
        async with Scheduler(url, registry=registry, roles=role) as scheduler:
            for task in registry:
                if task.id == "send":
                    await task.submit("a@b.c")
            await asyncio.sleep(0.2)
            waiting = [run.task for run in await scheduler.runs.list(status="PENDING")]
        assert ran == []
        assert waiting.count("send") == (1 if role == () else 2)
        assert ("clean" in waiting) == (role == {"fire"})
    async with Scheduler(url, registry=tasks(), roles={"run"}) as worker, asyncio.timeout(20):
        while "clean" not in ran or ran.count("a@b.c") < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert ran.count("clean") == 1  # what was fired before; a worker fires nothing
        explained = await worker.tasks.explain("clean")
        assert any("fires nothing" in note.says for note in explained.notes)


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ConfigError, match="'work' is none; they are 'fire', 'run'"):
        Scheduler(roles={"work"})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="give a collection"):
        Scheduler(roles="run")  # type: ignore[arg-type]


async def test_a_drained_process_ends_what_it_runs_and_leaves_the_rest_to_others(virtual: Any) -> None:
    registry = Registry()

    @registry.task(max_running=1)
    async def work(hours: float) -> float:
        await asyncio.sleep(hours * 3600)
        return hours

    async with virtual(registry) as sched:
        runs = await work.submit_many([(1.0,), (1.0,)])
        await sched.advance("10m")
        before = sched.now()
        await sched.scheduler.runs.drain()
        assert sched.now() - before == timedelta(minutes=50)
        assert [run.status for run in runs] == [RunStatus.SUCCESS, RunStatus.PENDING]
        later = await work.submit(0.0)
        await sched.advance("1d")
        assert later.status is RunStatus.PENDING


async def test_what_is_past_its_keeping_is_forgotten(virtual: Any) -> None:
    registry = Registry()

    @registry.task(id="a", keep="1d")
    async def a() -> None: ...

    @registry.task(id="b")
    async def b() -> None: ...

    async with virtual(Scheduler(registry=registry, keep="10d")) as sched:
        for _ in range(120):
            await (await a.submit())
        await (await b.submit())
        assert len(await sched.scheduler.runs.list(task="a", limit=1_000)) == 120  # all of a day, not the last 100
        await sched.advance("30h")
        assert [run.task for run in await sched.scheduler.runs.list()] == ["b"]
        await sched.advance("10d")
        assert await sched.scheduler.runs.list() == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"keep": 5, "history_limit": 5}, "give one of them"),
        ({"keep": -1}, "how many ended runs"),
        ({"keep": True}, "how many ended runs"),
        ({"keep": "soon"}, "soon"),
    ],
)
def test_a_wrong_keeping_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Registry().task(id="t", **options)(lambda: None)
