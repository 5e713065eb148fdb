"""Who of those that wait for a key may start: by its places, and by its rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsched.limits import Rate
from asyncsched.run import NO_TERMS
from asyncsched.stores._durable.admission import PLACE, PROMISE, Admission, Starts

SECOND = 1_000_000
LIMITED = NO_TERMS._replace(limit=2, limit_key="k")
RATED = NO_TERMS._replace(limit=None, rate=Rate(2, 10 * SECOND), limit_key="k")


def known(*starts: int) -> Starts:
    found = Starts()
    found.know(starts, 2, 10 * SECOND, None)
    return found


def test_as_many_pass_as_there_are_places_left() -> None:
    admission = Admission(1, 0, 0)
    assert not admission.full(LIMITED, 0)
    assert admission.admit(LIMITED, 0) == PLACE
    assert admission.full(LIMITED, 0)
    assert not admission.full(LIMITED, PLACE)  # it has one already, between two attempts
    assert not admission.full(RATED, 0)


def test_a_place_that_a_run_has_is_not_counted_twice() -> None:
    admission = Admission(1, 0, 0)
    assert admission.admit(LIMITED, PLACE) == PLACE
    assert not admission.full(LIMITED, 0)


@pytest.mark.parametrize(
    ("starts", "promised", "wake_us"),
    [((), 0, None), ((), 1, None), ((9 * SECOND,), 0, None), ((9 * SECOND,), 1, 19 * SECOND)],
)
def test_a_start_waits_for_those_before_it_and_says_until_when(
    starts: tuple[int, ...], promised: int, wake_us: int | None
) -> None:
    found, admission = known(*starts), Admission(0, promised, 12 * SECOND)
    assert RATED.rate is not None
    assert admission.early(RATED.rate, found) is (wake_us is not None)
    assert found.wake_us == wake_us


def test_where_all_starts_are_promised_nobody_knows_when_the_next_may_be() -> None:
    found, admission = known(), Admission(0, 2, 0)
    assert RATED.rate is not None
    assert admission.early(RATED.rate, found)
    assert found.wake_us is None


@given(st.integers(1, 5), st.integers(0, 8), st.integers(0, 12))
def test_never_more_are_admitted_than_may_be(limit: int, places: int, waiting: int) -> None:
    admission, terms, admitted = Admission(places, 0, 0), LIMITED._replace(limit=limit), 0
    while admitted < waiting and not admission.full(terms, 0):
        admitted += bool(admission.admit(terms, 0))
    assert admitted == min(waiting, max(0, limit - places))


@given(st.integers(1, 5), st.integers(1, 20), st.lists(st.integers(0, 40), max_size=12))
def test_starts_that_are_admitted_keep_to_the_rate(count: int, period_us: int, instants: list[int]) -> None:
    rate, starts, started = Rate(count, period_us), Starts(), []
    terms = RATED._replace(rate=rate)
    for now_us in sorted(instants):
        admission = Admission(0, 0, now_us)
        if not admission.early(rate, starts):
            assert admission.admit(terms, 0) == PROMISE
            starts.add_start(rate, now_us)
            started.append(now_us)
    for first, last in zip(started, started[count:], strict=False):
        assert last - first >= period_us
