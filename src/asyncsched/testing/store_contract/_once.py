"""Submits and fires that are one run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncsched.edges import Edges
from asyncsched.limits import Cooldown, Debounce, Once, Unique
from asyncsched.retry import Retry
from asyncsched.run import Raised, Run, RunStatus
from asyncsched.stores import RunFilter, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import claim, declared, end, ids, keyed_run, names, order


def below(root: Run[Any], **options: Any) -> Run[Any]:
    run = keyed_run(task="below", **options)
    run.edges = Edges(root.id, (root.id,), upstreams=(root,), blocked=True)
    return run


class OncePromises:
    """Of the submits of one key one run stands, as long as its terms say."""

    async def test_a_run_that_nothing_makes_one_with_another_stands_by_itself(self, store: Store) -> None:
        runs = [keyed_run(), keyed_run(once=Unique()), keyed_run(once=Unique(), once_key="p")]
        assert names(await store.submit(runs)) == names(runs)

    async def test_of_many_submits_of_one_key_one_stands_while_it_lives(self, store: Store) -> None:
        runs = [keyed_run(once=Unique(), args=(number,)) for number in range(100)]
        standing = await store.submit(runs)
        assert set(names(standing)) == {runs[0].id}
        (run,) = await claim(store)
        assert (run.id, run.args) == (runs[0].id, (0,))
        assert names(await store.submit([keyed_run(once=Unique())])) == [run.id]
        await end(store, run, outcome=Raised(ValueError()), retry=Retry(attempts=2, wait="1s"))
        assert names(await store.submit([keyed_run(once=Unique())])) == [run.id]

    async def test_after_its_end_another_is_made_unless_its_success_is_not_long_ago(
        self, store: Store, bench: Bench
    ) -> None:
        async def submit(keep: int) -> str:
            (standing,) = await store.submit([keyed_run(once=Unique(keep), once_key=str(keep))])
            return standing.id

        first, kept = await submit(0), await submit(60 * SECOND)
        await end(store, *await claim(store))
        assert await submit(0) != first
        await bench.advance(60 * SECOND - 1)
        assert await submit(60 * SECOND) == kept
        await bench.advance(1)
        assert await submit(60 * SECOND) != kept

    @pytest.mark.parametrize("how", ["failed", "cancelled"])
    async def test_a_run_that_came_to_nothing_stands_no_longer(self, store: Store, how: str) -> None:
        (run,) = await store.submit([keyed_run(once=Unique(60 * SECOND))])
        if how == "failed":
            await end(store, *await claim(store), outcome=Raised(ValueError()))
        else:
            await store.cancel([run.id], "not wanted")
        (other,) = await store.submit([keyed_run(once=Unique(60 * SECOND))])
        assert other.id != run.id

    async def test_the_last_of_many_submits_moves_the_run_that_waits(self, store: Store, bench: Bench) -> None:
        once = Debounce(5 * SECOND)
        first = None
        for number in range(10):
            now_us = await store.now_us()
            run = keyed_run(once=once, now_us=now_us, due_us=now_us + 5 * SECOND, args=(number,))
            (standing,) = await store.submit([run])
            first = first or standing.id
            assert (standing.id, standing.token) == (first, number)
            assert (await store.cycle([], 100)).next_due_us == run.due_us
            await bench.advance(SECOND)
        assert await claim(store) == []
        await bench.advance(4 * SECOND - 1)
        assert await claim(store) == []
        await bench.advance(1)
        (run,) = await claim(store)
        assert (run.id, run.args, run.due_us, run.token) == (first, (9,), START_US + 14 * SECOND, 10)
        assert (await store.cycle([], 100)).next_due_us is None

    @pytest.mark.parametrize("how", ["due", "running", "ended", "between attempts", "cancelled"])
    async def test_a_run_whose_last_submit_has_been_is_left_alone(self, store: Store, bench: Bench, how: str) -> None:
        once = Debounce(5 * SECOND)
        (run,) = await store.submit([keyed_run(once=once, due_us=START_US + 5 * SECOND, args=(1,))])
        if how == "cancelled":
            await store.cancel([run.id], "not wanted")
        await bench.advance(5 * SECOND)
        if how in ("running", "ended", "between attempts"):
            claimed = await claim(store)
            if how == "ended":
                await end(store, *claimed)
            elif how == "between attempts":
                await end(store, *claimed, outcome=Raised(ValueError()), retry=Retry(attempts=2, wait="1h"))
        now_us = await store.now_us()
        new = keyed_run(once=once, now_us=now_us, due_us=now_us + 5 * SECOND, args=(2,))
        assert names(await store.submit([new])) == [new.id]
        found = await store.run(run.id)
        assert found is not None
        assert found.args == (1,)
        await bench.advance(5 * SECOND)
        assert new.id in names(await claim(store))

    async def test_a_submit_soon_after_one_that_made_a_run_is_that_run(self, store: Store, bench: Bench) -> None:
        once = Cooldown(60 * SECOND)
        (first,) = await store.submit([keyed_run(once=once)])
        await end(store, *await claim(store), outcome=Raised(ValueError()))
        for _ in range(2):
            await bench.advance(30 * SECOND - 1)
            assert names(await store.submit([keyed_run(once=once, now_us=await store.now_us())])) == [first.id]
        await bench.advance(2)
        (other,) = await store.submit([keyed_run(once=once, now_us=await store.now_us())])
        assert other.id != first.id
        await store.cancel([other.id], "not wanted")
        (third,) = await store.submit([keyed_run(once=once, now_us=await store.now_us())])
        assert third.id != other.id

    async def test_a_run_that_stands_for_another_is_written_once(self, store: Store) -> None:
        await store.submit([keyed_run(f"r{number}", once=Cooldown(SECOND)) for number in range(3)])
        assert names(await store.runs(RunFilter())) == ["r0"]
        assert await store.run("r1") is None

    async def test_what_stands_for_a_key_outlives_the_node(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        (run,) = await store.submit([keyed_run(once=Unique())])
        await store.close()
        store = await bench.enter("n2")
        assert names(await store.submit([keyed_run(once=Unique())])) == [run.id]
        await store.close()


class OnceFirePromises:
    """The same for fires, and for what is below a run in its flow."""

    @pytest.mark.parametrize(("once", "reason"), [(Unique(), "overlap"), (Cooldown(60 * SECOND), "cooldown")])
    async def test_a_fire_for_which_another_run_stands_is_a_recorded_skip(
        self, store: Store, once: Once, reason: str
    ) -> None:
        standing = await store.put_task(declared())
        (earlier,) = await store.submit([keyed_run("earlier", once=once)])
        fired = keyed_run("fired", once=once)
        fired.scheduled_us = START_US
        assert await store.fire([order(standing, runs=[fired])]) == {"t"}
        assert (fired.status, fired.reason, fired.finished_us) == (RunStatus.SKIPPED, reason, START_US)
        found = await store.run("fired")
        assert found is not None
        assert (found.status, found.reason) == (RunStatus.SKIPPED, reason)
        assert names(await claim(store)) == ["earlier"]
        await end(store, earlier)
        assert [run.status for run in store.recent("t")] == [RunStatus.SUCCESS, RunStatus.SKIPPED]

    async def test_a_fire_stands_for_its_key(self, store: Store) -> None:
        standing = await store.put_task(declared())
        fired = [keyed_run(name, once=Unique()) for name in ("one", "two")]
        await store.fire([order(standing, runs=fired)])
        assert [run.status for run in fired] == [RunStatus.PENDING, RunStatus.SKIPPED]
        assert names(await store.submit([keyed_run(once=Unique())])) == ["one"]

    async def test_an_order_that_does_not_count_stands_for_nothing(self, store: Store) -> None:
        standing = await store.put_task(declared())
        await store.fire([order(standing, runs=[])])
        assert await store.fire([order(standing, runs=[keyed_run("late", once=Unique())])]) == set()
        run = keyed_run(once=Unique())
        assert names(await store.submit([run])) == [run.id]

    async def test_what_is_below_a_submit_for_which_another_run_stands_is_not_written(self, store: Store) -> None:
        first, second = keyed_run("first", once=Unique()), keyed_run("second", once=Unique())
        first.edges, second.edges = Edges("first"), Edges("second")
        runs = [first, below(first, name="first below"), second, below(second, name="second below"), keyed_run("other")]
        assert names(await store.submit(runs)) == ["first", "first below", "first", "first", "other"]
        assert sorted(names(await store.runs(RunFilter()))) == ["first", "first below", "other"]

    async def test_what_is_below_a_fire_that_is_skipped_for_another_run_is_not_written(self, store: Store) -> None:
        standing = await store.put_task(declared())
        await store.submit([keyed_run("earlier", once=Unique())])
        fired = keyed_run("fired", once=Unique())
        fired.edges = Edges("fired")
        await store.fire([order(standing, runs=[fired, below(fired, name="below")])])
        assert sorted(names(await store.runs(RunFilter()))) == ["earlier", "fired"]

    async def test_a_run_that_needs_others_does_not_move_and_moves_none(self, store: Store) -> None:
        once = Debounce(5 * SECOND)
        upstream = keyed_run("upstream")
        runs = [
            upstream,
            *(keyed_run(name, once=once, due_us=START_US + 5 * SECOND) for name in ("one", "tied", "two")),
        ]
        runs[2].edges = Edges("tied", ("upstream",), upstreams=(upstream,), kind="hand", blocked=True)
        assert names(await store.submit(runs)) == names(runs)


class SharedOncePromises:
    """The same at nodes beside each other."""

    async def test_one_run_stands_for_the_submits_of_all_nodes(self, store: Store, second: Store) -> None:
        nodes = [store, second] * 5
        standing = await asyncio.gather(*(node.submit([keyed_run(once=Unique())]) for node in nodes))
        assert len({run.id for runs in standing for run in runs}) == 1
        assert len(await ids(second)) == 1

    @pytest.mark.parametrize("moves", [1, 2])
    async def test_a_run_that_another_node_moved_is_claimed_with_what_it_took_over(
        self, store: Store, second: Store, bench: Bench, moves: int
    ) -> None:
        once = Debounce(5 * SECOND)
        (held,) = await store.submit([keyed_run(once=once, due_us=START_US + 5 * SECOND, args=(0,))])
        moved = held
        for number in range(1, moves + 1):
            due_us = START_US + (5 + number) * SECOND
            (moved,) = await second.submit([keyed_run(once=once, due_us=due_us, args=(number,), priority=number)])
            assert (moved.id, moved.token, moved.args) == (held.id, number, (number,))
        await bench.advance((5 + moves) * SECOND)
        (run,) = await claim(store)
        assert run is held
        assert (run.args, run.due_us, run.priority) == ((moves,), START_US + (5 + moves) * SECOND, moves)
        assert (run.status, run.attempt, run.token) == (RunStatus.RUNNING, 1, moves + 1)
        await end(store, run)
        assert await second.run(held.id) is moved
        assert (moved.status, moved.args, moved.token) == (RunStatus.SUCCESS, (moves,), moves + 2)
