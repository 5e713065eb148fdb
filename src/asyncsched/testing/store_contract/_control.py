"""Runs under way at one node that another one wants stopped."""

from __future__ import annotations

import asyncio

from asyncsched.retry import Retry
from asyncsched.run import Cancelled, HandedBack, Raised, RunStatus, Succeeded
from asyncsched.stores import Notice, Store
from asyncsched.testing.store_contract._bench import Bench
from asyncsched.testing.store_contract._making import a_run, ack_of, claim, end, ids, names

_PATIENCE_S = 10
"""How long a node may take to hear of what another one did."""


async def noticed(store: Store) -> Notice:
    """What this node is told next of the runs under way there."""
    hinted = asyncio.Event()
    store.hint = hinted.set
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            notice = (await store.cycle([], 0)).notice
            if notice is not None:
                return notice
            await hinted.wait()
            hinted.clear()


class ControlPromises:
    """A node is told what others want stopped of what it has under way, and has the last word on how that ends."""

    async def test_the_node_that_runs_it_is_told_once_to_stop_a_run(self, store: Store, second: Store) -> None:
        await store.submit([a_run(name="r"), a_run(name="waiting", queue="mail")])
        (there,) = (await second.cycle([], 1, {"default": 9})).claimed
        told = await store.cancel(["r", "waiting"], "not wanted")
        assert {run.id: run.status for run in told} == {"r": RunStatus.RUNNING, "waiting": RunStatus.CANCELLED}
        assert await noticed(second) == ({"r": "not wanted"}, None)
        assert (await second.cycle([], 0)).notice is None
        await end(second, there, outcome=Cancelled("not wanted"))
        found = await store.run("r")
        assert found is not None
        assert (found.status, found.reason) == (RunStatus.CANCELLED, "not wanted")

    async def test_a_run_that_succeeds_before_its_node_has_heard_has_succeeded(
        self, store: Store, second: Store
    ) -> None:
        await store.submit([a_run(name="r")])
        (there,) = await claim(second)
        await store.cancel(["r"], "not wanted")
        await end(second, there, outcome=Succeeded(1))
        assert await ids(store, status={RunStatus.SUCCESS}) == ["r"]

    async def test_a_run_that_is_to_stop_is_not_tried_again(self, store: Store, second: Store) -> None:
        await store.submit([a_run(name="r")])
        (there,) = await claim(second)
        await store.cancel(["r"], "not wanted")
        cycled = await second.cycle([await ack_of(second, there, Raised(ValueError()), Retry(attempts=3))], 100)
        assert (cycled.accepted, names(cycled.lapsed), cycled.claimed) == ([], ["r"], [])
        found = await store.run("r")
        assert found is not None
        assert (found.status, found.reason) == (RunStatus.CANCELLED, "not wanted")

    async def test_a_run_that_is_to_stop_ends_when_its_node_leaves(self, store: Store, second: Store) -> None:
        await store.submit([a_run(name="r")])
        await claim(second)
        await store.cancel(["r"], "not wanted")
        await second.close()
        assert await claim(store) == []
        found = await store.run("r")
        assert found is not None
        assert (found.status, found.reason) == (RunStatus.CANCELLED, "not wanted")

    async def test_a_run_that_is_to_stop_and_is_given_back_ends(self, store: Store, second: Store) -> None:
        await store.submit([a_run(name="r", limit_key="k"), a_run(name="next", limit_key="k")])
        (there,) = await claim(second)
        await store.cancel(["r"], "not wanted")
        cycled = await second.cycle([await ack_of(second, there, HandedBack())], 0)
        assert names(cycled.lapsed) == ["r"]
        assert (there.status, there.reason) == (RunStatus.CANCELLED, "not wanted")
        assert names(await claim(store)) == ["next"]

    async def test_a_run_that_is_to_stop_ends_when_its_node_vanishes(
        self, store: Store, second: Store, bench: Bench
    ) -> None:
        await store.submit([a_run(name="r")])
        await claim(store)
        await second.cancel(["r"], "not wanted")
        third = await bench.enter("n3")
        assert await claim(third) == []
        found = await third.run("r")
        assert found is not None
        assert (found.status, found.reason) == (RunStatus.CANCELLED, "not wanted")
        await third.close()

    async def test_what_is_under_way_here_is_left_to_the_caller(self, store: Store, second: Store) -> None:
        await store.submit([a_run(name="r")])
        (run,) = await claim(store)
        assert await store.cancel(["r"], "not wanted") == []
        assert run.status is RunStatus.RUNNING
        await end(store, run, outcome=Succeeded(1))
        assert await second.cancel(["r"], "again") == []
