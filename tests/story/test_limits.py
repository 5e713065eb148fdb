"""How many may run at once: of a task, of a queue, of the whole scheduler; who waits, and who goes first."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task, current_run
from asyncsched.errors import ConfigError
from asyncsched.stores import MemoryStore

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


class Crowd:
    """A task that takes a second, and how many of its runs were inside at once."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def work(self, *_anything: Any) -> None:
        task = current_run().task
        for who in (task, "all"):
            self.inside[who] += 1
            self.most[who] = max(self.most[who], self.inside[who])
        await asyncio.sleep(1)
        for who in (task, "all"):
            self.inside[who] -= 1


async def test_runs_of_a_task_beyond_its_limit_wait_in_order(virtual: Any) -> None:
    crowd, registry = Crowd(), Registry()
    task = registry.register(Task(crowd.work, max_running=2))
    async with virtual(registry, at=T0) as sched:
        runs = await task.submit_many((number,) for number in range(5))
        await sched.drain()
        assert [run.started_at for run in runs] == [at(0), at(0), at(1), at(1), at(2)]
        assert crowd.most[task.id] == 2


async def test_one_busy_task_does_not_hold_up_another(virtual: Any) -> None:
    crowd, registry = Crowd(), Registry()
    narrow = registry.register(Task(crowd.work, id="narrow", max_running=1, priority=9))
    wide = registry.register(Task(crowd.work, id="wide"))
    async with virtual(registry, at=T0) as sched:
        await narrow.submit_many([()] * 10)
        runs = await wide.submit_many([()] * 10)
        await sched.advance("1s")
        assert {run.finished_at for run in runs} == {at(1)}
        await sched.drain()
        assert (crowd.most["narrow"], crowd.most["wide"], sched.now()) == (1, 10, at(10))


async def test_the_limit_counts_for_fires_as_for_submitted_runs(virtual: Any) -> None:
    crowd, registry = Crowd(), Registry()
    task = registry.register(Task(crowd.work, every="400ms", overlap="allow", max_running=2))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("2s")
        await task.submit()
        await sched.advance("1s")
        assert crowd.most[task.id] == 2
        assert sched.skips() == []


async def test_runs_that_are_not_due_yet_take_nobodys_place(virtual: Any) -> None:
    crowd, registry = Crowd(), Registry()
    task = registry.register(Task(crowd.work, max_running=1))
    async with virtual(registry, at=T0) as sched:
        later = await task.using(delay="10s").submit()
        now = await task.submit()
        await sched.drain()
        assert now.finished_at == at(1)
        await later
        assert later.started_at == at(10)


@pytest.mark.parametrize("limit", [1, 3])
async def test_the_scheduler_as_a_whole_has_a_limit(virtual: Any, limit: int) -> None:
    crowd, registry = Crowd(), Registry()
    one = registry.register(Task(crowd.work, id="one"))
    other = registry.register(Task(crowd.work, id="other"))
    async with virtual(Scheduler(registry=registry, max_running=limit), at=T0) as sched:
        await one.submit_many([()] * 6)
        await other.submit_many([()] * 6)
        await sched.drain()
        assert crowd.most["all"] == limit
        assert sched.now() == at(12 / limit)
        assert {run.status for run in sched.runs()} == {"SUCCESS"}


