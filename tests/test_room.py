"""The room of tests/conftest.py sees what a test leaves behind, and lets through what may stay."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

UNTIDY = """
    import asyncio, ctypes, threading, time

    async def test_task():
        asyncio.get_running_loop().kept = asyncio.create_task(asyncio.sleep(100))

    async def test_virtual_task(virtual):
        asyncio.get_running_loop().kept = asyncio.create_task(asyncio.sleep(100))

    def test_thread():
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

    def test_timer():
        ctypes.CDLL(None).timerfd_create(0, 0)
"""

TIDY = """
    import asyncio, time
    import anyio, pytest

    async def test_debug():
        assert asyncio.get_running_loop().get_debug()

    @pytest.mark.full_speed
    async def test_full_speed():
        assert not asyncio.get_running_loop().get_debug()

    async def test_threads():
        await anyio.to_thread.run_sync(time.sleep, 0.01)
        await asyncio.to_thread(time.sleep, 0.01)

    async def test_task_that_ends():
        task = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(0)
        task.cancel()

    def test_sync():
        pass
"""


@pytest.fixture
def room(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with the conftest of ours, where nobody waits long for a thread."""
    conftest = (Path(__file__).parent / "conftest.py").read_text(encoding="utf-8")
    pytester.makeconftest(conftest.replace("_PATIENCE = 10.0", "_PATIENCE = 0.1"))
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    return pytester


def run(room: pytest.Pytester, tests: str) -> pytest.RunResult:
    room.makepyfile(tests)
    return room.runpytest_subprocess("-p", "no:randomly", "-p", "no:cacheprovider", "-W", "error")


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")
def test_what_is_left_behind_is_an_error(room: pytest.Pytester) -> None:
    result = run(room, UNTIDY)
    result.assert_outcomes(passed=4, errors=4)
    result.stdout.fnmatch_lines(
        [
            "*AssertionError: the test left asyncio tasks behind*",
            "*AssertionError: the test left asyncio tasks behind*",
            "*AssertionError: the test left threads behind*",
            "*AssertionError: the test left a timerfd open*",
        ]
    )


def test_what_ends_by_itself_is_fine(room: pytest.Pytester) -> None:
    run(room, TIDY).assert_outcomes(passed=5)
