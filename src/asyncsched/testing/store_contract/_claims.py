"""Claims: what is ready, in which order."""

from __future__ import annotations

from typing import Any

from asyncsched.run import Run, RunStatus, Terms
from asyncsched.stores import Cycled, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import a_run, claim, ids, names


class ClaimPromises:
    """What is claimed, once, and when there will be more."""

    async def test_a_submitted_run_is_claimed_with_all_that_was_given(self, store: Store) -> None:
        run = Run[Any](
            id="r", task="t", created_us=START_US, due_us=START_US, scheduled_us=START_US - 5, stands_for=3,
            terms=Terms(2, "default", "k", 4), args=(1, "two"), kwargs={"three": [3]},
        )  # fmt: skip
        await store.submit([run])
        waiting = await store.run("r")
        assert waiting is not None
        assert (waiting.status, waiting.attempt, waiting.token) == (RunStatus.PENDING, 0, 0)
        (claimed,) = await claim(store)
        assert (claimed.id, claimed.task, claimed.args, dict(claimed.kwargs)) == ("r", "t", (1, "two"), {"three": [3]})
        assert (claimed.scheduled_us, claimed.stands_for, claimed.terms) == (
            START_US - 5,
            3,
            Terms(2, "default", "k", 4),
        )

    async def test_a_claimed_run_is_running_here_with_a_new_token_and_is_claimed_once(
        self, store: Store, bench: Bench
    ) -> None:
        await store.submit([a_run()])
        await bench.advance(SECOND)
        (run,) = await claim(store)
        assert (run.status, run.node, run.attempt, run.token) == (RunStatus.RUNNING, "n1", 1, 1)
        assert run.started_us == await store.now_us()
        assert await claim(store) == []
        assert await ids(store, status={RunStatus.RUNNING}) == [run.id]

    async def test_runs_are_claimed_by_priority_then_due_then_as_they_were_submitted(self, store: Store) -> None:
        early, late = START_US - 60 * SECOND, START_US - SECOND
        await store.submit(
            [
                a_run(name="late", due_us=late),
                a_run(name="early", due_us=early),
                a_run(name="early too", due_us=early),
                a_run(name="high", due_us=START_US, priority=5),
            ]
        )
        await store.submit([a_run(name="low", due_us=early - SECOND, priority=-1), a_run(name="high too", priority=5)])
        await store.submit([a_run(name="0", due_us=early)])
        assert names(await claim(store)) == ["high", "high too", "early", "early too", "0", "late", "low"]

    async def test_no_more_is_claimed_than_asked_for_and_the_rest_is_announced(self, store: Store) -> None:
        runs = [a_run() for _ in range(5)]
        await store.submit(runs)
        first = await store.cycle([], 2)
        assert names(first.claimed) == names(runs[:2])
        assert first.next_due_us is not None
        assert first.next_due_us <= await store.now_us()
        nothing = await store.cycle([], 0)
        assert nothing.claimed == []
        assert nothing.next_due_us is not None
        last = await store.cycle([], 3)
        assert (names(last.claimed), last.next_due_us) == (names(runs[2:]), None)

    async def test_a_delayed_run_is_ready_when_it_is_due_and_not_before(self, store: Store, bench: Bench) -> None:
        now_us = await store.now_us()
        await store.submit(
            [a_run(name="second", due_us=now_us + 20 * SECOND), a_run(name="first", due_us=now_us + SECOND)]
        )
        cycled = await store.cycle([], 100)
        assert (cycled.claimed, cycled.next_due_us) == ([], now_us + SECOND)
        await bench.advance(SECOND - 1)
        assert await claim(store) == []
        await bench.advance(1)
        cycled = await store.cycle([], 100)
        assert (names(cycled.claimed), cycled.next_due_us) == (["first"], now_us + 20 * SECOND)
        await bench.advance(60 * SECOND)
        cycled = await store.cycle([], 100)
        assert (names(cycled.claimed), cycled.next_due_us) == (["second"], None)

    async def test_delayed_runs_that_have_become_due_stand_in_the_same_order_as_the_others(
        self, store: Store, bench: Bench
    ) -> None:
        later = START_US + 10 * SECOND
        await store.submit([a_run(name="low", due_us=later), a_run(name="high", due_us=later + 1, priority=1)])
        assert await claim(store) == []
        await bench.advance(20 * SECOND)
        await store.submit([a_run(name="now", due_us=START_US + 15 * SECOND), a_run(name="long ago", due_us=START_US)])
        assert names(await claim(store)) == ["high", "long ago", "low", "now"]

    async def test_an_empty_store_has_nothing_to_claim_or_to_wait_for(self, store: Store) -> None:
        assert await store.cycle([], 100) == Cycled([], [], None)
