"""When outcomes that come from other threads are fetched, and when they wake the loop."""

from collections.abc import Callable

import pytest

from asyncsched.executors._pace import FETCH_S, Pace


class Stream:
    """Outcomes on their way to a loop, each at once or as they are fetched; tells how they fared."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.pace = Pace(self.now_s)
        self.came = self.looks = 0
        self.fetching_s = 0.0

    def flow(self, seconds: float, waking: Callable[[], tuple[float, int]], fetched: Callable[[], int]) -> None:
        """``waking``: seconds to the next wake, and what it brings. ``fetched``: what each fetch brings."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            passed_s, came = (FETCH_S, fetched()) if self.pace.fetching else waking()
            self.fetching_s += FETCH_S if self.pace.fetching else 0
            self.now_s += passed_s
            self.came += came
            self.looks += 1
            self.pace.look(self.now_s, came)

    def spread(self, seconds: float, per_s: int) -> None:
        """They come evenly, whatever becomes of them."""
        self.flow(seconds, lambda: (1 / per_s, 1), lambda: round(per_s * FETCH_S))

    def one_by_one(self, seconds: float, callers: int, call_s: float) -> None:
        """Each caller makes the next call when he has the outcome of the one before."""
        self.flow(
            seconds, lambda: (call_s / callers, 1), lambda: round(callers * FETCH_S / (call_s + FETCH_S / 2)) or 1
        )


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.mark.parametrize("per_s", [1, 100, 1_900])
def test_what_comes_now_and_then_wakes_the_loop(stream: Stream, per_s: int) -> None:
    stream.spread(100 / per_s + 1, per_s)
    assert stream.fetching_s == 0


@pytest.mark.parametrize("per_s", [3_000, 10_000, 100_000])
def test_what_comes_thick_and_fast_is_fetched(stream: Stream, per_s: int) -> None:
    stream.spread(1, per_s)
    assert stream.fetching_s > 0.95
    assert stream.looks < 1_100


def test_it_is_fetched_no_longer_when_it_ends(stream: Stream) -> None:
    stream.spread(1, 10_000)
    stream.flow(0.03, lambda: (0.03, 0), lambda: 0)
    assert not stream.pace.fetching
    assert stream.looks < 1_130


def test_it_is_fetched_again_when_it_comes_again(stream: Stream) -> None:
    for _ in range(20):
        stream.spread(0.2, 10_000)
        assert stream.pace.fetching
        stream.spread(1, 50)
        assert not stream.pace.fetching


@pytest.mark.parametrize(("callers", "call_s"), [(1, 0.0001), (2, 0.0002), (5, 0.001)])
def test_who_waits_for_each_outcome_before_the_next_call_is_hardly_slowed_down(
    stream: Stream, callers: int, call_s: float
) -> None:
    stream.one_by_one(30, callers, call_s)
    assert 0 < stream.fetching_s < 1
    assert stream.came > 0.95 * 30 * callers / call_s
