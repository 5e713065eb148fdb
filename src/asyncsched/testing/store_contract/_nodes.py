"""Nodes that come, leave and vanish."""

from __future__ import annotations

from asyncsched.retry import NO_RETRY, Retry
from asyncsched.run import Raised, RunStatus, Succeeded, settle
from asyncsched.stores import Ack, RunFilter, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import a_run, ack_of, claim, declared, finish, ids, names, where


class NodePromises:
    """What stays where a node leaves, and what becomes of the runs of one that vanished."""

    async def test_its_clock_goes_on(self, store: Store, bench: Bench) -> None:
        before_us = await store.now_us()
        await bench.advance(5 * SECOND)
        assert await store.now_us() - before_us >= 5 * SECOND

    async def test_what_is_stored_stays_when_a_node_leaves_and_another_comes(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.reconcile([declared()])
        done, waiting = a_run(), a_run(due_us=START_US + SECOND)
        await store.submit([done, waiting])
        await finish(store, await claim(store))
        await store.close()
        store = await bench.enter("n2")
        assert (await where(store)).next_us == START_US
        assert await ids(store, status={RunStatus.SUCCESS}) == [done.id]
        found = await store.run(waiting.id)
        assert found is not None
        assert (found.status, found.attempt, found.token) == (RunStatus.PENDING, 0, 0)
        await store.close()

    async def test_it_can_be_left_and_opened_again_and_again(self, store: Store, bench: Bench) -> None:
        for number in range(3):
            await store.submit([a_run(name=str(number))])
            await store.close()
            await store.open("n1", bench.clock)
        assert names(await claim(store)) == ["0", "1", "2"]

    async def test_what_a_node_leaves_running_is_handed_back_to_the_next(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.submit([a_run(name="r")])
        (left,) = await claim(store)
        token = left.token
        await store.close()
        store = await bench.enter("n2")
        (run,) = await claim(store)
        assert (run.id, run.attempt, run.node) == ("r", 1, "n2")
        assert run.token > token
        await store.close()

    async def test_runs_that_a_vanished_owner_left_running_are_handed_back(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.submit([a_run(name="tried"), a_run(name="new")])
        first = await claim(store)
        again = await ack_of(store, first[0], Raised(ValueError()), Retry(attempts=3))
        await store.cycle([again], 100)
        stale = [Ack(run, run.token, settle(Succeeded(1), run.attempt, NO_RETRY, START_US)) for run in first]

        store = await bench.enter("n2")
        back = await store.runs(RunFilter())
        assert {run.id: (run.status, run.attempt, run.node) for run in back} == {
            "tried": (RunStatus.PENDING, 1, None),
            "new": (RunStatus.PENDING, 0, None),
        }
        claimed = {run.id: run for run in await claim(store)}
        assert {name: (run.attempt, run.node) for name, run in claimed.items()} == {
            "tried": (2, "n2"),
            "new": (1, "n2"),
        }
        assert (await store.cycle(stale, 0)).accepted == []
        assert await ids(store, status={RunStatus.SUCCESS}) == []
        await finish(store, claimed.values())
        await store.close()

    async def test_a_run_that_is_handed_back_keeps_its_place_before_the_others_of_its_key(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.submit([a_run(name="first", limit_key="k"), a_run(name="second", limit_key="k")])
        assert names(await claim(store)) == ["first"]
        store = await bench.enter("n2")
        claimed = await claim(store)
        assert names(claimed) == ["first"]
        await finish(store, claimed)
        assert names(await claim(store)) == ["second"]
        await store.close()
