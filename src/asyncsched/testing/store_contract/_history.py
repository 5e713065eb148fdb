"""History: what is kept, for how long, and in which order it is told."""

from __future__ import annotations

import pytest

from asyncsched.run import RunStatus
from asyncsched.stores import Store
from asyncsched.testing.store_contract._bench import START_US
from asyncsched.testing.store_contract._making import (
    UNFINISHED,
    a_run,
    a_skip,
    claim,
    declared,
    finish,
    ids,
    names,
    order,
    run_through,
)


class HistoryPromises:
    """What has ended is found, newest first, as far as its task keeps it."""

    async def test_so_many_ended_runs_of_a_task_are_kept_the_latest_ones(self, store: Store) -> None:
        await store.reconcile([declared("t", history_limit=3), declared("other", history_limit=2)])
        await run_through(store, *(a_run(name=f"r{number}") for number in range(5)), a_run("other", name="o"))
        assert sorted(await ids(store, task="t")) == ["r2", "r3", "r4"]
        assert await ids(store, task="other") == ["o"]
        assert await store.run("r1") is None
        kept = await store.run("r2")
        assert kept is not None
        assert kept.id == "r2"

    async def test_skips_are_history_and_count_as_it(self, store: Store) -> None:
        standing = await store.put_task(declared(history_limit=3))
        skips = [a_skip() for _ in range(5)]
        await store.fire([order(standing, skips=skips)])
        assert sorted(await ids(store, task="t")) == sorted(names(skips[2:]))

    async def test_a_task_may_keep_nothing(self, store: Store) -> None:
        await store.put_task(declared(history_limit=0))
        await run_through(store, a_run(name="r"))
        assert await ids(store) == []
        assert await store.run("r") is None

    @pytest.mark.parametrize("limit", [2, 0])
    async def test_a_smaller_limit_forgets_the_oldest(self, store: Store, limit: int) -> None:
        await store.put_task(declared(history_limit=10))
        runs = [a_run() for _ in range(5)]
        await run_through(store, *runs)
        await store.put_task(declared(history_limit=limit))
        await run_through(store, last := a_run())
        kept = [*runs, last][6 - limit :]
        assert await ids(store) == names(reversed(kept))
        assert [run.id for run in [*runs, last] if await store.run(run.id) is not None] == names(kept)

    async def test_a_greater_limit_keeps_what_is_there_and_more(self, store: Store) -> None:
        await store.put_task(declared(history_limit=1))
        await run_through(store, first := a_run(), second := a_run())
        await store.put_task(declared(history_limit=2))
        await run_through(store, third := a_run())
        assert await ids(store) == names([third, second])
        assert await store.run(first.id) is None

    async def test_history_outlives_its_task_and_is_bounded_for_tasks_that_were_never_declared(
        self, store: Store
    ) -> None:
        await store.put_task(declared())
        await run_through(store, a_run(name="r"))
        await store.drop_task("t")
        assert await ids(store, task="t") == ["r"]
        await run_through(store, *(a_run("nobody") for _ in range(105)))
        assert len(await ids(store, task="nobody", limit=1_000)) == 100

    async def test_runs_are_found_by_task_by_status_and_by_both(self, store: Store) -> None:
        await run_through(store, a_run("a", name="a done"), a_run("b", name="b done"))
        await store.submit([a_run("a", name="a running")])
        await claim(store)
        await store.submit([a_run("a", name="a waiting"), a_run("b", name="b waiting")])
        assert sorted(await ids(store)) == ["a done", "a running", "a waiting", "b done", "b waiting"]
        assert sorted(await ids(store, task="a")) == ["a done", "a running", "a waiting"]
        assert sorted(await ids(store, status=UNFINISHED)) == ["a running", "a waiting", "b waiting"]
        assert await ids(store, task="b", status={RunStatus.SUCCESS}) == ["b done"]
        assert await ids(store, task="nobody") == []
        assert await ids(store, status=set()) == []

    async def test_runs_come_newest_first_whether_they_wait_run_or_have_ended(self, store: Store) -> None:
        runs = [a_run("ab"[number % 2], created_us=START_US + number, due_us=START_US) for number in range(8)]
        await store.submit(runs)
        claimed = {run.id: run for run in await claim(store, 6)}
        for index in (4, 1, 3, 0):  # ended in another order than they were made
            await finish(store, [claimed[runs[index].id]])
        newest_first = names(reversed(runs))
        assert await ids(store) == newest_first
        assert await ids(store, limit=3) == newest_first[:3]
        assert await ids(store, task="a") == newest_first[1::2]
        ended = [newest_first[7 - index] for index in (4, 3, 1, 0)]
        assert await ids(store, status={RunStatus.SUCCESS}) == ended
        assert await ids(store, status={RunStatus.SUCCESS}, limit=1) == ended[:1]

    async def test_runs_of_one_instant_come_by_their_ids_the_latest_first(self, store: Store) -> None:
        await run_through(store, *(a_run("ab"[number % 2], name=f"r{number}") for number in (2, 0, 1)))
        await store.submit([a_run(name="r3")])
        assert await ids(store) == ["r3", "r2", "r1", "r0"]

    async def test_fires_that_were_handled_together_come_by_their_instants_the_latest_first(self, store: Store) -> None:
        standing = await store.put_task(declared())
        instants = {"r2": START_US - 20, "r0": START_US - 10, "r1": START_US - 30}
        runs = [a_run(name=name, due_us=at_us) for name, at_us in instants.items()]
        for run in runs:
            run.scheduled_us = run.due_us
        await store.fire([order(standing, runs=runs)])
        assert await ids(store) == ["r0", "r2", "r1"]
        await finish(store, await claim(store))
        assert await ids(store) == ["r0", "r2", "r1"]

    async def test_a_run_is_found_by_its_id_in_every_part_of_its_life(self, store: Store) -> None:
        assert await store.run("r") is None
        await store.submit([a_run(name="r")])
        claimed = await claim(store, 0)
        for status in (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUCCESS):
            found = await store.run("r")
            assert found is not None
            assert (found.id, found.status) == ("r", status)
            if status is RunStatus.PENDING:
                claimed = await claim(store)
            elif status is RunStatus.RUNNING:
                await finish(store, claimed)

    async def test_what_has_ended_is_known_without_asking_the_newest_first(self, store: Store) -> None:
        standing = await store.put_task(declared(history_limit=3))
        assert list(store.recent("t")) == []
        await run_through(store, *(a_run(name=f"r{number}") for number in range(3)))
        await run_through(store, a_run("other", name="other"))
        assert names(store.recent("t")) == ["r2", "r1", "r0"]
        await store.fire([order(standing, runs=[a_run(name="waiting")], skips=[skip := a_skip()])])
        assert names(store.recent("t")) == [skip.id, "r2", "r1"]
        assert [run.status for run in store.recent("t")] == [RunStatus.SKIPPED, RunStatus.SUCCESS, RunStatus.SUCCESS]
        assert names(store.recent("other")) == ["other"]
        assert list(store.recent("nobody")) == []
