"""Tasks that come and go with the code of the nodes."""

from __future__ import annotations

from dataclasses import replace

from asyncsched.run import Bounds, RunStatus
from asyncsched.stored import PARKED, Unserved, unserved_reason
from asyncsched.stores import FOREVER, Amendment, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import (
    EVERY,
    a_run,
    a_skip,
    claim,
    declared,
    finish,
    ids,
    names,
    needing,
    order,
    where,
)


async def declare(store: Store, *tasks: str) -> None:
    """Declare these tasks, and serve them and no others."""
    store.serves = set(tasks).__contains__
    await store.reconcile([declared(task) for task in tasks])


class RosterPromises:
    """What no node declares is kept as it stands, fires nothing, and is served again as soon as one does."""

    async def test_all_tasks_are_told_by_their_ids(self, store: Store) -> None:
        one = replace(declared("b"), metadata={"owner": "ops", "level": 3})
        await store.reconcile([one, declared("a", trigger=None, next_us=None), declared("c")])
        found = await store.tasks()
        assert [(task.task, task.trigger, task.next_us) for task in found] == [
            ("a", None, None), ("b", EVERY, START_US), ("c", EVERY, START_US),
        ]  # fmt: skip
        assert [dict(task.metadata) for task in found] == [{}, {"owner": "ops", "level": 3}, {}]
        assert not any(task.retired for task in found)
        assert [task.task for task in await store.tasks(["c", "nobody", "a"])] == ["a", "c"]
        assert await store.tasks([]) == []

    async def test_what_waits_and_what_runs_is_counted(self, store: Store) -> None:
        await store.reconcile([declared("a"), declared("b")])
        before = await where(store, "a")
        await store.amend("a", before.version, Amendment(FOREVER, None))
        await store.submit([a_run("a") for _ in range(4)])
        await finish(store, await claim(store, 1))
        await claim(store, 1)
        found = {task.task: (task.waiting, task.running, task.paused_until_us) for task in await store.tasks()}
        assert found == {"a": (2, 1, FOREVER), "b": (0, 0, None)}

    async def test_a_fire_that_is_to_be_skipped_is_told(self, store: Store) -> None:
        before = await store.put_task(declared())
        assert [(task.skip_us, task.skips_next) for task in await store.tasks()] == [(None, False)]
        after = await store.amend("t", before.version, Amendment(None, START_US))
        assert after is not None
        assert [(task.skip_us, task.skips_next) for task in await store.tasks()] == [(START_US, True)]
        paused = await store.amend("t", after.version, Amendment(START_US + 1, START_US))
        assert paused is not None
        assert [(task.skip_us, task.skips_next) for task in await store.tasks()] == [(START_US, False)]
        resumed = await store.amend("t", paused.version, Amendment(None, START_US))
        assert resumed is not None
        await store.fire([order(resumed, skips=[a_skip()])])
        assert [task.skips_next for task in await store.tasks()] == [False]

    async def test_metadata_is_that_which_was_declared_last(self, store: Store) -> None:
        await store.reconcile([replace(declared(), metadata={"owner": "ops"})])
        found = await store.reconcile([replace(declared(), metadata={"owner": "dev"})])
        assert (found.added, found.changed) == ([], [])
        assert [dict(task.metadata) for task in await store.tasks()] == [{"owner": "dev"}]

    async def test_what_the_next_node_does_not_declare_is_retired_since_the_last_one_left(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.reconcile([declared("gone"), declared("stays")])
        before = await where(store, "gone")
        await bench.advance(SECOND)
        await store.close()
        await bench.advance(SECOND)
        store = await bench.enter("n2")
        await store.reconcile([declared("stays"), declared("new")])
        found = {task.task: (task.retired, task.retired_us) for task in await store.tasks()}
        assert found == {"gone": (True, START_US + SECOND), "stays": (False, None), "new": (False, None)}
        assert await where(store, "gone") == before
        assert (await store.reconcile([declared("gone")])).standings == [before]
        assert not any(task.retired for task in await store.tasks())
        await store.close()

    async def test_a_task_that_is_put_is_declared(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.put_task(declared())
        assert [task.retired for task in await store.tasks()] == [False]
        await store.close()
        store = await bench.enter("n2")
        assert [task.retired for task in await store.tasks()] == [True]
        await store.put_task(declared())
        assert [task.retired for task in await store.tasks()] == [False]
        await store.close()

    async def test_runs_of_tasks_that_no_node_declares_are_put_aside_with_the_reason(self, store: Store) -> None:
        await declare(store, "known")
        await store.submit([a_run("nobody", name="1"), a_run("known", name="2"), a_run("nobody", name="3")])
        told = [Unserved("nobody", 2, None)]
        assert await store.park_unserved() == told
        assert names(await claim(store)) == ["2"]
        for name in "13":
            run = await store.run(name)
            assert run is not None
            assert (run.status, run.reason) == (RunStatus.PENDING, unserved_reason("nobody"))
            assert str(run.reason).startswith(PARKED)
        assert await store.park_unserved() == told
        assert (await store.cycle([], 9)).next_due_us is None

    async def test_they_wait_again_as_soon_as_a_node_declares_their_task(self, store: Store) -> None:
        await declare(store, "known")
        await store.submit([a_run("nobody", name="1"), a_run("nobody", name="2", due_us=START_US + 1)])
        await store.park_unserved()
        await declare(store, "known", "nobody")
        assert [(run.id, run.reason) for run in await claim(store)] == [("1", None)]
        (waiting,) = await ids(store, status={RunStatus.PENDING})
        found = await store.run(waiting)
        assert found is not None
        assert (found.id, found.reason) == ("2", None)
        assert await store.park_unserved() == []

    async def test_runs_of_a_retired_task_are_put_aside_too_and_counted(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.reconcile([declared("gone")])
        await store.submit([a_run("gone")])
        await store.close()
        left_us = START_US
        await bench.advance(SECOND)
        store = await bench.enter("n2")
        await declare(store, "other")
        assert await store.park_unserved() == [Unserved("gone", 1, left_us)]
        (gone,) = await store.tasks(["gone"])
        assert (gone.retired, gone.retired_us, gone.waiting, gone.parked) == (True, left_us, 1, 1)
        assert await claim(store) == []
        await store.close()

    async def test_what_is_put_aside_can_be_cancelled_and_may_have_waited_too_long(
        self, store: Store, bench: Bench
    ) -> None:
        await declare(store, "known")
        bounds = Bounds(10 * SECOND, None)
        await store.submit([a_run("nobody", name="cancelled"), a_run("nobody", name="late", bounds=bounds)])
        await store.park_unserved()
        assert names(await store.cancel(["cancelled"], "not wanted")) == ["cancelled"]
        await bench.advance(10 * SECOND)
        assert names((await store.cycle([], 9)).lapsed) == ["late"]
        assert await store.park_unserved() == []

    async def test_what_is_blocked_is_not_put_aside(self, store: Store) -> None:
        await declare(store, "top")
        top = needing("top")
        low = needing("nobody", top)
        await store.submit([top, low])
        assert await store.park_unserved() == []
        found = await store.run(low.id)
        assert found is not None
        assert found.reason is None
