"""Numbers fixed by a key, and fires that start later by one."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncsched.spread import jittered_us, spread_us

SECOND = 1_000_000
HOUR = 3_600 * SECOND
START = 1_767_225_600 * SECOND


@settings(max_examples=1_000)
@example(0, "", 0)
@example(1, "\ud800", -1)
@given(st.integers(0, 10 * 365 * 86_400 * SECOND), st.text(), st.integers())
def test_a_number_is_within_its_width_and_always_the_same(width: int, key: str, number: int) -> None:
    found = spread_us(width, key, number)
    assert found == spread_us(width, key, number)
    assert 0 <= found < width or (width, found) == (0, 0)


def test_numbers_are_pinned_so_that_no_release_moves_them() -> None:
    assert [spread_us(1_000, "a:b", number) for number in range(5)] == [386, 73, 162, 484, 663]
    assert jittered_us("a:b", START, 30 * SECOND) - START == 28_973_834


@settings(max_examples=1_000)
@given(
    st.text(max_size=30),
    st.lists(st.integers(0, 400 * 365 * 86_400 * SECOND), min_size=2, max_size=2)
    | st.tuples(st.integers(0, 10**15), st.integers(0, 200)).map(lambda pair: [pair[0], sum(pair)]),
    st.integers(1, 100) | st.integers(1, 86_400 * SECOND),
)
def test_a_jittered_fire_is_later_by_less_than_the_jitter_and_overtakes_none(
    task: str, instants: list[int], jitter: int
) -> None:
    one, other = sorted(instants)
    moved = jittered_us(task, one, jitter)
    assert 0 <= moved - one < jitter
    assert jittered_us(task, one, jitter) == moved
    assert moved <= jittered_us(task, other, jitter)
    assert moved < jittered_us(task, one + jitter, jitter)


def test_without_jitter_a_fire_is_in_time() -> None:
    assert jittered_us("a", START + 7, 0) == START + 7


def test_a_thousand_hourly_fires_are_spread_over_the_jitter_and_rise() -> None:
    nominal = [START + hour * HOUR for hour in range(1_000)]
    moved = [jittered_us("app:report", at_us, 30 * SECOND) for at_us in nominal]
    late = [now - at_us for now, at_us in zip(moved, nominal, strict=True)]
    assert moved == sorted(set(moved))
    assert 0 <= min(late) <= SECOND
    assert 29 * SECOND <= max(late) < 30 * SECOND
    thirds = [sum(part <= one < part + 10 * SECOND for one in late) for part in range(0, 30 * SECOND, 10 * SECOND)]
    assert min(thirds) > 270


def test_tasks_that_fire_together_start_apart() -> None:
    for at_us in (START, START + 7 * SECOND, START + 15 * SECOND):
        late = [jittered_us(f"app:task{number}", at_us, 30 * SECOND) - at_us for number in range(1_000)]
        assert len(set(late)) > 990
        thirds = [sum(part <= one < part + 10 * SECOND for one in late) for part in range(0, 30 * SECOND, 10 * SECOND)]
        assert min(thirds) > 180
