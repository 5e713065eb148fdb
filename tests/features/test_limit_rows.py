"""The rows of features about limits by key: places, rates, submits that are one run, and who may run what."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Scheduler
from asyncsched.events import Event, RunStarted
from asyncsched.stores import MemoryStore, RunFilter

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@pytest.mark.feature("PE8")
async def test_pe8_a_node_runs_only_what_is_of_its_queues(virtual: Any) -> None:
    registry, store = Registry(), MemoryStore()

    @registry.every("1m", queue="mail")
    async def mail() -> None: ...

    @registry.every("1m", queue="reports")
    async def report() -> None: ...

    ran: dict[str, set[str]] = {}

    def note(event: Event) -> None:
        assert isinstance(event, RunStarted)
        ran[str(event.run.node)].add(event.task)

    async with virtual(Registry(), at=T0) as stage:
        for name, queues in (("C", []), ("A", ["mail"]), ("B", ["reports"])):  # one node after another
            node = Scheduler(store, registry=registry, clock=stage.clock, tz="UTC", node=name, queues=queues)
            ran[name] = set()
            async with node:
                node.events.on([RunStarted], note)
                submitted = await mail.submit()
                await stage.advance("1m")
                await node.idle()
            if name == "C":
                assert submitted.status == "PENDING"
                assert {run.task for run in await store.runs(RunFilter())} == {mail.id, report.id}
    assert ran == {"A": {mail.id}, "B": {report.id}, "C": set()}


@pytest.mark.feature("PE9")
async def test_pe9_no_minute_has_more_starts_than_the_rate_says_and_all_run(virtual: Any) -> None:
    registry = Registry()

    @registry.task(rate="10/1m")
    async def call(_number: int) -> None:
        await asyncio.sleep(1)

    async with virtual(registry, at=T0) as sched:
        runs = []
        for number in range(25):
            runs.append(await call.submit(number))
            await sched.advance("1s")
        await asyncio.gather(*runs)
        starts = [run.started_at for run in runs]
        assert max(sum(one <= other < one + timedelta(minutes=1) for other in starts) for one in starts) == 10
        assert starts == [at(second) for second in [*range(10), *range(60, 70), *range(120, 125)]]


@pytest.mark.feature("PE9")
async def test_pe9_a_rate_may_count_each_value_of_a_key(virtual: Any) -> None:
    registry = Registry()

    @registry.task(rate="10/1m", key="customer")
    async def call(customer: str) -> None: ...

    async with virtual(registry, at=T0) as sched:
        runs = await call.submit_many([(name,) for name in ("acme", "bolt") for _ in range(25)])
        await asyncio.gather(*runs)
        minutes = Counter((run.args[0], run.started_at) for run in runs)
        assert minutes == {(name, at(60 * k)): [10, 10, 5][k] for name in ("acme", "bolt") for k in range(3)}
        assert sched.now() == at(120)


@pytest.mark.feature("PE10")
async def test_pe10_ten_submits_in_two_seconds_are_one_run_with_the_last_arguments(virtual: Any) -> None:
    registry, seen = Registry(), list[int]()

    @registry.task(debounce="5s")
    async def rebuild(number: int) -> None:
        seen.append(number)

    async with virtual(registry, at=T0) as sched:
        runs = []
        for number in range(10):
            runs.append(await rebuild.submit(number))
            await sched.advance("200ms")
        assert len({run.id for run in runs}) == 1
        await runs[0]
        assert (seen, runs[0].started_at, len(sched.runs())) == ([9], at(1.8 + 5), 1)


@pytest.mark.feature("PE10")
async def test_pe10_each_key_waits_for_itself(virtual: Any) -> None:
    registry, seen = Registry(), list[tuple[str, int]]()

    @registry.task(debounce="5s", key="page")
    async def rebuild(page: str, number: int) -> None:
        seen.append((page, number))

    async with virtual(registry, at=T0) as sched:
        for number in range(4):
            await rebuild.submit("ab"[number % 2], number)
            await sched.advance("1s")
        await sched.advance("10s")
        assert seen == [("a", 2), ("b", 3)]
        assert [run.started_at for run in sched.runs()] == [at(7), at(8)]


@pytest.mark.feature("PE11")
async def test_pe11_three_submits_in_ten_seconds_are_one_run_and_after_a_minute_there_is_another(virtual: Any) -> None:
    registry = Registry()

    @registry.task(cooldown="1m", key="address")
    async def warn(address: str) -> None: ...

    async with virtual(registry, at=T0) as sched:
        runs = []
        for _ in range(3):
            runs.append(await warn.submit("a@b.c"))
            await sched.advance("5s")
        assert len({run.id for run in runs}) == 1
        assert (await warn.submit("x@y.z")).id != runs[0].id
        await sched.advance("46s")
        assert (await warn.submit("a@b.c")).id != runs[0].id


@pytest.mark.feature("PE12")
async def test_pe12_each_value_of_a_key_has_max_running_places(virtual: Any) -> None:
    registry, inside, most = Registry(), Counter[str](), Counter[str]()

    @registry.task(key="customer", max_running=1)
    async def bill(customer: str) -> None:
        inside[customer] += 1
        most[customer] = max(most[customer], inside[customer])
        await asyncio.sleep(1)
        inside[customer] -= 1

    async with virtual(registry, at=T0) as sched:
        runs = await bill.submit_many([("acme" if number < 5 else "bolt",) for number in range(10)])
        await asyncio.gather(*runs)
        assert most == {"acme": 1, "bolt": 1}
        assert [run.started_at for run in runs] == [at(number % 5) for number in range(10)]
        assert sched.now() == at(5)


@pytest.mark.feature("PE13")
async def test_pe13_a_hundred_submits_with_one_key_are_one_run(virtual: Any) -> None:
    registry = Registry()

    @registry.task(unique="order", unique_for="1d")
    async def ship(order: str) -> str:
        await asyncio.sleep(1)
        return f"{order} is on its way"

    async with virtual(registry, at=T0) as sched:
        runs = await asyncio.gather(*(ship.submit("A-1") for _ in range(100)))
        assert len({run.id for run in runs}) == 1
        assert await asyncio.gather(*runs) == ["A-1 is on its way"] * 100
        await sched.advance("23h")
        assert (await ship.submit("A-1")).id == runs[0].id
        await sched.advance("2h")
        assert (await ship.submit("A-1")).id != runs[0].id
        assert len(sched.runs()) == 1


@pytest.mark.feature("PA26")
async def test_pa26_priority_orders_tags_choose_and_queues_say_where(virtual: Any) -> None:
    registry, order = Registry(), list[str]()

    @registry.task(tags=["nightly"], queue="reports")
    async def report(name: str) -> None:
        order.append(name)
        await asyncio.sleep(1)

    @registry.task(tags=["nightly"], queue="mail")
    async def mail(name: str) -> None:
        order.append(name)

    async with virtual(Scheduler(registry=registry, max_running=1, queues=["reports"]), at=T0) as sched:
        await mail.submit("not here")
        await report.submit("first")
        for name, priority in (("low", -1), ("normal", 0), ("high", 1)):
            await report.using(priority=priority).submit(name)
        await sched.advance("10s")
        assert order == ["high", "first", "normal", "low"]
        assert await sched.scheduler.tasks.list(tag="nightly") == [report, mail]
