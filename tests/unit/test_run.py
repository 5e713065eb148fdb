"""One execution of a task: its life, its ids, and what awaiting it gives."""

import asyncio
import threading
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from itertools import product
from random import Random
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsched.context import current_run, enter_run
from asyncsched.errors import MisuseError, RunCancelled, RunFailed, RunSkipped
from asyncsched.ids import RunIds
from asyncsched.retry import NO_RETRY, Retry
from asyncsched.run import (
    TRANSITIONS,
    Cancelled,
    HandedBack,
    Raised,
    Run,
    RunStatus,
    Settled,
    SkipReason,
    Succeeded,
    settle,
)

SECOND = 1_000_000
NOW = 1_767_225_600 * SECOND
P, R, S, F, K, C = RunStatus

EDGES = {(P, R), (P, K), (P, C), (P, F), (R, S), (R, F), (R, C), (R, P)}


def a_run(status: RunStatus = P) -> Run[object]:
    run: Run[object] = Run(id="r1", task="t", created_us=NOW, due_us=NOW)
    run.status = status
    return run


def ended(settled: Settled) -> Run[object]:
    run = a_run()
    run.start("node", NOW)
    run.apply(settled)
    return run


# --- life


@pytest.mark.parametrize(("before", "after"), list(product(RunStatus, RunStatus)))
def test_a_run_goes_along_the_edges_of_its_table_and_no_other(before: RunStatus, after: RunStatus) -> None:
    assert (after in TRANSITIONS[before]) == ((before, after) in EDGES)
    run = a_run(before)
    if (before, after) in EDGES:
        run.become(after)
        assert (run.status, run.token) == (after, 1)
    else:
        with pytest.raises(MisuseError, match=f"run r1 of 't' cannot go from {before} to {after}"):
            run.become(after)
        assert (run.status, run.token) == (before, 0)


def test_final_are_those_that_nothing_follows() -> None:
    assert [status for status in RunStatus if status.final] == [S, F, K, C]
    assert set(TRANSITIONS) == set(RunStatus)


def test_an_attempt_starts_on_a_node_at_an_instant_and_counts() -> None:
    run = a_run()
    run.start("host:1", NOW + SECOND)
    assert (run.status, run.node, run.attempt, run.token) == (R, "host:1", 1, 1)
    assert run.started_at == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert run.finished_at is None
    assert run.duration is None


def test_a_run_that_is_tried_again_keeps_its_error_and_is_nobody_s() -> None:
    run, error = a_run(), ValueError("no")
    run.start("host:1", NOW)
    run.apply(settle(Raised(error), 1, Retry(attempts=2, wait="5s"), NOW + SECOND))
    assert (run.status, run.node, run.attempt, run.due_us, run.error) == (P, None, 1, NOW + 6 * SECOND, error)
    assert run.finished_at is None
    run.start("host:2", NOW + 6 * SECOND)
    run.apply(settle(Succeeded(7), 2, Retry(attempts=2), NOW + 7 * SECOND))
    assert (run.status, run.attempt, run.result, run.error, run.token) == (S, 2, 7, None, 4)
    assert run.duration == timedelta(seconds=1)
    assert run.finished_at == datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC)


def test_an_attempt_that_is_handed_back_does_not_count() -> None:
    run = a_run()
    run.start("host:1", NOW)
    run.apply(settle(HandedBack(), 1, NO_RETRY, NOW + SECOND))
    assert (run.status, run.node, run.attempt, run.due_us, run.reason) == (P, None, 0, NOW + SECOND, "handed back")
    run.start("host:2", NOW + SECOND)
    assert run.attempt == 1
    run.apply(settle(Succeeded(None), 1, NO_RETRY, NOW + SECOND))
    assert run.reason is None


def test_a_duration_is_never_negative() -> None:
    run = a_run()
    run.start("host:1", NOW)
    run.apply(Settled(S, NOW - SECOND))
    assert run.duration == timedelta(0)


def test_the_instant_of_its_trigger_is_shown_in_utc() -> None:
    assert a_run().scheduled_for is None
    run = Run[None](id="r", task="t", created_us=NOW, due_us=NOW, scheduled_us=NOW)
    assert run.scheduled_for == datetime(2026, 1, 1, tzinfo=UTC)
    assert run.idempotency_key == "r"


