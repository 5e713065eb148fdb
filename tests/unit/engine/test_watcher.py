"""The watcher: who blocks the loop, since when, and that it sleeps while nothing runs."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncsched._engine.bus import Events
from asyncsched._engine.living import Living
from asyncsched._engine.watcher import Watcher, told
from asyncsched.clock import SystemClock
from asyncsched.events import Event, LoopStalled

STALL_US = 50_000


class Room:
    """A watcher of the running loop, with nothing else of an engine."""

    def __init__(self, stall_us: int | None = STALL_US) -> None:
        self.living = Living()
        self.bus = Events()
        self.events: list[Event] = []
        self.bus.on({LoopStalled}, self.events.append)
        self.watcher = Watcher(self.living, self.bus, SystemClock(), stall_us)

    def run(self, name: str = "one") -> None:
        """Let something be under way, of which the watcher asks only whether it is there."""
        self.living.runs[name] = _Run()  # type: ignore[assignment]
        self.watcher.wake()


class _Run:
    handle = None


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    room = Room()
    yield room
    room.watcher.close()


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "asyncsched watcher"]


def block(seconds: float) -> None:
    time.sleep(seconds)  # the line that blocks


async def until_told(room: Room) -> LoopStalled:
    while not room.events:
        await asyncio.sleep(0.001)
    (event,) = room.events
    assert isinstance(event, LoopStalled)
    return event


async def test_without_runs_there_is_no_thread(room: Room) -> None:
    block(0.1)
    await asyncio.sleep(0.02)
    assert (watchers(), room.events, room.watcher.lag.max_us) == ([], [], 0)


async def test_with_no_limit_there_is_never_one() -> None:
    room = Room(None)
    room.run()
    assert watchers() == []
    room.watcher.close()


async def test_a_loop_that_answers_is_measured_and_not_told(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    room.run()
    await asyncio.sleep(0.1)
    assert 0 < room.watcher.lag.last_us <= room.watcher.lag.max_us < STALL_US
    assert room.events == caplog.records == []


async def test_a_callback_that_blocks_is_told_by_its_line(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    room.run()
    asyncio.get_running_loop().call_soon(block, 0.15)
    event = await until_told(room)
    assert event.task is None
    assert 0.1 < event.by.total_seconds() < 1
    assert event.stack.splitlines()[1].strip() == "time.sleep(seconds)  # the line that blocks"
    (warning,) = [record for record in caplog.records if record.name == "asyncsched.engine"]
    assert warning.levelno == logging.WARNING
    assert warning.getMessage().startswith("a callback blocks the event loop, for 50 ms so far:\n  File ")
    assert room.watcher.lag.max_us == event.by.total_seconds() * 1e6


async def test_an_asyncio_task_that_is_no_run_is_told_by_its_name(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    room.run()

    async def stranger() -> None:
        block(0.15)

    await asyncio.create_task(stranger(), name="stranger")
    assert (await until_told(room)).task is None
    assert "asyncio task 'stranger' blocks the event loop" in caplog.text


async def test_each_stall_is_told_once(room: Room) -> None:
    room.run()
    for number in (1, 2):
        block(0.3)
        while len(room.events) < number:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.03)
    assert len(room.events) == 2


async def test_it_sleeps_again_when_nothing_runs(room: Room) -> None:
    room.run()
    await asyncio.sleep(0.03)
    room.living.runs.clear()
    while room.watcher._woken.is_set():
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)  # from the mark to the wait it takes a few steps
    (thread,) = watchers()
    cpu = time.pthread_getcpuclockid(thread.ident) if sys.platform == "linux" and thread.ident else None
    before = 0 if cpu is None else time.clock_gettime_ns(cpu)
    room.watcher.lag.last_us = -1
    await asyncio.sleep(0.1)
    assert room.watcher.lag.last_us == -1
    assert cpu is None or time.clock_gettime_ns(cpu) == before
    room.run()  # and wakes again
    while room.watcher.lag.last_us < 0:
        await asyncio.sleep(0.005)
    assert watchers() == [thread]


async def test_closing_ends_the_thread_awake_or_asleep() -> None:
    for runs in (True, False):
        room = Room()
        room.run()
        if not runs:
            room.living.runs.clear()
            while room.watcher._woken.is_set():
                await asyncio.sleep(0.005)
        room.watcher.close()
        assert watchers() == []


async def test_closing_at_any_moment_ends_the_thread() -> None:
    for number in range(100):
        room = Room(500)
        room.run()
        if number % 2:
            room.living.runs.clear()
        await asyncio.sleep(number * 2e-5)
        room.watcher.close()
        assert watchers() == []


def test_lines_of_the_user_come_first_and_libraries_are_counted() -> None:
    found: list[str] = []

    def within(_match: re.Match[str]) -> str:
        found.append(told(sys._getframe()))
        return ""

    re.sub("a", within, "a")  # the library calls back
    lines = found[0].splitlines()
    assert lines[0].endswith("in within")
    assert lines[2].endswith("in test_lines_of_the_user_come_first_and_libraries_are_counted")
    assert lines[3].strip() == 're.sub("a", within, "a")  # the library calls back'
    assert lines[-1].startswith("  and ")
    assert " re" in lines[-1]
    assert not any(" in sub" in line for line in lines)


def test_where_nothing_is_the_users_the_innermost_frames_are_shown() -> None:
    found: list[str] = []
    code = compile("def grab(found, told, sys): found.append(told(sys._getframe()))", "<frozen nothing>", "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    thread = threading.Thread(target=names["grab"], args=(found, told, sys))
    thread.start()
    thread.join()
    assert found[0].startswith('  File "<frozen nothing>", line 1, in grab\n')
    assert found[0].count("  File ") == 3
