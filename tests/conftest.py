"""The room in which the tests run: it is hostile, and it looks who left what behind.

Every asynchronous test runs on a loop in debug mode, and fails if it leaves an asyncio task. Every test fails if
it leaves a thread at work or a timer of the kernel. Idle worker threads of anyio may stay: it keeps them for the
next call, and they end with their loop.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

# What a thread may take to notice that its loop is closed, in seconds.
_PATIENCE = 10.0
_FDS = Path("/proc/self/fd")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full_speed: the loop is not in debug mode, which costs ten times as much")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give each coroutine test the room for loops; for the others a loop would have to be made first."""
    function = getattr(item, "function", None)
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    if inspect.iscoroutinefunction(inner) and isinstance(item, pytest.Function):
        item.fixturenames.append("no_task_left")


@pytest.fixture
async def no_task_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fails a test after which an asyncio task is still alive."""
    loop = asyncio.get_running_loop()
    loop.set_debug(request.node.get_closest_marker("full_speed") is None)
    before = asyncio.all_tasks()
    yield
    for _ in range(3):  # a task that was cancelled in the last line of the test may end
        await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()]
    assert not left, f"the test left asyncio tasks behind: {left}"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fails a test after which one of its threads is still at work, or a timerfd still open."""
    threads, timers = set(threading.enumerate()), _timers()
    yield
    left = [thread for thread in threading.enumerate() if thread not in threads and not _idle(thread)]
    for thread in left:
        thread.join(_PATIENCE)
    still = [thread for thread in left if thread.is_alive()]
    assert not still, f"the test left threads behind: {still}"
    assert _timers() <= timers, "the test left a timerfd open"


def _idle(thread: threading.Thread) -> bool:
    return thread in getattr(thread, "idle_workers", ())


def _timers() -> int:
    if sys.platform != "linux":
        return 0
    found = 0
    for name in os.listdir(_FDS):  # noqa: PTH208 - descriptors may be closed while we look
        try:
            found += (_FDS / name).readlink().name == "anon_inode:[timerfd]"
        except OSError:
            continue
    return found
