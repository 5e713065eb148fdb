"""What is on its way of a task: decided by, and compared when it is written."""

from __future__ import annotations

from asyncsched._engine.ledger import is_due
from asyncsched.retry import Retry
from asyncsched.run import Raised, Run
from asyncsched.stores import Decision, Met, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import (
    DONE,
    a_run,
    claim,
    declared,
    end,
    ids,
    needing,
    order,
    run_out,
    where,
)

MANY = 2**31


async def counts(store: Store, met: Met) -> bool:
    """Whether an order counts that was decided by this."""
    before = await where(store)
    return await store.fire([order(before, step=0)._replace(met=met)]) == {"t"}


async def on_the_way(store: Store) -> int:
    """So many runs of the task are on their way, as an order that counts says and as the lookback shows."""
    (number,) = [number for number in range(10) if await counts(store, Met(number, MANY))]
    unfinished = (await store.lookback(["t"]))["t"].unfinished
    now_us = await store.now_us()
    assert number == sum(run.counted and is_due(run, now_us) for run in unfinished)
    return number


class MetPromises:
    """A decision that was based on other runs of the task counts if that is what is on its way."""

    async def test_an_order_counts_if_what_is_on_its_way_is_what_it_was_based_on(self, store: Store) -> None:
        before = await store.put_task(declared())
        first, second = a_run(), a_run()
        assert await store.fire([order(before, runs=[first])._replace(met=Met(1, 1))]) == set()
        assert await where(store) == before
        assert await ids(store) == []
        assert await store.fire([order(before, runs=[first], step=0)._replace(met=Met(0, 1))]) == {"t"}
        assert await store.fire([order(before, runs=[second], step=0)._replace(met=Met(0, 1))]) == set()
        assert await store.fire([order(before, runs=[second], step=0)._replace(met=Met(1, MANY))]) == {"t"}
        await run_out(store, first, second)
        assert await counts(store, Met(0, 1))

    async def test_of_two_nodes_that_saw_nothing_one_fires(self, store: Store) -> None:
        """The watermarks differ, so it is the other's run alone that hinders."""
        before = await store.put_task(declared())
        assert await store.fire([order(before, runs=[a_run()])._replace(met=Met(0, 1), next_us=START_US)]) == {"t"}
        assert await store.fire([order(before, runs=[a_run()])._replace(met=Met(0, 1))]) == set()
        assert len(await ids(store)) == 1

    async def test_it_is_counted_up_to_what_matters(self, store: Store) -> None:
        await store.put_task(declared())
        await store.submit([a_run() for _ in range(3)])
        assert [await counts(store, Met(1, most)) for most in (1, 2, MANY)] == [True, False, False]
        assert [await counts(store, Met(2, most)) for most in (2, 3)] == [True, False]
        assert await counts(store, Met(3, MANY))

    async def test_what_waits_for_its_time_and_what_makes_up_for_the_past_is_not_met(self, store: Store) -> None:
        await store.put_task(declared())
        await store.submit([a_run(due_us=START_US + 1)])
        await store.submit([a_run(backfill=True)])
        await store.submit([a_run(limit_key="backfill", limit=1)])
        await store.submit([a_run("other")])
        assert await on_the_way(store) == 1

    async def test_what_is_between_two_attempts_is_met(self, store: Store) -> None:
        await store.put_task(declared())
        await store.submit([a_run()])
        (run,) = await claim(store)
        assert await on_the_way(store) == 1
        await end(store, run, outcome=Raised(OSError()), retry=Retry(attempts=2, wait="1h"))
        assert await on_the_way(store) == 1

    async def test_what_queues_for_its_key_is_met_and_so_is_what_was_handed_back(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.put_task(declared())
        await store.submit([a_run(limit_key="k", limit=1) for _ in range(3)])
        assert len(await claim(store)) == 1
        assert await on_the_way(store) == 3
        store = await bench.enter("n2")
        assert await on_the_way(store) == 3

    async def test_what_follows_others_is_met_once_it_may_start_and_a_fire_that_waits_at_once(
        self, bench: Bench
    ) -> None:
        store = await bench.enter("n1")
        await store.put_task(declared())
        top = needing("top")
        follows, fired = needing("t", top), needing("t", top)
        assert fired.edges is not None
        fired.edges.kind = "gate"
        await store.submit([top, follows])
        assert await on_the_way(store) == 0
        await store.submit([fired])
        assert await on_the_way(store) == 1
        await run_out(store, top)
        assert len(await store.settle([Decision(follows, follows.token, None)])) == 1
        assert await on_the_way(store) == 2

    async def test_a_follower_is_let_go_if_what_is_on_its_way_is_what_that_was_based_on(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.put_task(declared())
        top = needing("top")
        one, other = needing("t", top), needing("t", top)
        await store.submit([top, one, other])
        await run_out(store, top, outcome=DONE)

        def let_go(run: Run[object], met: Met) -> Decision:
            return Decision(run, run.token, None, None, met)

        decisions = [let_go(one, Met(1, MANY)), let_go(one, Met(0, MANY)), let_go(other, Met(0, MANY))]
        assert await store.settle(decisions) == decisions[1:2]
        assert await store.settle([let_go(other, Met(1, MANY))]) != []
        await bench.advance(SECOND)
        assert await on_the_way(store) == 2