def test_notes_are_kept_and_the_latest_of_a_key_counts() -> None:
    run = a_run()
    assert run.notes is None
    run.set("done", 1)
    run.set("of", 3)
    run.set("done", 2)
    assert run.notes == {"done": 2, "of": 3}


def test_the_traceback_is_as_python_prints_it() -> None:
    try:
        raise ValueError("no")
    except ValueError as error:
        run = ended(Settled(F, NOW, error=error))
    assert a_run().traceback is None
    assert run.traceback is not None
    assert run.traceback.startswith("Traceback (most recent call last):")
    assert run.traceback.endswith("ValueError: no\n")


# --- settle


ERROR = ValueError()


@pytest.mark.parametrize(
    ("outcome", "attempt", "retry", "settled"),
    [
        (Succeeded(3), 1, NO_RETRY, Settled(S, NOW, result=3)),
        (Succeeded(None), 9, NO_RETRY, Settled(S, NOW)),
        (Raised(ERROR), 1, NO_RETRY, Settled(F, NOW, error=ERROR)),
        (Raised(ERROR), 1, Retry(attempts=2, wait="3s"), Settled(P, NOW, due_us=NOW + 3 * SECOND, error=ERROR)),
        (Raised(ERROR), 2, Retry(attempts=2, wait="3s"), Settled(F, NOW, error=ERROR)),
        (Raised(ERROR), 1, Retry(on=KeyError), Settled(F, NOW, error=ERROR)),
        (Cancelled("why"), 1, Retry(), Settled(C, NOW, reason="why")),
        (HandedBack(), 1, NO_RETRY, Settled(P, NOW, due_us=NOW, reason="handed back")),
    ],
)
def test_what_becomes_of_a_run_follows_from_its_outcome(
    outcome: Succeeded | Raised | Cancelled | HandedBack, attempt: int, retry: Retry, settled: Settled
) -> None:
    assert settle(outcome, attempt, retry, NOW) == settled
    assert settled.status in TRANSITIONS[R]


def test_a_retry_keeps_to_the_time_since_the_first_attempt_and_to_the_jitter_of_its_run() -> None:
    bounded = Retry(wait="10s", stop_after="1m")
    for elapsed, status in [(50, P), (51, F)]:
        assert settle(Raised(ERROR), 7, bounded, NOW, first_us=NOW - elapsed * SECOND).status == status
    spread = Retry(attempts=2, wait="10s", jitter="10s")
    dues = {settle(Raised(ERROR), 1, spread, NOW, run_id=run_id).due_us for run_id in ("a", "b", "a")}
    assert len(dues) == 2


def test_a_run_that_is_out_of_time_is_not_tried_again() -> None:
    retry = Retry(attempts=9)
    assert settle(Raised(ERROR), 1, retry, NOW, ends_us=NOW + 1).status == P
    assert settle(Raised(ERROR), 1, retry, NOW, ends_us=NOW) == Settled(F, NOW, error=ERROR)
    assert settle(Succeeded(1), 1, retry, NOW, ends_us=NOW - 9).status == S


def test_the_start_of_the_first_attempt_is_kept_over_all_of_them() -> None:
    run = a_run()
    assert run.first_us is None
    for second in (0, 5):
        run.start("node", NOW + second * SECOND)
        run.apply(settle(Raised(ERROR), run.attempt, Retry(attempts=3), NOW + second * SECOND))
    assert (run.first_us, run.started_us) == (NOW, NOW + 5 * SECOND)


# --- ids


@given(st.integers(0, 2**48 * 1000 - 1), st.integers())
def test_an_id_is_a_uuid_of_version_7(now_us: int, seed: int) -> None:
    text = RunIds(Random(seed)).make(now_us)
    uuid = UUID(text)
    assert str(uuid) == text
    assert (uuid.version, uuid.variant) == (7, RFC_4122)
    assert uuid.int >> 80 == now_us // 1000


