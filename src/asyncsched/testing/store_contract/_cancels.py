"""Cancelling."""

from __future__ import annotations

import pytest

from asyncsched.retry import Retry
from asyncsched.run import Raised, RunStatus, Succeeded
from asyncsched.stores import Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import a_run, ack_of, claim, finish, ids, names


class CancelPromises:
    """What waits ends; what runs or has ended is left."""

    async def test_what_waits_is_cancelled_what_runs_or_has_ended_is_left(self, store: Store, bench: Bench) -> None:
        await store.submit([a_run(name="ended"), a_run(name="running")])
        ended, running = await claim(store)
        await finish(store, [ended])
        later = START_US + 60 * SECOND
        await store.submit([a_run(name="ready"), a_run(name="delayed", due_us=later), a_run(name="else")])
        await bench.advance(SECOND)
        cancelled = await store.cancel(["ended", "running", "ready", "delayed", "nobody"], "not wanted")
        assert sorted(names(cancelled)) == ["delayed", "ready"]
        for run in cancelled:
            found = await store.run(run.id)
            assert found is not None
            assert (found.status, found.reason, found.finished_us) == (
                RunStatus.CANCELLED,
                "not wanted",
                START_US + SECOND,
            )
            assert found.token > 0
        assert await store.cancel(["ready"], "again") == []
        cycled = await store.cycle([await ack_of(store, running, Succeeded(1))], 100)
        assert (names(cycled.claimed), cycled.next_due_us) == (["else"], None)
        assert await ids(store, status={RunStatus.SUCCESS}) == ["running", "ended"]

    async def test_a_run_that_waits_for_its_next_try_can_be_cancelled(self, store: Store, bench: Bench) -> None:
        await store.submit([a_run(name="1", limit_key="k"), a_run(name="2", limit_key="k")])
        (run,) = await claim(store)
        await store.cycle([await ack_of(store, run, Raised(ValueError()), Retry(attempts=2, wait="5s"))], 0)
        assert names(await store.cancel(["1"], "enough")) == ["1"]
        assert names(await claim(store)) == ["2"]
        await bench.advance(10 * SECOND)
        assert await claim(store) == []

    @pytest.mark.parametrize("gone", ["1", "2"])
    async def test_a_cancelled_run_makes_way_for_the_next_of_its_key(self, store: Store, gone: str) -> None:
        await store.submit([a_run(name=name, limit_key="k") for name in "123"])
        await store.cancel([gone], "not wanted")
        (left,) = {"1", "2"} - {gone}
        for name in (left, "3"):
            claimed = await claim(store)
            assert names(claimed) == [name]
            await finish(store, claimed)
