"""Fires: watermarks, and what is written with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from asyncsched.run import RunStatus
from asyncsched.stores import Declared, FireOrder, RunFilter, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import a_run, a_skip, claim, declared, ids, names, order, where
from asyncsched.triggers import Every


class FirePromises:
    """All or nothing for each task, on the version and the watermark that are named."""

    async def test_a_fire_moves_the_watermark_and_writes_its_runs_and_skips(self, store: Store) -> None:
        before = await store.put_task(declared())
        runs, skips = [a_run(), a_run()], [a_skip()]
        assert await store.fire([order(before, runs=runs, skips=skips)]) == {"t"}
        assert await where(store) == replace(before, next_us=START_US + 10 * SECOND)
        assert await ids(store, status={RunStatus.PENDING}) == names(reversed(runs))
        (skip,) = await store.runs(RunFilter(status={RunStatus.SKIPPED}))
        assert (skip.id, skip.reason) == (skips[0].id, "missed")
        assert sorted(names(await claim(store))) == sorted(names(runs))

    @pytest.mark.parametrize(
        "stale",
        [
            lambda order: order._replace(version=order.version + 1),
            lambda order: order._replace(version=order.version - 1),
            lambda order: order._replace(was_us=order.was_us - 10 * SECOND),
            lambda order: order._replace(was_us=None),
            lambda order: order._replace(task="nobody"),
        ],
    )
    async def test_an_order_on_what_no_longer_stands_fires_nothing(
        self, store: Store, stale: Callable[[FireOrder], FireOrder]
    ) -> None:
        before = await store.put_task(declared())
        assert await store.fire([stale(order(before, runs=[a_run()], skips=[a_skip()]))]) == set()
        assert await ids(store) == []
        assert await where(store) == before
        assert await claim(store) == []

    async def test_of_two_who_decide_one_fire_one_counts(self, store: Store) -> None:
        before = await store.put_task(declared())
        mine, theirs = order(before, runs=[a_run(name="mine")]), order(before, runs=[a_run(name="theirs")])
        assert await store.fire([mine]) == {"t"}
        assert await store.fire([theirs]) == set()
        assert await ids(store) == ["mine"]
        assert (await where(store)).next_us == START_US + 10 * SECOND

    async def test_each_task_of_a_batch_wins_or_loses_alone(self, store: Store) -> None:
        standings = {name: await store.put_task(declared(name)) for name in "abc"}
        orders = [order(standing, runs=[a_run(name, name=name)]) for name, standing in standings.items()]
        orders[1] = orders[1]._replace(version=99)
        assert await store.fire(orders) == {"a", "c"}
        assert sorted(await ids(store)) == ["a", "c"]
        assert await store.fire([]) == set()

    async def test_a_watermark_that_is_not_due_does_not_fire(self, store: Store, bench: Bench) -> None:
        due_us = await store.now_us() + 10 * SECOND
        standing = await store.put_task(declared(next_us=due_us))
        early = order(standing, runs=[a_run(name="early")])
        assert await store.fire([early]) == set()
        await bench.advance(10 * SECOND - 1)
        assert await store.fire([early]) == set()
        assert await ids(store) == []
        await bench.advance(1)
        assert await store.fire([early]) == {"t"}
        assert await ids(store) == ["early"]

    async def test_a_task_that_waits_for_a_completion_is_set_going_by_an_order_from_nowhere(self, store: Store) -> None:
        before = await store.put_task(declared())
        await store.fire([order(before)._replace(next_us=None)])
        assert (await where(store)).next_us is None
        completed = FireOrder("t", before.version, None, START_US + SECOND, (), ())
        assert await store.fire([completed]) == {"t"}
        assert (await where(store)).next_us == START_US + SECOND
        assert await store.fire([completed]) == set()

    async def test_runs_that_count_are_counted_until_the_task_is_declared_otherwise(self, store: Store) -> None:
        trigger = Every("10s")
        declared = Declared("t", "every 10 s", trigger, START_US, 100)
        (standing,) = (await store.reconcile([declared])).standings
        assert standing.made == 0
        order = FireOrder(
            "t", standing.version, START_US, START_US + SECOND, [a_run(name="r1"), a_run(name="r2")], (), 2
        )
        assert await store.fire([order]) == {"t"}
        assert await store.fire([order]) == set()  # who loses counts nothing
        (standing,) = await store.standings(["t"])
        assert standing.made == 2
        (standing,) = (await store.reconcile([declared])).standings
        assert standing.made == 2
        changed = Declared("t", "every 20 s", trigger, START_US, 100)
        assert (await store.reconcile([changed])).standings[0].made == 0
