"""The rows of features about what several nodes do together, at each store that they can share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from addresses import Place
from asyncsched import Registry, Scheduler, Task
from asyncsched.run import Run, RunStatus

SOON = 20.0
"""What a loaded machine may take, in seconds."""


@asynccontextmanager
async def nodes(
    place: Place, declare: Callable[[Registry], None], *options: dict[str, Any]
) -> AsyncIterator[list[Scheduler]]:
    """So many nodes at one place as there are options, each as a program of its own that declares the same."""
    async with AsyncExitStack() as stack, asyncio.timeout(3 * SOON):
        started = []
        for more in options:
            registry = Registry()
            declare(registry)
            started.append(await stack.enter_async_context(place.scheduler(registry, tz="UTC", **more)))
        yield started


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.01)


async def submitted(nodes: Sequence[Scheduler], task: str, arguments: Sequence[tuple[Any, ...]]) -> list[Run[Any]]:
    """A run for each of these arguments, all at once, by one node after the other."""
    tasks = [await node.tasks.get(task) for node in nodes]
    return await asyncio.gather(*(tasks[n % len(tasks)].submit(*args) for n, args in enumerate(arguments)))


class Inside:
    """Who is inside, by name, and how many were at most."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.ran = 0

    async def __call__(self, name: str, seconds: float = 0.02) -> None:
        self.now[name] += 1
        self.ran += 1
        self.most[name] = max(self.most[name], self.now[name])
        await asyncio.sleep(seconds)
        self.now[name] -= 1


@pytest.mark.feature("PQ5")
async def test_pq5_of_eight_nodes_one_runs_each_of_two_hundred_runs(shared: Place) -> None:
    started: list[int] = []

    def declare(registry: Registry) -> None:
        @registry.task(id="count", keep=10_000)
        async def count(number: int) -> None:
            started.append(number)
            await asyncio.sleep(0.001)

    workers = [{"node": f"worker {number}", "max_running": 5} for number in range(7)]
    async with nodes(shared, declare, {"queues": []}, *workers) as (first, *others):
        task = await first.tasks.get("count")
        await asyncio.gather(*await task.submit_many([(number,) for number in range(200)]))
        assert sorted(started) == list(range(200))
        runs = await others[0].runs.list(task="count", limit=1_000)
        assert {(run.status, run.attempt) for run in runs} == {(RunStatus.SUCCESS, 1)}
        assert len({run.node for run in runs}) > 1


@pytest.mark.feature("PE8")
async def test_pe8_each_node_runs_what_is_of_its_queues_and_a_producer_nothing(shared: Place) -> None:
    def declare(registry: Registry) -> None:
        @registry.every("1h", id="mail", queue="mail")
        async def mail() -> None: ...

        @registry.every("1h", id="report", queue="reports")
        async def report() -> None: ...

    said = [{"node": "A", "queues": ["mail"]}, {"node": "B", "queues": ["reports"]}, {"node": "C", "queues": []}]
    async with nodes(shared, declare, *said) as three:
        runs = [await node.tasks.run_now(task) for node in three for task in ("mail", "report")]
        await asyncio.gather(*runs)
        assert {(run.task, run.node) for run in runs} == {("mail", "A"), ("report", "B")}


@pytest.mark.feature("PE9")
async def test_pe9_a_rate_holds_for_all_nodes_together(shared: Place) -> None:
    def declare(registry: Registry) -> None:
        @registry.task(id="call", rate="4/600ms", keep=100)
        async def call(number: int) -> None: ...

    async with nodes(shared, declare, {}, {}) as two:
        runs = await submitted(two, "call", [(number,) for number in range(10)])
        await asyncio.gather(*runs)
        stored = await two[0].runs.list(task="call")
        starts = sorted(run.started_us for run in stored if run.started_us is not None)
    assert len(starts) == 10
    assert max(sum(one <= other < one + 600_000 for other in starts) for one in starts) == 4


@pytest.mark.feature("PE10")
async def test_pe10_submits_at_several_nodes_are_one_run_with_the_last_arguments(shared: Place) -> None:
    seen: list[int] = []

    def declare(registry: Registry) -> None:
        async def rebuild(number: int) -> None:
            seen.append(number)

        registry.register(Task(rebuild, id="late", debounce="1h"))
        registry.register(Task(rebuild, id="soon", debounce="300ms"))

    async with nodes(shared, declare, {}, {}) as two:
        late, soon = [
            [(await submitted([two[number % 2]], task, [(number,)]))[0] for number in range(6)]
            for task in ("late", "soon")
        ]
        assert len({run.id for run in late}) == 1
        (waiting,) = await two[0].runs.list(task="late")
        assert (waiting.status, waiting.args) == ("PENDING", (5,))
        await asyncio.gather(*soon)  # on a slow machine more than one, which is right: then there was a pause
        assert len(seen) == len({run.id for run in soon})
        assert seen[-1] == 5


