"""What a store must do: every verb, what it promises, what it does all or nothing, what a loser gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncsched.clock import from_us
from asyncsched.ids import RunIds
from asyncsched.retry import NO_RETRY, Retry
from asyncsched.run import Cancelled, Outcome, Raised, Run, RunStatus, Succeeded, Terms, settle
from asyncsched.stores import FOREVER, Ack, Amendment, Cycled, Declared, FireOrder, RunFilter, Standing, Store
from asyncsched.triggers import Every, Trigger

from .conftest import START_US, Bench

SECOND = 1_000_000
EVERY = Every("10s", from_us(START_US))
UNFINISHED = frozenset({RunStatus.PENDING, RunStatus.RUNNING})
_ids = RunIds(Random(7))


def declared(
    task: str = "t", text: str = "every 10 s", *, trigger: Trigger | None = EVERY, next_us: int | None = START_US,
    history_limit: int = 100,
) -> Declared:  # fmt: skip
    return Declared(task, text, trigger, next_us, history_limit)


def a_run(
    task: str = "t", *, created_us: int = START_US, due_us: int | None = None, priority: int = 0,
    limit_key: str | None = None, limit: int = 1, queue: str = "default", name: str | None = None,
) -> Run[Any]:  # fmt: skip
    # Ids sort as they were made, as those of the engine do.
    run_id = name or _ids.make(START_US)
    due_us = created_us if due_us is None else due_us
    terms = Terms(priority, queue, limit_key, limit)
    return Run(id=run_id, task=task, created_us=created_us, due_us=due_us, terms=terms)


def a_skip(task: str = "t", *, created_us: int = START_US) -> Run[Any]:
    run = a_run(task, created_us=created_us)
    run.become(RunStatus.SKIPPED)
    run.reason, run.finished_us = "missed", created_us
    return run


def order(
    standing: Standing, *, runs: Sequence[Run[Any]] = (), skips: Sequence[Run[Any]] = (), step: int = 10 * SECOND
) -> FireOrder:
    assert standing.next_us is not None
    return FireOrder(standing.task, standing.version, standing.next_us, standing.next_us + step, runs, skips)


async def where(store: Store, task: str = "t") -> Standing:
    (standing,) = await store.standings([task])
    return standing


async def claim(store: Store, limit: int = 100) -> list[Run[Any]]:
    return (await store.cycle([], limit)).claimed


async def ack_of(store: Store, run: Run[Any], outcome: Outcome, retry: Retry = NO_RETRY) -> Ack:
    return Ack(run, run.token, settle(outcome, run.attempt, retry, await store.now_us()))


async def finish(store: Store, runs: Iterable[Run[Any]]) -> None:
    """Let claimed runs succeed."""
    await store.cycle([await ack_of(store, run, Succeeded(None)) for run in runs], 0)


async def ids(store: Store, **wanted: Any) -> list[str]:
    return [run.id for run in await store.runs(RunFilter(**wanted))]


def names(runs: Iterable[Run[Any]]) -> list[str]:
    return [run.id for run in runs]


# --- open, close, now


async def test_its_clock_goes_on(store: Store, bench: Bench) -> None:
    before_us = await store.now_us()
    await bench.advance(5 * SECOND)
    assert await store.now_us() - before_us >= 5 * SECOND


async def test_what_is_stored_stays_when_a_node_leaves_and_another_comes(bench: Bench) -> None:
    store = await bench.enter("n1")
    await store.reconcile([declared()])
    done, waiting = a_run(), a_run(due_us=START_US + SECOND)
    await store.submit([done, waiting])
    await finish(store, await claim(store))
    await store.close()
    store = await bench.enter("n2")
    assert (await where(store)).next_us == START_US
    assert await ids(store, status={RunStatus.SUCCESS}) == [done.id]
    found = await store.run(waiting.id)
    assert found is not None
    assert (found.status, found.attempt, found.token) == (RunStatus.PENDING, 0, 0)
    await store.close()


async def test_runs_that_a_vanished_owner_left_running_are_handed_back(bench: Bench) -> None:
    store = await bench.enter("n1")
    await store.submit([a_run(name="tried"), a_run(name="new")])
    first = await claim(store)
    again = await ack_of(store, first[0], Raised(ValueError()), Retry(attempts=3))
    await store.cycle([again], 100)
    stale = [Ack(run, run.token, settle(Succeeded(1), run.attempt, NO_RETRY, START_US)) for run in first]

    store = await bench.enter("n2")
    back = await store.runs(RunFilter())
    assert {run.id: (run.status, run.attempt, run.node) for run in back} == {
        "tried": (RunStatus.PENDING, 1, None),
        "new": (RunStatus.PENDING, 0, None),
    }
    claimed = {run.id: run for run in await claim(store)}
    assert {name: (run.attempt, run.node) for name, run in claimed.items()} == {"tried": (2, "n2"), "new": (1, "n2")}
    assert (await store.cycle(stale, 0)).accepted == []
    assert await ids(store, status={RunStatus.SUCCESS}) == []
    await finish(store, claimed.values())
    await store.close()


async def test_a_run_that_is_handed_back_keeps_its_place_before_the_others_of_its_key(bench: Bench) -> None:
    store = await bench.enter("n1")
    await store.submit([a_run(name="first", limit_key="k"), a_run(name="second", limit_key="k")])
    assert names(await claim(store)) == ["first"]
    store = await bench.enter("n2")
    claimed = await claim(store)
    assert names(claimed) == ["first"]
    await finish(store, claimed)
    assert names(await claim(store)) == ["second"]
    await store.close()


# --- reconcile


async def test_new_tasks_are_added_as_they_are_declared(store: Store) -> None:
    found = await store.reconcile([declared("b", next_us=START_US + 5), declared("a", "", trigger=None, next_us=None)])
    assert (found.added, found.changed) == (["b", "a"], [])
    assert [(one.task, one.trigger, one.next_us, one.history_limit) for one in found.standings] == [
        ("b", EVERY, START_US + 5, 100),
        ("a", None, None, 100),
    ]
    assert await store.standings(["b", "a"]) == found.standings


async def test_what_is_declared_as_before_stands_where_it_stood(store: Store) -> None:
    await store.reconcile([declared(next_us=START_US)])
    before = await where(store)
    await store.fire([order(before)])
    moved = await where(store)
    assert moved == replace(before, next_us=START_US + 10 * SECOND)
    shifted = Every("10s", from_us(START_US + 3))
    found = await store.reconcile([declared(trigger=shifted, next_us=START_US + 3)])
    assert (found.standings, found.added, found.changed) == ([moved], [], [])
    assert (await where(store)).trigger == EVERY


async def test_what_is_declared_differently_is_armed_anew(store: Store) -> None:
    await store.reconcile([declared("t"), declared("same")])
    before = await where(store)
    other = Every("7s", from_us(START_US))
    found = await store.reconcile([declared("t", "every 7 s", trigger=other, next_us=START_US + 7), declared("same")])
    assert (found.added, found.changed) == ([], ["t"])
    after = await where(store)
    assert found.standings == [after, await where(store, "same")]
    assert (after.trigger, after.next_us, after.declaration) == (other, START_US + 7, "every 7 s")
    assert after.version > before.version


async def test_what_is_no_longer_declared_is_kept(store: Store) -> None:
    await store.reconcile([declared("t"), declared("gone")])
    before = await where(store, "gone")
    await store.reconcile([declared("t")])
    assert await where(store, "gone") == before


async def test_history_stays_when_a_declaration_changes(store: Store) -> None:
    await store.reconcile([declared()])
    await store.submit([a_run(name="r")])
    await finish(store, await claim(store))
    await store.reconcile([declared(text="other")])
    assert await ids(store, task="t") == ["r"]


# --- put_task, drop_task, standings


async def test_a_task_that_is_put_stands_as_declared(store: Store) -> None:
    standing = await store.put_task(declared(next_us=START_US + 1))
    assert standing == await where(store)
    assert (standing.task, standing.trigger, standing.next_us) == ("t", EVERY, START_US + 1)


async def test_a_task_that_is_replaced_keeps_its_history_and_begins_at_the_declared_fire(store: Store) -> None:
    first = await store.put_task(declared())
    await store.submit([a_run(name="r")])
    await finish(store, await claim(store))
    second = await store.put_task(declared(next_us=START_US + 77))
    assert second.version > first.version
    assert (second.next_us, await where(store)) == (START_US + 77, second)
    assert await ids(store, task="t") == ["r"]


async def test_a_fire_that_was_decided_before_a_replacement_fires_nothing(store: Store) -> None:
    first = await store.put_task(declared())
    second = await store.put_task(declared())
    assert await store.fire([order(first, runs=[a_run()])]) == set()
    assert await ids(store) == []
    assert await where(store) == second


async def test_a_fire_that_was_decided_before_a_task_was_removed_and_came_back_fires_nothing(store: Store) -> None:
    first = await store.put_task(declared())
    await store.drop_task("t")
    assert await store.fire([order(first, runs=[a_run()])]) == set()
    second = await store.put_task(declared())
    assert await store.fire([order(first, runs=[a_run()])]) == set()
    assert await store.fire([order(second)]) == {"t"}


async def test_a_task_that_was_dropped_is_unknown(store: Store) -> None:
    await store.put_task(declared())
    assert await store.drop_task("t") == []
    assert await store.drop_task("t") == []
    assert await store.standings(["t"]) == []
    assert (await store.reconcile([declared()])).added == ["t"]


async def test_dropping_cancels_what_waits_and_leaves_what_runs_and_what_has_ended(store: Store) -> None:
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


async def test_standings_leave_out_what_is_unknown(store: Store) -> None:
    await store.reconcile([declared("a"), declared("b")])
    assert {one.task for one in await store.standings(["a", "nobody", "b"])} == {"a", "b"}
    assert await store.standings([]) == []


# --- fire


async def test_a_fire_moves_the_watermark_and_writes_its_runs_and_skips(store: Store) -> None:
    before = await store.put_task(declared())
    runs, skips = [a_run(), a_run()], [a_skip()]
    assert await store.fire([order(before, runs=runs, skips=skips)]) == {"t"}
    assert await where(store) == replace(before, next_us=START_US + 10 * SECOND)
    assert await ids(store, status={RunStatus.PENDING}) == names(reversed(runs))
    (skip,) = await store.runs(RunFilter(status={RunStatus.SKIPPED}))
    assert (skip.id, skip.reason) == (skips[0].id, "missed")
    assert sorted(names(await claim(store))) == sorted(names(runs))


@pytest.mark.parametrize(
    "stale",
    [
        lambda order: order._replace(version=order.version + 1),
        lambda order: order._replace(version=order.version - 1),
        lambda order: order._replace(was_us=order.was_us - 10 * SECOND),
        lambda order: order._replace(was_us=None),
        lambda order: order._replace(task="nobody"),
    ],
)
async def test_an_order_on_what_no_longer_stands_fires_nothing(
    store: Store, stale: Callable[[FireOrder], FireOrder]
) -> None:
    before = await store.put_task(declared())
    assert await store.fire([stale(order(before, runs=[a_run()], skips=[a_skip()]))]) == set()
    assert await ids(store) == []
    assert await where(store) == before
    assert await claim(store) == []


async def test_of_two_who_decide_one_fire_one_counts(store: Store) -> None:
    before = await store.put_task(declared())
    mine, theirs = order(before, runs=[a_run(name="mine")]), order(before, runs=[a_run(name="theirs")])
    assert await store.fire([mine]) == {"t"}
    assert await store.fire([theirs]) == set()
    assert await ids(store) == ["mine"]
    assert (await where(store)).next_us == START_US + 10 * SECOND


async def test_each_task_of_a_batch_wins_or_loses_alone(store: Store) -> None:
    standings = {name: await store.put_task(declared(name)) for name in "abc"}
    orders = [order(standing, runs=[a_run(name, name=name)]) for name, standing in standings.items()]
    orders[1] = orders[1]._replace(version=99)
    assert await store.fire(orders) == {"a", "c"}
    assert sorted(await ids(store)) == ["a", "c"]
    assert await store.fire([]) == set()


async def test_a_watermark_that_is_not_due_does_not_fire(store: Store, bench: Bench) -> None:
    due_us = await store.now_us() + 10 * SECOND
    standing = await store.put_task(declared(next_us=due_us))
    early = order(standing, runs=[a_run(name="early")])
    assert await store.fire([early]) == set()
    await bench.advance(10 * SECOND - 1)
    assert await store.fire([early]) == set()
    assert await ids(store) == []
    await bench.advance(1)
    assert await store.fire([early]) == {"t"}
    assert await ids(store) == ["early"]


async def test_a_task_that_waits_for_a_completion_is_set_going_by_an_order_from_nowhere(store: Store) -> None:
    before = await store.put_task(declared())
    await store.fire([order(before)._replace(next_us=None)])
    assert (await where(store)).next_us is None
    completed = FireOrder("t", before.version, None, START_US + SECOND, (), ())
    assert await store.fire([completed]) == {"t"}
    assert (await where(store)).next_us == START_US + SECOND
    assert await store.fire([completed]) == set()


# --- submit and claim


async def test_a_submitted_run_is_claimed_with_all_that_was_given(store: Store) -> None:
    run = Run[Any](
        id="r", task="t", created_us=START_US, due_us=START_US, scheduled_us=START_US - 5, stands_for=3,
        terms=Terms(2, "default", "k", 4), args=(1, "two"), kwargs={"three": [3]},
    )  # fmt: skip
    await store.submit([run])
    waiting = await store.run("r")
    assert waiting is not None
    assert (waiting.status, waiting.attempt, waiting.token) == (RunStatus.PENDING, 0, 0)
    (claimed,) = await claim(store)
    assert (claimed.id, claimed.task, claimed.args, dict(claimed.kwargs)) == ("r", "t", (1, "two"), {"three": [3]})
    assert (claimed.scheduled_us, claimed.stands_for, claimed.terms) == (START_US - 5, 3, Terms(2, "default", "k", 4))


async def test_a_claimed_run_is_running_here_with_a_new_token_and_is_claimed_once(store: Store, bench: Bench) -> None:
    await store.submit([a_run()])
    await bench.advance(SECOND)
    (run,) = await claim(store)
    assert (run.status, run.node, run.attempt, run.token) == (RunStatus.RUNNING, "n1", 1, 1)
    assert run.started_us == await store.now_us()
    assert await claim(store) == []
    assert await ids(store, status={RunStatus.RUNNING}) == [run.id]


async def test_runs_are_claimed_by_priority_then_due_then_as_they_were_submitted(store: Store) -> None:
    early, late = START_US - 60 * SECOND, START_US - SECOND
    await store.submit(
        [
            a_run(name="late", due_us=late),
            a_run(name="early", due_us=early),
            a_run(name="early too", due_us=early),
            a_run(name="high", due_us=START_US, priority=5),
        ]
    )
    await store.submit([a_run(name="low", due_us=early - SECOND, priority=-1), a_run(name="high too", priority=5)])
    await store.submit([a_run(name="0", due_us=early)])
    assert names(await claim(store)) == ["high", "high too", "early", "early too", "0", "late", "low"]


async def test_no_more_is_claimed_than_asked_for_and_the_rest_is_announced(store: Store) -> None:
    runs = [a_run() for _ in range(5)]
    await store.submit(runs)
    first = await store.cycle([], 2)
    assert names(first.claimed) == names(runs[:2])
    assert first.next_due_us is not None
    assert first.next_due_us <= await store.now_us()
    nothing = await store.cycle([], 0)
    assert nothing.claimed == []
    assert nothing.next_due_us is not None
    last = await store.cycle([], 3)
    assert (names(last.claimed), last.next_due_us) == (names(runs[2:]), None)


async def test_a_delayed_run_is_ready_when_it_is_due_and_not_before(store: Store, bench: Bench) -> None:
    now_us = await store.now_us()
    await store.submit([a_run(name="second", due_us=now_us + 20 * SECOND), a_run(name="first", due_us=now_us + SECOND)])
    cycled = await store.cycle([], 100)
    assert (cycled.claimed, cycled.next_due_us) == ([], now_us + SECOND)
    await bench.advance(SECOND - 1)
    assert await claim(store) == []
    await bench.advance(1)
    cycled = await store.cycle([], 100)
    assert (names(cycled.claimed), cycled.next_due_us) == (["first"], now_us + 20 * SECOND)
    await bench.advance(60 * SECOND)
    cycled = await store.cycle([], 100)
    assert (names(cycled.claimed), cycled.next_due_us) == (["second"], None)


async def test_delayed_runs_that_have_become_due_stand_in_the_same_order_as_the_others(
    store: Store, bench: Bench
) -> None:
    later = START_US + 10 * SECOND
    await store.submit([a_run(name="low", due_us=later), a_run(name="high", due_us=later + 1, priority=1)])
    assert await claim(store) == []
    await bench.advance(20 * SECOND)
    await store.submit([a_run(name="now", due_us=START_US + 15 * SECOND), a_run(name="long ago", due_us=START_US)])
    assert names(await claim(store)) == ["high", "long ago", "low", "now"]


async def test_an_empty_store_has_nothing_to_claim_or_to_wait_for(store: Store) -> None:
    assert await store.cycle([], 100) == Cycled([], [], None)


# --- acknowledge


async def test_an_acknowledged_run_is_brought_up_to_date_and_is_history(store: Store, bench: Bench) -> None:
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


async def test_an_acknowledgement_with_another_token_changes_nothing(store: Store) -> None:
    await store.submit([a_run()])
    (run,) = await claim(store)
    ack = await ack_of(store, run, Succeeded(1))
    for token in (run.token - 1, run.token + 1):
        assert (await store.cycle([ack._replace(token=token)], 0)).accepted == []
        assert await ids(store, status={RunStatus.RUNNING}) == [run.id]
        assert (run.status, run.result) == (RunStatus.RUNNING, None)
    assert (await store.cycle([ack], 0)).accepted == [ack]


async def test_an_acknowledgement_counts_once(store: Store) -> None:
    await store.submit([a_run()])
    (run,) = await claim(store)
    ack = await ack_of(store, run, Succeeded(1))
    assert (await store.cycle([ack, ack], 0)).accepted == [ack]
    assert (await store.cycle([ack], 0)).accepted == []
    assert await ids(store, status={RunStatus.SUCCESS}) == [run.id]


async def test_a_late_acknowledgement_of_an_earlier_attempt_does_not_count(store: Store) -> None:
    await store.submit([a_run()])
    (run,) = await claim(store)
    late = await ack_of(store, run, Succeeded("late"))
    await store.cycle([await ack_of(store, run, Raised(ValueError()), Retry())], 0)
    (run,) = await claim(store)
    cycled = await store.cycle([Ack(run, late.token, late.settled), await ack_of(store, run, Succeeded("now"))], 0)
    assert [ack.settled.result for ack in cycled.accepted] == ["now"]
    assert run.result == "now"


async def test_a_run_that_the_store_does_not_know_cannot_be_acknowledged(store: Store) -> None:
    stranger = a_run()
    stranger.start("n1", START_US)
    assert (await store.cycle([await ack_of(store, stranger, Succeeded(1))], 0)).accepted == []
    assert await store.run(stranger.id) is None


async def test_a_run_that_is_tried_again_waits_for_its_instant_and_keeps_its_error(store: Store, bench: Bench) -> None:
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


async def test_what_is_acknowledged_makes_way_for_what_is_claimed_in_the_same_cycle(store: Store) -> None:
    await store.submit([a_run(name="first", limit_key="k"), a_run(name="second", limit_key="k"), a_run(name="again")])
    first, again = await claim(store)
    acks = [await ack_of(store, first, Succeeded(None)), await ack_of(store, again, Raised(ValueError()), Retry())]
    cycled = await store.cycle(acks, 100)
    assert sorted(names(cycled.claimed)) == ["again", "second"]


# --- one after another


async def test_runs_of_one_key_run_one_at_a_time_in_the_order_of_their_submission(store: Store) -> None:
    await store.submit(
        [a_run("a", name="1", limit_key="k", priority=0), a_run("b", name="2", limit_key="k", priority=9)]
    )
    await store.submit([a_run("a", name="3", limit_key="k", due_us=START_US - 60 * SECOND)])
    seen = []
    while claimed := await claim(store):
        assert len(claimed) == 1
        assert await claim(store) == []
        seen += names(claimed)
        await finish(store, claimed)
    assert seen == ["1", "2", "3"]


async def test_keys_do_not_hold_up_each_other_nor_runs_without_one(store: Store) -> None:
    await store.submit([a_run(name=f"{key}{number}", limit_key=key) for number in (1, 2) for key in ("k", "l")])
    await store.submit([a_run(name="free 1"), a_run(name="free 2")])
    assert names(await claim(store)) == ["k1", "l1", "free 1", "free 2"]


async def test_runs_that_a_fire_has_made_wait_for_each_other_too(store: Store) -> None:
    standing = await store.put_task(declared())
    await store.fire([order(standing, runs=[a_run(name="1", limit_key="t"), a_run(name="2", limit_key="t")])])
    claimed = await claim(store)
    assert names(claimed) == ["1"]
    await finish(store, claimed)
    assert names(await claim(store)) == ["2"]


async def test_a_run_that_is_tried_again_keeps_the_others_of_its_key_waiting(store: Store, bench: Bench) -> None:
    await store.submit([a_run(name="1", limit_key="k"), a_run(name="2", limit_key="k")])
    (first,) = await claim(store)
    await store.cycle([await ack_of(store, first, Raised(ValueError()), Retry(wait="5s"))], 0)
    assert await claim(store) == []
    await bench.advance(5 * SECOND)
    (first,) = await claim(store)
    assert first.id == "1"
    cycled = await store.cycle([await ack_of(store, first, Cancelled("enough"))], 100)
    assert names(cycled.claimed) == ["2"]


async def test_a_waiting_run_that_is_cancelled_holds_up_nobody(store: Store) -> None:
    for task in ("t", "gone"):
        await store.put_task(declared(task))
    await store.submit(
        [a_run(name="1", limit_key="k"), a_run("gone", name="2", limit_key="k"), a_run(name="3", limit_key="k")]
    )
    (first,) = await claim(store)
    await store.drop_task("gone")
    assert await claim(store) == []
    await finish(store, [first])
    assert names(await claim(store)) == ["3"]


@pytest.mark.parametrize("due_us", [START_US, START_US + 60 * SECOND])
async def test_a_run_that_is_cancelled_before_its_start_makes_way(store: Store, due_us: int) -> None:
    for task in ("t", "gone"):
        await store.put_task(declared(task))
    await store.submit([a_run("gone", name="1", limit_key="k", due_us=due_us), a_run("gone", name="2", limit_key="k")])
    await store.submit([a_run(name="3", limit_key="k"), a_run(name="4", limit_key="k")])
    await store.drop_task("gone")
    cycled = await store.cycle([], 100)
    assert (names(cycled.claimed), cycled.next_due_us) == (["3"], None)
    await finish(store, cycled.claimed)
    assert names(await claim(store)) == ["4"]


async def test_a_key_is_free_again_when_its_runs_have_ended(store: Store) -> None:
    for name in ("1", "2"):
        await store.submit([a_run(name=name, limit_key="k")])
        claimed = await claim(store)
        assert names(claimed) == [name]
        await finish(store, claimed)


# --- history and looking


async def run_through(store: Store, *runs: Run[Any]) -> None:
    for run in runs:
        await store.submit([run])
        await finish(store, await claim(store))


async def test_so_many_ended_runs_of_a_task_are_kept_the_latest_ones(store: Store) -> None:
    await store.reconcile([declared("t", history_limit=3), declared("other", history_limit=2)])
    await run_through(store, *(a_run(name=f"r{number}") for number in range(5)), a_run("other", name="o"))
    assert sorted(await ids(store, task="t")) == ["r2", "r3", "r4"]
    assert await ids(store, task="other") == ["o"]
    assert await store.run("r1") is None
    kept = await store.run("r2")
    assert kept is not None
    assert kept.id == "r2"


async def test_skips_are_history_and_count_as_it(store: Store) -> None:
    standing = await store.put_task(declared(history_limit=3))
    skips = [a_skip() for _ in range(5)]
    await store.fire([order(standing, skips=skips)])
    assert sorted(await ids(store, task="t")) == sorted(names(skips[2:]))


async def test_a_task_may_keep_nothing(store: Store) -> None:
    await store.put_task(declared(history_limit=0))
    await run_through(store, a_run(name="r"))
    assert await ids(store) == []
    assert await store.run("r") is None


@pytest.mark.parametrize("limit", [2, 0])
async def test_a_smaller_limit_forgets_the_oldest(store: Store, limit: int) -> None:
    await store.put_task(declared(history_limit=10))
    runs = [a_run() for _ in range(5)]
    await run_through(store, *runs)
    await store.put_task(declared(history_limit=limit))
    await run_through(store, last := a_run())
    kept = [*runs, last][6 - limit :]
    assert await ids(store) == names(reversed(kept))
    assert [run.id for run in [*runs, last] if await store.run(run.id) is not None] == names(kept)


async def test_a_greater_limit_keeps_what_is_there_and_more(store: Store) -> None:
    await store.put_task(declared(history_limit=1))
    await run_through(store, first := a_run(), second := a_run())
    await store.put_task(declared(history_limit=2))
    await run_through(store, third := a_run())
    assert await ids(store) == names([third, second])
    assert await store.run(first.id) is None


async def test_history_outlives_its_task_and_is_bounded_for_tasks_that_were_never_declared(store: Store) -> None:
    await store.put_task(declared())
    await run_through(store, a_run(name="r"))
    await store.drop_task("t")
    assert await ids(store, task="t") == ["r"]
    await run_through(store, *(a_run("nobody") for _ in range(105)))
    assert len(await ids(store, task="nobody", limit=1_000)) == 100


async def test_runs_are_found_by_task_by_status_and_by_both(store: Store) -> None:
    await run_through(store, a_run("a", name="a done"), a_run("b", name="b done"))
    await store.submit([a_run("a", name="a running")])
    await claim(store)
    await store.submit([a_run("a", name="a waiting"), a_run("b", name="b waiting")])
    assert sorted(await ids(store)) == ["a done", "a running", "a waiting", "b done", "b waiting"]
    assert sorted(await ids(store, task="a")) == ["a done", "a running", "a waiting"]
    assert sorted(await ids(store, status=UNFINISHED)) == ["a running", "a waiting", "b waiting"]
    assert await ids(store, task="b", status={RunStatus.SUCCESS}) == ["b done"]
    assert await ids(store, task="nobody") == []
    assert await ids(store, status=set()) == []


async def test_runs_come_newest_first_whether_they_wait_run_or_have_ended(store: Store) -> None:
    runs = [a_run("ab"[number % 2], created_us=START_US + number, due_us=START_US) for number in range(8)]
    await store.submit(runs)
    claimed = {run.id: run for run in await claim(store, 6)}
    for index in (4, 1, 3, 0):  # ended in another order than they were made
        await finish(store, [claimed[runs[index].id]])
    newest_first = names(reversed(runs))
    assert await ids(store) == newest_first
    assert await ids(store, limit=3) == newest_first[:3]
    assert await ids(store, task="a") == newest_first[1::2]
    ended = [newest_first[7 - index] for index in (4, 3, 1, 0)]
    assert await ids(store, status={RunStatus.SUCCESS}) == ended
    assert await ids(store, status={RunStatus.SUCCESS}, limit=1) == ended[:1]


async def test_runs_of_one_instant_come_by_their_ids_the_latest_first(store: Store) -> None:
    await run_through(store, *(a_run("ab"[number % 2], name=f"r{number}") for number in (2, 0, 1)))
    await store.submit([a_run(name="r3")])
    assert await ids(store) == ["r3", "r2", "r1", "r0"]


async def test_fires_that_were_handled_together_come_by_their_instants_the_latest_first(store: Store) -> None:
    standing = await store.put_task(declared())
    instants = {"r2": START_US - 20, "r0": START_US - 10, "r1": START_US - 30}
    runs = [a_run(name=name, due_us=at_us) for name, at_us in instants.items()]
    for run in runs:
        run.scheduled_us = run.due_us
    await store.fire([order(standing, runs=runs)])
    assert await ids(store) == ["r0", "r2", "r1"]
    await finish(store, await claim(store))
    assert await ids(store) == ["r0", "r2", "r1"]


async def test_a_run_is_found_by_its_id_in_every_part_of_its_life(store: Store) -> None:
    assert await store.run("r") is None
    await store.submit([a_run(name="r")])
    for status in (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUCCESS):
        found = await store.run("r")
        assert found is not None
        assert (found.id, found.status) == ("r", status)
        if status is RunStatus.PENDING:
            claimed = await claim(store)
        elif status is RunStatus.RUNNING:
            await finish(store, claimed)


async def test_what_has_ended_is_known_without_asking_the_newest_first(store: Store) -> None:
    standing = await store.put_task(declared(history_limit=3))
    assert list(store.recent("t")) == []
    await run_through(store, *(a_run(name=f"r{number}") for number in range(3)))
    await run_through(store, a_run("other", name="other"))
    assert names(store.recent("t")) == ["r2", "r1", "r0"]
    await store.fire([order(standing, runs=[a_run(name="waiting")], skips=[skip := a_skip()])])
    assert names(store.recent("t")) == [skip.id, "r2", "r1"]
    assert [run.status for run in store.recent("t")] == [RunStatus.SKIPPED, RunStatus.SUCCESS, RunStatus.SUCCESS]
    assert names(store.recent("other")) == ["other"]
    assert list(store.recent("nobody")) == []


# --- amend


async def test_an_amendment_is_written_on_the_version_that_it_names_which_grows(store: Store) -> None:
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


async def test_an_amendment_on_another_version_writes_nothing_and_tells_where_the_task_stands(store: Store) -> None:
    first = await store.put_task(declared())
    second = await store.amend("t", first.version, Amendment(FOREVER, None))
    assert second is not None
    for version in (first.version, second.version + 1):
        assert await store.amend("t", version, Amendment(None, START_US)) == second
        assert await where(store) == second


async def test_a_task_that_is_unknown_cannot_be_amended(store: Store) -> None:
    assert await store.amend("nobody", 1, Amendment(FOREVER, None)) is None
    assert await store.standings(["nobody"]) == []


async def test_an_amendment_leaves_the_watermark_where_the_fires_have_brought_it(store: Store) -> None:
    before = await store.put_task(declared())
    await store.fire([order(before)])
    after = await store.amend("t", before.version, Amendment(FOREVER, None))
    assert after is not None
    assert after.next_us == START_US + 10 * SECOND


async def test_a_fire_that_was_decided_before_an_amendment_fires_nothing(store: Store) -> None:
    before = await store.put_task(declared())
    after = await store.amend("t", before.version, Amendment(FOREVER, None))
    assert await store.fire([order(before, runs=[a_run()])]) == set()
    assert await ids(store) == []
    assert after is not None
    assert await store.fire([order(after, skips=[a_skip()])]) == {"t"}


@pytest.mark.parametrize("text", ["every 10 s", "another one"])
async def test_a_pause_outlives_every_declaration_and_the_node(bench: Bench, text: str) -> None:
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


async def test_a_skip_is_of_one_grid_and_ends_with_it(store: Store) -> None:
    before = await store.put_task(declared())
    await store.amend("t", before.version, Amendment(None, START_US))
    (same,) = (await store.reconcile([declared()])).standings
    assert same.skip_us == START_US
    (other,) = (await store.reconcile([declared(text="another one")])).standings
    assert other.skip_us is None


# --- cancel


async def test_what_waits_is_cancelled_what_runs_or_has_ended_is_left(store: Store, bench: Bench) -> None:
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


async def test_a_run_that_waits_for_its_next_try_can_be_cancelled(store: Store, bench: Bench) -> None:
    await store.submit([a_run(name="1", limit_key="k"), a_run(name="2", limit_key="k")])
    (run,) = await claim(store)
    await store.cycle([await ack_of(store, run, Raised(ValueError()), Retry(attempts=2, wait="5s"))], 0)
    assert names(await store.cancel(["1"], "enough")) == ["1"]
    assert names(await claim(store)) == ["2"]
    await bench.advance(10 * SECOND)
    assert await claim(store) == []


@pytest.mark.parametrize("gone", ["1", "2"])
async def test_a_cancelled_run_makes_way_for_the_next_of_its_key(store: Store, gone: str) -> None:
    await store.submit([a_run(name=name, limit_key="k") for name in "123"])
    await store.cancel([gone], "not wanted")
    (left,) = {"1", "2"} - {gone}
    for name in (left, "3"):
        claimed = await claim(store)
        assert names(claimed) == [name]
        await finish(store, claimed)


# --- limits and queues


async def test_so_many_runs_of_one_key_run_at_once_as_they_allow(store: Store) -> None:
    await store.submit([a_run(name=str(number), limit_key="k", limit=2) for number in range(5)])
    claimed = await claim(store)
    assert names(claimed) == ["0", "1"]
    await finish(store, claimed[1:])
    claimed = [claimed[0], *await claim(store)]
    assert names(claimed) == ["0", "2"]
    await finish(store, claimed)
    assert names(await claim(store)) == ["3", "4"]


async def test_a_run_that_is_not_due_yet_holds_up_nobody_of_its_key(store: Store, bench: Bench) -> None:
    await store.submit([a_run(name="later", limit_key="k", due_us=START_US + 10 * SECOND)])
    await store.submit([a_run(name="now", limit_key="k")])
    first = await claim(store)
    assert names(first) == ["now"]
    await bench.advance(10 * SECOND)
    assert await claim(store) == []
    await finish(store, first)
    assert names(await claim(store)) == ["later"]


async def test_only_runs_of_the_queues_that_are_asked_for_are_claimed(store: Store) -> None:
    await store.submit([a_run(name="m", queue="mail", priority=-1), a_run(name="r", queue="reports"), a_run(name="d")])
    assert names((await store.cycle([], 100, {"mail": 9, "nobody": 9})).claimed) == ["m"]
    assert (await store.cycle([], 100, {})).claimed == []
    assert (await store.cycle([], 100, {"reports": 0})).claimed == []
    assert names((await store.cycle([], 100, {"default": 1, "reports": 1})).claimed) == ["r", "d"]


async def test_of_each_queue_no_more_are_claimed_than_asked_for_and_no_more_of_all(store: Store) -> None:
    runs = [a_run(name=f"{queue}{number}", queue=queue, priority=number) for queue in "ab" for number in range(4)]
    await store.submit(runs)
    first = await store.cycle([], 100, {"a": 1, "b": 3})
    assert sorted(names(first.claimed)) == ["a3", "b1", "b2", "b3"]
    assert [run.priority for run in first.claimed] == [3, 3, 2, 1]
    second = await store.cycle([], 2, {"a": 9, "b": 9})
    assert names(second.claimed) == ["a2", "a1"]
    assert second.next_due_us is not None
    assert second.next_due_us <= await store.now_us()


async def test_what_waits_in_a_queue_that_is_full_wakes_nobody(store: Store) -> None:
    await store.submit([a_run(name="a", queue="a"), a_run(name="b", queue="b")])
    cycled = await store.cycle([], 100, {"a": 1, "b": 0})
    assert (names(cycled.claimed), cycled.next_due_us) == (["a"], None)
    assert names(await claim(store)) == ["b"]


# --- laws over any sequence of verbs

LIMITS = {"k": 1, "l": 2}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from(["a", "b"]), st.sampled_from([None, "k", "l"]), st.integers(0, 3)),
        st.tuples(st.just("cycle"), st.integers(0, 3), st.sampled_from(["good", "bad", "none"]), st.integers(0, 3)),
        st.tuples(st.just("advance"), st.integers(1, 2), st.none(), st.none()),
        st.tuples(st.just("drop"), st.sampled_from(["a", "b"]), st.none(), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 9), st.none(), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_happens_keys_keep_their_limits_order_holds_and_every_run_ends(
    make_bench: Callable[[], Bench], steps: list[tuple[str, Any, Any, Any]]
) -> None:
    asyncio.run(live_through(make_bench(), steps))


async def live_through(bench: Bench, steps: list[tuple[str, Any, Any, Any]]) -> None:
    store = await bench.enter("n1")
    await store.reconcile([declared("a", history_limit=1_000), declared("b", history_limit=1_000)])
    running: dict[str, Run[Any]] = {}
    started: list[str] = []
    submitted: list[tuple[str, str | None]] = []
    at_once: list[str] = []

    async def exchange(limit: int, outcome: str, number: int) -> None:
        ending = [] if outcome == "none" else list(running.values())[:number]
        how: Outcome = Succeeded(1) if outcome == "good" else Raised(ValueError())
        acks = [await ack_of(store, run, how, Retry(attempts=3, wait="1s")) for run in ending]
        cycled = await store.cycle(acks, limit)
        assert cycled.accepted == acks
        for run in ending:
            del running[run.id]
        assert len(cycled.claimed) <= limit
        for run in cycled.claimed:
            assert run.id not in running
            key = run.terms.limit_key
            holding = [other for other in running.values() if other.terms.limit_key == key]
            assert key is None or len(holding) < LIMITS[key]
            running[run.id] = run
            started.extend([run.id] if run.attempt == 1 else [])
        order_of_claims = [(-run.priority, run.due_us) for run in cycled.claimed]
        assert order_of_claims == sorted(order_of_claims)
        now_us = await store.now_us()
        assert all(run.due_us <= now_us for run in cycled.claimed)

    for number, (verb, first, second, third) in enumerate(steps):
        if verb == "submit":
            due_us = await store.now_us() + third * SECOND
            limit = LIMITS.get(second, 1)
            run = a_run(first, name=f"r{number}", limit_key=second, limit=limit, due_us=due_us, priority=third % 2)
            await store.submit([run])
            submitted.append((f"r{number}", second))
            at_once.extend([f"r{number}"] if not third else [])
        elif verb == "cycle":
            await exchange(first, second, third)
        elif verb == "advance":
            await bench.advance(first * SECOND)
        elif verb == "cancel":
            chosen = [name for name, _key in submitted[first::10]]
            assert not {run.id for run in await store.cancel(chosen, "chosen")} & running.keys()
        else:
            await store.drop_task(first)
    for _ in range(len(submitted) + 2):
        await bench.advance(10 * SECOND)
        await exchange(100, "good", 100)
    found = await store.runs(RunFilter(limit=1_000))
    assert sorted(run.id for run in found) == sorted(name for name, _key in submitted)
    assert all(run.status.final for run in found)
    for key in ("k", "l"):
        of_key = [name for name, its_key in submitted if its_key == key and name in at_once]
        assert [name for name in started if name in of_key] == [name for name in of_key if name in started]
    assert (await store.cycle([], 100)).next_due_us is None
    await store.close()
