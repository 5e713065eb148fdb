"""The wall clock on virtual time: exact, settable, and followed by ``datetime.now()``."""

import asyncio
import gc
import sys
import time
import weakref
from datetime import UTC, datetime, timedelta

import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.clock import SystemClock, from_us, to_us
from asyncsched.errors import ConfigError, MissingExtra
from asyncsched.testing import Travel, VirtualClock, VirtualLoop, run
from effort import counted_lines

START = datetime(2026, 3, 27, 17, 59, tzinfo=UTC)
SECOND = 1_000_000
DAY = 86_400 * SECOND


def a_clock(start: datetime = START) -> VirtualClock:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return VirtualClock(loop, start)


def test_it_shows_the_start_and_follows_the_loop_exactly() -> None:
    async def main() -> None:
        await asyncio.sleep(5)
        clock = a_clock()
        assert clock.now() == START
        began = clock.steady_us()
        await asyncio.sleep(0.1)
        await asyncio.sleep(0.2)
        assert clock.now() == START + timedelta(milliseconds=300)
        assert clock.steady_us() - began == 300_000

    run(main)


def test_a_start_without_a_zone_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="aware"):
            a_clock(datetime(2026, 1, 1))

    run(main)


# --- alarms


@settings(max_examples=50)
@given(
    st.integers(min_value=0, max_value=140 * 366 * DAY).map(from_us),
    # Together less than 2**32 seconds: beyond that the loop's time, a float, tells microseconds apart no longer.
    st.lists(st.integers(min_value=1, max_value=27 * 365 * DAY), min_size=1, max_size=5),
)
def test_an_alarm_rings_once_and_exactly_at_its_instant(start: datetime, delays: list[int]) -> None:
    async def main() -> None:
        clock = a_clock(start)
        rung: list[int] = []
        alarm = clock.alarm(lambda: rung.append(clock.now_us()))
        for delay in delays:
            due_us = clock.now_us() + delay
            alarm.set(due_us)
            await clock.reach(from_us(due_us))
            assert rung.pop() == due_us
            assert not rung

    run(main)


def test_setting_an_alarm_replaces_what_was_set_and_none_is_never() -> None:
    async def main() -> list[int]:
        clock = a_clock()
        rung: list[int] = []
        alarm = clock.alarm(lambda: rung.append(clock.steady_us()))
        alarm.set(clock.now_us() + SECOND)
        alarm.set(clock.now_us() + 2 * SECOND)
        await asyncio.sleep(5)
        alarm.set(clock.now_us() + SECOND)
        alarm.set(None)
        await asyncio.sleep(5)
        return rung

    assert run(main) == [2 * SECOND]


def test_an_instant_in_the_past_rings_as_soon_as_possible_and_not_within_set() -> None:
    async def main() -> None:
        clock = a_clock()
        rung: list[int] = []
        alarm = clock.alarm(lambda: rung.append(clock.steady_us()))
        alarm.set(clock.now_us() - DAY)
        assert not rung
        await clock.loop.settle()
        assert rung == [0]

    run(main)


def test_a_closed_alarm_never_rings_again_and_is_forgotten() -> None:
    async def main() -> None:
        clock = a_clock()
        rung, moves = list[int](), list[int]()
        alarm = clock.alarm(lambda: rung.append(clock.now_us()))
        alarm.set(clock.now_us() + SECOND)
        clock.jump(timedelta(milliseconds=1))
        alarm.close()
        alarm.close()
        alarm.set(clock.now_us() + SECOND)
        clock.jump(timedelta(hours=1))
        clock.loop.on_jump.append(lambda: moves.append(clock.steady_us()))
        await asyncio.sleep(5)
        assert rung == []
        assert moves == [5 * SECOND]
        forgotten = weakref.ref(alarm)
        del alarm
        gc.collect()
        assert forgotten() is None

    run(main)


def test_an_alarm_may_be_set_again_while_it_rings() -> None:
    async def main() -> list[int]:
        clock = a_clock()
        rung: list[int] = []

        def ring() -> None:
            rung.append(clock.steady_us())
            alarm.set(clock.now_us() + SECOND)

        alarm = clock.alarm(ring)
        alarm.set(clock.now_us())
        await clock.reach(START + timedelta(seconds=3))
        alarm.close()
        return rung

    assert run(main) == [0, SECOND, 2 * SECOND, 3 * SECOND]


