"""Places and rates by key."""

from __future__ import annotations

from asyncsched.limits import Rate
from asyncsched.retry import Retry
from asyncsched.run import Raised
from asyncsched.stores import Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import claim, end, keyed_run, names

RATE = Rate(2, 10 * SECOND)
AGAIN = Retry(attempts=9, wait="1s")


class RatePromises:
    """No more start in a while than the rate allows, and nobody waits longer than for that."""

    async def test_a_key_without_a_limit_bounds_nothing(self, store: Store) -> None:
        await store.submit([keyed_run(str(number)) for number in range(5)])
        assert names(await claim(store)) == list("01234")

    async def test_keys_are_apart_and_each_is_first_come_first_served(self, store: Store) -> None:
        await store.submit([keyed_run(name, key=name[0], limit=1) for name in ("a1", "a2", "b1", "a3", "b2")])
        for expected in (["a1", "b1"], ["a2", "b2"], ["a3"]):
            claimed = await claim(store)
            assert names(claimed) == expected
            await end(store, *claimed)

    async def test_of_those_that_wait_for_a_key_the_greater_priority_goes_first(self, store: Store) -> None:
        await store.submit(
            [
                keyed_run("0", limit=1),
                *(keyed_run(name, limit=1, priority=int(name) // 10) for name in ("10", "20", "21")),
            ]
        )
        for expected in ("0", "20", "21", "10"):
            claimed = await claim(store)
            assert names(claimed) == [expected]
            await end(store, *claimed)

    async def test_a_run_that_waits_for_its_next_try_keeps_its_place(self, store: Store, bench: Bench) -> None:
        await store.submit([keyed_run("1", limit=1), keyed_run("2", limit=1)])
        (run,) = await claim(store)
        await end(store, run, outcome=Raised(ValueError()), retry=AGAIN)
        assert await claim(store) == []
        await bench.advance(SECOND)
        assert names(await claim(store)) == ["1"]

    async def test_no_more_start_in_a_while_than_the_rate_allows(self, store: Store, bench: Bench) -> None:
        await store.submit([keyed_run(str(number), rate=RATE) for number in range(5)])
        cycled = await store.cycle([], 100)
        assert (names(cycled.claimed), cycled.next_due_us) == (["0", "1"], START_US + 10 * SECOND)
        await end(store, *cycled.claimed)
        await bench.advance(10 * SECOND - 1)
        assert await claim(store) == []
        await bench.advance(1)
        assert names(await claim(store)) == ["2", "3"]
        await bench.advance(10 * SECOND)
        cycled = await store.cycle([], 100)
        assert (names(cycled.claimed), cycled.next_due_us) == (["4"], None)

    async def test_a_rate_looks_back_from_each_start(self, store: Store, bench: Bench) -> None:
        await store.submit([keyed_run("0", rate=RATE)])
        assert names(await claim(store)) == ["0"]
        await bench.advance(4 * SECOND)
        await store.submit([keyed_run(name, rate=RATE) for name in "123"])
        cycled = await store.cycle([], 100)
        assert (names(cycled.claimed), cycled.next_due_us) == (["1"], START_US + 10 * SECOND)
        await bench.advance(6 * SECOND)
        cycled = await store.cycle([], 100)
        assert (names(cycled.claimed), cycled.next_due_us) == (["2"], START_US + 14 * SECOND)

    async def test_it_is_the_start_that_counts_not_that_the_run_was_ready(self, store: Store, bench: Bench) -> None:
        await store.submit([keyed_run(str(number), rate=RATE) for number in range(4)])
        await bench.advance(60 * SECOND)
        assert names(await claim(store, 1)) == ["0"]
        await bench.advance(5 * SECOND)
        assert names(await claim(store)) == ["1"]
        await bench.advance(5 * SECOND)
        assert names(await claim(store)) == ["2"]
        await bench.advance(5 * SECOND)
        assert names(await claim(store)) == ["3"]

    async def test_each_key_has_a_rate_of_its_own_and_others_go_on(self, store: Store) -> None:
        runs = [keyed_run(f"{key}{number}", key=key, rate=Rate(1, SECOND)) for key in "ab" for number in range(2)]
        await store.submit([*runs, keyed_run("free", key=None)])
        assert sorted(names(await claim(store))) == ["a0", "b0", "free"]

    async def test_a_retry_is_a_start_and_goes_before_those_that_have_not_begun(
        self, store: Store, bench: Bench
    ) -> None:
        await store.submit([keyed_run(name, rate=RATE) for name in "1234"])
        claimed = await claim(store)
        await end(store, *claimed, outcome=Raised(ValueError()), retry=AGAIN)
        await bench.advance(5 * SECOND)
        assert await claim(store) == []
        await bench.advance(5 * SECOND)
        assert names(await claim(store)) == ["1", "2"]
        await bench.advance(10 * SECOND)
        assert names(await claim(store)) == ["3", "4"]

    async def test_a_retry_that_waits_for_the_rate_with_its_place_is_not_stuck_behind_others(
        self, store: Store, bench: Bench
    ) -> None:
        await store.submit([keyed_run(name, limit=1, rate=Rate(1, 10 * SECOND)) for name in "12"])
        (run,) = await claim(store)
        await end(store, run, outcome=Raised(ValueError()), retry=AGAIN)
        await bench.advance(SECOND)
        cycled = await store.cycle([], 100)
        assert (cycled.claimed, cycled.next_due_us) == ([], START_US + 10 * SECOND)
        await bench.advance(9 * SECOND)
        (run,) = await claim(store)
        assert (run.id, run.attempt) == ("1", 2)

    async def test_a_place_that_is_not_free_is_waited_for_without_an_instant(self, store: Store) -> None:
        await store.submit([keyed_run(name, limit=1, rate=Rate(5, 10 * SECOND)) for name in "12"])
        cycled = await store.cycle([], 100)
        assert (names(cycled.claimed), cycled.next_due_us) == (["1"], None)
        await end(store, *cycled.claimed)
        assert names(await claim(store)) == ["2"]

    async def test_a_run_that_was_ready_by_the_rate_and_is_cancelled_makes_way(self, store: Store) -> None:
        await store.submit([keyed_run(name, rate=RATE) for name in "1234"])
        await store.cancel(["1", "3"], "not wanted")
        assert names(await claim(store)) == ["2", "4"]

    async def test_a_start_by_a_node_that_vanished_has_been_one(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.submit([keyed_run(name, rate=Rate(1, 10 * SECOND)) for name in "12"])
        assert names(await claim(store)) == ["1"]
        store = await bench.enter("n2")
        assert await claim(store) == []
        await bench.advance(10 * SECOND)
        assert names(await claim(store)) == ["1"]
        await store.close()

    async def test_a_clock_that_is_set_back_makes_nobody_wait_longer_than_the_rate(
        self, store: Store, bench: Bench
    ) -> None:
        await bench.advance(3_600 * SECOND)
        now_us = await store.now_us()
        await store.submit([keyed_run(str(number), rate=RATE, now_us=START_US) for number in range(3)])
        assert len(await claim(store)) == 2
        await bench.advance(-3_600 * SECOND)
        assert await store.now_us() < now_us, "advance() of the bench must set the clock back, too"
        cycled = await store.cycle([], 100)
        assert cycled.next_due_us is not None
        assert cycled.next_due_us <= await store.now_us() + 10 * SECOND
        await bench.advance(10 * SECOND)
        assert names(await claim(store)) == ["2"]
