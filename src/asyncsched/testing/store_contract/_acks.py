"""Acknowledgements, fenced by their tokens."""

from __future__ import annotations

from asyncsched.retry import Retry
from asyncsched.run import Cancelled, Raised, RunStatus, Succeeded
from asyncsched.stores import Ack, Cycled, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import UNFINISHED, a_run, ack_of, claim, ids, names


class AckPromises:
    """What an attempt came to counts once, from its owner alone."""

    async def test_an_acknowledged_run_is_brought_up_to_date_and_is_history(self, store: Store, bench: Bench) -> None:
        await store.submit([a_run(name="good"), a_run(name="bad"), a_run(name="stopped")])
        good, bad, stopped = await claim(store)
        await bench.advance(SECOND)
        error = ValueError("no")
        acks = [
            await ack_of(store, good, Succeeded([1])),
            await ack_of(store, bad, Raised(error)),
            await ack_of(store, stopped, Cancelled("why")),
        ]
        cycled = await store.cycle(acks, 0)
        assert cycled.accepted == acks
        assert (good.status, good.result, good.finished_us) == (RunStatus.SUCCESS, [1], await store.now_us())
        assert (bad.status, bad.error) == (RunStatus.FAILED, error)
        assert (stopped.status, stopped.reason) == (RunStatus.CANCELLED, "why")
        assert await ids(store, status=UNFINISHED) == []
        for run in (good, bad, stopped):
            kept = await store.run(run.id)
            assert kept is not None
            assert (kept.status, kept.token, kept.attempt) == (run.status, 2, 1)

    async def test_an_acknowledgement_with_another_token_changes_nothing(self, store: Store) -> None:
        await store.submit([a_run()])
        (run,) = await claim(store)
        ack = await ack_of(store, run, Succeeded(1))
        for token in (run.token - 1, run.token + 1):
            assert (await store.cycle([ack._replace(token=token)], 0)).accepted == []
            assert await ids(store, status={RunStatus.RUNNING}) == [run.id]
            assert (run.status, run.result) == (RunStatus.RUNNING, None)
        assert (await store.cycle([ack], 0)).accepted == [ack]

    async def test_an_acknowledgement_counts_once(self, store: Store) -> None:
        await store.submit([a_run()])
        (run,) = await claim(store)
        ack = await ack_of(store, run, Succeeded(1))
        assert (await store.cycle([ack, ack], 0)).accepted == [ack]
        assert (await store.cycle([ack], 0)).accepted == []
        assert await ids(store, status={RunStatus.SUCCESS}) == [run.id]

    async def test_a_late_acknowledgement_of_an_earlier_attempt_does_not_count(self, store: Store) -> None:
        await store.submit([a_run()])
        (run,) = await claim(store)
        late = await ack_of(store, run, Succeeded("late"))
        await store.cycle([await ack_of(store, run, Raised(ValueError()), Retry())], 0)
        (run,) = await claim(store)
        cycled = await store.cycle([Ack(run, late.token, late.settled), await ack_of(store, run, Succeeded("now"))], 0)
        assert [ack.settled.result for ack in cycled.accepted] == ["now"]
        assert run.result == "now"

    async def test_a_run_that_the_store_does_not_know_cannot_be_acknowledged(self, store: Store) -> None:
        stranger = a_run()
        stranger.start("n1", START_US)
        assert (await store.cycle([await ack_of(store, stranger, Succeeded(1))], 0)).accepted == []
        assert await store.run(stranger.id) is None

    async def test_a_run_that_is_tried_again_waits_for_its_instant_and_keeps_its_error(
        self, store: Store, bench: Bench
    ) -> None:
        await store.submit([a_run(name="r")])
        (run,) = await claim(store)
        error = ValueError("once")
        ack = await ack_of(store, run, Raised(error), Retry(attempts=2, wait="5s"))
        cycled = await store.cycle([ack], 100)
        assert cycled == Cycled([ack], [], await store.now_us() + 5 * SECOND)
        assert (run.status, run.attempt, run.error, run.node) == (RunStatus.PENDING, 1, error, None)
        assert await ids(store, status={RunStatus.PENDING}) == ["r"]
        await bench.advance(5 * SECOND)
        (run,) = await claim(store)
        assert (run.id, run.attempt, run.token) == ("r", 2, 3)

    async def test_what_is_acknowledged_makes_way_for_what_is_claimed_in_the_same_cycle(self, store: Store) -> None:
        await store.submit(
            [a_run(name="first", limit_key="k"), a_run(name="second", limit_key="k"), a_run(name="again")]
        )
        first, again = await claim(store)
        acks = [await ack_of(store, first, Succeeded(None)), await ack_of(store, again, Raised(ValueError()), Retry())]
        cycled = await store.cycle(acks, 100)
        assert sorted(names(cycled.claimed)) == ["again", "second"]