@pytest.mark.feature("PE11")
async def test_pe11_of_submits_that_race_at_two_nodes_one_run_cools_down_for_all(shared: Place) -> None:
    def declare(registry: Registry) -> None:
        @registry.task(id="warn", cooldown="1h", key="address")
        async def warn(address: str) -> None: ...

    async with nodes(shared, declare, {}, {}) as two:
        runs = await submitted(two, "warn", [("a@b.c",)] * 10)
        assert len({run.id for run in runs}) == 1
        await runs[0]
        (again,), (other,) = [await submitted(two[1:], "warn", [(address,)]) for address in ("a@b.c", "x@y.z")]
        assert again.id == runs[0].id != other.id


@pytest.mark.feature("PE12")
async def test_pe12_of_each_customer_one_at_a_time_whichever_node_runs_it(shared: Place) -> None:
    inside = Inside()

    def declare(registry: Registry) -> None:
        @registry.task(id="bill", key="customer", max_running=1, keep=100)
        async def bill(customer: str) -> None:
            await inside(customer)

    async with nodes(shared, declare, {}, {}) as two:
        runs = await submitted(two, "bill", [("acme" if number < 5 else "bolt",) for number in range(10)])
        await asyncio.gather(*runs)
        assert inside.most == {"acme": 1, "bolt": 1}
        assert inside.ran == 10


@pytest.mark.feature("PE12")
async def test_pe12_two_places_without_a_key_are_two_for_all_nodes(shared: Place) -> None:
    inside = Inside()

    def declare(registry: Registry) -> None:
        @registry.task(id="scan", max_running=2, keep=100)
        async def scan(number: int) -> None:
            await inside("scan")

    async with nodes(shared, declare, {}, {}, {}) as three:
        await asyncio.gather(*await submitted(three, "scan", [(number,) for number in range(12)]))
        assert inside.most["scan"] <= 2
        assert inside.ran == 12


@pytest.mark.feature("PE13")
async def test_pe13_a_hundred_submits_that_race_at_two_nodes_are_one_run(shared: Place) -> None:
    def declare(registry: Registry) -> None:
        @registry.task(id="ship", unique="order", unique_for="1d")
        async def ship(order: str) -> str:
            return f"{order} is on its way"

    async with nodes(shared, declare, {"queues": []}, {"queues": []}) as two:
        runs = await submitted(two, "ship", [("A-1",)] * 100)
        assert len({run.id for run in runs}) == 1
        async with nodes(shared, declare, {}):
            assert await asyncio.gather(*runs) == ["A-1 is on its way"] * 100
        (again,) = await submitted(two[1:], "ship", [("A-1",)])  # though it has ended, by a node that is gone
        assert (again.id, again.result) == (runs[0].id, "A-1 is on its way")


@pytest.mark.feature("PE16")
async def test_pe16_a_run_that_waits_is_cancelled_at_once_by_any_node_and_by_filter(shared: Place) -> None:
    def declare(registry: Registry) -> None:
        @registry.task(id="work", queue="mail")
        async def work(number: int) -> None:
            await asyncio.Event().wait()

    async with nodes(shared, declare, {"queues": []}, {"queues": {"mail": 2}}, {"queues": []}) as (asks, _runs, other):
        runs = await submitted([asks], "work", [(number,) for number in range(6)])
        async with asyncio.timeout(SOON):
            while len(running := await other.runs.list(task="work", status="RUNNING")) < 2:
                await asyncio.sleep(0.02)
        waiting = next(run for run in runs if run.id not in {one.id for one in running})
        assert await other.runs.cancel(waiting.id) is True
        assert (await asks.runs.get(waiting.id)).status is RunStatus.CANCELLED
        assert await other.runs.cancel(queue="mail") == 5
        await asyncio.gather(*runs, return_exceptions=True)
        assert {run.status for run in runs} == {RunStatus.CANCELLED}


@pytest.mark.feature("PE3")
async def test_pe3_whoever_holds_a_run_hears_how_it_ends_at_another_node(shared: Place) -> None:
    def declare(registry: Registry) -> None:
        @registry.task(id="divide")
        async def divide(a: int, b: int) -> float:
            return a / b

    async with nodes(shared, declare, {"queues": []}, {"queues": []}) as (made, looks):
        good, bad = await submitted([made], "divide", [(3, 2), (1, 0)])
        there = await looks.runs.get(bad.id)
        with pytest.raises(TimeoutError, match="has not ended within"):
            await looks.runs.wait(good.id, within="10ms")
        async with nodes(shared, declare, {}):
            assert await good == 1.5
            for run in (bad, there):
                with pytest.raises(ZeroDivisionError):
                    await run
            with pytest.raises(ZeroDivisionError):
                await looks.runs.wait(bad.id, within="20s")
            assert await looks.runs.wait(good.id) == 1.5


