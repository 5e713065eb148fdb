"""What a store must do about runs that may not wait for ever, groups that are limited, and fires that are counted."""

from __future__ import annotations

from typing import Any

import pytest

from asyncsched.retry import Retry
from asyncsched.run import Bounds, Raised, Run, RunStatus, Succeeded, Terms, settle
from asyncsched.stores import Ack, Declared, FireOrder, RunFilter, Store
from asyncsched.triggers import Every

from .conftest import START_US, Bench

SECOND = 1_000_000


def a_run(name: str, *, due_s: int = 0, **terms: Any) -> Run[Any]:
    return Run(id=name, task="t", created_us=START_US, due_us=START_US + due_s * SECOND, terms=Terms(**terms))


def names(runs: Any) -> list[str]:
    return [run.id for run in runs]


EXPIRES = Bounds(10 * SECOND, None)
RUN_TIMEOUT = Bounds(None, 10 * SECOND)


@pytest.mark.parametrize(
    "waits_for",
    [
        {},  # a node: none claims
        {"queue": "other"},
        {"limit_key": "held"},
    ],
)
async def test_a_run_that_has_waited_too_long_is_skipped_whatever_it_waits_for(
    store: Store, bench: Bench, waits_for: dict[str, Any]
) -> None:
    await store.submit([a_run("holder", limit_key="held")])
    await store.cycle([], 1)
    run = a_run("r", bounds=EXPIRES, **waits_for)
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


async def test_it_is_not_claimed_in_the_moment_in_which_it_has_waited_too_long(store: Store, bench: Bench) -> None:
    await store.submit([a_run("late", bounds=EXPIRES), a_run("other")])
    await bench.advance(10 * SECOND)
    cycled = await store.cycle([], 100)
    assert (names(cycled.lapsed), names(cycled.claimed)) == (["late"], ["other"])


async def test_a_run_that_waits_for_its_time_expires_after_that(store: Store, bench: Bench) -> None:
    await store.submit([a_run("r", due_s=60, bounds=EXPIRES)])
    assert (await store.cycle([], 0)).lapses_us == START_US + 70 * SECOND
    await bench.advance(70 * SECOND)
    assert names((await store.cycle([], 0)).lapsed) == ["r"]


async def test_a_run_that_has_begun_or_was_cancelled_does_not_expire(store: Store, bench: Bench) -> None:
    await store.submit([a_run("begun", bounds=EXPIRES), a_run("gone", bounds=EXPIRES)])
    await store.cancel(["gone"], "why")
    (run,) = (await store.cycle([], 100)).claimed
    again = Ack(run, run.token, settle(Raised(OSError()), 1, Retry(attempts=2, wait="1h"), START_US))
    await store.cycle([again], 100)
    await bench.advance(20 * SECOND)
    assert (await store.cycle([], 100)).lapsed in ((), [])
    assert (await store.cycle([], 100)).lapses_us is None


async def test_a_run_between_two_attempts_is_out_of_time_counted_from_the_first(store: Store, bench: Bench) -> None:
    await store.submit([a_run("r", bounds=RUN_TIMEOUT)])
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


async def test_a_run_that_lapses_makes_way_for_the_next_of_its_key(store: Store, bench: Bench) -> None:
    await store.submit([a_run("first", limit_key="k", bounds=RUN_TIMEOUT), a_run("second", limit_key="k")])
    (run,) = (await store.cycle([], 9)).claimed
    ack = Ack(run, run.token, settle(Raised(OSError()), 1, Retry(attempts=2, wait="1h"), START_US))
    assert names((await store.cycle([ack], 9)).claimed) == []
    await bench.advance(10 * SECOND)
    assert names((await store.cycle([], 9)).claimed) == ["second"]


# --- groups


async def test_of_a_group_no_more_are_claimed_than_there_is_room_for_and_others_pass(store: Store) -> None:
    runs = [a_run(f"g{number}", group="kernel", priority=5) for number in range(4)] + [a_run("other")]
    await store.submit(runs)
    cycled = await store.cycle([], 100, None, {"kernel": 2})
    assert names(cycled.claimed) == ["g0", "g1", "other"]
    assert cycled.next_due_us is None  # nobody is woken for what waits for its group
    assert names((await store.cycle([], 100, None, {"kernel": 0})).claimed) == []
    acks = [Ack(run, run.token, settle(Succeeded(1), 1, Retry(attempts=1), START_US)) for run in cycled.claimed[:1]]
    assert names((await store.cycle(acks, 100, None, {"kernel": 1})).claimed) == ["g2"]


async def test_groups_and_queues_and_the_limit_of_all_count_together(store: Store) -> None:
    await store.submit([a_run(f"a{number}", group="kernel", queue="mail") for number in range(3)])
    await store.submit([a_run(f"b{number}", group="kernel") for number in range(3)])
    claimed = (await store.cycle([], 100, {"mail": 1, "default": 5}, {"kernel": 3})).claimed
    assert sorted(names(claimed)) == ["a0", "b0", "b1"]
    assert names((await store.cycle([], 1, {"default": 5}, {"kernel": 3})).claimed) == ["b2"]


async def test_what_waits_for_its_group_can_be_cancelled(store: Store) -> None:
    await store.submit([a_run("first", group="kernel"), a_run("second", group="kernel")])
    assert names((await store.cycle([], 9, None, {"kernel": 0})).claimed) == []
    assert names(await store.cancel(["first"], "why")) == ["first"]
    assert names((await store.cycle([], 9, None, {"kernel": 9})).claimed) == ["second"]


# --- how many runs were made


async def test_runs_that_count_are_counted_until_the_task_is_declared_otherwise(store: Store) -> None:
    trigger = Every("10s")
    declared = Declared("t", "every 10 s", trigger, START_US, 100)
    (standing,) = (await store.reconcile([declared])).standings
    assert standing.made == 0
    order = FireOrder("t", standing.version, START_US, START_US + SECOND, [a_run("r1"), a_run("r2")], (), 2)
    assert await store.fire([order]) == {"t"}
    assert await store.fire([order]) == set()  # who loses counts nothing
    (standing,) = await store.standings(["t"])
    assert standing.made == 2
    (standing,) = (await store.reconcile([declared])).standings
    assert standing.made == 2
    changed = Declared("t", "every 20 s", trigger, START_US, 100)
    assert (await store.reconcile([changed])).standings[0].made == 0