@pytest.mark.parametrize("limits", [{"max_running": 3}, {"queues": {"default": 3}}], ids=["scheduler", "queue"])
async def test_what_comes_while_others_run_waits_for_a_place(virtual: Any, limits: dict[str, Any]) -> None:
    crowd, registry = Crowd(), Registry()
    task = registry.register(Task(crowd.work))
    async with virtual(Scheduler(registry=registry, **limits), at=T0) as sched:
        runs = []
        for _ in range(9):  # one comes every 100 ms, each takes a second
            runs.append(await task.submit())
            await sched.advance("100ms")
        await sched.drain()
        assert crowd.most["all"] == 3
        assert [run.started_at for run in runs] == [at(k // 3 + k % 3 / 10) for k in range(9)]


async def test_a_place_is_taken_again_at_once_when_a_run_fails_or_is_cancelled(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def work(how: str) -> None:
        await asyncio.sleep(1)
        if how == "fail":
            raise OSError
        await asyncio.sleep(1000)

    async with virtual(Scheduler(registry=registry, max_running=1), at=T0) as sched:
        _failing, stuck, last = await work.submit_many([("fail",), ("hang",), ("fail",)])
        await sched.advance("1s")
        assert stuck.started_at == at(1)
        await sched.scheduler.runs.cancel(stuck.id)
        await sched.drain()
        assert last.started_at == at(1)


async def test_each_queue_has_its_own_limit(virtual: Any) -> None:
    crowd, registry = Crowd(), Registry()
    for name, queue in (("mail", "mail"), ("sms", "mail"), ("report", "reports"), ("free", "default")):
        registry.register(Task(crowd.work, id=name, queue=queue))
    queues = {"mail": 2, "reports": 1, "default": None}
    async with virtual(Scheduler(registry=registry, queues=queues), at=T0) as sched:
        for task in registry:
            await task.submit_many([()] * 4)
        await sched.advance("500ms")
        assert crowd.inside["mail"] + crowd.inside["sms"] == 2
        assert (crowd.inside["report"], crowd.inside["free"]) == (1, 4)
        await sched.drain()
        assert sched.now() == at(4)
        assert Counter(run.status for run in sched.runs()) == {"SUCCESS": 16}


async def test_what_nobody_serves_waits_for_who_does(virtual: Any) -> None:
    store, registry, crowd = MemoryStore(), Registry(), Crowd()
    mail = registry.register(Task(crowd.work, id="mail", queue="mail", every="10s"))
    async with virtual(Registry(), at=T0) as stage:
        options: dict[str, Any] = {"registry": registry, "clock": stage.clock, "tz": "UTC"}
        async with Scheduler(store, queues=[], **options) as scheduler:
            run = await mail.submit()
            await stage.advance("30s")
            await scheduler.idle()
            assert run.status == "PENDING"
        async with Scheduler(store, queues=["reports"], **options):
            await stage.advance("1s")
            assert run.status == "PENDING"
        async with Scheduler(store, queues=["mail"], **options):
            await run
            assert run.started_at == at(31)


async def test_a_greater_priority_goes_first_whatever_its_queue(virtual: Any) -> None:
    registry = Registry()
    order: list[str] = []

    @registry.task(queue="a")
    async def first(name: str) -> None:
        order.append(name)
        await asyncio.sleep(1)

    @registry.task(queue="b", priority=1)
    async def second(name: str) -> None:
        order.append(name)
        await asyncio.sleep(1)

    async with virtual(Scheduler(registry=registry, max_running=1), at=T0) as sched:
        await first.submit("a0")
        await second.submit("b1")
        await first.using(priority=2).submit("a2")
        await second.using(priority=-1).submit("b-1")
        await sched.drain()
    assert order == ["a2", "b1", "a0", "b-1"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Scheduler(max_running=0), "max_running=0: how many runs at once, a whole number from 1 on"),
        (lambda: Scheduler(max_running=True), "max_running=True"),
        (lambda: Scheduler(queues={"mail": 0}), "mail=0: how many runs at once"),
        (lambda: Scheduler(queues="mail"), r"queues='mail': give a list of names, such as \['mail'\]"),
        (lambda: Task(print, id="t", max_running=0), "max_running=0: a whole number from 1 on, or None"),
        (lambda: Task(print, id="t", max_running="3"), "max_running='3'"),
        (lambda: Task(print, id="t", queue=""), "queue='': the name of a queue"),
        (lambda: Task(print, id="t", queue=3), "queue=3: the name of a queue"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(make: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()
