"""Tasks that had another id before."""

from __future__ import annotations

from dataclasses import replace

from asyncsched.limits import Idempotency, Unique
from asyncsched.run import RunStatus
from asyncsched.stores import FOREVER, Amendment, Declared, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import (
    a_run,
    claim,
    declared,
    finish,
    ids,
    keyed_run,
    names,
    needing,
    order,
    run_out,
    run_through,
    where,
)  # fmt: skip


def renamed(*aliases: str, task: str = "new", text: str = "every 10 s") -> Declared:
    return replace(declared(task, text), aliases=aliases or ("old",))


class RenamePromises:
    """What is kept under an alias is kept under the task's id."""

    async def test_a_task_stands_where_it_stood_under_its_alias(self, store: Store) -> None:
        before = await store.put_task(declared("old"))
        await store.fire([order(before)])
        await store.amend("old", before.version, Amendment(FOREVER, None))
        before = await where(store, "old")
        found = await store.reconcile([renamed()])
        assert (found.added, found.changed, list(found.renamed)) == ([], [], [("old", "new")])
        (after,) = found.standings
        assert (after.task, after.next_us, after.paused_until_us) == ("new", START_US + 10 * SECOND, FOREVER)
        assert after == await where(store, "new")
        assert await store.standings(["old"]) == []
        assert [task.task for task in await store.tasks()] == ["new"]
        assert await store.fire([order(before, runs=[a_run()])]) == set()

    async def test_its_runs_are_those_of_the_task_live_and_ended(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.put_task(declared("old"))
        await run_through(store, a_run("old", name="ended"))
        await store.submit([waiting := a_run("old", name="waiting"), a_run("old", name="later", due_us=START_US + 1)])
        await store.reconcile([renamed()])
        assert waiting.task == "new"
        assert sorted(await ids(store, task="new")) == ["ended", "later", "waiting"]
        assert await ids(store, task="old") == []
        assert names(store.recent("new")) == ["ended"]
        await store.close()
        store = await bench.enter("n2")
        assert [(run.id, run.task) for run in await claim(store)] == [("waiting", "new")]
        assert sorted(await ids(store, task="new")) == ["ended", "later", "waiting"]
        await store.close()

    async def test_a_task_that_is_kept_already_stays_where_it_stands_and_takes_the_runs(self, store: Store) -> None:
        await store.reconcile([declared("old"), declared("new", next_us=START_US + 5)])
        await store.submit([a_run("old", name="r")])
        found = await store.reconcile([renamed()])
        assert (list(found.renamed), found.standings[0].next_us) == ([("old", "new")], START_US + 5)
        assert [(run.id, run.task) for run in await claim(store)] == [("r", "new")]

    async def test_it_is_told_once_and_only_if_there_was_something(self, store: Store) -> None:
        await store.put_task(declared("old"))
        assert list((await store.reconcile([renamed("older", "old")])).renamed) == [("old", "new")]
        assert list((await store.reconcile([renamed("older", "old")])).renamed) == []

    async def test_runs_of_a_task_that_was_never_declared_are_taken_over(self, store: Store) -> None:
        await store.submit([a_run("old", name="r")])
        await store.park_unserved()
        found = await store.reconcile([renamed()])
        assert (found.added, list(found.renamed)) == (["new"], [("old", "new")])
        assert [(run.id, run.task, run.reason) for run in await claim(store)] == [("r", "new", None)]

    async def test_its_keys_are_those_of_the_task(self, store: Store) -> None:
        await store.put_task(declared("old"))
        runs = [
            keyed_run("1", task="old", key="old", limit=1),
            keyed_run("2", task="old", key="old", limit=1),
            keyed_run("3", task="old", key=None, once=Unique(), once_key="old/x"),
            a_run("old", name="4", idempotency=Idempotency("old~key", 60 * SECOND)),
        ]
        await store.submit(runs)
        held = await claim(store, 1)
        assert names(held) == ["1"]
        await store.reconcile([renamed()])
        await store.submit([keyed_run("5", task="new", key="new", limit=1)])
        again = [
            keyed_run("6", task="new", key=None, once=Unique(), once_key="new/x"),
            a_run("new", name="7", idempotency=Idempotency("new~key", 60 * SECOND)),
        ]
        assert names(await store.submit(again)) == ["3", "4"]
        assert names(await claim(store)) == ["3", "4"]
        await finish(store, held)
        for name in "25":
            claimed = await claim(store)
            assert names(claimed) == [name]
            await finish(store, claimed)

    async def test_its_place_in_graphs_is_that_of_the_task(self, store: Store) -> None:
        await store.reconcile([declared("old"), declared("below"), declared("both")])
        first, second = needing("old"), needing("old")
        await store.submit([first])
        await run_out(store, first)
        assert await store.join("both", {}, {"old": first.id}, [])
        await store.submit([second])
        await store.reconcile([renamed()])
        lookback = (await store.lookback(["new"]))["new"]
        assert lookback.succeeded is not None
        assert lookback.succeeded.id == first.id
        assert names(lookback.unfinished) == [second.id]
        offers = await store.offers("both", {"new": "new"})
        assert (dict(offers.taken), names(offers.ended)) == ({"new": first.id}, [])

    async def test_a_run_that_is_under_way_goes_on_under_the_new_id(self, store: Store) -> None:
        await store.put_task(declared("old"))
        await store.submit([a_run("old", name="r")])
        running = await claim(store)
        await store.reconcile([renamed()])
        await finish(store, running)
        assert await ids(store, task="new", status={RunStatus.SUCCESS}) == ["r"]
        assert names(store.recent("new")) == ["r"]
