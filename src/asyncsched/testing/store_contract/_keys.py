"""Limits by key."""

from __future__ import annotations

import pytest

from asyncsched.retry import Retry
from asyncsched.run import Cancelled, Raised
from asyncsched.stores import Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import a_run, ack_of, claim, declared, finish, names, order


class KeyPromises:
    """The runs of a key have so many places, and wait in their order."""

    async def test_runs_of_one_key_run_one_at_a_time_in_the_order_of_their_submission(self, store: Store) -> None:
        await store.submit(
            [a_run("a", name="1", limit_key="k", priority=0), a_run("b", name="2", limit_key="k", priority=9)]
        )
        await store.submit([a_run("a", name="3", limit_key="k", due_us=START_US - 60 * SECOND)])
        seen = []
        while claimed := await claim(store):
            assert len(claimed) == 1
            assert await claim(store) == []
            seen += names(claimed)
            await finish(store, claimed)
        assert seen == ["1", "2", "3"]

    async def test_keys_do_not_hold_up_each_other_nor_runs_without_one(self, store: Store) -> None:
        await store.submit([a_run(name=f"{key}{number}", limit_key=key) for number in (1, 2) for key in ("k", "l")])
        await store.submit([a_run(name="free 1"), a_run(name="free 2")])
        assert names(await claim(store)) == ["k1", "l1", "free 1", "free 2"]

    async def test_runs_that_a_fire_has_made_wait_for_each_other_too(self, store: Store) -> None:
        standing = await store.put_task(declared())
        await store.fire([order(standing, runs=[a_run(name="1", limit_key="t"), a_run(name="2", limit_key="t")])])
        claimed = await claim(store)
        assert names(claimed) == ["1"]
        await finish(store, claimed)
        assert names(await claim(store)) == ["2"]

    async def test_a_run_that_is_tried_again_keeps_the_others_of_its_key_waiting(
        self, store: Store, bench: Bench
    ) -> None:
        await store.submit([a_run(name="1", limit_key="k"), a_run(name="2", limit_key="k")])
        (first,) = await claim(store)
        await store.cycle([await ack_of(store, first, Raised(ValueError()), Retry(wait="5s"))], 0)
        assert await claim(store) == []
        await bench.advance(5 * SECOND)
        (first,) = await claim(store)
        assert first.id == "1"
        cycled = await store.cycle([await ack_of(store, first, Cancelled("enough"))], 100)
        assert names(cycled.claimed) == ["2"]

    async def test_a_waiting_run_that_is_cancelled_holds_up_nobody(self, store: Store) -> None:
        for task in ("t", "gone"):
            await store.put_task(declared(task))
        await store.submit(
            [a_run(name="1", limit_key="k"), a_run("gone", name="2", limit_key="k"), a_run(name="3", limit_key="k")]
        )
        (first,) = await claim(store)
        await store.drop_task("gone")
        assert await claim(store) == []
        await finish(store, [first])
        assert names(await claim(store)) == ["3"]

    @pytest.mark.parametrize("due_us", [START_US, START_US + 60 * SECOND])
    async def test_a_run_that_is_cancelled_before_its_start_makes_way(self, store: Store, due_us: int) -> None:
        for task in ("t", "gone"):
            await store.put_task(declared(task))
        await store.submit(
            [a_run("gone", name="1", limit_key="k", due_us=due_us), a_run("gone", name="2", limit_key="k")]
        )
        await store.submit([a_run(name="3", limit_key="k"), a_run(name="4", limit_key="k")])
        await store.drop_task("gone")
        cycled = await store.cycle([], 100)
        assert (names(cycled.claimed), cycled.next_due_us) == (["3"], None)
        await finish(store, cycled.claimed)
        assert names(await claim(store)) == ["4"]

    async def test_a_key_is_free_again_when_its_runs_have_ended(self, store: Store) -> None:
        for name in ("1", "2"):
            await store.submit([a_run(name=name, limit_key="k")])
            claimed = await claim(store)
            assert names(claimed) == [name]
            await finish(store, claimed)

    async def test_so_many_runs_of_one_key_run_at_once_as_they_allow(self, store: Store) -> None:
        await store.submit([a_run(name=str(number), limit_key="k", limit=2) for number in range(5)])
        claimed = await claim(store)
        assert names(claimed) == ["0", "1"]
        await finish(store, claimed[1:])
        claimed = [claimed[0], *await claim(store)]
        assert names(claimed) == ["0", "2"]
        await finish(store, claimed)
        assert names(await claim(store)) == ["3", "4"]

    async def test_a_run_that_is_not_due_yet_holds_up_nobody_of_its_key(self, store: Store, bench: Bench) -> None:
        await store.submit([a_run(name="later", limit_key="k", due_us=START_US + 10 * SECOND)])
        await store.submit([a_run(name="now", limit_key="k")])
        first = await claim(store)
        assert names(first) == ["now"]
        await bench.advance(10 * SECOND)
        assert await claim(store) == []
        await finish(store, first)
        assert names(await claim(store)) == ["later"]
