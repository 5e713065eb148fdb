"""A program that adds and removes tasks all day: what is kept of those that are gone is bounded."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from asyncsched import Registry, Scheduler, Task
from asyncsched.stores import MemoryStore, RunFilter
from asyncsched.stores._keeping import OF_REMOVED, RemovedTasks
from asyncsched.testing.store_contract import SECOND, HandClock
from asyncsched.testing.store_contract._making import a_run, claim, declared, finish

MOST = 400
EVERYTHING = RunFilter(limit=10 * OF_REMOVED)


@pytest_asyncio.fixture
async def store() -> AsyncIterator[MemoryStore]:
    """One that keeps fewer runs of removed tasks than others, so that there soon are too many."""
    store = MemoryStore()
    store._removed = RemovedTasks(MOST)
    await store.open("n1", HandClock())
    yield store
    await store.close()


async def run_some(store: MemoryStore, task: str, count: int = 1, limit: int = 100) -> list[str]:
    """Let so many runs of a task end; their ids."""
    await store.put_task(declared(task, history_limit=limit))
    await store.submit(runs := [a_run(task) for _ in range(count)])
    await finish(store, await claim(store, count))
    return [run.id for run in runs]


async def test_the_history_of_a_task_that_was_removed_stays(store: MemoryStore) -> None:
    (run_id,) = await run_some(store, "gone")
    await store.drop_task("gone")
    assert [run.id for run in await store.runs(RunFilter(task="gone"))] == [run_id]
    assert [run.id for run in store.recent("gone")] == [run_id]
    assert await store.run(run_id) is not None


async def test_of_ten_thousand_tasks_that_were_removed_those_that_went_last_keep_theirs() -> None:
    store = MemoryStore()
    await store.open("n1", HandClock())
    stays = await run_some(store, "stays")
    all_ids = []
    for hundred in range(100):
        tasks = [f"t{hundred}-{number}" for number in range(100)]
        await store.reconcile([declared(task) for task in tasks])
        await store.submit(runs := [a_run(task) for task in tasks for _ in range(3)])
        await finish(store, await claim(store, len(runs)))
        all_ids += [run.id for run in runs]
        for task in tasks:
            await store.drop_task(task)
    kept = {run.id for run in await store.runs(EVERYTHING)}
    assert OF_REMOVED * 7 // 8 <= len(kept) <= OF_REMOVED + 1
    assert kept == {*stays, *all_ids[1 - len(kept) :]}
    assert await store.run(all_ids[0]) is None
    assert sum(map(len, store._history)) <= OF_REMOVED // 3 + 2
    assert sum(map(len, store._ended)) == len(kept)
    await store.close()


async def test_one_that_keeps_more_than_all_of_them_may_keeps_its_newest(store: MemoryStore) -> None:
    run_ids = await run_some(store, "gone", MOST + 100, limit=10 * MOST)
    await store.drop_task("gone")
    assert [run.id for run in reversed(store.recent("gone"))] == run_ids[100 + MOST // 8 :]


async def test_one_that_comes_back_has_its_history_and_loses_nothing_for_others(store: MemoryStore) -> None:
    run_ids = await run_some(store, "back", 5)
    await store.drop_task("back")
    await store.put_task(declared("back"))
    for number in range(3):
        await run_some(store, f"t{number}", MOST // 2, limit=MOST)
        await store.drop_task(f"t{number}")
    assert [run.id for run in reversed(store.recent("back"))] == run_ids


async def test_runs_that_end_after_their_task_was_removed_are_bounded_too(store: MemoryStore) -> None:
    for number in range(3 * MOST):
        await store.put_task(declared(f"t{number}"))
        await store.submit([a_run(f"t{number}")])
        under_way = await claim(store)
        await store.drop_task(f"t{number}")
        await finish(store, under_way)
    await run_some(store, "last")
    await store.drop_task("last")
    assert MOST * 7 // 8 <= len(await store.runs(EVERYTHING)) <= MOST


async def test_of_a_task_that_is_gone_nothing_is_left_when_its_runs_are_past_their_keeping(store: MemoryStore) -> None:
    clock = HandClock()
    await store.open("n2", clock)
    await run_some(store, "gone")
    await store.drop_task("gone")
    clock.moved_us += 2 * SECOND
    while (await store.prune({}, SECOND)).more:
        pass
    assert sum(map(len, store._history)) == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 9), st.integers(0, 30)),
            st.tuples(st.just("back"), st.integers(0, 9), st.just(0)),
            st.tuples(st.just("fewer"), st.integers(0, 9), st.integers(0, 30)),
        )
    )
)
def test_there_are_never_more_than_so_many_and_few_are_left_alone(steps: list[tuple[str, int, int]]) -> None:
    removed, gone = RemovedTasks(40), dict[str, list[Any]]()
    for verb, number, count in steps:
        task = f"t{number}"
        if verb == "back":
            removed.back(task)
            gone.pop(task, None)
            continue
        kept = gone.setdefault(task, [])
        if verb == "fewer":
            del kept[:count]
            continue
        kept += range(count)
        removed.add(task, kept, 0)
        before = sum(map(len, gone.values()))
        surplus = removed.surplus()
        for name, number in surplus:
            del gone[name][:number]
        left = sum(map(len, gone.values()))
        assert left <= 40
        assert left >= 35 or not surplus or before == left


@pytest.mark.parametrize("submitted", [True, False])
async def test_nothing_of_a_task_that_was_removed_is_held_but_its_history(submitted: bool) -> None:
    async with Scheduler(MemoryStore(), registry=Registry(), tz="UTC") as scheduler:
        held = []
        for number in range(50):

            async def work() -> None: ...

            task = Task(work, every="1h", id=f"t{number}")
            await scheduler.tasks.add(task)
            if submitted:
                await (await scheduler.tasks.run_now(task.id))
            await scheduler.tasks.remove(task.id)
            held += [weakref.ref(task), weakref.ref(work)]
        del task, work
        await scheduler.idle()
        gc.collect()
        assert sum(ref() is not None for ref in held) <= 2
        assert len(await scheduler.runs.list(limit=100)) == 50 * submitted
