"""Turns: one after the other, soon after they are called, later after a failure, none once they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

import pytest

from asyncsched._engine.bus import Events
from asyncsched._engine.outage import Outage
from asyncsched._engine.turns import Turns
from asyncsched.clock import Clock
from asyncsched.errors import StoreError
from asyncsched.stores import MemoryStore


class StoppedClock(Clock):
    def __init__(self) -> None:
        self.us = 1_000_000

    def now_us(self) -> int:
        return self.us

    def steady_us(self) -> int:
        return self.us


class Alarm:
    """What turns want of the timer: notes when it was set to the next wakeup, or to the end of a rest."""

    def __init__(self) -> None:
        self.set: list[int | None] = []
        self.error: Exception | None = None

    def rearm(self, now_us: int) -> None:
        if self.error is not None:
            raise self.error
        self.set.append(None)

    def rest(self, until_us: int) -> None:
        self.set.append(until_us)


class LaterStore(MemoryStore):
    answers_at_once = False


class Bench:
    def __init__(self, *, at_once: bool = True) -> None:
        self.clock = StoppedClock()
        self.alarm = Alarm()
        self.log: list[str] = []
        self.work: Callable[[], None] = lambda: None
        self.steps = 0 if at_once else 3
        self.failures: list[BaseException] = []
        store = MemoryStore() if at_once else LaterStore()
        outage = Outage(Events(), self.clock)
        self.turns = Turns(store, self.clock, self.turn, self.rested, self.failures.append, outage)
        self.turns.timer = self.alarm  # type: ignore[assignment]

    def rested(self) -> None:
        self.log.append("rested")

    async def turn(self) -> None:
        self.log.append("begin")
        for _ in range(self.steps):
            await asyncio.sleep(0)
        self.work()
        self.log.append("end")


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


TURN = ["begin", "end"]


async def test_calls_are_answered_together_in_a_later_step() -> None:
    bench = Bench()
    bench.turns.begin()
    bench.turns.call()
    bench.turns.call()
    assert bench.log == []
    await settle()
    assert bench.log == [*TURN, "rested"]
    assert bench.alarm.set == [None]


async def test_the_alarm_is_answered_on_the_spot() -> None:
    bench = Bench()
    bench.turns.begin()
    bench.turns.alarm_rang()
    assert bench.log == [*TURN, "rested"]


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_call_within_a_turn_is_one_more_turn_and_the_alarm_waits_for_that(at_once: bool) -> None:
    bench = Bench(at_once=at_once)
    bench.turns.begin()

    def once() -> None:
        bench.work = lambda: None
        bench.turns.call()
        bench.turns.call()

    bench.work = once
    bench.turns.call()
    await settle()
    assert bench.log == [*TURN, *TURN, "rested"]
    assert bench.alarm.set == [None]


async def test_turns_that_take_their_time_never_overlap() -> None:
    bench = Bench(at_once=False)
    bench.turns.begin()
    for _ in range(3):
        bench.turns.call()
        bench.turns.alarm_rang()
        bench.turns.alarm_rang()
        await asyncio.sleep(0)
    await settle()
    assert bench.log == [*TURN, *TURN, "rested"]


@pytest.mark.parametrize("at_once", [True, False])
async def test_none_is_taken_before_the_start_or_after_the_end(at_once: bool) -> None:
    bench = Bench(at_once=at_once)
    for _ in range(2):
        bench.turns.call()
        bench.turns.alarm_rang()
        await settle()
        await bench.turns.end()
    assert bench.log == []
    assert bench.alarm.set == []


async def test_the_end_cancels_the_one_under_way() -> None:
    bench = Bench(at_once=False)
    bench.turns.begin()
    bench.turns.alarm_rang()
    await asyncio.sleep(0)
    await bench.turns.end()
    await settle()
    assert bench.log == ["begin"]
    assert bench.alarm.set == []


async def test_after_a_failure_there_is_a_rest_each_time_twice_as_long_up_to_a_second() -> None:
    bench = Bench()
    bench.turns.begin()

    def fail() -> None:
        raise ZeroDivisionError

    bench.work = fail
    waits = []
    for _ in range(8):
        bench.turns.alarm_rang()
        until_us = bench.alarm.set[-1]
        assert until_us is not None
        waits.append((until_us - bench.clock.us) / 1000)
        taken = len(bench.log)
        bench.turns.alarm_rang()  # too early: no turn, but the alarm is set again
        assert len(bench.log) == taken + 1
        assert bench.alarm.set[-1] == until_us
        bench.clock.us = until_us
    assert waits == [25, 50, 100, 200, 400, 800, 1000, 1000]
    bench.work = lambda: None
    bench.turns.alarm_rang()
    assert bench.alarm.set[-1] is None
    bench.work = fail
    bench.turns.alarm_rang()
    assert bench.alarm.set[-1] == bench.clock.us + 25_000


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
async def test_what_ends_the_program_gets_through_and_the_next_turn_comes(error: BaseException) -> None:
    bench = Bench()
    bench.turns.begin()

    def leave() -> None:
        bench.work = lambda: None
        raise error

    bench.work = leave
    with pytest.raises(type(error)):
        bench.turns.alarm_rang()
    await settle()
    assert bench.log == ["begin", *TURN, "rested"]


async def test_an_alarm_that_cannot_be_set_is_the_end() -> None:
    bench = Bench()
    bench.turns.begin()
    bench.alarm.error = OSError("no timer")
    bench.turns.alarm_rang()
    assert bench.failures == [bench.alarm.error]
    bench.turns.call()
    await settle()
    assert bench.log == [*TURN, "rested"]


async def test_a_store_that_waits_although_it_answers_at_once_is_the_end() -> None:
    bench = Bench()
    bench.steps = 1
    bench.turns.begin()
    bench.turns.alarm_rang()
    (failure,) = bench.failures
    assert isinstance(failure, StoreError)
    await settle()
    assert bench.log == ["begin"]


async def test_turns_keep_to_the_context_in_which_they_were_made() -> None:
    mine: ContextVar[str] = ContextVar("mine", default="the engine's")
    seen: list[str] = []
    bench = Bench()
    bench.work = lambda: seen.append(mine.get())
    bench.turns.begin()
    mine.set("a caller's")
    bench.turns.call()
    bench.turns.alarm_rang()
    await settle()
    assert seen == ["the engine's"] * 2
