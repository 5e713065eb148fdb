"""A server crashes and comes back, or is away for a while (F3), on PostgreSQL and Redis.

Real servers that are killed and started again. The long form has them away for a minute, and crash twelve times.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest

from asyncsched import Registry
from asyncsched.errors import StoreError
from asyncsched.events import NodeLost, StoreBack, StoreLost
from asyncsched.run import RunStatus

from .crew import LONG, seeded
from .frail import KINDS, Frail, Scene, crashing, cut, persist, until

PERIOD_US = 250_000
AWAY_S = 60.0 if LONG else 5.0
CRASHES = 12 if LONG else 1
# What a machine may take that has eight other things to do; what it took is printed.
BACK_S = 5.0 if LONG else 30.0


# A server ends with the thread that has started it: so that is not one of a loop, which ends with its test.
hands = ThreadPoolExecutor(1)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Frail]]:
    """A server of each kind, with AOF and fsync."""
    with hands, ExitStack() as stack:
        yield {kind: stack.enter_context(crashing(kind)) for kind in hands.map(str, KINDS)}


async def by_hand(function: Callable[[], None]) -> None:
    """Let this be done while the loop goes on."""
    await asyncio.get_running_loop().run_in_executor(hands, function)


def beside(server: Frail) -> Frail:
    """Another place at the server."""
    return Frail(server.kind, server.server)


def ticking(done: Counter[int]) -> Registry:
    registry = Registry()

    async def tick() -> None: ...

    for missed in ("latest", "skip", "all"):
        registry.every("250ms", id=missed, missed=missed, overlap="queue_all", history_limit=10_000)(tick)

    @registry.task(id="add", history_limit=100_000)
    async def add(number: int) -> int:
        done[number] += 1
        return number

    @registry.task(id="hold")
    async def hold(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "held"

    return registry


async def fires(scene: Scene, task: str) -> list[Any]:
    """The records of the task's fires, oldest first; each instant is stood for by one."""
    found = await scene.scheduler.runs.list(task=task, limit=10_000)
    fired = sorted(found, key=lambda run: run.scheduled_us)
    assert {run.status for run in fired if run.status.final} <= {RunStatus.SUCCESS, RunStatus.SKIPPED}
    for before, after in pairwise(fired):
        assert after.scheduled_us == before.scheduled_us + after.stands_for * PERIOD_US
    return fired


async def settled(scene: Scene, count: int) -> None:
    """Return once each task has fired so often again."""
    before = Counter({task: len(scene.succeeded(task)) for task in ("latest", "skip", "all")})
    await until(lambda: all(len(scene.succeeded(task)) >= before[task] + count for task in before))


@pytest.mark.feature("PA11")
@pytest.mark.timeout(300)
@pytest.mark.full_speed
async def test_pa11_a_server_that_is_away_is_told_of_once_and_missed_decides_what_becomes_of_the_gap(
    servers: dict[str, Frail], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "asyncsched"):
        await asyncio.gather(*(lose_for_a_while(beside(server)) for server in servers.values()))
    for server in servers.values():
        said = [one.getMessage() for one in caplog.records if "the store fails" in one.getMessage()]
        lease = [one for one in caplog.records if "cannot be renewed" in one.getMessage()]
        assert len(said) <= 5 * len(servers), said
        assert len(lease) == len(servers), server.kind


