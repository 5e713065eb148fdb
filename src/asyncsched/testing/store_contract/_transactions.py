"""Transactions that are not the store's own: those of users, and those in which runs work, where a store has such."""

from __future__ import annotations

import pytest

from asyncsched.errors import MisuseError
from asyncsched.run import Raised, RunStatus, Settled
from asyncsched.stores import Store
from asyncsched.testing.store_contract._bench import SECOND, Bench
from asyncsched.testing.store_contract._making import UNFINISHED, a_run, ack_of, claim, finish, ids, keyed_run, names


class TransactionPromises:
    """What is written in a transaction is there once that is committed; where a store has none, it says so."""

    async def test_a_connection_that_is_none_to_its_database_is_refused(self, store: Store) -> None:
        with pytest.raises(MisuseError, match="connection=object"):
            await store.submit_within(object(), [a_run()])
        assert await ids(store) == []

    async def test_a_run_works_in_a_transaction_where_the_store_transacts_and_else_it_says_so(
        self, store: Store
    ) -> None:
        if not store.transacts:
            with pytest.raises(MisuseError, match="has no transactions for runs"):
                store.transaction()
            return
        async with store.transaction() as work:
            assert work.connection is not None

    async def test_an_end_within_a_transaction_is_the_one_that_counts(self, store: Store, bench: Bench) -> None:
        if not store.transacts:
            return
        await store.submit([a_run(name="r")])
        (run,) = await claim(store)
        await bench.advance(SECOND)
        settled = Settled(RunStatus.SUCCESS, await store.now_us(), result=[1])
        late = await ack_of(store, run, Raised(ValueError()))  # its attempt is told to stop at the last moment
        async with store.transaction() as work:
            assert await work.end(run, run.token, settled)
        assert await ids(store, status=UNFINISHED) == []
        assert await ids(store, status={RunStatus.SUCCESS}) == ["r"]
        cycled = await store.cycle([late], 0)
        assert cycled.accepted == [late._replace(settled=settled)]
        assert (run.status, run.result, run.finished_us) == (RunStatus.SUCCESS, [1], settled.at_us)
        assert (await store.cycle([late], 0)).accepted == []

    async def test_what_is_left_before_it_has_ended_leaves_nothing(self, store: Store) -> None:
        if not store.transacts:
            return
        await store.submit([a_run()])
        (run,) = await claim(store)
        with pytest.raises(ValueError, match="no"):
            async with store.transaction():
                raise ValueError("no")
        assert await ids(store, status={RunStatus.RUNNING}) == [run.id]
        ack = await ack_of(store, run, Raised(ValueError()))
        assert (await store.cycle([ack], 0)).accepted == [ack]

    async def test_the_end_of_an_attempt_that_is_not_under_way_counts_for_nothing(self, store: Store) -> None:
        if not store.transacts:
            return
        await store.submit([a_run()])
        (run,) = await claim(store)
        settled = Settled(RunStatus.SUCCESS, await store.now_us())
        for token in (run.token - 1, run.token + 1):
            async with store.transaction() as work:
                assert not await work.end(run, token, settled)
        assert await ids(store, status={RunStatus.RUNNING}) == [run.id]

    async def test_an_end_within_a_transaction_makes_way_for_the_next_of_its_key(self, store: Store) -> None:
        if not store.transacts:
            return
        await store.submit([keyed_run("first", limit=1), keyed_run("second", limit=1)])
        (run,) = await claim(store)
        async with store.transaction() as work:
            await work.end(run, run.token, Settled(RunStatus.SUCCESS, await store.now_us()))
        assert names(await claim(store)) == ["second"]
        await finish(store, [run])
        assert run.status is RunStatus.SUCCESS
