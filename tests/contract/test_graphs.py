"""What a store must do for graphs: who is blocked, who hears of an end, which decision counts, what joins take."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from asyncsched.edges import Edges, Rule
from asyncsched.graph import Tally
from asyncsched.ids import RunIds
from asyncsched.retry import NO_RETRY, Retry
from asyncsched.run import Cancelled, Outcome, Raised, Run, RunStatus, Settled, SkipReason, Succeeded, settle
from asyncsched.stores import Ack, Decision, Declared, FireOrder, Follower, RunFilter, Store

from .conftest import START_US, Bench

DONE = Succeeded(None)
_ids = RunIds(Random(11))


def a_run(task: str = "t", *needs: Run[Any], flow: str | None = None, rule: Rule = "all_success") -> Run[Any]:
    """A run of a graph, blocked if it needs others."""
    run_id = _ids.make(START_US)
    run: Run[Any] = Run(run_id, task, START_US, START_US)
    run.edges = Edges(flow or run_id, tuple(need.id for need in needs), rule, needs, blocked=bool(needs))
    return run


async def claimed(store: Store) -> list[Run[Any]]:
    return (await store.cycle([], 100)).claimed


async def ack(store: Store, run: Run[Any], outcome: Outcome, retry: Retry = NO_RETRY) -> Ack:
    return Ack(run, run.token, settle(outcome, run.attempt, retry, await store.now_us()))


async def end(store: Store, *runs: Run[Any], outcome: Outcome = DONE) -> None:
    """Let claimed runs end so."""
    wanted = {run.id for run in runs}
    mine = [run for run in await claimed(store) if run.id in wanted]
    assert len(mine) == len(runs)
    await store.cycle([await ack(store, run, outcome) for run in mine], 0)


async def told(store: Store, *run_ids: str) -> dict[str, Tally]:
    return {follower.run.id: follower.tally for follower in await store.followers(run_ids or None)}


async def test_a_blocked_run_is_pending_and_claimed_by_nobody(bench: Bench) -> None:
    store = await bench.enter("n")
    top = a_run("top")
    low = a_run("low", top)
    await store.submit([top, low])
    assert [run.id for run in await claimed(store)] == [top.id]
    found = await store.run(low.id)
    assert found is not None
    assert (found.status, found.blocked, found.flow, found.needs) == ("PENDING", True, low.id, (top.id,))


async def test_a_flow_is_written_with_the_fire_that_begins_it_or_not_at_all(bench: Bench) -> None:
    store = await bench.enter("n")
    (standing,) = (await store.reconcile([Declared("top", "x", None, START_US, 100)])).standings
    for version, won in ((standing.version + 1, set()), (standing.version, {"top"})):
        top = a_run("top")
        low = a_run("low", top, flow=top.id)
        order = FireOrder("top", version, START_US, START_US + 1_000_000, [top, low], [])
        assert await store.fire([order]) == won
        known = {run.id for run in await store.runs(RunFilter())}
        assert known == ({top.id, low.id} if won else set())


async def test_who_is_asked_about_an_end_knows_how_all_upstreams_of_the_followers_stand(bench: Bench) -> None:
    store = await bench.enter("n")
    one, two, three = a_run("one"), a_run("two"), a_run("three")
    both, alone = a_run("both", one, two), a_run("alone", three)
    await store.submit([one, two, three, both, alone])
    await end(store, one, two, three)
    assert await told(store, one.id) == {both.id: Tally(succeeded=2)}
    assert await told(store, one.id, two.id, three.id) == {both.id: Tally(succeeded=2), alone.id: Tally(succeeded=1)}
    assert await told(store, both.id) == {}


@pytest.mark.parametrize(
    ("outcome", "tally"),
    [
        (Succeeded(1), Tally(waiting=1, succeeded=1)),
        (Raised(OSError()), Tally(waiting=1, failed=1)),
        (Cancelled("by hand"), Tally(waiting=1, failed=1)),
    ],
)
async def test_each_end_is_counted_as_what_it_is_to_those_below(bench: Bench, outcome: Outcome, tally: Tally) -> None:
    store = await bench.enter("n")
    one, other = a_run("one"), a_run("other")
    below = a_run("below", one, other)
    await store.submit([one, other, below])
    await store.cycle([await ack(store, run, outcome) for run in await claimed(store) if run.id == one.id], 0)
    assert await told(store, one.id) == {below.id: tally}


@pytest.mark.parametrize(("reason", "tally"), [("rule", Tally(skipped=1)), ("upstream_failed", Tally(failed=1))])
async def test_a_skip_is_counted_by_its_reason(bench: Bench, reason: str, tally: Tally) -> None:
    store = await bench.enter("n")
    top = a_run("top")
    middle = a_run("middle", top)
    low = a_run("low", middle)
    await store.submit([top, middle, low])
    settled = Settled(RunStatus.SKIPPED, START_US, reason=SkipReason(reason))
    await store.settle([Decision(middle, middle.token, settled)])
    assert await told(store, middle.id) == {low.id: tally}


async def test_a_try_that_is_repeated_is_no_end(bench: Bench) -> None:
    store = await bench.enter("n")
    top = a_run("top")
    low = a_run("low", top)
    await store.submit([top, low])
    (run,) = await claimed(store)
    await store.cycle([await ack(store, run, Raised(OSError()), Retry(attempts=2))], 0)
    assert await told(store, top.id) == {low.id: Tally(waiting=1)}


async def test_a_run_that_ended_before_is_counted_when_it_is_needed(bench: Bench) -> None:
    store = await bench.enter("n")
    plain: Run[Any] = Run(_ids.make(START_US), "plain", START_US, START_US)
    await store.submit([plain])
    await end(store, plain, outcome=Succeeded(7))
    low = a_run("low", plain)
    await store.submit([low])
    assert await told(store, plain.id) == {low.id: Tally(succeeded=1)}


async def test_the_end_of_a_run_that_others_came_to_need_says_that_it_has_edges(bench: Bench) -> None:
    store = await bench.enter("n")
    plain: Run[Any] = Run(_ids.make(START_US), "plain", START_US, START_US)
    free: Run[Any] = Run(_ids.make(START_US), "free", START_US, START_US)
    await store.submit([plain, free])
    await store.submit([a_run("low", plain)])
    acks = [await ack(store, run, Succeeded(1)) for run in await claimed(store)]
    accepted = (await store.cycle(acks, 0)).accepted
    assert {one.run.task: one.run.edges is None for one in accepted} == {"plain": False, "free": True}


async def test_a_run_that_is_made_ready_is_due_and_claimed_with_its_upstreams_results(bench: Bench) -> None:
    store = await bench.enter("n")
    top = a_run("top")
    low = a_run("low", top)
    await store.submit([top, low])
    await end(store, top, outcome=Succeeded([1, 2]))
    await bench.advance(5_000_000)
    (follower,) = await store.followers([top.id])
    decision = Decision(follower.run, follower.token, None)
    assert await store.settle([decision]) == [decision]
    (run,) = await claimed(store)
    assert (run.id, run.due_us, run.blocked) == (low.id, START_US + 5_000_000, False)
    assert run.edges is not None
    assert [(upstream.id, upstream.result) for upstream in run.edges.upstreams] == [(top.id, [1, 2])]
    assert await told(store) == {}


async def test_a_run_may_be_given_other_results_than_those_that_it_waited_for(bench: Bench) -> None:
    store = await bench.enter("n")
    earlier, later = a_run("up"), a_run("up")
    await store.submit([earlier])
    await end(store, earlier, outcome=Succeeded("good"))
    fire = a_run("fire", later, rule="all_done")
    await store.submit([later, fire])
    await end(store, later, outcome=Raised(OSError()))
    success = (await store.lookback(["up"]))["up"].succeeded
    assert success is not None
    await store.settle([Decision(fire, fire.token, None, (success,))])
    (run,) = await claimed(store)
    assert run.edges is not None
    assert (run.needs, [upstream.result for upstream in run.edges.upstreams]) == ((earlier.id,), ["good"])


async def test_of_two_decisions_about_a_run_the_first_counts(bench: Bench) -> None:
    store = await bench.enter("n")
    top = a_run("top")
    low = a_run("low", top)
    await store.submit([top, low])
    await end(store, top)
    (follower,) = await store.followers([top.id])
    ready = Decision(follower.run, follower.token, None)
    skip = Decision(follower.run, follower.token, Settled(RunStatus.SKIPPED, START_US, reason="rule"))
    assert await store.settle([ready]) == [ready]
    assert await store.settle([skip, ready]) == []
    assert [run.id for run in await claimed(store)] == [low.id]


async def test_a_cancelled_blocked_run_is_decided_no_more(bench: Bench) -> None:
    store = await bench.enter("n")
    top = a_run("top")
    low = a_run("low", top)
    lowest = a_run("lowest", low)
    await store.submit([top, low, lowest])
    (follower,) = await store.followers([top.id])
    assert [run.id for run in await store.cancel([low.id], "by hand")] == [low.id]
    assert await store.settle([Decision(follower.run, follower.token, None)]) == []
    await end(store, top)
    assert await told(store, top.id, low.id) == {lowest.id: Tally(failed=1)}


async def test_what_is_blocked_stays_so_for_the_next_node_and_can_be_found(bench: Bench) -> None:
    store = await bench.enter("first")
    top = a_run("top")
    low = a_run("low", top)
    await store.submit([top, low])
    await end(store, top, outcome=Succeeded(3))
    await store.close()
    store = await bench.enter("second")
    assert await claimed(store) == []
    followers = await store.followers(None)
    assert [(one.run.id, one.tally) for one in followers] == [(low.id, Tally(succeeded=1))]
    assert len(await store.settle([Decision(one.run, one.token, None) for one in followers])) == 1
    (run,) = await claimed(store)
    assert run.edges is not None
    assert [upstream.result for upstream in run.edges.upstreams] == [3]


async def test_a_task_is_asked_for_its_last_success_and_what_is_under_way(bench: Bench) -> None:
    store = await bench.enter("n")
    await store.reconcile([Declared("up", "x", None, None, 2)])
    good = a_run("up")
    await store.submit([good])
    await end(store, good, outcome=Succeeded("good"))
    for _ in range(4):  # more than history keeps
        bad = a_run("up")
        await store.submit([bad])
        await end(store, bad, outcome=Raised(OSError()))
    waiting = a_run("up")
    await store.submit([waiting])
    found = await store.lookback(["up", "unknown"])
    assert found["up"].succeeded is not None
    assert (found["up"].succeeded.id, found["up"].succeeded.result) == (good.id, "good")
    assert [run.id for run in found["up"].unfinished] == [waiting.id]
    assert (found["unknown"].succeeded, list(found["unknown"].unfinished)) == (None, [])


async def test_a_join_is_offered_what_ended_in_later_flows_than_it_has_taken(bench: Bench) -> None:
    store = await bench.enter("n")
    sides = {"one": "one", "below": "other"}
    first, outside = a_run("one"), a_run("elsewhere")
    await store.submit([first, outside])
    await end(store, first, outside)
    taken, ended = await store.offers("both", sides)
    assert (dict(taken), [run.id for run in ended]) == ({}, [first.id])

    top = a_run("other")
    below = a_run("below", top, flow=top.id)
    await store.submit([top, below])
    await end(store, top)
    await store.settle([Decision(below, below.token, None)])
    await end(store, below)
    _taken, ended = await store.offers("both", sides)
    assert {(run.id, run.flow) for run in ended} == {(first.id, first.id), (below.id, top.id)}

    run = a_run("both", *ended)
    assert await store.join("both", {}, {"one": first.id, "other": top.id}, [run])
    assert await told(store, first.id) == {run.id: Tally(succeeded=2)}
    second = a_run("one")
    await store.submit([second])
    await end(store, second)
    taken, ended = await store.offers("both", sides)
    assert (dict(taken), [run.id for run in ended]) == ({"one": first.id, "other": top.id}, [second.id])


async def test_of_two_runs_of_a_join_that_take_the_same_one_is_written(bench: Bench) -> None:
    store = await bench.enter("n")
    up = a_run("up")
    await store.submit([up])
    await end(store, up)
    first, second = a_run("both", up), a_run("both", up)
    assert await store.join("both", {}, {"up": up.id}, [first])
    assert not await store.join("both", {}, {"up": up.id}, [second])
    assert [run.id for run in await store.runs(RunFilter(task="both"))] == [first.id]


async def test_runs_can_be_listed_by_their_flow(bench: Bench) -> None:
    store = await bench.enter("n")
    top, other = a_run("top"), a_run("top")
    low = a_run("low", top, flow=top.id)
    await store.submit([top, low, other])
    assert {run.id for run in await store.runs(RunFilter(flow=top.id))} == {top.id, low.id}
    assert [run.id for run in await store.runs(RunFilter(flow=other.id))] == [other.id]


async def test_a_follower_of_many_is_told_once(bench: Bench) -> None:
    store = await bench.enter("n")
    ups = [a_run("up") for _ in range(50)]
    low = a_run("low", *ups)
    await store.submit([*ups, low])
    await end(store, *ups)
    found: list[Follower] = await store.followers([up.id for up in ups])
    assert [(one.run.id, one.tally) for one in found] == [(low.id, Tally(succeeded=50))]
