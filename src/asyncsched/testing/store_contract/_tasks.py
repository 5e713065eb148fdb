"""Tasks: declared, put, dropped."""

from __future__ import annotations

from dataclasses import replace

from asyncsched.clock import from_us
from asyncsched.run import RunStatus, Succeeded
from asyncsched.stores import Amendment, RunFilter, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US
from asyncsched.testing.store_contract._making import (
    EVERY,
    a_run,
    ack_of,
    claim,
    declared,
    finish,
    ids,
    names,
    order,
    where,
)
from asyncsched.triggers import Every


class TaskPromises:
    """Where a task stands is what was declared last, and grows by version."""

    async def test_new_tasks_are_added_as_they_are_declared(self, store: Store) -> None:
        found = await store.reconcile(
            [declared("b", next_us=START_US + 5), declared("a", "", trigger=None, next_us=None)]
        )
        assert (found.added, found.changed) == (["b", "a"], [])
        assert [(one.task, one.trigger, one.next_us, one.history_limit) for one in found.standings] == [
            ("b", EVERY, START_US + 5, 100),
            ("a", None, None, 100),
        ]
        assert await store.standings(["b", "a"]) == found.standings

    async def test_what_is_declared_as_before_stands_where_it_stood(self, store: Store) -> None:
        await store.reconcile([declared(next_us=START_US)])
        before = await where(store)
        await store.fire([order(before)])
        moved = await where(store)
        assert moved == replace(before, next_us=START_US + 10 * SECOND)
        shifted = Every("10s", from_us(START_US + 3))
        found = await store.reconcile([declared(trigger=shifted, next_us=START_US + 3)])
        assert (found.standings, found.added, found.changed) == ([moved], [], [])
        assert (await where(store)).trigger == EVERY

    async def test_what_is_declared_differently_is_armed_anew(self, store: Store) -> None:
        await store.reconcile([declared("t"), declared("same")])
        before = await where(store)
        other = Every("7s", from_us(START_US))
        found = await store.reconcile(
            [declared("t", "every 7 s", trigger=other, next_us=START_US + 7), declared("same")]
        )
        assert (found.added, found.changed) == ([], ["t"])
        after = await where(store)
        assert found.standings == [after, await where(store, "same")]
        assert (after.trigger, after.next_us, after.declaration) == (other, START_US + 7, "every 7 s")
        assert after.version > before.version

    async def test_what_is_no_longer_declared_is_kept(self, store: Store) -> None:
        await store.reconcile([declared("t"), declared("gone")])
        before = await where(store, "gone")
        await store.reconcile([declared("t")])
        assert await where(store, "gone") == before

    async def test_history_stays_when_a_declaration_changes(self, store: Store) -> None:
        await store.reconcile([declared()])
        await store.submit([a_run(name="r")])
        await finish(store, await claim(store))
        await store.reconcile([declared(text="other")])
        assert await ids(store, task="t") == ["r"]

    async def test_a_task_that_is_put_stands_as_declared(self, store: Store) -> None:
        standing = await store.put_task(declared(next_us=START_US + 1))
        assert standing == await where(store)
        assert (standing.task, standing.trigger, standing.next_us) == ("t", EVERY, START_US + 1)

    async def test_a_task_that_is_replaced_keeps_its_history_and_begins_at_the_declared_fire(
        self, store: Store
    ) -> None:
        first = await store.put_task(declared())
        await store.submit([a_run(name="r")])
        await finish(store, await claim(store))
        second = await store.put_task(declared(next_us=START_US + 77))
        assert second.version > first.version
        assert (second.next_us, await where(store)) == (START_US + 77, second)
        assert await ids(store, task="t") == ["r"]

    async def test_a_fire_that_was_decided_before_a_replacement_fires_nothing(self, store: Store) -> None:
        first = await store.put_task(declared())
        second = await store.put_task(declared())
        assert await store.fire([order(first, runs=[a_run()])]) == set()
        assert await ids(store) == []
        assert await where(store) == second

    async def test_a_fire_that_was_decided_before_a_task_was_removed_and_came_back_fires_nothing(
        self, store: Store
    ) -> None:
        first = await store.put_task(declared())
        await store.drop_task("t")
        assert await store.fire([order(first, runs=[a_run()])]) == set()
        second = await store.put_task(declared())
        assert await store.fire([order(first, runs=[a_run()])]) == set()
        assert await store.fire([order(second)]) == {"t"}

    async def test_a_task_that_was_dropped_is_unknown(self, store: Store) -> None:
        await store.put_task(declared())
        assert await store.drop_task("t") == []
        assert await store.drop_task("t") == []
        assert await store.standings(["t"]) == []
        assert (await store.reconcile([declared()])).added == ["t"]

    async def test_dropping_cancels_what_waits_and_leaves_what_runs_and_what_has_ended(self, store: Store) -> None:
        await store.reconcile([declared("t"), declared("other")])
        await store.submit([a_run(name="ended"), a_run(name="running")])
        ended, running = await claim(store)
        await finish(store, [ended])
        later = START_US + 60 * SECOND
        await store.submit([a_run(name="ready"), a_run(name="delayed", due_us=later), a_run("other", name="else")])
        cancelled = await store.drop_task("t")
        assert sorted(names(cancelled)) == ["delayed", "ready"]
        assert {run.status for run in cancelled} == {RunStatus.CANCELLED}
        found = {run.id: run for run in await store.runs(RunFilter())}
        assert {name: run.status for name, run in found.items()} == {
            "ended": RunStatus.SUCCESS,
            "running": RunStatus.RUNNING,
            "ready": RunStatus.CANCELLED,
            "delayed": RunStatus.CANCELLED,
            "else": RunStatus.PENDING,
        }
        for name in ("ready", "delayed"):
            assert found[name].reason
            assert found[name].finished_us == await store.now_us()
        cycled = await store.cycle([await ack_of(store, running, Succeeded(5))], 100)
        assert [ack.run.id for ack in cycled.accepted] == ["running"]
        assert names(cycled.claimed) == ["else"]
        assert cycled.next_due_us is None
        assert await ids(store, task="t", status={RunStatus.SUCCESS}) == ["running", "ended"]

    async def test_standings_leave_out_what_is_unknown(self, store: Store) -> None:
        await store.reconcile([declared("a"), declared("b")])
        assert {one.task for one in await store.standings(["a", "nobody", "b"])} == {"a", "b"}
        assert await store.standings([]) == []

    async def test_the_tasks_that_are_due_first_are_told_the_earliest_first(self, store: Store) -> None:
        late, soon, never, paused = "late", "soon", "never", "paused"
        instants = {late: START_US + 9, soon: START_US - 9, never: None, paused: START_US - 99}
        await store.reconcile([declared(task, next_us=at_us) for task, at_us in instants.items()])
        assert await store.due(10) == [paused, soon, late]
        await store.amend(paused, (await where(store, paused)).version, Amendment(START_US + SECOND, None))
        assert await store.due(10) == [soon, late]
        assert await store.due(1) == [soon]
