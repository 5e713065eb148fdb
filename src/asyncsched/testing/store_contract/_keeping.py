"""What is kept for a time: ended runs of tasks that say how long, and idempotency keys."""

from __future__ import annotations

from typing import Any

import pytest

from asyncsched.limits import Debounce, Idempotency, Unique
from asyncsched.run import Raised, Run, RunStatus
from asyncsched.stores import Store
from asyncsched.testing.store_contract._bench import SECOND, Bench
from asyncsched.testing.store_contract._making import (
    a_run,
    claim,
    declared,
    end,
    ids,
    keyed_run,
    names,
    needing,
    run_out,
    run_through,
)

DAY = 86_400 * SECOND


def given(key: str = "k", keep: int = DAY, **options: Any) -> Run[Any]:
    """A run that was submitted with this key."""
    return a_run(idempotency=Idempotency(key, keep), **options)


async def prune(store: Store, keep_us: dict[str, int | None], others_us: int | None, most: int = 1_000) -> int:
    """Forget all that is past its keeping; how many runs."""
    forgotten, more = 0, True
    while more:
        pruned = await store.prune(keep_us, others_us, most)
        forgotten, more = forgotten + pruned.runs, pruned.more
    return forgotten


class KeepingPromises:
    """Ended runs and keys go when their time is over, and not before."""

    async def test_what_ended_longer_ago_than_its_task_keeps_is_forgotten(self, store: Store, bench: Bench) -> None:
        old, new = [a_run(task) for task in "abc"], [a_run(task) for task in "abc"]
        await run_through(store, *old)
        await bench.advance(10 * SECOND)
        await run_through(store, *new)
        await bench.advance(5 * SECOND)
        assert await prune(store, {"a": 10 * SECOND, "b": None}, 5 * SECOND) == 2
        assert set(await ids(store)) == {*names(new), old[1].id}
        assert await prune(store, {"a": 10 * SECOND, "b": None}, None) == 0
        assert await store.run(old[0].id) is None

    async def test_at_the_very_end_of_its_time_a_run_is_still_there(self, store: Store, bench: Bench) -> None:
        run = a_run()
        await run_through(store, run)
        await bench.advance(SECOND)
        assert await prune(store, {"t": SECOND}, None) == 0
        await bench.advance(1)
        assert await prune(store, {"t": SECOND}, None) == 1

    async def test_what_has_not_ended_is_never_forgotten(self, store: Store, bench: Bench) -> None:
        runs = [a_run(), a_run()]
        await store.submit(runs)
        await claim(store, 1)
        await bench.advance(DAY)
        assert await prune(store, {}, 1) == 0
        assert set(await ids(store)) == set(names(runs))

    async def test_many_are_forgotten_a_few_at_a_time(self, store: Store, bench: Bench) -> None:
        tasks = [f"t{number}" for number in range(40)]
        await run_through(store, *(a_run(task) for task in tasks))
        await bench.advance(2)
        pruned = await store.prune({}, 1, 4)
        assert 0 < pruned.runs < 40
        assert pruned.more
        assert pruned.runs + await prune(store, {}, 1, 4) == 40
        assert await ids(store) == []

    async def test_what_is_kept_does_not_hide_what_is_not(self, store: Store, bench: Bench) -> None:
        await run_through(store, *(a_run("kept") for _ in range(9)))
        await run_through(store, a_run("gone"))
        await bench.advance(2)
        assert await prune(store, {"kept": None}, 1, 3) == 1
        assert len(await ids(store)) == 9

    async def test_a_result_that_is_still_needed_stays(self, store: Store, bench: Bench) -> None:
        upstream, other = a_run(), a_run(due_us=2**60)
        await store.submit([upstream, other])
        waiting = needing("t", upstream, other)
        await store.submit([waiting])
        await run_out(store, upstream)
        await bench.advance(DAY)
        await prune(store, {}, 1)
        (follower,) = await store.followers([upstream.id])
        assert follower.tally.succeeded == 1

    async def test_of_many_submits_with_one_key_the_first_stands(self, store: Store) -> None:
        first = given()
        assert names(await store.submit([first])) == [first.id]
        assert names(await store.submit([given(), given("other")]))[0] == first.id
        assert len(await ids(store)) == 2

    @pytest.mark.parametrize("how", ["succeeded", "failed", "cancelled"])
    async def test_however_it_ended_the_run_stands_until_the_time_of_the_key_is_over(
        self, store: Store, bench: Bench, how: str
    ) -> None:
        (run,) = await store.submit([given()])
        await bench.advance(SECOND)
        if how == "cancelled":
            await store.cancel([run.id], "not wanted")
        else:
            (run,) = await claim(store)
            await (end(store, run) if how == "succeeded" else end(store, run, outcome=Raised(ValueError("no"))))
        await bench.advance(DAY - SECOND - 1)
        (stands,) = await store.submit([given()])
        assert (stands.id, stands.status.value[:4]) == (run.id, how.upper()[:4])
        await bench.advance(1)
        (other,) = await store.submit([given()])
        assert other.id != run.id
        assert (await store.prune({}, None)).more is False

    async def test_a_run_that_is_no_longer_kept_stands_with_how_it_ended(self, store: Store) -> None:
        await store.reconcile([declared(history_limit=0)])
        (run,) = await store.submit([given()])
        await end(store, *await claim(store), outcome=Raised(ValueError("no money")))
        assert await store.run(run.id) is None
        (stands,) = await store.submit([given()])
        assert (stands.id, stands.status) == (run.id, RunStatus.FAILED)
        assert "no money" in str(stands.error)

    async def test_a_run_that_has_not_ended_stands_beyond_the_time_of_its_key(self, store: Store, bench: Bench) -> None:
        (run,) = await store.submit([given(keep=SECOND)])
        await bench.advance(DAY)
        assert (await store.prune({}, None)).keys == 0
        assert names(await store.submit([given(keep=SECOND)])) == [run.id]

    async def test_keys_past_their_time_are_forgotten(self, store: Store, bench: Bench) -> None:
        await run_through(store, given("a", SECOND), given("b", DAY))
        await bench.advance(SECOND)
        assert (await store.prune({}, None)).keys == 1
        assert (await store.prune({}, None)).keys == 0

    async def test_a_key_goes_before_what_else_makes_one_of_many_and_stands_for_what_comes_of_it(
        self, store: Store
    ) -> None:
        standing = keyed_run(once=Unique())
        await store.submit([standing])
        run = keyed_run(once=Unique())
        run.terms = run.terms._replace(idempotency=Idempotency("i", DAY))
        assert names(await store.submit([run])) == [standing.id]
        await end(store, *await claim(store))
        again = keyed_run(once=Unique())
        again.terms = run.terms
        (stands,) = await store.submit([again])
        assert (stands.id, stands.status) == (standing.id, RunStatus.SUCCESS)
        assert names(await store.submit([free := keyed_run(once=Unique())])) == [free.id]

    async def test_a_key_is_not_moved_by_the_next_submit(self, store: Store) -> None:
        first = keyed_run(once=Debounce(SECOND), due_us=2**60, args=(1,))
        first.terms = first.terms._replace(idempotency=Idempotency("i", DAY))
        await store.submit([first])
        second = keyed_run(once=Debounce(SECOND), due_us=2**60, args=(2,))
        second.terms = first.terms
        (stands,) = await store.submit([second])
        assert (stands.id, stands.args) == (first.id, (1,))

    async def test_keys_outlive_a_node(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        (run,) = await store.submit([given()])
        store = await bench.enter("n2")
        assert names(await store.submit([given()])) == [run.id]
        await store.close()
