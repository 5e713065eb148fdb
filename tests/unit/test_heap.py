"""What must happen next."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched._heap import Wakeup, Wakeups


class Named(Wakeup):
    def __init__(self, name: int) -> None:
        super().__init__()
        self.name = name


def drained(wakeups: Wakeups, now_us: int = 2**62) -> list[Wakeup]:
    return wakeups.pop_due(now_us, sys.maxsize)


def test_the_order_is_instant_then_rank_then_first_in_first_out() -> None:
    wakeups, named = Wakeups(), [Named(name) for name in range(6)]
    for wakeup, due_us, rank in zip(named, (20, 10, 10, 10, 5, 10), (0, 0, 0, -1, 9, 1), strict=True):
        wakeups.set(wakeup, due_us, rank)
    assert [wakeup.name for wakeup in drained(wakeups)] == [4, 3, 1, 2, 5, 0]


def test_nothing_comes_out_before_its_instant_and_no_more_than_asked_for() -> None:
    wakeups = Wakeups()
    for due_us in (30, 10, 20):
        wakeups.set(Named(due_us), due_us)
    assert wakeups.pop_due(9, 10) == []
    assert [wakeup.due_us for wakeup in wakeups.pop_due(20, 1)] == [10]
    assert [wakeup.due_us for wakeup in wakeups.pop_due(20, 10)] == [20]
    assert (wakeups.head_us(), len(wakeups)) == (30, 1)


def test_a_wakeup_that_is_set_again_is_due_at_its_new_instant_only() -> None:
    wakeups, wakeup = Wakeups(), Named(0)
    wakeups.set(wakeup, 10)
    wakeups.set(wakeup, 50)
    assert (wakeups.head_us(), len(wakeups), wakeup.due_us) == (50, 1, 50)
    assert wakeups.pop_due(49, 10) == []
    assert wakeups.pop_due(50, 10) == [wakeup]
    assert drained(wakeups) == []


def test_what_has_been_dropped_never_comes_out() -> None:
    wakeups, wakeup = Wakeups(), Named(0)
    wakeups.drop(wakeup)
    wakeups.set(wakeup, 10)
    wakeups.drop(wakeup)
    wakeups.drop(wakeup)
    assert (wakeups.head_us(), len(wakeups), wakeup.due_us) == (None, 0, None)
    assert drained(wakeups) == []
    wakeups.set(wakeup, 20)
    assert drained(wakeups) == [wakeup]


@pytest.mark.parametrize("live", [1, 1_000])
def test_wakeups_that_move_for_ever_take_no_more_room(live: int) -> None:
    wakeups, named = Wakeups(), [Named(name) for name in range(live)]
    for turn in range(20_000):
        wakeups.set(named[turn % live], turn)
    assert len(wakeups) == live
    assert len(wakeups._heap) <= live + max(live, 64)
    assert len(drained(wakeups)) == live


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("set"), st.integers(0, 9), st.integers(0, 30), st.integers(-1, 1)),
            st.tuples(st.just("drop"), st.integers(0, 9), st.just(0), st.just(0)),
            st.tuples(st.just("pop"), st.integers(0, 30), st.integers(0, 4), st.just(0)),
        ),
        max_size=300,
    )
)
def test_it_behaves_as_a_sorted_list_would(steps: list[tuple[str, int, int, int]]) -> None:
    wakeups, named = Wakeups(), [Named(name) for name in range(10)]
    model: dict[int, tuple[int, int, int]] = {}
    for sequence, (verb, first, second, rank) in enumerate(steps):
        if verb == "set":
            wakeups.set(named[first], second, rank)
            model[first] = (second, rank, sequence)
        elif verb == "drop":
            wakeups.drop(named[first])
            model.pop(first, None)
        else:
            due = sorted((name for name in model if model[name][0] <= first), key=lambda name: model[name])[:second]
            assert wakeups.pop_due(first, second) == [named[name] for name in due]
            for name in due:
                del model[name]
        assert len(wakeups) == len(model)
        assert wakeups.head_us() == min((due_us for due_us, _rank, _sequence in model.values()), default=None)


def test_a_bare_wakeup_does_not_know_what_to_do() -> None:
    with pytest.raises(NotImplementedError):
        Wakeup().ring()
