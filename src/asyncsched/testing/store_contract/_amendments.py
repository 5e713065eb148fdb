"""What operators change of a task."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asyncsched.stores import FOREVER, Amendment, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import a_run, a_skip, declared, ids, order, where


class AmendmentPromises:
    """An amendment is written on the version that it names, and outlives declarations."""

    async def test_an_amendment_is_written_on_the_version_that_it_names_which_grows(self, store: Store) -> None:
        await store.put_task(declared("other"))
        before = await store.put_task(declared())
        after = await store.amend("t", before.version, Amendment(START_US + 5, START_US))
        assert after is not None
        assert after.version > before.version
        assert after == replace(before, version=after.version, paused_until_us=START_US + 5, skip_us=START_US)
        assert await where(store) == after
        lifted = await store.amend("t", after.version, Amendment(None, None))
        assert lifted is not None
        assert (lifted.paused_until_us, lifted.skip_us) == (None, None)
        assert (await where(store, "other")).paused_until_us is None

    async def test_an_amendment_on_another_version_writes_nothing_and_tells_where_the_task_stands(
        self, store: Store
    ) -> None:
        first = await store.put_task(declared())
        second = await store.amend("t", first.version, Amendment(FOREVER, None))
        assert second is not None
        for version in (first.version, second.version + 1):
            assert await store.amend("t", version, Amendment(None, START_US)) == second
            assert await where(store) == second

    async def test_a_task_that_is_unknown_cannot_be_amended(self, store: Store) -> None:
        assert await store.amend("nobody", 1, Amendment(FOREVER, None)) is None
        assert await store.standings(["nobody"]) == []

    async def test_an_amendment_leaves_the_watermark_where_the_fires_have_brought_it(self, store: Store) -> None:
        before = await store.put_task(declared())
        await store.fire([order(before)])
        after = await store.amend("t", before.version, Amendment(FOREVER, None))
        assert after is not None
        assert after.next_us == START_US + 10 * SECOND

    async def test_a_fire_that_was_decided_before_an_amendment_fires_nothing(self, store: Store) -> None:
        before = await store.put_task(declared())
        after = await store.amend("t", before.version, Amendment(FOREVER, None))
        assert await store.fire([order(before, runs=[a_run()])]) == set()
        assert await ids(store) == []
        assert after is not None
        assert await store.fire([order(after, skips=[a_skip()])]) == {"t"}

    @pytest.mark.parametrize("text", ["every 10 s", "another one"])
    async def test_a_pause_outlives_every_declaration_and_the_node(self, bench: Bench, text: str) -> None:
        store = await bench.enter("n1")
        before = await store.put_task(declared())
        await store.amend("t", before.version, Amendment(FOREVER, None))
        await store.close()
        store = await bench.enter("n2")
        (standing,) = (await store.reconcile([declared(text=text)])).standings
        assert standing.paused_until_us == FOREVER
        assert (await store.put_task(declared())).paused_until_us == FOREVER
        await store.drop_task("t")
        assert (await store.put_task(declared())).paused_until_us is None
        await store.close()

    async def test_a_skip_is_of_one_grid_and_ends_with_it(self, store: Store) -> None:
        before = await store.put_task(declared())
        await store.amend("t", before.version, Amendment(None, START_US))
        (same,) = (await store.reconcile([declared()])).standings
        assert same.skip_us == START_US
        (other,) = (await store.reconcile([declared(text="another one")])).standings
        assert other.skip_us is None