@given(st.lists(st.integers(0, 10**16), min_size=2), st.integers())
def test_ids_sort_as_they_were_made_whatever_the_clock_does(instants: list[int], seed: int) -> None:
    ids = RunIds(Random(seed))
    made = [ids.make(now_us) for now_us in instants]
    assert made == sorted(set(made))
    latest = -1
    for text, now_us in zip(made, instants, strict=True):
        latest = max(latest, now_us // 1000)
        assert UUID(text).int >> 80 == latest


def test_a_millisecond_that_has_no_ids_left_goes_over_into_the_next() -> None:
    ids = RunIds(Random(1))
    first = UUID(ids.make(NOW)).int
    ids._tail = 2**48 - 2
    last, over, after = (UUID(ids.make(NOW)).int for _ in range(3))
    assert last == first | 2**48 - 1
    assert [last >> 80, over >> 80, after - over] == [NOW // 1000, NOW // 1000 + 1, 1]


def test_the_same_clock_and_randomness_make_the_same_ids_and_no_two_are_equal() -> None:
    first, second = RunIds(Random(1)), RunIds(Random(1))
    ids = [first.make(NOW) for _ in range(1_000)]
    assert ids == [second.make(NOW) for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert RunIds(Random(2)).make(NOW) != ids[0]


def test_all_bits_of_an_id_that_may_vary_do_but_one_that_is_kept_for_counting() -> None:
    random, zeros, ones = Random(1), 2**128 - 1, 0
    for _ in range(200):
        value = UUID(RunIds(random).make(0)).int
        zeros, ones = zeros & value, ones | value
    assert zeros == 0x7 << 76 | 0b10 << 62
    assert ones == 0x7 << 76 | 0xFFF << 64 | 0b10 << 62 | 0x3FFF << 48 | (1 << 47) - 1


# --- awaiting


async def test_a_run_that_has_succeeded_gives_its_result_again_and_again() -> None:
    run = ended(Settled(S, NOW, result=[1]))
    assert await run is run.result
    assert await run is run.result
    assert run.value() == [1]


async def test_a_run_that_has_failed_raises_the_function_s_own_exception() -> None:
    with pytest.raises(ValueError) as caught:
        await ended(Settled(F, NOW, error=ERROR))
    assert caught.value is ERROR


async def test_a_run_that_has_failed_elsewhere_says_so() -> None:
    with pytest.raises(RunFailed, match="run r1 of 't' failed") as caught:
        await ended(Settled(F, NOW))
    assert caught.value.run_id == "r1"


async def test_a_run_that_was_cancelled_raises_with_the_reason() -> None:
    with pytest.raises(RunCancelled, match="was cancelled: shutdown") as caught:
        await ended(Settled(C, NOW, reason="shutdown"))
    assert (caught.value.run_id, caught.value.reason) == ("r1", "shutdown")


async def test_a_fire_that_was_skipped_raises_with_the_reason() -> None:
    run = a_run()
    run.apply(Settled(K, NOW, reason=SkipReason.OVERLAP))
    with pytest.raises(RunSkipped, match="was skipped: overlap") as caught:
        await run
    assert caught.value.reason == "overlap"


@pytest.mark.parametrize("status", [P, R])
def test_a_run_that_has_not_ended_has_no_value(status: RunStatus) -> None:
    with pytest.raises(MisuseError, match=f"is {status}: await it"):
        a_run(status).value()


async def test_everybody_who_awaits_a_run_is_woken_at_its_end() -> None:
    run = a_run()
    waiting = [asyncio.ensure_future(wait_for(run)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    run.start("node", NOW)
    run.apply(Settled(S, NOW, result=5))
    run.wake_waiters()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert [one.cancelled() for one in waiting] == [False, True, False]
    assert [one.result() for one in waiting if not one.cancelled()] == [5, 5]
    run.wake_waiters()


async def wait_for(run: Run[object]) -> object:
    return await run


async def test_who_awaits_a_run_may_be_let_go_with_an_error() -> None:
    run = a_run()
    waiting = asyncio.ensure_future(wait_for(run))
    await asyncio.sleep(0)
    run.wake_waiters(MisuseError("stopped"))
    with pytest.raises(MisuseError, match="stopped"):
        await waiting


# --- the running code asks where it is


def test_outside_a_run_there_is_no_current_run() -> None:
    with pytest.raises(MisuseError, match="nothing is running here"):
        copy_context().run(current_run)


def test_the_current_run_is_that_of_the_context_in_threads_too() -> None:
    run = a_run()

    def inside() -> list[Run[object]]:
        enter_run(run)
        found = [current_run()]
        context = copy_context()
        thread = threading.Thread(target=lambda: found.append(context.run(current_run)))
        thread.start()
        thread.join()
        return found

    assert copy_context().run(inside) == [run, run]
    with pytest.raises(MisuseError):
        current_run()
