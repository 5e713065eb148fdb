"""What graphs ask of the past, and what joins take."""

from __future__ import annotations

from asyncsched.graph import Tally
from asyncsched.run import Raised, Succeeded
from asyncsched.stores import Decision, Declared, RunFilter
from asyncsched.testing.store_contract._bench import Bench
from asyncsched.testing.store_contract._making import needing, run_out, told


class JoinPromises:
    """Of each set of upstreams one run of a join is written."""

    async def test_a_task_is_asked_for_its_last_success_and_what_is_under_way(self, bench: Bench) -> None:
        store = await bench.enter("n")
        await store.reconcile([Declared("up", "x", None, None, 2)])
        good = needing("up")
        await store.submit([good])
        await run_out(store, good, outcome=Succeeded("good"))
        for _ in range(4):  # more than history keeps
            bad = needing("up")
            await store.submit([bad])
            await run_out(store, bad, outcome=Raised(OSError()))
        waiting = needing("up")
        await store.submit([waiting])
        found = await store.lookback(["up", "unknown"])
        assert found["up"].succeeded is not None
        assert (found["up"].succeeded.id, found["up"].succeeded.result) == (good.id, "good")
        assert [run.id for run in found["up"].unfinished] == [waiting.id]
        assert (found["unknown"].succeeded, list(found["unknown"].unfinished)) == (None, [])

    async def test_a_join_is_offered_what_ended_in_later_flows_than_it_has_taken(self, bench: Bench) -> None:
        store = await bench.enter("n")
        sides = {"one": "one", "below": "other"}
        first, outside = needing("one"), needing("elsewhere")
        await store.submit([first, outside])
        await run_out(store, first, outside)
        taken, ended = await store.offers("both", sides)
        assert (dict(taken), [run.id for run in ended]) == ({}, [first.id])

        top = needing("other")
        below = needing("below", top, flow=top.id)
        await store.submit([top, below])
        await run_out(store, top)
        await store.settle([Decision(below, below.token, None)])
        await run_out(store, below)
        _taken, ended = await store.offers("both", sides)
        assert {(run.id, run.flow) for run in ended} == {(first.id, first.id), (below.id, top.id)}

        run = needing("both", *ended)
        assert await store.join("both", {}, {"one": first.id, "other": top.id}, [run])
        assert await told(store, first.id) == {run.id: Tally(succeeded=2)}
        second = needing("one")
        await store.submit([second])
        await run_out(store, second)
        taken, ended = await store.offers("both", sides)
        assert (dict(taken), [run.id for run in ended]) == ({"one": first.id, "other": top.id}, [second.id])

    async def test_of_two_runs_of_a_join_that_take_the_same_one_is_written(self, bench: Bench) -> None:
        store = await bench.enter("n")
        up = needing("up")
        await store.submit([up])
        await run_out(store, up)
        first, second = needing("both", up), needing("both", up)
        assert await store.join("both", {}, {"up": up.id}, [first])
        assert not await store.join("both", {}, {"up": up.id}, [second])
        assert [run.id for run in await store.runs(RunFilter(task="both"))] == [first.id]

    async def test_runs_can_be_listed_by_their_flow(self, bench: Bench) -> None:
        store = await bench.enter("n")
        top, other = needing("top"), needing("top")
        low = needing("low", top, flow=top.id)
        await store.submit([top, low, other])
        assert {run.id for run in await store.runs(RunFilter(flow=top.id))} == {top.id, low.id}
        assert [run.id for run in await store.runs(RunFilter(flow=other.id))] == [other.id]
