"""The one place that waits for time: on the real kernel where that is the point, else on virtual time."""

import asyncio
import ctypes
import errno
import os
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from asyncsched._engine import timer as timer_module
from asyncsched._engine.living import Reminder
from asyncsched._engine.timer import HopAlarm, Timer, TimerfdAlarm, system_alarm
from asyncsched.clock import Alarm, Clock, SystemClock
from asyncsched.testing import VirtualClock, VirtualLoop, run

SECOND = 1_000_000
HOUR = 3_600 * SECOND
ADJ_SETOFFSET, ADJ_NANO, TIMEX_TIME = 0x0100, 0x2000, 72  # of linux/timex.h, on 64 bits
PATIENCE = 10.0  # seconds, for what takes milliseconds unless the machine is dead
START = datetime(2026, 1, 1, tzinfo=UTC)

linux = pytest.mark.skipif(sys.platform != "linux", reason="timerfd is a call of Linux")


class Rings:
    """Counts rings, and lets a test wait for the next one."""

    def __init__(self) -> None:
        self.count = 0
        self._event = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._event.set()

    async def next(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._event.wait()
        self._event.clear()


def now_us() -> int:
    return SystemClock().now_us()


def the_clock_was_set() -> bool:
    """Set the machine's clock forward by a nanosecond, which the kernel tells timers; whether that is permitted.

    To set it to what it shows would lose a moment each time, and hours where a test runs under a clock that is not
    the machine's.
    """
    adjustment = ctypes.create_string_buffer(256)  # a struct timex; its time is a struct timeval
    struct.pack_into("I", adjustment, 0, ADJ_SETOFFSET | ADJ_NANO)
    struct.pack_into("qq", adjustment, TIMEX_TIME, 0, 1)
    return ctypes.CDLL(None).adjtimex(adjustment) != -1


@pytest.fixture(autouse=True)
def undisturbed() -> Iterator[None]:
    """Nobody else sets the clock meanwhile: timers would ring for that."""
    if sys.platform != "linux":
        yield
        return
    import fcntl

    with (Path(tempfile.gettempdir()) / "asyncsched-clock.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def refuse(code: int) -> Callable[..., int]:
    def call(*_arguments: object) -> int:
        raise OSError(code, os.strerror(code))

    return call


# --- timerfd


@linux
async def test_a_timerfd_rings_once_at_its_instant_and_not_before() -> None:
    rings = Rings()
    alarm = TimerfdAlarm(rings)
    due_us = now_us() + 20_000
    alarm.set(due_us)
    await rings.next()
    assert now_us() >= due_us
    for _ in range(5):
        await asyncio.sleep(0)
    assert rings.count == 1
    alarm.close()


@linux
@pytest.mark.parametrize("due_us", [1, 0, -5, 1_000_000_000_000_000])
async def test_a_timerfd_rings_at_once_for_an_instant_that_has_passed(due_us: int) -> None:
    rings = Rings()
    alarm = TimerfdAlarm(rings)
    alarm.set(due_us)
    await rings.next()
    assert rings.count == 1
    alarm.close()


@linux
async def test_a_timerfd_that_is_set_anew_rings_at_the_new_instant_only() -> None:
    moved, never, last = Rings(), Rings(), Rings()
    alarms = [TimerfdAlarm(rings) for rings in (moved, never, last)]
    alarms[0].set(now_us() + HOUR)
    alarms[1].set(now_us() + 10_000)
    alarms[0].set(now_us() + 10_000)
    alarms[1].set(None)
    alarms[2].set(now_us() + 40_000)
    await moved.next()
    await last.next()
    assert (moved.count, never.count, last.count) == (1, 0, 1)
    for alarm in alarms:
        alarm.close()


@linux
async def test_a_closed_timerfd_is_free_and_never_rings() -> None:
    rings, last = Rings(), Rings()
    closed, other = TimerfdAlarm(rings), TimerfdAlarm(last)
    place = Path(f"/proc/self/fd/{closed.fd}")
    assert "timerfd" in place.readlink().name
    closed.set(now_us() + 1_000)
    closed.close()
    assert not place.exists()
    closed.close()
    other.set(now_us() + 10_000)
    await last.next()
    assert rings.count == 0
    other.close()


@linux
async def test_a_timerfd_is_not_inherited_by_child_processes() -> None:
    alarm = TimerfdAlarm(Rings())
    assert not os.get_inheritable(alarm.fd)
    alarm.close()


@linux
async def test_a_timerfd_that_was_set_anew_after_the_poll_does_not_ring_yet() -> None:
    rings = Rings()
    alarm = TimerfdAlarm(rings)
    alarm.set(now_us() + HOUR)
    alarm._read()
    assert rings.count == 0
    alarm.close()


@linux
async def test_a_timerfd_rings_at_once_when_the_clock_is_set() -> None:
    rings = Rings()
    alarm = TimerfdAlarm(rings)
    alarm.set(now_us() + HOUR)
    await asyncio.sleep(0)
    assert rings.count == 0
    if not the_clock_was_set():
        alarm.close()
        pytest.skip("only root may set the clock")
    await rings.next()
    alarm.close()


@linux
async def test_a_timerfd_whose_read_says_that_the_clock_was_set_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    rings = Rings()
    alarm = TimerfdAlarm(rings)
    monkeypatch.setattr("os.read", refuse(errno.ECANCELED))
    alarm._read()
    assert rings.count == 1
    monkeypatch.setattr("os.read", refuse(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        alarm._read()
    assert rings.count == 1
    alarm.close()


@linux
async def test_a_timerfd_that_is_set_after_the_clock_was_rings_at_once_and_at_its_instant() -> None:
    rings = Rings()
    alarm = TimerfdAlarm(rings)
    alarm.set(now_us() + HOUR)
    if not the_clock_was_set():
        alarm.close()
        pytest.skip("only root may set the clock")
    due_us = now_us() + 30_000
    alarm.set(due_us)  # before the loop has looked at the descriptor
    await rings.next()
    while rings.count < 2:
        await rings.next()
    assert now_us() >= due_us
    alarm.close()


@linux
async def test_a_timerfd_that_cannot_be_set_rings_if_the_clock_was_set_and_raises_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rings = Rings()
    alarm = TimerfdAlarm(rings)
    with monkeypatch.context() as patch:
        patch.setattr(timer_module, "_libc_call", refuse(errno.ECANCELED))
        alarm.set(now_us() + HOUR)
        assert rings.count == 0
        await rings.next()
        patch.setattr(timer_module, "_libc_call", refuse(errno.EINVAL))
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            alarm.set(now_us() + HOUR)
    alarm.close()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        alarm.set(now_us())


# --- which alarm


@linux
async def test_on_linux_it_waits_by_timerfd() -> None:
    alarm = system_alarm(SystemClock(), Rings())
    assert isinstance(alarm, TimerfdAlarm)
    alarm.close()


async def test_where_there_is_no_timerfd_it_waits_in_hops(monkeypatch: pytest.MonkeyPatch) -> None:
    for code in (errno.EPERM, errno.ENOSYS):
        monkeypatch.setattr(timer_module, "_libc_call", refuse(code))
        assert isinstance(system_alarm(SystemClock(), Rings()), HopAlarm)


@linux
async def test_on_a_loop_that_watches_no_descriptors_it_waits_in_hops_and_leaves_none_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses(*_arguments: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuses)
    assert isinstance(system_alarm(SystemClock(), Rings()), HopAlarm)  # that nothing is left open is seen by the room


async def test_elsewhere_it_waits_in_hops(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sys.platform", "darwin")
        alarm = system_alarm(SystemClock(), Rings())
    assert isinstance(alarm, HopAlarm)


async def test_a_clock_that_brings_its_own_alarm_is_waited_for_with_it() -> None:
    clock = HandClock()
    timer = Timer(clock, Rings(), lambda _by_us: None)
    timer.set(Reminder(Rings()), 5)
    assert clock.settings == [5]


# --- hops


class NoAlarm(Clock):
    """A virtual clock that leaves the wait to the engine."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.virtual = VirtualClock(loop, START)

    def now_us(self) -> int:
        return self.virtual.now_us()

    def steady_us(self) -> int:
        return self.virtual.steady_us()

    async def advance(self, seconds: float) -> None:
        await self.virtual.loop.reach(self.virtual.loop.time() + seconds)


def test_a_hop_rings_at_its_instant_but_after_30_s_at_the_latest() -> None:
    async def main() -> None:
        clock, loop = NoAlarm(), asyncio.get_running_loop()
        began_us, rang = clock.now_us(), []
        alarm = HopAlarm(clock, lambda: rang.append(loop.time()))
        alarm.set(began_us + 5 * SECOND)
        await clock.advance(100)
        alarm.set(began_us + HOUR)
        await clock.advance(100)
        alarm.set(began_us)
        await clock.advance(0)
        assert rang == [5.0, 130.0, 200.0]
        alarm.set(clock.now_us() + SECOND)
        alarm.set(clock.now_us() + 3 * SECOND)
        await clock.advance(10)
        alarm.set(clock.now_us() + SECOND)
        alarm.set(None)
        await clock.advance(10)
        alarm.set(clock.now_us() + SECOND)
        alarm.close()
        alarm.close()
        await clock.advance(10)
        assert rang[3:] == [203.0]

    run(main)


class Watched:
    """A timer in hops, driven as the engine drives it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.looks: list[float] = []
        self.jumps: list[int] = []
        self.timer = Timer(clock, self._turn, self.jumps.append)
        self.rang: list[tuple[str, float]] = []

    def add(self, name: str, due_us: int) -> None:
        loop = asyncio.get_running_loop()
        self.timer.set(Reminder(lambda: self.rang.append((name, loop.time()))), due_us)

    def _turn(self) -> None:
        self.looks.append(asyncio.get_running_loop().time())
        now_us = self.timer.look()
        for wakeup in self.timer.take_due(now_us, 100):
            wakeup.ring()
        self.timer.rearm(now_us)


@pytest.fixture
def in_hops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timer_module, "_libc_call", refuse(errno.ENOSYS))


@pytest.mark.usefixtures("in_hops")
def test_a_long_wait_in_hops_looks_at_the_clock_again_and_again() -> None:
    async def main() -> None:
        clock = NoAlarm()
        watched = Watched(clock)
        watched.add("a", clock.now_us() + 100 * SECOND)
        await clock.advance(200)
        assert watched.looks == [30.0, 60.0, 90.0, 100.0]
        assert (watched.rang, watched.jumps) == ([("a", 100.0)], [])
        watched.timer.close()

    run(main)


@pytest.mark.usefixtures("in_hops")
def test_a_clock_that_is_set_forward_is_noticed_at_the_end_of_the_hop() -> None:
    async def main() -> None:
        clock = NoAlarm()
        watched = Watched(clock)
        watched.add("a", clock.now_us() + HOUR)
        await clock.advance(10)
        clock.virtual.jump(timedelta(hours=2))
        await clock.advance(60)
        assert watched.rang == [("a", 30.0)]
        assert watched.jumps == [2 * HOUR]
        watched.timer.close()

    run(main)


@pytest.mark.usefixtures("in_hops")
def test_after_a_clock_was_set_back_nothing_rings_before_its_instant() -> None:
    async def main() -> None:
        clock = NoAlarm()
        watched = Watched(clock)
        watched.add("a", clock.now_us() + 20 * SECOND)
        await clock.advance(10)
        clock.virtual.jump(timedelta(seconds=-60))
        await clock.advance(69)
        assert (watched.rang, watched.jumps) == ([], [-60 * SECOND])
        await clock.advance(1)
        assert watched.rang == [("a", 80.0)]
        watched.timer.close()

    run(main)


# --- the timer, on a clock by hand


class HandClock(Clock):
    """A clock and an alarm that do nothing by themselves."""

    def __init__(self) -> None:
        self.wall_us = 0
        self.mono_us = 0
        self.settings: list[int | None] = []
        self.closed = 0
        self.ring: Callable[[], None] = lambda: None

    def now_us(self) -> int:
        return self.wall_us

    def steady_us(self) -> int:
        return self.mono_us

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        self.ring = ring
        return self

    def set(self, due_us: int | None) -> None:
        self.settings.append(due_us)

    def close(self) -> None:
        self.closed += 1

    def pass_by(self, us: int) -> None:
        self.wall_us += us
        self.mono_us += us


class Hand:
    """A timer on a clock by hand, and what it told."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.rings: list[int] = []
        self.jumps: list[int] = []
        self.timer = Timer(self.clock, lambda: self.rings.append(self.clock.wall_us), self.jumps.append)

    def reminder(self, due_us: int, rank: int = 0) -> Reminder:
        reminder = Reminder(lambda: None)
        self.timer.set(reminder, due_us, rank)
        return reminder


def test_the_alarm_is_set_to_the_earliest_only() -> None:
    hand = Hand()
    for due_us in (50, 70, 30, 30, 40):
        hand.reminder(due_us)
    assert hand.clock.settings == [50, 30]
    assert (hand.timer.due(29), hand.timer.due(30)) == (False, True)


def test_between_taking_and_rearming_the_alarm_is_set_once() -> None:
    hand = Hand()
    first = [hand.reminder(10), hand.reminder(10)]
    hand.clock.pass_by(10_000)
    hand.clock.ring()
    assert hand.rings == [10_000]
    assert hand.timer.take_due(10_000, 10) == first
    for due_us in (90_000, 60_000, 80_000):
        hand.reminder(due_us)
    assert hand.clock.settings == [10]
    hand.timer.rearm(10_000)
    assert hand.clock.settings == [10, 60_000]
    hand.reminder(50_000)
    assert hand.clock.settings == [10, 60_000, 50_000]


def test_what_is_taken_is_in_order_and_no_more_than_asked_for() -> None:
    hand = Hand()
    late, low, high = hand.reminder(20), hand.reminder(10, 1), hand.reminder(10, -1)
    assert hand.timer.take_due(20, 2) == [high, low]
    assert hand.timer.due(20)
    assert hand.timer.take_due(20, 2) == [late]
    assert not hand.timer.due(10**18)


def test_an_alarm_that_rang_is_set_again_even_to_the_same_instant() -> None:
    hand = Hand()
    hand.reminder(50_000)
    hand.clock.pass_by(10_000)
    hand.clock.ring()  # the clock was set, or a hop has ended
    hand.timer.take_due(10_000, 10)
    hand.timer.rearm(10_000)
    assert hand.clock.settings == [50_000, 50_000]
    hand.timer.take_due(20_000, 10)
    hand.timer.rearm(20_000)
    assert hand.clock.settings == [50_000, 50_000]


def test_when_nothing_is_left_the_alarm_is_set_to_never() -> None:
    hand = Hand()
    reminder = hand.reminder(50_000)
    hand.timer.drop(reminder)
    assert hand.clock.settings == [50_000]
    hand.timer.rearm(10_000)
    assert hand.clock.settings == [50_000, None]
    hand.reminder(70_000)
    assert hand.clock.settings == [50_000, None, 70_000]


def test_a_timer_at_rest_rings_at_the_end_of_it_whatever_is_due() -> None:
    hand = Hand()
    hand.reminder(50_000)
    hand.timer.take_due(10_000, 10)
    hand.timer.rest(90_000)
    hand.reminder(20_000)
    assert hand.clock.settings == [50_000, 90_000]
    hand.clock.pass_by(90_000)
    hand.clock.ring()
    hand.timer.take_due(90_000, 1)
    hand.timer.rearm(90_000)
    assert hand.clock.settings[2:] == [50_000]


def test_a_closed_timer_closes_its_alarm() -> None:
    hand = Hand()
    hand.timer.close()
    assert hand.clock.closed == 1


def test_a_jump_of_the_wall_clock_is_told_once_with_its_size() -> None:
    hand = Hand()
    hand.clock.pass_by(5 * HOUR)
    assert (hand.timer.look(), hand.jumps) == (5 * HOUR, [])
    hand.clock.wall_us += HOUR
    assert (hand.timer.look(), hand.jumps) == (6 * HOUR, [HOUR])
    hand.clock.pass_by(SECOND)
    hand.timer.look()
    hand.clock.wall_us -= 2 * HOUR
    assert (hand.timer.look(), hand.jumps) == (4 * HOUR + SECOND, [HOUR, -2 * HOUR])
    hand.timer.look()
    assert hand.jumps == [HOUR, -2 * HOUR]


def test_a_clock_that_is_slewed_has_not_jumped() -> None:
    hand = Hand()
    hand.clock.wall_us += SECOND
    hand.timer.look()
    hand.clock.wall_us -= 2 * SECOND
    hand.timer.look()
    assert hand.jumps == []
    hand.clock.wall_us -= 1
    hand.timer.look()
    assert hand.jumps == [-SECOND - 1]


# --- many wakes a second


@linux
async def test_wakes_that_follow_each_other_closely_are_kept_apart_and_others_are_exact() -> None:
    timer = Timer(SystemClock(), Rings(), lambda _by_us: None)
    timer.close()
    spy = HandClock()
    timer._alarm = spy
    for due_us in (10_100, 10_200, 10_300, 12_000):
        timer.set(Reminder(Rings()), due_us)
    assert spy.settings == [10_100]

    def turn(now_us: int) -> int | None:
        timer._rang()
        timer.take_due(now_us, 10)
        timer.rearm(now_us)
        return spy.settings[-1]

    assert turn(10_100) == 10_200
    assert turn(10_200) == 11_000
    assert turn(11_000) == 12_000
    timer.set(Reminder(Rings()), 20_000)
    assert turn(12_000) == 20_000
    assert turn(20_000) is None


@linux
async def test_an_alarm_that_rings_soon_enough_is_left_where_it_is() -> None:
    timer = Timer(SystemClock(), Rings(), lambda _by_us: None)
    timer.close()
    spy = HandClock()
    timer._alarm = spy
    timer.set(Reminder(Rings()), 10_100)
    timer.take_due(10_000, 10)
    timer.rearm(10_000)
    timer.take_due(10_050, 10)
    timer.set(Reminder(Rings()), 10_090)
    timer.rearm(10_050)
    assert spy.settings == [10_100]


@linux
async def test_a_real_timer_rings_its_wakeups_in_order_and_none_too_early() -> None:
    clock, rang = SystemClock(), []
    rings = Rings()
    timer = Timer(clock, rings, lambda _by_us: None)
    began_us = clock.now_us()
    for delay_us in (30_000, 10_000, 20_000, 10_000):
        timer.set(Reminder(lambda delay_us=delay_us: rang.append((delay_us, clock.now_us()))), began_us + delay_us)
    while len(rang) < 4:
        await rings.next()
        now_us = timer.look()
        for wakeup in timer.take_due(now_us, 10):
            wakeup.ring()
        timer.rearm(now_us)
    timer.close()
    assert [delay_us for delay_us, _at_us in rang] == [10_000, 10_000, 20_000, 30_000]
    assert all(at_us - began_us >= delay_us for delay_us, at_us in rang)
