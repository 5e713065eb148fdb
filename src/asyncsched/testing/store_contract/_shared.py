"""Nodes beside each other, at a store that several processes may use at once: what one does holds for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from asyncsched.limits import Rate
from asyncsched.retry import Retry
from asyncsched.run import Raised, Run, RunStatus, Succeeded
from asyncsched.stores import FOREVER, Ack, Amendment, Decision, Store
from asyncsched.testing.store_contract._bench import SECOND, Bench, SharedBench
from asyncsched.testing.store_contract._making import (
    a_run,
    ack_of,
    claim,
    declared,
    end,
    finish,
    ids,
    keyed_run,
    names,
    needing,
    order,
    run_out,
    where,
)  # fmt: skip

_PATIENCE_S = 10
"""How long a node may take to hear of what another one did."""


async def heard(store: Store, run_id: str) -> Run[Any]:
    """The run of this node's, once it has heard that another node has ended it."""
    hinted = asyncio.Event()
    store.hint = hinted.set
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            lapsed = (await store.cycle([], 0)).lapsed
            found = [run for run in lapsed if run.id == run_id]
            if found:
                return found[0]
            await hinted.wait()
            hinted.clear()


class SharedPromises:
    """Two nodes, ``store`` and ``second``, beside each other."""

    @pytest_asyncio.fixture
    async def second(self, bench: Bench, store: Store) -> AsyncIterator[Store]:  # noqa: ARG002 - it comes second
        """The same store, opened by the node ``"n2"`` beside ``"n1"``, which has opened ``store``."""
        assert isinstance(bench, SharedBench), f"{type(bench).__name__} must be a SharedBench"
        second = await bench.beside("n2")
        yield second
        await second.close()

    async def test_of_two_nodes_that_decide_one_fire_one_wins_each_time(self, store: Store, second: Store) -> None:
        await store.reconcile([declared()])
        for number in range(10):
            standing = await where(second if number % 2 else store)
            orders = [order(standing, runs=[a_run()], step=1 - SECOND) for _ in range(2)]
            won = await asyncio.gather(store.fire(orders[:1]), second.fire(orders[1:]))
            assert sorted(map(len, won)) == [0, 1]
        assert len(await ids(store)) == 10
        assert await where(store) == await where(second)

    async def test_no_run_is_claimed_by_two(self, store: Store, second: Store) -> None:
        await store.submit([a_run() for _ in range(200)])
        found = await asyncio.gather(*(node.cycle([], 30) for _ in range(5) for node in (store, second)))
        found.append(await store.cycle([], 30))  # what one had looked at while the others asked
        claimed = [run.id for cycled in found for run in cycled.claimed]
        assert (len(claimed), len(set(claimed))) == (200, 200)

    async def test_a_run_is_claimed_with_all_that_was_given_at_the_other_node(
        self, store: Store, second: Store
    ) -> None:
        await store.submit(
            [keyed_run("r", args=(1, "two", [None, 3.5]), priority=3, queue="mail", rate=Rate(1, SECOND))]
        )
        (run,) = (await second.cycle([], 9, {"mail": 9})).claimed
        assert (run.id, run.task, run.args, run.priority, run.queue) == ("r", "t", (1, "two", [None, 3.5]), 3, "mail")
        assert (run.node, run.attempt, run.token, run.terms.rate) == ("n2", 1, 1, Rate(1, SECOND))

    async def test_who_made_a_run_sees_how_it_ended_at_the_other_node(self, store: Store, second: Store) -> None:
        (run,) = await store.submit([a_run()])
        (there,) = await claim(second)
        await end(second, there, outcome=Succeeded([1]))
        assert await heard(store, run.id) is run
        assert (run.status, run.result, run.node) == (RunStatus.SUCCESS, [1], "n2")
        assert (await store.cycle([], 0)).lapsed in ((), [])

    async def test_a_node_is_hinted_at_what_others_have_submitted(self, store: Store, second: Store) -> None:
        hinted = asyncio.Event()
        store.hint = hinted.set
        await second.submit([a_run()])
        async with asyncio.timeout(_PATIENCE_S):
            await hinted.wait()

    async def test_the_runs_of_a_node_that_lives_are_left_to_it(self, store: Store, bench: Bench) -> None:
        await store.submit([a_run(), a_run()])
        running = await claim(store, 1)
        assert isinstance(bench, SharedBench)
        second = await bench.beside("n2")
        rest = await claim(second)
        assert len(rest) == 1
        await second.cycle([await ack_of(second, rest[0], Raised(ValueError()), Retry(wait="1h"))], 0)
        await second.close()
        await end(store, *running)

    async def test_what_a_node_says_of_a_run_that_it_does_not_have_does_not_count(
        self, store: Store, second: Store
    ) -> None:
        await store.submit([a_run()])
        (run,) = await claim(store)
        early = await ack_of(store, run, Succeeded("early"))
        await store.cycle([await ack_of(store, run, Raised(ValueError()), Retry())], 0)
        (again,) = await claim(second)
        assert (again.attempt, again.token) == (2, 3)
        assert (await store.cycle([early], 0)).accepted == []
        assert (await second.cycle([Ack(again, early.token, early.settled)], 0)).accepted == []
        await end(second, again, outcome=Succeeded("good"))

    async def test_runs_of_a_key_run_one_at_a_time_whichever_node_runs_them(self, store: Store, second: Store) -> None:
        await store.submit([keyed_run(name, limit=1) for name in "13"])
        await second.submit([keyed_run("4", limit=1)])
        nodes = [store, second]
        for name in "134":
            claimed = await claim(nodes[0])
            assert names(claimed) == [name]
            assert await claim(nodes[1]) == []
            await finish(nodes[0], claimed)
            nodes.reverse()

    async def test_a_rate_counts_the_starts_of_all_nodes(self, store: Store, second: Store, bench: Bench) -> None:
        await store.submit([keyed_run(name, rate=Rate(2, 10 * SECOND)) for name in "123"])
        assert names([*await claim(store, 1), *await claim(second, 1)]) == ["1", "2"]
        assert await claim(store) == await claim(second) == []
        await bench.advance(10 * SECOND)
        assert names(await claim(second)) == ["3"]

    async def test_of_two_edits_of_one_version_one_is_written(self, store: Store, second: Store) -> None:
        before = await store.put_task(declared())
        pause, skip = Amendment(FOREVER, None), Amendment(None, before.next_us)
        found = await asyncio.gather(store.amend("t", before.version, pause), second.amend("t", before.version, skip))
        assert found[0] == found[1] == await where(second)
        assert ((await where(store)).paused_until_us == FOREVER) != ((await where(store)).skip_us == before.next_us)
        assert await second.fire([order(before, runs=[a_run()])]) == set()

    async def test_what_waits_is_cancelled_from_any_node(self, store: Store, second: Store) -> None:
        (run,) = await store.submit([a_run()])
        assert names(await second.cancel([run.id], "not wanted")) == [run.id]
        assert await store.cancel([run.id], "again") == []
        cycled = await store.cycle([], 100)  # which may have heard of it already
        assert cycled.claimed == []
        assert run in cycled.lapsed or await heard(store, run.id) is run
        assert (run.status, run.reason) == (RunStatus.CANCELLED, "not wanted")

    async def test_one_decision_about_a_blocked_run_counts_whoever_decides(self, store: Store, second: Store) -> None:
        top = needing("top")
        low = needing("low", top)
        await store.submit([top, low])
        await run_out(store, top, outcome=Succeeded("up"))
        deciding = [(node, (await node.followers([top.id]))[0]) for node in (store, second)]
        counted = await asyncio.gather(
            *(node.settle([Decision(follower.run, follower.token, None)]) for node, follower in deciding)
        )
        assert sorted(map(len, counted)) == [0, 1]
        (run,) = await claim(second)
        assert run.id == low.id
        assert run.edges is not None
        assert [upstream.result for upstream in run.edges.upstreams] == ["up"]

    async def test_who_holds_what_a_run_needs_claims_it_with_results_that_he_has_not_heard_of(
        self, store: Store, second: Store
    ) -> None:
        top = needing("top")
        low = needing("low", top)
        await second.submit([top, low])
        await run_out(store, top, outcome=Succeeded("up"))
        (follower,) = await store.followers([top.id])
        assert await store.settle([Decision(follower.run, follower.token, None)])
        (run,) = await claim(second)
        assert run is low
        assert run.edges is not None
        assert [(upstream.id, upstream.result) for upstream in run.edges.upstreams] == [(top.id, "up")]

    async def test_a_node_is_left_the_runs_that_it_serves_and_no_others(self, store: Store, second: Store) -> None:
        store.serves, second.serves = {"a"}.__contains__, {"b"}.__contains__
        await store.submit([a_run(task) for task in "bacab"])
        assert [run.task for run in await claim(store)] == ["a", "a"]
        cycled = await second.cycle([], 100)
        assert ([run.task for run in cycled.claimed], cycled.next_due_us) == (["b", "b"], None)
        assert len(await ids(second, task="c", status={RunStatus.PENDING})) == 1
