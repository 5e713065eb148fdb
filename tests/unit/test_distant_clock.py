"""The clock of somebody else, as it is reckoned here: what looks at it tell, and what they leave open."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncsched.clock import Clock, DistantClock

SECOND = 1_000_000


class Here(Clock):
    """Both clocks of a machine, moved by hand."""

    def __init__(self) -> None:
        self.wall_us, self.passed_us = 1_000 * SECOND, 5 * SECOND

    def now_us(self) -> int:
        return self.wall_us

    def steady_us(self) -> int:
        return self.passed_us

    def pass_by(self, us: int) -> None:
        self.wall_us += us
        self.passed_us += us


def look(here: Here, clock: DistantClock, ahead_us: int, there: int = 0, back: int = 0) -> int:
    """Look at a clock that is so far ahead of the wall clock that ``here`` had in the beginning."""
    asked_us = here.passed_us
    here.pass_by(there)
    said_us = here.passed_us + 995 * SECOND + ahead_us
    here.pass_by(back)
    return clock.heard(asked_us, said_us, here.passed_us)


def test_before_the_first_look_it_is_the_machines_own() -> None:
    here = Here()
    clock = DistantClock(here)
    assert (clock.now_us(), clock.steady_us(), clock.skew_us()) == (here.wall_us, here.passed_us, 0)
    here.pass_by(7)
    assert clock.now_us() == here.wall_us


def test_a_look_sets_it_to_the_middle_of_the_time_that_it_took() -> None:
    here = Here()
    clock = DistantClock(here)
    assert look(here, clock, 3 * SECOND, there=300, back=100) == 3 * SECOND + 100
    assert clock.now_us() == here.wall_us + 3 * SECOND + 100
    assert clock.skew_us() == -3 * SECOND - 100


def test_setting_the_machines_clock_does_not_move_it() -> None:
    here = Here()
    clock = DistantClock(here)
    look(here, clock, -SECOND)
    before_us = clock.now_us()
    here.wall_us += 3_600 * SECOND
    assert clock.now_us() == before_us
    assert clock.skew_us() == 3_601 * SECOND


def test_a_look_that_took_long_spoils_nothing() -> None:
    here = Here()
    clock = DistantClock(here)
    look(here, clock, SECOND, there=10, back=10)
    here.pass_by(SECOND)
    look(here, clock, SECOND, there=0, back=SECOND)
    assert abs(clock.skew_us() + SECOND) < SECOND // 1_000


def test_of_a_clock_that_was_set_the_new_time_counts_at_once() -> None:
    here = Here()
    clock = DistantClock(here)
    look(here, clock, 0, there=10, back=10)
    assert look(here, clock, 300 * SECOND, there=10, back=10) == 300 * SECOND
    assert look(here, clock, -300 * SECOND, there=10, back=10) == -600 * SECOND


def test_a_clock_that_drifts_is_followed() -> None:
    here = Here()
    clock = DistantClock(here)
    ahead = 0
    for _ in range(100):
        here.pass_by(5 * SECOND)
        ahead += 50_000  # one in a hundred
        look(here, clock, ahead, there=100, back=100)
        assert clock.now_us() == here.passed_us + 995 * SECOND + ahead


@given(
    st.integers(-(10**12), 10**12),
    st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=20),
)
def test_it_is_never_further_off_than_half_of_the_best_look_and_what_was_lost_since(
    ahead: int, looks: list[tuple[int, int, int]]
) -> None:
    here = Here()
    clock = DistantClock(here)
    bound = 10**15
    for pause, there, back in looks:
        here.pass_by(pause)
        look(here, clock, ahead, there, back)
        bound = min(bound + (pause + there + back) // 2_000 + 1, (there + back + 1) // 2)
        assert abs(clock.now_us() - (here.passed_us + 995 * SECOND + ahead)) <= bound + 1
