"""What a store must do about the past: find runs by instant and reason, and write the runs that a fire lacks."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from asyncsched.edges import Edges
from asyncsched.ids import RunIds
from asyncsched.retry import NO_RETRY
from asyncsched.run import NO_TERMS, Run, RunStatus, Succeeded, Terms, settle
from asyncsched.stores import Ack, Declared, FireOrder, RunFilter, Store

from .conftest import START_US, Bench

SECOND = 1_000_000
BACKFILL = Terms(priority=-100, backfill=True)
_ids = RunIds(Random(7))


def a_fire(second: int | None, *, task: str = "t", created: int = 0, terms: Terms = NO_TERMS) -> Run[Any]:
    """A run for a fire at so many seconds after the start, or a submitted one."""
    created_us = START_US + created * SECOND
    at_us = None if second is None else START_US + second * SECOND
    return Run(_ids.make(START_US), task, created_us, created_us, at_us, terms=terms)


def made_up(second: int) -> Run[Any]:
    """A run that makes up for a fire of the past."""
    return a_fire(second, terms=BACKFILL)


def a_skip(second: int, reason: str = "paused") -> Run[Any]:
    run = a_fire(second)
    run.become(RunStatus.SKIPPED)
    run.reason, run.finished_us = reason, START_US
    return run


async def finish(store: Store) -> None:
    claimed = (await store.cycle([], 100)).claimed
    now_us = await store.now_us()
    acks = [Ack(run, run.token, settle(Succeeded(None), run.attempt, NO_RETRY, now_us)) for run in claimed]
    await store.cycle(acks, 0)


async def record(store: Store, *skips: Run[Any]) -> None:
    for skip in skips:
        standing = await store.put_task(Declared(skip.task, "x", None, START_US, 100))
        assert await store.fire([FireOrder(skip.task, standing.version, START_US, None, (), [skip])])


def names(runs: Iterable[Run[Any]]) -> set[str]:
    return {run.id for run in runs}


async def test_runs_are_found_by_the_instant_of_their_fire_and_submitted_ones_by_when_they_were_made(
    store: Store, bench: Bench
) -> None:
    await bench.advance(100 * SECOND)
    early, late, submitted = a_fire(10, created=99), a_fire(20, created=99), a_fire(None, created=15)
    await store.submit([early, late, submitted])
    await finish(store)
    waiting = a_fire(30, created=100)
    await store.submit([waiting])

    async def between(since: int | None, until: int | None) -> set[str]:
        bounds = [None if second is None else START_US + second * SECOND for second in (since, until)]
        return names(await store.runs(RunFilter(since_us=bounds[0], until_us=bounds[1])))

    assert await between(None, None) == names([early, late, submitted, waiting])
    assert await between(10, 20) == names([early, submitted])
    assert await between(16, None) == names([late, waiting])
    assert await between(None, 15) == names([early])
    assert await between(31, None) == set()


async def test_skips_are_found_by_their_reason(store: Store) -> None:
    paused, missed = a_skip(1), a_skip(2, "missed")
    await record(store, paused, missed)
    await store.submit([a_fire(3)])
    assert names(await store.runs(RunFilter(reason={"paused"}))) == names([paused])
    assert names(await store.runs(RunFilter(reason={"paused", "missed"}, task="t"))) == names([paused, missed])
    assert await store.runs(RunFilter(reason={"overlap"})) == []


async def test_a_fire_that_has_a_run_gets_no_other_whether_that_waits_runs_or_has_ended(store: Store) -> None:
    first = [made_up(second) for second in (1, 2)]
    assert await store.submit(first) == first
    assert await store.submit([made_up(1), made_up(2)]) == first
    await store.cycle([], 100)
    assert await store.submit([made_up(1), made_up(2)]) == first
    others = [made_up(1), made_up(3), made_up(2)]
    assert await store.submit(others) == [first[0], others[1], first[1]]
    await finish(store)
    again = made_up(3)
    assert await store.submit([again]) == [others[1]]
    assert await store.run(again.id) is None


async def test_a_run_that_a_fire_has_made_is_one_too(store: Store) -> None:
    standing = await store.put_task(Declared("t", "x", None, START_US, 100))
    ordinary = a_fire(0)
    await store.fire([FireOrder("t", standing.version, START_US, None, [ordinary], [])])
    assert await store.submit([made_up(0)]) == [ordinary]


async def test_of_runs_for_one_fire_that_come_together_one_is_written(store: Store) -> None:
    twice = [made_up(1), made_up(1)]
    assert await store.submit(twice) == [twice[0], twice[0]]


async def test_the_fires_of_other_tasks_and_submitted_runs_are_no_hindrance(store: Store) -> None:
    await store.submit([a_fire(1, task="other"), a_fire(None)])
    made = made_up(1)
    assert await store.submit([made]) == [made]


async def test_the_record_of_a_skip_is_no_run(store: Store) -> None:
    await record(store, a_skip(1))
    made = made_up(1)
    assert await store.submit([made]) == [made]
    assert names((await store.cycle([], 100)).claimed) == {made.id}


async def test_what_is_below_a_run_in_its_flow_is_written_if_that_is(store: Store) -> None:
    def flow(second: int) -> list[Run[Any]]:
        root, below = made_up(second), a_fire(None, task="below", terms=BACKFILL)
        root.edges = Edges(root.id)
        below.edges = Edges(root.id, (root.id,), upstreams=(root,), blocked=True)
        return [root, below]

    first, second = flow(1), flow(2)
    assert await store.submit(first) == first
    assert await store.submit([*flow(1), *second]) == [first[0], first[0], *second]
    assert names((await store.cycle([], 100)).claimed) == names([first[0], second[0]])


async def test_of_those_that_wait_for_one_key_the_greater_priority_goes_first(store: Store) -> None:
    behind, ordinary = Terms(priority=-100, limit_key="k"), Terms(limit_key="k")
    first, second = a_fire(1, terms=behind), a_fire(2, terms=behind)
    await store.submit([first, second])
    runs = [a_fire(3, terms=ordinary), a_fire(4, terms=ordinary)]
    await store.submit(runs)
    started = []
    while claimed := (await store.cycle([], 100)).claimed:
        started += [run.id for run in claimed]
        acks = [Ack(run, run.token, settle(Succeeded(None), 1, NO_RETRY, START_US)) for run in claimed]
        await store.cycle(acks, 0)
    assert started == [first.id, runs[0].id, runs[1].id, second.id]  # the first had its place before the others came
