"""What of the store a node has at hand."""

from __future__ import annotations

import asyncio

from asyncsched.stores import Store
from asyncsched.testing.store_contract._bench import SECOND, START_US
from asyncsched.testing.store_contract._making import a_run, claim, finish, names


class AtHandPromises:
    """Which runs a node asks for when it comes, and which it lets go of when it leaves."""

    async def test_the_runs_of_some_tasks_that_have_not_ended_are_told(self, store: Store) -> None:
        await store.submit([a_run("a", name="ended", queue="mail")])
        await finish(store, await claim(store))
        await store.submit([a_run("a", name="running")])
        await claim(store)
        later = START_US + 60 * SECOND
        await store.submit([a_run("a", name="later", due_us=later), a_run("b", name="b"), a_run("c", name="c")])
        assert sorted(names(await store.unfinished(["a", "c", "nobody"]))) == ["c", "later", "running"]
        assert await store.unfinished([]) == []

    async def test_who_is_awaited_is_known(self, store: Store) -> None:
        (run, _other) = await store.submit([a_run(), a_run()])
        assert list(store.awaited()) == []
        waiting = asyncio.ensure_future(_ended(run))
        await asyncio.sleep(0)
        assert list(store.awaited()) == [run]
        await finish(store, await claim(store))
        assert list(store.awaited()) == []
        run.wake_waiters()
        await waiting


async def _ended(run: object) -> None:
    await run  # type: ignore[misc]
