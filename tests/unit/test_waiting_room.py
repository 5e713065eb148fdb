"""The memory store's waiting room keeps nothing of those that have gone."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.clock import Clock
from asyncsched.limits import Cooldown, Debounce, Once, Rate, Unique
from asyncsched.retry import NO_RETRY
from asyncsched.run import Run, RunStatus, Succeeded, Terms, settle
from asyncsched.stores import Ack, MemoryStore

SECOND = 1_000_000
MINUTE = 60 * SECOND


class HandClock(Clock):
    def __init__(self) -> None:
        self.at_us = 1_767_225_600_000_000

    def now_us(self) -> int:
        return self.at_us

    def steady_us(self) -> int:
        return self.at_us


class Bench:
    """A memory store, and how much it holds."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.store = MemoryStore()
        self._made = 0

    def run(self, terms: Terms, wait_us: int = 0) -> Run[Any]:
        self._made += 1
        now_us = self.clock.now_us()
        return Run(f"{self._made:06}", "t", now_us, now_us + wait_us, terms=terms)

    async def cycle(self, *ending: Run[Any]) -> list[Run[Any]]:
        """Let runs end, or if there are none claim those that are ready."""
        now_us = self.clock.now_us()
        acks = [Ack(run, run.token, settle(Succeeded(1), run.attempt, NO_RETRY, now_us)) for run in ending]
        return (await self.store.cycle(acks, 0 if acks else 1_000)).claimed

    def held(self) -> int:
        """Everything that the store holds beside the history."""
        return len(self.store._live) + _size(self.store._room) + _size(self.store._standing)


def _size(thing: Any) -> int:
    """How many entries there are in the containers of an object, and in those within them."""
    if isinstance(thing, dict):
        return len(thing) + sum(map(_size, thing.values()))
    if isinstance(thing, list | set | tuple) or hasattr(thing, "maxlen"):
        return len(thing) + sum(_size(item) for item in thing if isinstance(item, list))
    if type(thing).__module__ in ("asyncsched.stores._waiting", "asyncsched.stores._standing"):
        names = getattr(type(thing), "__slots__", None) or vars(thing)
        return sum(_size(getattr(thing, name)) for name in names)
    return 0


async def opened() -> Bench:
    bench = Bench()
    await bench.store.open("n", bench.clock)
    return bench


async def test_keys_with_nobody_in_them_are_forgotten() -> None:
    bench = await opened()
    terms = [Terms(limit_key=f"k{n}", limit=1, rate=Rate(1, MINUTE) if n % 2 else None) for n in range(500)]
    await bench.store.submit([bench.run(one) for one in terms for _ in range(2)])
    for _ in range(3):
        await bench.cycle(*await bench.cycle())
        bench.clock.at_us += MINUTE
    await bench.cycle()
    assert bench.held() <= 1  # the queue


async def test_what_stood_for_a_key_is_forgotten_when_its_time_is_over() -> None:
    bench = await opened()
    kinds: list[Once] = [Unique(), Unique(MINUTE), Cooldown(MINUTE), Debounce(SECOND)]
    runs = [bench.run(Terms(once=kinds[n % 4], once_key=f"k{n}")) for n in range(400)]
    await bench.store.submit(runs)
    await bench.cycle(*await bench.cycle())
    assert bench.held() > 200
    bench.clock.at_us += MINUTE
    run = bench.run(Terms(once=Unique(), once_key="last"))
    await bench.store.submit([run])
    await bench.cycle(*await bench.cycle())
    assert bench.held() <= 1


async def test_a_run_that_moves_all_the_time_leaves_little_behind() -> None:
    bench = await opened()
    terms = Terms(once=Debounce(10 * MINUTE), once_key="k")
    (run,) = await bench.store.submit([bench.run(terms, 10 * MINUTE)])
    for _ in range(5_000):
        (run,) = await bench.store.submit([bench.run(terms, 10 * MINUTE)])
        bench.clock.at_us += 1
    assert bench.held() < 200
    bench.clock.at_us = run.due_us - 1
    assert await bench.cycle() == []
    bench.clock.at_us += 1
    assert [run.id for run in await bench.cycle()] == ["000001"]


async def test_runs_that_are_cancelled_where_they_wait_leave_little_behind() -> None:
    bench = await opened()
    one_place, slow = Terms(limit_key="k", limit=1), Terms(limit_key="r", limit=None, rate=Rate(1, 3_600 * SECOND))
    await bench.store.submit([bench.run(one_place), bench.run(slow)])
    first = await bench.cycle()
    for _ in range(3_000):
        waiting = [bench.run(one_place), bench.run(slow), bench.run(Terms(), MINUTE), bench.run(Terms(queue="nobody"))]
        await bench.store.submit(waiting)
        assert len(await bench.store.cancel([run.id for run in waiting], "not wanted")) == 4
    assert bench.held() < 400
    last = bench.run(one_place)
    await bench.store.submit([last])
    await bench.cycle(*first)
    assert await bench.cycle() == [last]


async def test_queues_that_have_been_served_are_forgotten() -> None:
    bench = await opened()
    for n in range(200):
        await bench.store.submit([bench.run(Terms(queue=f"q{n}"))])
        await bench.cycle(*await bench.cycle())
    assert bench.held() <= 2


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 20))
def test_moves_to_earlier_and_later_instants_start_the_run_once_and_in_time(seed: int, keys: int, moves: int) -> None:
    async def live() -> None:
        bench, random = await opened(), Random(seed)
        due: dict[str, int] = {}
        for _ in range(moves):
            key = f"k{random.randrange(keys)}"
            wait_us = random.randrange(1, 20)
            (run,) = await bench.store.submit([bench.run(Terms(once=Debounce(5), once_key=key), wait_us)])
            due[run.id] = bench.clock.at_us + wait_us
            bench.clock.at_us += random.randrange(3)
            for started in await bench.cycle():
                assert due.pop(started.id) <= bench.clock.at_us
            assert all(at_us > bench.clock.at_us for at_us in due.values())
        for _ in range(25):
            bench.clock.at_us += 1
            started_now = {run.id for run in await bench.cycle()}
            assert started_now == {name for name, at_us in due.items() if at_us == bench.clock.at_us}
            due = {name: at_us for name, at_us in due.items() if name not in started_now}
        assert not due
        assert all(run.status is RunStatus.RUNNING for run in bench.store._live.values())

    asyncio.run(live())
