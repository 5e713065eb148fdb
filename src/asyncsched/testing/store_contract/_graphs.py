"""Graphs: who is blocked, who hears of an end, which decision counts."""

from __future__ import annotations

from typing import Any

import pytest

from asyncsched.graph import Tally
from asyncsched.retry import Retry
from asyncsched.run import Cancelled, Outcome, Raised, Run, RunStatus, Settled, SkipReason, Succeeded
from asyncsched.stores import Decision, Declared, FireOrder, Follower, RunFilter, Store
from asyncsched.testing.store_contract._bench import START_US, Bench
from asyncsched.testing.store_contract._making import ack_of, claim, needing, new_id, run_out, told


async def _to_be_decided(store: Store) -> tuple[Run[Any], Follower]:
    """A run that is blocked though what it needs has ended."""
    top = needing("top")
    low = needing("low", top)
    await store.submit([top, low])
    await run_out(store, top)
    (follower,) = await store.followers([top.id])
    return low, follower


class GraphPromises:
    """A run that needs others is blocked until one decision about it counts."""

    async def test_a_blocked_run_is_pending_and_claimed_by_nobody(self, bench: Bench) -> None:
        store = await bench.enter("n")
        top = needing("top")
        low = needing("low", top)
        await store.submit([top, low])
        assert [run.id for run in await claim(store)] == [top.id]
        found = await store.run(low.id)
        assert found is not None
        assert (found.status, found.blocked, found.flow, found.needs) == ("PENDING", True, low.id, (top.id,))

    async def test_a_flow_is_written_with_the_fire_that_begins_it_or_not_at_all(self, bench: Bench) -> None:
        store = await bench.enter("n")
        (standing,) = (await store.reconcile([Declared("top", "x", None, START_US, 100)])).standings
        for version, won in ((standing.version + 1, set()), (standing.version, {"top"})):
            top = needing("top")
            low = needing("low", top, flow=top.id)
            order = FireOrder("top", version, START_US, START_US + 1_000_000, [top, low], [])
            assert await store.fire([order]) == won
            known = {run.id for run in await store.runs(RunFilter())}
            assert known == ({top.id, low.id} if won else set())

    async def test_who_is_asked_about_an_end_knows_how_all_upstreams_of_the_followers_stand(self, bench: Bench) -> None:
        store = await bench.enter("n")
        one, two, three = needing("one"), needing("two"), needing("three")
        both, alone = needing("both", one, two), needing("alone", three)
        await store.submit([one, two, three, both, alone])
        await run_out(store, one, two, three)
        assert await told(store, one.id) == {both.id: Tally(succeeded=2)}
        assert await told(store, one.id, two.id, three.id) == {
            both.id: Tally(succeeded=2),
            alone.id: Tally(succeeded=1),
        }
        assert await told(store, both.id) == {}

    @pytest.mark.parametrize(
        ("outcome", "tally"),
        [
            (Succeeded(1), Tally(waiting=1, succeeded=1)),
            (Raised(OSError()), Tally(waiting=1, failed=1)),
            (Cancelled("by hand"), Tally(waiting=1, failed=1)),
        ],
    )
    async def test_each_end_is_counted_as_what_it_is_to_those_below(
        self, bench: Bench, outcome: Outcome, tally: Tally
    ) -> None:
        store = await bench.enter("n")
        one, other = needing("one"), needing("other")
        below = needing("below", one, other)
        await store.submit([one, other, below])
        await store.cycle([await ack_of(store, run, outcome) for run in await claim(store) if run.id == one.id], 0)
        assert await told(store, one.id) == {below.id: tally}

    @pytest.mark.parametrize(("reason", "tally"), [("rule", Tally(skipped=1)), ("upstream_failed", Tally(failed=1))])
    async def test_a_skip_is_counted_by_its_reason(self, bench: Bench, reason: str, tally: Tally) -> None:
        store = await bench.enter("n")
        top = needing("top")
        middle = needing("middle", top)
        low = needing("low", middle)
        await store.submit([top, middle, low])
        settled = Settled(RunStatus.SKIPPED, START_US, reason=SkipReason(reason))
        await store.settle([Decision(middle, middle.token, settled)])
        assert await told(store, middle.id) == {low.id: tally}

    async def test_a_try_that_is_repeated_is_no_end(self, bench: Bench) -> None:
        store = await bench.enter("n")
        top = needing("top")
        low = needing("low", top)
        await store.submit([top, low])
        (run,) = await claim(store)
        await store.cycle([await ack_of(store, run, Raised(OSError()), Retry(attempts=2))], 0)
        assert await told(store, top.id) == {low.id: Tally(waiting=1)}

    async def test_a_run_that_ended_before_is_counted_when_it_is_needed(self, bench: Bench) -> None:
        store = await bench.enter("n")
        plain: Run[Any] = Run(new_id(), "plain", START_US, START_US)
        await store.submit([plain])
        await run_out(store, plain, outcome=Succeeded(7))
        low = needing("low", plain)
        await store.submit([low])
        assert await told(store, plain.id) == {low.id: Tally(succeeded=1)}

    async def test_the_end_of_a_run_that_others_came_to_need_says_that_it_has_edges(self, bench: Bench) -> None:
        store = await bench.enter("n")
        plain: Run[Any] = Run(new_id(), "plain", START_US, START_US)
        free: Run[Any] = Run(new_id(), "free", START_US, START_US)
        await store.submit([plain, free])
        await store.submit([needing("low", plain)])
        acks = [await ack_of(store, run, Succeeded(1)) for run in await claim(store)]
        accepted = (await store.cycle(acks, 0)).accepted
        assert {one.run.task: one.run.edges is None for one in accepted} == {"plain": False, "free": True}

    async def test_a_run_that_is_made_ready_is_due_and_claimed_with_its_upstreams_results(self, bench: Bench) -> None:
        store = await bench.enter("n")
        top = needing("top")
        low = needing("low", top)
        await store.submit([top, low])
        await run_out(store, top, outcome=Succeeded([1, 2]))
        await bench.advance(5_000_000)
        (follower,) = await store.followers([top.id])
        decision = Decision(follower.run, follower.token, None)
        assert await store.settle([decision]) == [decision]
        (run,) = await claim(store)
        assert (run.id, run.due_us, run.blocked) == (low.id, START_US + 5_000_000, False)
        assert run.edges is not None
        assert [(upstream.id, upstream.result) for upstream in run.edges.upstreams] == [(top.id, [1, 2])]
        assert await told(store) == {}

    async def test_a_run_may_be_given_other_results_than_those_that_it_waited_for(self, bench: Bench) -> None:
        store = await bench.enter("n")
        earlier, later = needing("up"), needing("up")
        await store.submit([earlier])
        await run_out(store, earlier, outcome=Succeeded("good"))
        fire = needing("fire", later, rule="all_done")
        await store.submit([later, fire])
        await run_out(store, later, outcome=Raised(OSError()))
        success = (await store.lookback(["up"]))["up"].succeeded
        assert success is not None
        await store.settle([Decision(fire, fire.token, None, (success,))])
        (run,) = await claim(store)
        assert run.edges is not None
        assert (run.needs, [upstream.result for upstream in run.edges.upstreams]) == ((earlier.id,), ["good"])

    async def test_of_two_decisions_about_a_run_the_first_counts(self, bench: Bench) -> None:
        store = await bench.enter("n")
        low, follower = await _to_be_decided(store)
        ready = Decision(follower.run, follower.token, None)
        skip = Decision(follower.run, follower.token, Settled(RunStatus.SKIPPED, START_US, reason="rule"))
        assert await store.settle([ready]) == [ready]
        assert await store.settle([skip, ready]) == []
        assert [run.id for run in await claim(store)] == [low.id]

    async def test_a_decision_on_another_token_does_not_count(self, bench: Bench) -> None:
        store = await bench.enter("n")
        low, follower = await _to_be_decided(store)
        for token in (follower.token - 1, follower.token + 1):
            skip = Decision(follower.run, token, Settled(RunStatus.SKIPPED, START_US, reason="rule"))
            assert await store.settle([skip, Decision(follower.run, token, None)]) == []
        assert await claim(store) == []
        assert await told(store) == {low.id: Tally(succeeded=1)}

    async def test_a_cancelled_blocked_run_is_decided_no_more(self, bench: Bench) -> None:
        store = await bench.enter("n")
        top = needing("top")
        low = needing("low", top)
        lowest = needing("lowest", low)
        await store.submit([top, low, lowest])
        (follower,) = await store.followers([top.id])
        assert [run.id for run in await store.cancel([low.id], "by hand")] == [low.id]
        assert await store.settle([Decision(follower.run, follower.token, None)]) == []
        await run_out(store, top)
        assert await told(store, top.id, low.id) == {lowest.id: Tally(failed=1)}

    async def test_what_is_blocked_stays_so_for_the_next_node_and_can_be_found(self, bench: Bench) -> None:
        store = await bench.enter("first")
        top = needing("top")
        low = needing("low", top)
        await store.submit([top, low])
        await run_out(store, top, outcome=Succeeded(3))
        await store.close()
        store = await bench.enter("second")
        assert await claim(store) == []
        followers = await store.followers(None)
        assert [(one.run.id, one.tally) for one in followers] == [(low.id, Tally(succeeded=1))]
        assert len(await store.settle([Decision(one.run, one.token, None) for one in followers])) == 1
        (run,) = await claim(store)
        assert run.edges is not None
        assert [upstream.result for upstream in run.edges.upstreams] == [3]

    async def test_a_follower_of_many_is_told_once(self, bench: Bench) -> None:
        store = await bench.enter("n")
        ups = [needing("up") for _ in range(50)]
        low = needing("low", *ups)
        await store.submit([*ups, low])
        await run_out(store, *ups)
        found: list[Follower] = await store.followers([up.id for up in ups])
        assert [(one.run.id, one.tally) for one in found] == [(low.id, Tally(succeeded=50))]
