"""The past: runs found by their instants and reasons, and written where a fire lacks one."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from asyncsched.edges import Edges
from asyncsched.ids import RunIds
from asyncsched.retry import NO_RETRY
from asyncsched.run import NO_TERMS, Run, RunStatus, Succeeded, Terms, settle
from asyncsched.stores import Ack, Declared, FireOrder, RunFilter, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import claim, finish

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


def skipped_at(second: int, reason: str = "paused") -> Run[Any]:
    run = a_fire(second)
    run.become(RunStatus.SKIPPED)
    run.reason, run.finished_us = reason, START_US
    return run


async def record(store: Store, *skips: Run[Any]) -> None:
    for skip in skips:
        standing = await store.put_task(Declared(skip.task, "x", None, START_US, 100))
        assert await store.fire([FireOrder(skip.task, standing.version, START_US, None, (), [skip])])


def named(runs: Iterable[Run[Any]]) -> set[str]:
    return {run.id for run in runs}


class BackfillPromises:
    """A fire of the past has one run, whoever asks for it."""

    async def test_runs_are_found_by_the_instant_of_their_fire_and_submitted_ones_by_when_they_were_made(
        self, store: Store, bench: Bench
    ) -> None:
        await bench.advance(100 * SECOND)
        early, late, submitted = a_fire(10, created=99), a_fire(20, created=99), a_fire(None, created=15)
        await store.submit([early, late, submitted])
        await finish(store, await claim(store))
        waiting = a_fire(30, created=100)
        await store.submit([waiting])

        async def between(since: int | None, until: int | None) -> set[str]:
            bounds = [None if second is None else START_US + second * SECOND for second in (since, until)]
            return named(await store.runs(RunFilter(since_us=bounds[0], until_us=bounds[1])))

        assert await between(None, None) == named([early, late, submitted, waiting])
        assert await between(10, 20) == named([early, submitted])
        assert await between(16, None) == named([late, waiting])
        assert await between(None, 15) == named([early])
        assert await between(31, None) == set()

    async def test_skips_are_found_by_their_reason(self, store: Store) -> None:
        paused, missed = skipped_at(1), skipped_at(2, "missed")
        await record(store, paused, missed)
        await store.submit([a_fire(3)])
        assert named(await store.runs(RunFilter(reason={"paused"}))) == named([paused])
        assert named(await store.runs(RunFilter(reason={"paused", "missed"}, task="t"))) == named([paused, missed])
        assert await store.runs(RunFilter(reason={"overlap"})) == []

    async def test_a_fire_that_has_a_run_gets_no_other_whether_that_waits_runs_or_has_ended(self, store: Store) -> None:
        first = [made_up(second) for second in (1, 2)]
        assert await store.submit(first) == first
        assert await store.submit([made_up(1), made_up(2)]) == first
        await store.cycle([], 100)
        assert await store.submit([made_up(1), made_up(2)]) == first
        others = [made_up(1), made_up(3), made_up(2)]
        assert await store.submit(others) == [first[0], others[1], first[1]]
        await finish(store, await claim(store))
        again = made_up(3)
        assert await store.submit([again]) == [others[1]]
        assert await store.run(again.id) is None

    async def test_a_run_that_a_fire_has_made_is_one_too(self, store: Store) -> None:
        standing = await store.put_task(Declared("t", "x", None, START_US, 100))
        ordinary = a_fire(0)
        await store.fire([FireOrder("t", standing.version, START_US, None, [ordinary], [])])
        assert await store.submit([made_up(0)]) == [ordinary]

    async def test_of_runs_for_one_fire_that_come_together_one_is_written(self, store: Store) -> None:
        twice = [made_up(1), made_up(1)]
        assert await store.submit(twice) == [twice[0], twice[0]]

    async def test_the_fires_of_other_tasks_and_submitted_runs_are_no_hindrance(self, store: Store) -> None:
        await store.submit([a_fire(1, task="other"), a_fire(None)])
        made = made_up(1)
        assert await store.submit([made]) == [made]

    async def test_the_record_of_a_skip_is_no_run(self, store: Store) -> None:
        await record(store, skipped_at(1))
        made = made_up(1)
        assert await store.submit([made]) == [made]
        assert named((await store.cycle([], 100)).claimed) == {made.id}

    async def test_what_is_below_a_run_in_its_flow_is_written_if_that_is(self, store: Store) -> None:
        def flow(second: int) -> list[Run[Any]]:
            root, below = made_up(second), a_fire(None, task="below", terms=BACKFILL)
            root.edges = Edges(root.id)
            below.edges = Edges(root.id, (root.id,), upstreams=(root,), blocked=True)
            return [root, below]

        first, second = flow(1), flow(2)
        assert await store.submit(first) == first
        assert await store.submit([*flow(1), *second]) == [first[0], first[0], *second]
        assert named((await store.cycle([], 100)).claimed) == named([first[0], second[0]])

    async def test_of_those_that_wait_for_one_key_the_greater_priority_goes_first(self, store: Store) -> None:
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
        assert started == [
            first.id,
            runs[0].id,
            runs[1].id,
            second.id,
        ]  # the first had its place before the others came
