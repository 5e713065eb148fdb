"""Runs that may not wait for ever."""

from __future__ import annotations

from typing import Any

import pytest

from asyncsched.retry import Retry
from asyncsched.run import Bounds, Raised, RunStatus, settle
from asyncsched.stores import Ack, RunFilter, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import a_run, names

EXPIRES = Bounds(10 * SECOND, None)
RUN_TIMEOUT = Bounds(None, 10 * SECOND)


class BoundPromises:
    """A run that has waited too long ends, whatever it waits for."""

    @pytest.mark.parametrize(
        "waits_for",
        [
            {},  # a node: none claims
            {"queue": "other"},
            {"limit_key": "held"},
        ],
    )
    async def test_a_run_that_has_waited_too_long_is_skipped_whatever_it_waits_for(
        self, store: Store, bench: Bench, waits_for: dict[str, Any]
    ) -> None:
        await store.submit([a_run(name="holder", limit_key="held")])
        await store.cycle([], 1)
        run = a_run(name="r", bounds=EXPIRES, **waits_for)
        await store.submit([run])
        queues = {"default": 0}
        first = await store.cycle([], 0, queues)
        assert (names(first.lapsed), first.lapses_us) == ([], START_US + 10 * SECOND)
        await bench.advance(10 * SECOND - 1)
        assert names((await store.cycle([], 0, queues)).lapsed) == []
        await bench.advance(1)
        cycled = await store.cycle([], 0, queues)
        assert (names(cycled.lapsed), cycled.lapses_us) == (["r"], None)
        (kept,) = await store.runs(RunFilter(status={RunStatus.SKIPPED}))
        assert (kept.id, kept.reason, kept.finished_us) == ("r", "expired", START_US + 10 * SECOND)
        assert names((await store.cycle([], 100)).claimed) == []

    async def test_it_is_not_claimed_in_the_moment_in_which_it_has_waited_too_long(
        self, store: Store, bench: Bench
    ) -> None:
        await store.submit([a_run(name="late", bounds=EXPIRES), a_run(name="other")])
        await bench.advance(10 * SECOND)
        cycled = await store.cycle([], 100)
        assert (names(cycled.lapsed), names(cycled.claimed)) == (["late"], ["other"])

    async def test_a_run_that_waits_for_its_time_expires_after_that(self, store: Store, bench: Bench) -> None:
        await store.submit([a_run(name="r", due_us=START_US + 60 * SECOND, bounds=EXPIRES)])
        assert (await store.cycle([], 0)).lapses_us == START_US + 70 * SECOND
        await bench.advance(70 * SECOND)
        assert names((await store.cycle([], 0)).lapsed) == ["r"]

    async def test_a_run_that_has_begun_or_was_cancelled_does_not_expire(self, store: Store, bench: Bench) -> None:
        await store.submit([a_run(name="begun", bounds=EXPIRES), a_run(name="gone", bounds=EXPIRES)])
        await store.cancel(["gone"], "why")
        (run,) = (await store.cycle([], 100)).claimed
        again = Ack(run, run.token, settle(Raised(OSError()), 1, Retry(attempts=2, wait="1h"), START_US))
        await store.cycle([again], 100)
        await bench.advance(20 * SECOND)
        assert (await store.cycle([], 100)).lapsed in ((), [])
        assert (await store.cycle([], 100)).lapses_us is None

    async def test_a_run_between_two_attempts_is_out_of_time_counted_from_the_first(
        self, store: Store, bench: Bench
    ) -> None:
        await store.submit([a_run(name="r", bounds=RUN_TIMEOUT)])
        await bench.advance(5 * SECOND)
        assert (await store.cycle([], 0)).lapses_us is None
        (run,) = (await store.cycle([], 1)).claimed
        await bench.advance(2 * SECOND)
        error = OSError("once")
        ack = Ack(run, run.token, settle(Raised(error), 1, Retry(attempts=2, wait="1h"), await store.now_us()))
        assert (await store.cycle([ack], 1)).lapses_us == START_US + 15 * SECOND
        await bench.advance(8 * SECOND)
        (over,) = (await store.cycle([], 1)).lapsed
        assert (over.id, over.status, type(over.error)) == ("r", RunStatus.FAILED, TimeoutError)
        assert over.error is not None
        assert over.error.__cause__ is not None

    async def test_a_run_that_lapses_makes_way_for_the_next_of_its_key(self, store: Store, bench: Bench) -> None:
        await store.submit(
            [a_run(name="first", limit_key="k", bounds=RUN_TIMEOUT), a_run(name="second", limit_key="k")]
        )
        (run,) = (await store.cycle([], 9)).claimed
        ack = Ack(run, run.token, settle(Raised(OSError()), 1, Retry(attempts=2, wait="1h"), START_US))
        assert names((await store.cycle([ack], 9)).claimed) == []
        await bench.advance(10 * SECOND)
        assert names((await store.cycle([], 9)).claimed) == ["second"]
