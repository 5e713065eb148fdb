"""The rows of features about background jobs: on every store, and where it matters in several processes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from addresses import Place, new_url
from asyncsched import Registry, Retry, Run, Scheduler
from asyncsched.errors import ArgumentsError, MisuseError
from asyncsched.run import RunStatus
from asyncsched.stores import RunFilter

Make = Callable[..., Scheduler]


@pytest.fixture
def make(place: Place) -> Make:
    """Makes a scheduler, each time at the same store."""
    return place.scheduler


def processes(text: str, count: int, *args: object) -> list[Any]:
    """What so many processes print, which run this program at once; each is told its number after ``args``."""
    command = [sys.executable, "-c", text, *map(str, args)]
    running = [
        subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(count)
    ]
    told = []
    try:
        for process in running:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            told.append(json.loads(out))
    finally:
        for process in running:
            process.kill()
    return told


@pytest.mark.feature("PQ1")
async def test_pq1_a_task_without_a_trigger_is_a_background_job(make: Make) -> None:
    registry = Registry()

    @registry.task
    async def send_mail(to: str, code: str) -> str:
        return f"{code} to {to}"

    @registry.task(retry=1)
    def square(number: int) -> int:
        return number**2

    async with make(registry) as scheduler:
        run = await send_mail.submit("a@b.c", code="000")
        squares = await square.submit_many([(1,), (2,), (3,)])
        assert await run == "000 to a@b.c"
        assert [await one for one in squares] == [1, 4, 9]
        runs = await scheduler.runs.list()
        assert {one.status for one in runs} == {RunStatus.SUCCESS}
        assert {one.scheduled_us for one in runs} == {None}


class Order(BaseModel):
    number: UUID
    price: Decimal


@pytest.mark.feature("PQ4")
async def test_pq4_arguments_come_back_as_they_were_and_wrong_ones_name_the_parameter(make: Make) -> None:
    registry = Registry()
    given = (datetime(2026, 3, 1, tzinfo=UTC), Order(number=UUID(int=7), price=Decimal("1.10")))

    @registry.task
    async def bill(when: datetime, order: Order, copies: int = 1) -> Any:
        return when, order, copies

    async with make(registry) as scheduler:
        run = await bill.submit(*given, copies=2)
        await run
        again = await scheduler.runs.retry(run.id)
        await again
        assert again.args == (*given, 2)
        with pytest.raises(ArgumentsError, match="copies"):
            await bill.submit(*given, copies="many")  # type: ignore[arg-type]
        assert len(await scheduler.runs.list()) == 2
    async with make(registry, roles=()) as scheduler:
        kept = await scheduler.runs.get(run.id)
        assert kept.args == (*given, 2)


EIGHT = """
import asyncio, json, sys
from asyncsched import Registry, Scheduler

registry, started = Registry(), []

@registry.task(id="count", keep=10_000)
async def count(number: int) -> None:
    started.append(number)
    await asyncio.sleep(0.001)

async def main() -> None:
    async with Scheduler(sys.argv[1], registry=registry, max_running=20) as scheduler:
        while await scheduler.runs.list(status=["PENDING", "RUNNING"], limit=1):
            await asyncio.sleep(0.02)
    print(json.dumps(started))

