"""Runs that the node which submits them does not count: there may be a million of them."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from asyncsched.errors import RunFailed
from asyncsched.limits import Unique
from asyncsched.run import RunStatus, Succeeded
from asyncsched.stores import RunFilter, Store
from asyncsched.testing.store_contract._making import a_run, claim, declared, end, keyed_run

_PATIENCE_S = 10
"""How long a node may take to hear of what another one did."""


def count_nothing(store: Store) -> None:
    store.counts = lambda _task: False


class UncountedPromises:
    """Of such runs a node is told when they are claimed, and whoever awaits one when it ends."""

    async def test_a_run_that_is_not_counted_is_told_when_it_is_claimed(self, store: Store) -> None:
        count_nothing(store)
        (run,) = await store.submit([a_run()])
        assert not (await store.cycle([], 0)).found
        cycled = await store.cycle([], 10)
        assert list(cycled.found) == cycled.claimed == [run]
        await end(store, run)
        assert run.status is RunStatus.SUCCESS

    async def test_a_run_that_is_not_counted_is_told_when_it_is_cancelled(self, store: Store) -> None:
        count_nothing(store)
        (run,) = await store.submit([a_run()])
        assert await store.cancel([run.id], "by hand") == [run]
        assert list((await store.cycle([], 0)).found) == [run]

    async def test_runs_that_are_not_counted_are_held_by_nobody_but_their_owner(self, store: Store) -> None:
        count_nothing(store)
        held = {run.id: weakref.ref(run) for run in await store.submit([a_run() for _ in range(20)])}
        await store.cycle([], 0)  # whoever passed them on has something else in hand by then
        await asyncio.sleep(0)
        gc.collect()
        assert {one() for one in held.values()} == {None}
        assert {run.id for run in await claim(store)} == held.keys()

    async def test_who_awaits_a_run_that_is_not_counted_hears_how_it_ended_elsewhere(
        self, store: Store, second: Store
    ) -> None:
        count_nothing(store)
        (run,) = await store.submit([a_run()])
        waiting = asyncio.ensure_future(_value(run))
        (there,) = await claim(second)
        await end(second, there, outcome=Succeeded([1]))
        async with asyncio.timeout(_PATIENCE_S):
            assert await waiting == [1]
        assert run.status is RunStatus.SUCCESS

    async def test_who_awaits_a_run_that_is_not_kept_when_it_has_ended_elsewhere_hears_that(
        self, store: Store, second: Store
    ) -> None:
        count_nothing(store)
        await store.reconcile([declared(history_limit=0)])
        (run,) = await store.submit([a_run()])
        waiting = asyncio.ensure_future(_value(run))
        await end(second, *await claim(second))
        async with asyncio.timeout(_PATIENCE_S):
            (heard,) = await asyncio.gather(waiting, return_exceptions=True)
        # A store may forget a little later than it must.
        assert heard is None or (isinstance(heard, RunFailed) and "no longer kept" in str(heard))
        assert run.status.final

    @pytest.mark.parametrize("how", ["submit", "look"])
    async def test_who_awaits_a_run_that_another_node_has_made_hears_how_it_ended_there(
        self, store: Store, second: Store, how: str
    ) -> None:
        (made,) = await second.submit([keyed_run(once=Unique())])
        given = await (store.runs(RunFilter()) if how == "look" else store.submit([keyed_run(once=Unique())]))
        assert [run.id for run in given] == [made.id]
        waiting = asyncio.ensure_future(_value(given[0]))
        await end(second, *await claim(second), outcome=Succeeded([1]))
        async with asyncio.timeout(_PATIENCE_S):
            assert await waiting == [1]


async def _value(run: object) -> object:
    return await run  # type: ignore[misc]