# --- jumps of the wall clock


def test_a_jump_moves_the_wall_clock_alone() -> None:
    async def main() -> None:
        clock = a_clock()
        clock.jump(timedelta(days=2))
        assert (clock.now(), clock.steady_us()) == (START + timedelta(days=2), 0)
        clock.jump(-timedelta(hours=49))
        assert (clock.now(), clock.steady_us()) == (START - timedelta(hours=1), 0)

    run(main)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (timedelta(hours=2), [0]),  # its instant has passed: it rings, and that was it
        (timedelta(minutes=20), [0, 40 * 60 * SECOND]),  # to look at the clock, and at its instant, which is nearer
        (-timedelta(hours=1), [0, 7200 * SECOND]),
    ],
)
def test_after_a_jump_a_set_alarm_rings_and_keeps_its_instant(by: timedelta, expected: list[int]) -> None:
    async def main() -> list[int]:
        clock = a_clock()
        rung: list[int] = []
        alarm = clock.alarm(lambda: rung.append(clock.steady_us()))
        alarm.set(to_us(START + timedelta(hours=1)))
        clock.jump(by)
        await clock.loop.reach(86_400)
        return rung

    assert run(main) == expected


def test_a_jump_leaves_alarms_silent_that_are_not_set() -> None:
    async def main() -> list[str]:
        clock = a_clock()
        rung: list[str] = []
        clock.alarm(lambda: rung.append("never set"))
        once = clock.alarm(lambda: rung.append("set once"))
        once.set(clock.now_us() + SECOND)
        await asyncio.sleep(2)
        clock.jump(timedelta(days=1))
        clock.jump(-timedelta(days=2))
        await asyncio.sleep(3 * 86_400)
        return rung

    assert run(main) == ["set once"]


# --- datetime.now() follows


def test_functions_that_ask_the_time_see_the_virtual_one_in_threads_too() -> None:
    async def main() -> None:
        clock = a_clock()
        before = datetime.now(UTC)
        with Travel(clock):
            for expected in (START, START + timedelta(days=3), START + timedelta(days=5)):
                assert datetime.now(UTC) == expected
                assert time.time_ns() == to_us(expected) * 1000
                assert await asyncio.to_thread(datetime.now, UTC) == expected
                assert await anyio.to_thread.run_sync(datetime.now, UTC) == expected
                assert SystemClock().now_us() == to_us(expected)
                if expected == START:
                    await asyncio.sleep(3 * 86_400)
                else:
                    clock.jump(timedelta(days=2))
        assert timedelta(0) <= datetime.now(UTC) - before < timedelta(minutes=1)
        clock.jump(timedelta(days=1))
        assert not clock.loop.on_jump

    run(main)


def test_local_times_are_in_the_zone_that_was_asked_for() -> None:
    def local() -> datetime:
        return datetime.now()  # noqa: DTZ005 - what a careless function does

    async def main() -> None:
        clock = a_clock()
        real = time.tzname
        with Travel(clock, tz="Asia/Seoul"):
            assert local() == datetime(2026, 3, 28, 2, 59)
            await asyncio.sleep(86_400)
            assert await asyncio.to_thread(local) == datetime(2026, 3, 29, 2, 59)
        assert time.tzname == real

    run(main)


def test_a_month_of_hours_is_a_little_python_each_with_time_machine_moved_along() -> None:
    async def main() -> int:
        clock = a_clock()
        with Travel(clock, tz="Europe/Berlin"):
            with counted_lines() as lines:
                for _ in range(720):
                    await asyncio.sleep(3600)
            assert datetime.now(UTC) == clock.now() == START + timedelta(days=30)
        return lines.count

    assert run(main, debug=False) < 750 * 720


def test_the_monotonic_clock_stays_real() -> None:
    async def main() -> float:
        with Travel(a_clock()):
            began = time.monotonic()
            await asyncio.sleep(86_400)
            return time.monotonic() - began

    assert run(main) < 3_600


def test_without_time_machine_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with pytest.raises(MissingExtra, match=r"pip install 'asyncsched\[testing\]'"), Travel(a_clock()):
            pass

    monkeypatch.setitem(sys.modules, "time_machine", None)
    run(main)
