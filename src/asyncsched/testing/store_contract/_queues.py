"""Queues and groups."""

from __future__ import annotations

from asyncsched.retry import Retry
from asyncsched.run import Succeeded, settle
from asyncsched.stores import Ack, Store
from asyncsched.testing.store_contract._bench import START_US
from asyncsched.testing.store_contract._making import a_run, claim, names


class QueuePromises:
    """Of each queue and each group no more is claimed than there is room for."""

    async def test_only_runs_of_the_queues_that_are_asked_for_are_claimed(self, store: Store) -> None:
        await store.submit(
            [a_run(name="m", queue="mail", priority=-1), a_run(name="r", queue="reports"), a_run(name="d")]
        )
        assert names((await store.cycle([], 100, {"mail": 9, "nobody": 9})).claimed) == ["m"]
        assert (await store.cycle([], 100, {})).claimed == []
        assert (await store.cycle([], 100, {"reports": 0})).claimed == []
        assert names((await store.cycle([], 100, {"default": 1, "reports": 1})).claimed) == ["r", "d"]

    async def test_of_each_queue_no_more_are_claimed_than_asked_for_and_no_more_of_all(self, store: Store) -> None:
        runs = [a_run(name=f"{queue}{number}", queue=queue, priority=number) for queue in "ab" for number in range(4)]
        await store.submit(runs)
        first = await store.cycle([], 100, {"a": 1, "b": 3})
        assert sorted(names(first.claimed)) == ["a3", "b1", "b2", "b3"]
        assert [run.priority for run in first.claimed] == [3, 3, 2, 1]
        second = await store.cycle([], 2, {"a": 9, "b": 9})
        assert names(second.claimed) == ["a2", "a1"]
        assert second.next_due_us is not None
        assert second.next_due_us <= await store.now_us()

    async def test_what_waits_in_a_queue_that_is_full_wakes_nobody(self, store: Store) -> None:
        await store.submit([a_run(name="a", queue="a"), a_run(name="b", queue="b")])
        cycled = await store.cycle([], 100, {"a": 1, "b": 0})
        assert (names(cycled.claimed), cycled.next_due_us) == (["a"], None)
        assert names(await claim(store)) == ["b"]

    async def test_of_a_group_no_more_are_claimed_than_there_is_room_for_and_others_pass(self, store: Store) -> None:
        runs = [a_run(name=f"g{number}", group="kernel", priority=5) for number in range(4)] + [a_run(name="other")]
        await store.submit(runs)
        cycled = await store.cycle([], 100, None, {"kernel": 2})
        assert names(cycled.claimed) == ["g0", "g1", "other"]
        assert cycled.next_due_us is None  # nobody is woken for what waits for its group
        assert names((await store.cycle([], 100, None, {"kernel": 0})).claimed) == []
        acks = [Ack(run, run.token, settle(Succeeded(1), 1, Retry(attempts=1), START_US)) for run in cycled.claimed[:1]]
        assert names((await store.cycle(acks, 100, None, {"kernel": 1})).claimed) == ["g2"]

    async def test_groups_and_queues_and_the_limit_of_all_count_together(self, store: Store) -> None:
        await store.submit([a_run(name=f"a{number}", group="kernel", queue="mail") for number in range(3)])
        await store.submit([a_run(name=f"b{number}", group="kernel") for number in range(3)])
        claimed = (await store.cycle([], 100, {"mail": 1, "default": 5}, {"kernel": 3})).claimed
        assert sorted(names(claimed)) == ["a0", "b0", "b1"]
        assert names((await store.cycle([], 1, {"default": 5}, {"kernel": 3})).claimed) == ["b2"]

    async def test_what_waits_for_its_group_can_be_cancelled(self, store: Store) -> None:
        await store.submit([a_run(name="first", group="kernel"), a_run(name="second", group="kernel")])
        assert names((await store.cycle([], 9, None, {"kernel": 0})).claimed) == []
        assert names(await store.cancel(["first"], "why")) == ["first"]
        assert names((await store.cycle([], 9, None, {"kernel": 9})).claimed) == ["second"]