async def lose_for_a_while(frail: Frail) -> None:
    scene = Scene(frail.url(), ticking(Counter()))
    add = scene.registry["add"]
    async with scene.scheduler:
        await settled(scene, 2)
        held = await scene.registry["hold"].submit(AWAY_S / 2 if AWAY_S < 10 else 1.0)
        await by_hand(frail.crash)
        gone_us = time.time_ns() // 1000
        with pytest.raises(StoreError):
            await add.submit(1)
        await until(lambda: scene.all(StoreLost))
        used_s = time.process_time()
        await asyncio.sleep(AWAY_S)
        used_s = time.process_time() - used_s
        assert not scene.all(StoreBack)
        await by_hand(frail.start)
        back, back_us = time.monotonic(), time.time_ns() // 1000
        await settled(scene, 1)
        took_s = time.monotonic() - back
        assert await (await persist(add, 2, key="2")) == 2
        await settled(scene, 2)
        assert await held == "held"
        assert (len(scene.all(StoreLost)), len(scene.all(StoreBack))) == (1, 1)
        print(f"{frail.kind}: goes on {took_s:.3f} s after its return; {used_s:.2f} s of CPU in {AWAY_S:.0f} s")
        assert took_s < BACK_S
        assert used_s < AWAY_S / 4
        missed = (gone_us + PERIOD_US, back_us - 1_000_000)
        for task, most in (("latest", 1), ("skip", 0), ("all", 1_000)):
            ran = [run for run in await fires(scene, task) if missed[0] < run.scheduled_us < missed[1]]
            count = sum(run.status is RunStatus.SUCCESS for run in ran)
            assert count <= most, task
        # One after another, and up to a hundred of them.
        made_up = min((missed[1] - missed[0]) // PERIOD_US, 100) - 2
        async with asyncio.timeout(60):
            while len([run for run in scene.succeeded("all") if run.scheduled_us > missed[0]]) < made_up:
                await asyncio.sleep(0.05)


@pytest.mark.feature("TC21")
async def test_tc21_connections_that_the_server_has_ended_come_back_and_every_fire_is_accounted_for() -> None:
    await asyncio.gather(*map(end_connections, KINDS))


async def end_connections(kind: str) -> None:
    with cut(kind) as there:
        frail = Frail(kind, there.server)
        scene = Scene(frail.url(), ticking(Counter()))
        async with scene.scheduler:
            await settled(scene, 2)
            held = await scene.registry["hold"].submit(1.0)
            await until(lambda: held.status is RunStatus.RUNNING)
            for _ in range(50 if LONG else 2):
                await until(frail.drop_connections)
                dropped = time.monotonic()
                await settled(scene, 1)
                print(f"{kind}: goes on after {time.monotonic() - dropped:.3f} s")
                assert time.monotonic() - dropped < BACK_S
            assert await held == "held"
            assert held.attempt == 1
            await settled(scene, 1)
            for task in ("latest", "skip", "all"):
                assert len(await fires(scene, task)) >= 4
            assert not scene.all(NodeLost)


# -- crashes under load


@pytest.mark.timeout(600)
@pytest.mark.full_speed
async def test_of_what_was_acknowledged_nothing_is_lost_or_doubled_by_crashes(servers: dict[str, Frail]) -> None:
    await asyncio.gather(*(crash_under_load(beside(server)) for server in servers.values()))


async def crash_under_load(frail: Frail) -> None:
    done: Counter[int] = Counter()
    scene, random, acknowledged = Scene(frail.url(), ticking(done)), seeded(f"crashes {frail.kind}"), {}
    add, over = scene.registry["add"], asyncio.Event()
    answered = time.monotonic()

    async def produce(first: int) -> None:
        nonlocal answered
        for number in range(first, first + 1_000_000, 8):
            if over.is_set():
                return
            run = await persist(add, number, key=f"order {number}")
            acknowledged[number], answered = run, time.monotonic()
            await asyncio.sleep(0.005)

    async with scene.scheduler:
        producers = [asyncio.create_task(produce(first)) for first in range(8)]
        slowest_s = 0.0
        for _ in range(CRASHES):
            await asyncio.sleep(random.uniform(0.2, 1.0))
            await by_hand(frail.crash)
            await asyncio.sleep(random.uniform(0.0, 0.5))
            await by_hand(frail.start)
            back, count = time.monotonic(), len(acknowledged)
            await until(lambda count=count: len(acknowledged) > count)  # type: ignore[misc]
            slowest_s = max(slowest_s, answered - back)
        over.set()
        await asyncio.gather(*producers)
        async with asyncio.timeout(120):
            assert [await run for run in acknowledged.values()] == list(acknowledged)
        found = await scene.scheduler.runs.list(task="add", limit=1_000_000)
        assert Counter(run.args[0] for run in found) == Counter(list(acknowledged))
        assert {run.status for run in found} == {RunStatus.SUCCESS}
        assert set(frail.ended().values()) == {1}
        await settled(scene, 1)
        for task in ("latest", "skip", "all"):
            await fires(scene, task)
    print(
        f"{frail.kind}: {CRASHES} crashes, {len(acknowledged)} acknowledged, {done.total()} executions, "
        f"the first answer {slowest_s:.3f} s after a start at the latest"
    )
    assert slowest_s < BACK_S


# -- parts of a store that fail


@pytest.mark.feature("PA4")
async def test_pa4_an_error_in_the_thread_that_renews_the_lease_costs_neither_lease_nor_fire() -> None:
    await asyncio.gather(*map(break_the_pulse, KINDS))


async def break_the_pulse(kind: str) -> None:
    with cut(kind) as there:
        scene = Scene(Frail(kind, there.server).url("3s"), ticking(Counter()))
        async with scene.scheduler:
            await settled(scene, 1)
            pulse: Any = scene.scheduler._engine.store._pulse  # type: ignore[attr-defined]
            raised = threading.Event()

            def breaks(now_us: int) -> Any:
                del pulse._renew_lease
                raised.set()
                raise RuntimeError(f"in a part, at {now_us}")

            pulse._renew_lease = breaks
            await until(raised.is_set)
            asked = time.monotonic()
            await until(lambda: time.monotonic() - asked > 3.5)  # a lease that nobody renews is over by then
            await settled(scene, 1)
            assert not scene.all(NodeLost)
            assert not scene.all(StoreLost)
            await fires(scene, "all")


async def test_who_leaves_when_the_server_has_just_come_back_leaves_in_order(servers: dict[str, Frail]) -> None:
    for server in servers.values():
        scene = Scene(beside(server).url(), Registry())
        async with scene.scheduler:
            for happens in (server.crash, server.start):
                hands.submit(happens).result()  # the loop does not see that its connections are gone