asyncio.run(main())
"""


@pytest.mark.feature("PQ5")
async def test_pq5_of_eight_processes_one_runs_each_of_a_thousand_runs(tmp_path: Path) -> None:
    registry = Registry()

    @registry.task(id="count", keep=10_000)
    async def count(number: int) -> None: ...

    url = new_url("sqlite", tmp_path)
    async with Scheduler(url, registry=registry, roles=()):
        await count.submit_many([(number,) for number in range(1_000)])
    started = await asyncio.to_thread(processes, EIGHT, 8, url)
    assert Counter(number for one in started for number in one) == dict.fromkeys(range(1_000), 1)
    assert sum(map(bool, started)) > 1


@pytest.mark.feature("PQ5")
async def test_pq5_what_is_ready_starts_by_priority_then_due_then_as_it_was_submitted(make: Make) -> None:
    registry, order = Registry(), []

    @registry.task
    async def note(name: str) -> None:
        order.append(name)

    soon = datetime.now(UTC) + timedelta(seconds=2)
    async with make(registry, roles=()):
        await note.using(at=soon + timedelta(milliseconds=2)).submit("due after that")
        await note.using(at=soon + timedelta(milliseconds=1)).submit("due first")
        for name in ("submitted first", "submitted then"):
            await note.using(at=soon + timedelta(milliseconds=3)).submit(name)
        await note.using(at=soon + timedelta(milliseconds=4), priority=1).submit("urgent")
        await asyncio.sleep((soon - datetime.now(UTC)).total_seconds() + 0.05)
    async with make(registry, max_running=1) as scheduler:
        await scheduler.idle()
    assert order == ["urgent", "due first", "due after that", "submitted first", "submitted then"]


@pytest.mark.feature("PQ6")
async def test_pq6_what_has_ended_is_history_and_kept_by_count_or_by_age(make: Make) -> None:
    registry = Registry()

    @registry.task(id="one", keep=1)
    async def one() -> None: ...

    @registry.task(id="none", keep=0)
    async def none() -> None: ...

    @registry.task(id="brief", keep="2s")
    async def brief() -> None: ...

    @registry.task(id="usual")
    async def usual() -> None: ...

    async with make(registry) as scheduler, asyncio.timeout(20):
        for task in (one, none, brief, usual):
            for _ in range(2):
                await (await task.submit())
        store: Any = scheduler._store
        assert await store.runs(RunFilter(status={RunStatus.PENDING, RunStatus.RUNNING})) == []
        kept = Counter(run.task for run in await scheduler.runs.list())
        assert kept == {"one": 1, "usual": 2, "brief": 2}
        while await scheduler.runs.list(task="brief"):  # the chore comes once a second
            await asyncio.sleep(0.05)
        assert Counter(run.task for run in await scheduler.runs.list()) == {"one": 1, "usual": 2}
        assert brief.history == []


@pytest.mark.feature("PQ8")
async def test_pq8_what_is_out_of_attempts_is_kept_as_failed_and_run_again_by_hand(make: Make) -> None:
    registry, broken = Registry(), True

    @registry.task(id="pay", retry=Retry(attempts=3, wait="10ms"))
    async def pay(euros: int) -> int:
        if broken:
            raise ValueError("no money")
        return euros

    async with make(registry) as scheduler:
        runs = await pay.submit_many([(1,), (2,), (3,)])
        for run in runs:
            with pytest.raises(ValueError, match="no money"):
                await run
        failed = await scheduler.runs.list(status="FAILED")
        assert {(run.id, run.attempt) for run in failed} == {(run.id, 3) for run in runs}
        broken = False
        again = await scheduler.runs.retry(runs[0].id)
        assert (await again, again.retry_of) == (1, runs[0].id)
        rest = await scheduler.runs.retry(task="pay", status="FAILED", since=datetime.now(UTC) - timedelta(minutes=1))
        assert sorted([await run for run in rest]) == [1, 2, 3]
        assert await scheduler.runs.retry(task="pay") == []  # each of them only once


@pytest.mark.feature("PQ9")
async def test_pq9_runs_are_cancelled_by_queue_task_tag_and_status(make: Make) -> None:
    registry = Registry()

    @registry.task(id="send", queue="mail", tags=["mail"])
    async def send(_number: int) -> None:
        await asyncio.Event().wait()

    @registry.task(id="other")
    async def other() -> str:
        await asyncio.sleep(0.1)
        return "done"

    async with make(registry, queues={"mail": 2, "default": None}) as scheduler, asyncio.timeout(20):
        runs = await send.submit_many([(number,) for number in range(12)])
        left = await other.submit()
        while len(await scheduler.runs.list(queue="mail", status="RUNNING")) < 2:
            await asyncio.sleep(0.01)
        assert await scheduler.runs.cancel(queue="mail", status="PENDING") == 10  # clears what waits
        assert len(await scheduler.runs.list(queue="mail", status="RUNNING")) == 2
        assert await scheduler.runs.cancel(tag="mail") == 2
        await asyncio.gather(*runs, return_exceptions=True)
        assert {run.status for run in await scheduler.runs.list(queue="mail")} == {RunStatus.CANCELLED}
        assert await scheduler.runs.cancel(queue="mail") == 0
        assert await left == "done"
        more = await send.submit_many([(number,) for number in range(1_200)])
        assert await scheduler.runs.cancel(queue="mail") == 1_200
        await asyncio.gather(*more, return_exceptions=True)
        assert {run.status for run in more} == {RunStatus.CANCELLED}
        with pytest.raises(MisuseError, match="which runs"):
            await scheduler.runs.cancel()


@pytest.mark.feature("PQ10")
async def test_pq10_a_place_is_given_to_the_next_at_once_whatever_the_others_take(virtual: Any) -> None:
    registry, began, ended = Registry(), datetime(2026, 1, 1, tzinfo=UTC), []

    @registry.task
    async def work(seconds: float) -> None:
        await asyncio.sleep(seconds)
        ended.append(round((sched.now() - began).total_seconds(), 3))

    async with virtual(Scheduler(registry=registry, max_running=50), at=began) as sched:
        long = await work.submit(5)
        short = await work.submit_many([(0.01,) for _ in range(200)])
        await sched.advance("100ms")
        assert {run.status for run in short} == {RunStatus.SUCCESS}
        assert Counter(ended) == {0.01: 49, 0.02: 49, 0.03: 49, 0.04: 49, 0.05: 4}
        assert long.status is RunStatus.RUNNING
        await sched.advance("5s")
    assert ended[-1] == 5


@pytest.mark.feature("PQ10")
async def test_pq10_at_a_file_too_no_run_waits_for_those_that_began_with_the_one_before_it(tmp_path: Path) -> None:
    registry, over, now, most = Registry(), asyncio.Event(), 0, 0

    @registry.task
    async def work(number: int) -> None:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await (asyncio.sleep(0.01) if number else over.wait())
        now -= 1

    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    async with Scheduler(url, registry=registry, max_running=50), asyncio.timeout(20):
        long, *short = await work.submit_many([(number,) for number in range(201)])
        await asyncio.gather(*short)
        assert (long.status, most) == (RunStatus.RUNNING, 50)
        over.set()
        await long


@pytest.mark.feature("PQ13")
async def test_pq13_fifty_runs_at_once_hold_no_connection_to_the_store(tmp_path: Path) -> None:
    registry, together = Registry(), asyncio.Barrier(50)

    @registry.task
    async def meet(_number: int) -> int:
        await together.wait()
        return len(sqlite_files())

    def sqlite_files() -> list[str]:
        found = (link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
        return [str(path) for path in found if path.name == "jobs.db"]

    async with Scheduler(f"sqlite:///{tmp_path / 'jobs.db'}", registry=registry), asyncio.timeout(20):
        runs = await meet.submit_many([(number,) for number in range(50)])
        assert max([await run for run in runs]) <= 3  # the writer's, the reader's, and the lock of the node
        assert {run.status for run in runs} == {RunStatus.SUCCESS}


@pytest.mark.feature("PQ14")
async def test_pq14_a_stopped_node_leaves_no_running_row(make: Make) -> None:
    registry = Registry()

    @registry.task(id="work")
    async def work(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async with make(registry, max_running=2, shutdown_timeout="20ms") as scheduler:
        runs = [await work.submit(60.0) for _ in range(2)]
        waiting = await work.submit(0.0)
        while any(run.status is not RunStatus.RUNNING for run in runs):
            await asyncio.sleep(0.01)
    async with make(registry, roles=()) as scheduler:
        assert await scheduler.runs.list(status="RUNNING") == []
        left = await scheduler.runs.get(waiting.id)
        assert (left.status, left.attempt) == (RunStatus.PENDING, 0)


THREE = """
import asyncio, sys
from asyncsched import Registry, Scheduler