@pytest.mark.feature("EA9")
async def test_ea9_a_dependant_at_another_node_starts_when_its_upstream_ends(
    shared: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is neither the look of each second that finds it nor the sweep of every five: there are none.
    for each_second in ("_sqlite.neighbours.SECOND_US", "_postgres.pulse.POLL_US", "_redis.pulse.POLL_US"):
        monkeypatch.setattr(f"asyncsched.stores.{each_second}", 10**15)
    monkeypatch.setattr("asyncsched._engine.sweep._PERIOD_US", 10**15)

    def declare(registry: Registry) -> None:
        @registry.task(id="up", queue="A")
        async def up() -> int:
            await asyncio.sleep(0.01)
            return 21

        @registry.after(up, id="down", queue="B")
        async def down(dep_up: int) -> int:
            return 2 * dep_up

        @registry.after(down, id="last", queue="A")
        async def last(dep_down: int) -> int:
            return dep_down

    async with nodes(shared, declare, {"node": "A", "queues": ["A"]}, {"node": "B", "queues": ["B"]}) as (a, b):
        for _ in range(9):
            root = await (await a.tasks.get("up")).submit()
            (last,) = [run for run in await a.runs.list(task="last") if run.flow == root.id]
            assert await last == 42
        ran = {run.task: run.node for run in await b.runs.list() if run.flow == root.id}
        assert ran == {"up": "A", "down": "B", "last": "A"}


@pytest.mark.feature("PQ15")
async def test_pq15_three_nodes_that_fire_submit_one_job_for_each_fire(shared: Place) -> None:
    def declare(registry: Registry) -> None:
        @registry.task(id="mail", keep=1_000)
        async def mail() -> None: ...

        @registry.every("100ms", id="tick", max_runs=10, overlap="allow", missed="all")
        async def tick() -> None:
            await mail.submit()

    async with nodes(shared, declare, {}, {}, {}) as three:
        async with asyncio.timeout(SOON):
            while len(await three[0].runs.list(task="mail", status="SUCCESS")) < 10:
                await asyncio.sleep(0.05)
        fires = await three[1].runs.list(task="tick", limit=1_000)
        assert len({run.scheduled_us for run in fires}) == len(fires) == 10
        assert len(await three[1].runs.list(task="mail", limit=1_000)) == 10


@pytest.mark.feature("NB3")
async def test_nb3_a_backfill_that_two_nodes_ask_for_makes_each_run_once(place: Place) -> None:
    def declare(registry: Registry) -> None:
        @registry.cron("0 * * * *", id="hourly", keep=100)
        async def hourly() -> None: ...

    since = datetime(2026, 1, 1, tzinfo=UTC)
    until = since + timedelta(days=1)
    async with nodes(place, declare, *[{}] * (1 if place.kind == "memory" else 2)) as some:
        dry = await some[0].tasks.backfill("hourly", since, until, dry_run=True)
        assert (len(dry.instants), await some[0].runs.list(task="hourly")) == (24, [])
        made = await asyncio.gather(*(node.tasks.backfill("hourly", since, until) for node in some))
        for found in made:
            await asyncio.gather(*found.runs)
        again = await some[-1].tasks.backfill("hourly", since, until)
        assert (again.runs, again.present) == ((), 24)
        runs = await some[0].runs.list(task="hourly", status="SUCCESS", limit=1_000)
        assert sorted(run.scheduled_for for run in runs) == [since + hour * timedelta(hours=1) for hour in range(24)]


@pytest.mark.feature("NB7")
async def test_nb7_h_means_the_same_minute_at_each_node(shared: Place) -> None:
    def declare(registry: Registry) -> None:
        for number in range(1_000):
            registry.cron("H * * * *", id=f"task-{number}")(lambda: None)

    async with nodes(shared, declare, {}, {}) as two:
        fires = [{task: at.minute for task, at in await node.tasks.next_fires(1_000)} for node in two]
    assert fires[0] == fires[1]
    assert len(fires[0]) == 1_000
    assert len(set(fires[0].values())) >= 55


@pytest.mark.feature("LS24")
async def test_ls24_a_node_that_comes_with_another_trigger_arms_the_others_anew(shared: Place) -> None:
    def declare(every: str) -> Callable[[Registry], None]:
        async def work() -> None: ...

        return lambda registry: registry.register(Task(work, id="work", every=every)) and None

    async with nodes(shared, declare("1h"), {}) as (old,):
        armed = (await old.tasks.get("work")).next_fire
        async with nodes(shared, declare("30m"), {}) as (new,):
            fresh = (await new.tasks.get("work")).next_fire
            assert armed is not None
            assert fresh is not None
            assert fresh < armed - timedelta(minutes=20)
            task = await old.tasks.get("work")
            await soon(lambda: task.next_fire == fresh)
