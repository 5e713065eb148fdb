"""Waiting by a clock that is elsewhere: on the steady clock, set anew where the other was found to have moved."""

from __future__ import annotations

import asyncio
import sys

import pytest

from asyncsched._engine.timer import HopAlarm, Timer, TimerfdAlarm, system_alarm
from asyncsched._heap import Wakeup
from asyncsched.clock import DistantClock, SystemClock

SECOND = 1_000_000
PATIENCE_S = 30


class Bell(Wakeup):
    __slots__ = ()


def an_hour_ahead() -> DistantClock:
    clock = DistantClock(SystemClock())
    tell(clock, 3_600 * SECOND)
    return clock


def tell(clock: DistantClock, ahead_us: int) -> int:
    steady_us = clock.steady_us()
    return clock.heard(steady_us, SystemClock().now_us() + ahead_us, clock.steady_us())


@pytest.mark.parametrize("make", [TimerfdAlarm, lambda ring, clock: HopAlarm(clock, ring)], ids=["timerfd", "hops"])
@pytest.mark.skipif(sys.platform != "linux", reason="a timerfd is Linux's")
async def test_it_rings_at_the_instant_of_the_other_clock(make) -> None:
    clock, rang = an_hour_ahead(), asyncio.Event()
    alarm = make(rang.set, clock)
    due_us = clock.now_us() + 50_000
    alarm.set(due_us)
    await asyncio.wait_for(rang.wait(), PATIENCE_S)
    assert clock.now_us() >= due_us - 2_000  # loops of their own round by up to a millisecond
    rang.clear()
    alarm.set(clock.now_us() - SECOND)
    await asyncio.wait_for(rang.wait(), PATIENCE_S)
    rang.clear()
    alarm.set(clock.now_us() + 20_000)
    alarm.set(None)
    await asyncio.sleep(0.05)
    assert not rang.is_set()
    alarm.close()


@pytest.mark.skipif(sys.platform != "linux", reason="a timerfd is Linux's")
async def test_the_systems_alarm_for_it_does_not_follow_the_wall_clock() -> None:
    alarm = system_alarm(an_hour_ahead(), lambda: None)
    assert isinstance(alarm, TimerfdAlarm)
    assert alarm._clock is not None
    alarm.close()


async def test_after_a_look_at_the_other_clock_the_alarm_is_set_anew() -> None:
    clock, rang, jumps = an_hour_ahead(), asyncio.Event(), []
    timer = Timer(clock, rang.set, jumps.append)
    bell = Bell()
    timer.set(bell, clock.now_us() + 600 * SECOND)
    assert tell(clock, 3_600 * SECOND + 700 * SECOND) > 600 * SECOND
    timer.doubt()
    timer.rearm(clock.now_us())
    await asyncio.wait_for(rang.wait(), PATIENCE_S)
    now_us = timer.look()
    assert timer.take_due(now_us, 10) == [bell]
    (by_us,) = jumps
    assert abs(by_us - 700 * SECOND) < SECOND
    timer.close()