registry = Registry()

@registry.task(id="mail", keep=1_000)
async def mail() -> None: ...

@registry.every("200ms", id="tick", max_runs=10)
async def tick() -> None:
    await mail.submit()

async def main() -> None:
    async with Scheduler(sys.argv[1], registry=registry) as scheduler:
        while len(await scheduler.runs.list(task="tick", status="SUCCESS")) < 10:
            await asyncio.sleep(0.05)
        await scheduler.idle()
    print("null")

asyncio.run(main())
"""


@pytest.mark.feature("PQ15")
async def test_pq15_a_timed_task_at_three_processes_submits_one_job_for_each_fire(tmp_path: Path) -> None:
    url = new_url("sqlite", tmp_path)
    await asyncio.to_thread(processes, THREE, 3, url)
    async with Scheduler(url, registry=Registry(), roles=()) as looking:
        mails = await looking.runs.list(task="mail", limit=1_000)
    assert [run.status for run in mails] == [RunStatus.SUCCESS] * 10


@pytest.mark.feature("PA21")
async def test_pa21_after_a_restart_it_is_known_what_ran_and_how(tmp_path: Path) -> None:
    registry, url, began = Registry(), f"sqlite:///{tmp_path / 'jobs.db'}", datetime.now(UTC)

    @registry.task(id="report")
    async def report(number: int) -> str:
        if number == 3:
            raise ValueError("no data")
        return f"report {number}"

    async with Scheduler(url, registry=registry) as scheduler:
        for number in range(5):
            await asyncio.wait([asyncio.ensure_future(_awaited(await report.submit(number)))])
    async with Scheduler(url, registry=registry, roles=()) as scheduler:
        runs = await scheduler.runs.list(task="report", since=began)
        assert await scheduler.runs.list(task="report", since=datetime.now(UTC)) == []
    known = [(run.status, run.result, str(run.error)) for run in reversed(runs)]
    assert known == [
        ("FAILED", None, "ValueError: no data") if number == 3 else ("SUCCESS", f"report {number}", "None")
        for number in range(5)
    ]
    assert all(run.started_at is not None and run.started_at >= began and run.duration is not None for run in runs)


async def _awaited(run: Run[Any]) -> None:
    await asyncio.gather(run, return_exceptions=True)


WORKER = """
import asyncio, sys
from asyncsched import Registry, Scheduler

