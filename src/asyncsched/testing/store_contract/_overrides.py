"""What an operator puts in place of what code declares."""

from __future__ import annotations

from asyncsched.clock import from_us
from asyncsched.overrides import NO_OVERRIDES, Overrides
from asyncsched.stores import Amendment, Standing, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import EVERY, a_run, declared, order, where
from asyncsched.triggers import Every

OTHER = Every("7s", from_us(START_US))
NEXT_US = START_US + 7 * SECOND


async def overridden(store: Store, overrides: Overrides, next_us: int | None) -> Standing:
    """Where the task stands once these are in place."""
    before = await where(store)
    after = await store.amend(
        "t", before.version, Amendment(before.paused_until_us, before.skip_us, overrides, next_us)
    )
    assert after is not None
    assert after.version > before.version
    return after


class OverridePromises:
    """An override wins over code until it is reset, whatever code says meanwhile."""

    async def test_a_trigger_that_was_put_is_in_place_of_the_declared_one(self, store: Store) -> None:
        before = await store.put_task(declared())
        overrides = Overrides(trigger=OTHER, at_us=START_US, note="it's urgent")
        after = await overridden(store, overrides, NEXT_US)
        assert (after.trigger, after.coded, after.next_us, after.overrides) == (OTHER, EVERY, NEXT_US, overrides)
        assert await where(store) == after
        (told,) = await store.tasks(["t"])
        assert (told.trigger, told.coded, told.next_us, told.overrides) == (OTHER, EVERY, NEXT_US, overrides)
        assert await store.fire([order(before, runs=[a_run()])]) == set()

    async def test_other_edits_leave_it_and_limits_leave_the_trigger(self, store: Store) -> None:
        await store.put_task(declared())
        limits = Overrides(priority=5, max_running=2)
        after = await overridden(store, limits, START_US)
        assert (after.trigger, after.next_us, after.overrides) == (EVERY, START_US, limits)
        paused = await store.amend("t", after.version, Amendment(START_US + 1, None))
        assert paused is not None
        assert (paused.overrides, paused.trigger, paused.next_us, paused.paused_until_us) == (
            limits, EVERY, START_US, START_US + 1,
        )  # fmt: skip

    async def test_whoever_edits_another_version_puts_nothing(self, store: Store) -> None:
        before = await store.put_task(declared())
        stands = await overridden(store, Overrides(priority=5), START_US)
        late = Amendment(None, None, Overrides(trigger=OTHER), NEXT_US)
        assert await store.amend("t", before.version, late) == stands == await where(store)

    async def test_it_stands_whatever_is_declared_and_that_is_not_told_as_changed(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.reconcile([declared()])
        overrides = Overrides(trigger=OTHER, priority=-3, max_running=4, at_us=START_US, note="why")
        before = await overridden(store, overrides, NEXT_US)
        await store.close()
        store = await bench.enter("n2")
        found = await store.reconcile([declared()])
        assert (found.standings, found.changed) == ([before], [])
        other = Every("9s", from_us(START_US))
        found = await store.reconcile([declared(text="every 9 s", trigger=other, next_us=START_US + 9 * SECOND)])
        (after,) = found.standings
        assert (found.added, found.changed) == ([], [])
        assert (after.trigger, after.next_us, after.overrides) == (OTHER, NEXT_US, overrides)
        assert (after.coded, after.declaration) == (other, "every 9 s")
        assert await where(store) == after
        await store.close()

    async def test_when_it_is_reset_what_code_declares_is_in_place_again(self, store: Store) -> None:
        await store.put_task(declared())
        await overridden(store, Overrides(trigger=OTHER), NEXT_US)
        after = await overridden(store, NO_OVERRIDES, START_US + 10 * SECOND)
        assert (after.trigger, after.next_us, after.overrides) == (EVERY, START_US + 10 * SECOND, NO_OVERRIDES)
        found = await store.reconcile([declared(text="another one", next_us=START_US + 5)])
        assert found.changed == ["t"]
        assert (await where(store)).next_us == START_US + 5

    async def test_what_a_later_version_has_put_beside_it_stays(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.put_task(declared())
        said = {"priority": 3, "colour": {"red": [1, None]}, "at_us": START_US}
        before = await overridden(store, Overrides.from_json(said), START_US)
        await store.close()
        store = await bench.enter("n2")
        (after,) = (await store.reconcile([declared()])).standings
        assert (after, after.overrides.to_json()) == (before, said)
        (told,) = await store.tasks(["t"])
        assert told.overrides == before.overrides
        await overridden(store, after.overrides._replace(max_running=2), START_US)
        assert (await where(store)).overrides.to_json() == {**said, "max_running": 2}
        await store.close()

    async def test_it_goes_with_its_task(self, store: Store) -> None:
        await store.put_task(declared())
        await overridden(store, Overrides(trigger=OTHER, priority=1), NEXT_US)
        await store.drop_task("t")
        after = await store.put_task(declared())
        assert (after.trigger, after.next_us, after.overrides) == (EVERY, START_US, NO_OVERRIDES)