registry = Registry()

@registry.task(id="divide")
async def divide(a: int, b: int) -> float:
    if b < 0:
        raise ValueError("below zero")
    return a / b

@registry.task(id="slow")
async def slow() -> None:
    await asyncio.sleep(60)

async def main() -> None:
    async with Scheduler(sys.argv[1], registry=registry, roles={"run"}, shutdown_timeout="0s"):
        await asyncio.to_thread(sys.stdin.read)
    print("null")

asyncio.run(main())
"""


@pytest.mark.feature("PE3")
async def test_pe3_results_and_errors_of_another_process_are_awaited_here(shared: Place) -> None:
    registry = Registry()

    @registry.task(id="divide")
    async def divide(a: int, b: int) -> float: ...

    @registry.task(id="slow")
    async def slow() -> None: ...

    command = [sys.executable, "-c", WORKER, shared.url]
    async with shared.scheduler(registry, roles={"fire"}) as web, asyncio.timeout(30):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
            try:
                run = await divide.submit(3, 2)
                assert (await run, await web.runs.wait(run.id)) == (1.5, 1.5)
                for parts, kind in (((1, 0), ZeroDivisionError), ((1, -1), ValueError)):
                    failed = await divide.submit(*parts)
                    with pytest.raises(kind, match=r"division by zero|below zero"):
                        await failed
                    with pytest.raises(kind):
                        await web.runs.wait(failed.id)
                waiting = await slow.submit()
                with pytest.raises(TimeoutError, match="has not ended within"):
                    await web.runs.wait(waiting.id, within="200ms")
                assert (await web.runs.get(waiting.id)).status is RunStatus.RUNNING
            finally:
                assert worker.stdin is not None
                await asyncio.to_thread(worker.communicate, b"", 20)


@pytest.mark.feature("PE3")
async def test_pe3_a_run_that_others_submit_and_run_is_awaited_by_who_got_it_by_its_id(shared: Place) -> None:
    registry = Registry()

    @registry.task(id="count")
    async def count(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "over"

    text = """
import asyncio, sys
from asyncsched import Registry, Scheduler

registry = Registry()

@registry.task(id="count")
async def count(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "over"

async def main() -> None:
    async with Scheduler(sys.argv[1], registry=registry):
        run = await count.submit(0.5)
        print(run.id, flush=True)
        await run

asyncio.run(main())
"""
    async with shared.scheduler(registry, roles=()) as looking, asyncio.timeout(30):
        with subprocess.Popen([sys.executable, "-c", text, shared.url], stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            run_id = (await asyncio.to_thread(other.stdout.readline)).strip()
            run = await looking.runs.get(run_id)
            assert not run.status.final
            assert await run == "over"
