"""The rows of features about how a function is called: on the loop, in threads, as a program."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Run, Scheduler, Shell, Task, current_run
from asyncsched.errors import RunCancelled, ShellFailed

PATIENCE_S = 30.0


def alive(pid: int) -> bool:
    """Whether there is such a process, be it a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.feature("PL7")
@pytest.mark.feature("TK14")
async def test_pl7_tk14_the_status_of_a_program_decides_and_its_output_is_kept() -> None:
    registry = Registry()
    good = registry.register(Task(Shell("echo out; echo err >&2"), id="good"))
    bad = registry.register(Task(Shell("echo no; exit 3"), every="1h", immediate=True, id="bad"))
    async with Scheduler(registry=registry, tz="UTC") as scheduler:
        found = await (await good.submit())
        assert (found.returncode, found.stdout, found.stderr) == (0, "out\n", "err\n")
        await scheduler.idle()
        (run,) = await scheduler.runs.list(task=bad.id)
        assert run.status == "FAILED"
        assert isinstance(run.error, ShellFailed)
        assert (run.error.returncode, run.error.stdout) == (3, "no\n")


@pytest.mark.feature("PL7")
@pytest.mark.feature("TK14")
@pytest.mark.parametrize("command", ["echo $$ > pid; exec sleep 60", "trap '' TERM; echo $$ > pid; sleep 60; sleep 60"])
@pytest.mark.parametrize("how", ["cancel", "timeout", "leave"])
async def test_pl7_tk14_a_program_ends_with_its_run(tmp_path: Path, command: str, how: str) -> None:
    registry, file = Registry(), tmp_path / "pid"
    timeout = "300ms" if how == "timeout" else None
    task = registry.register(Task(Shell(command, cwd=tmp_path), id="sleeper", timeout=timeout))
    async with (
        asyncio.timeout(PATIENCE_S),  # the program sleeps for twice as long
        Scheduler(registry=registry, tz="UTC", shutdown_timeout="0s") as scheduler,
    ):
        run = await task.submit()
        while not (file.exists() and file.read_text("utf-8")):
            await asyncio.sleep(0.005)
            if run.status.final:  # its time was over before it had begun
                run = await task.submit()
        pid = int(file.read_text("utf-8"))
        if how == "cancel":
            await scheduler.runs.cancel(run.id)
            with pytest.raises(RunCancelled):
                await run
        elif how == "timeout":
            with pytest.raises(TimeoutError):
                await run
    assert not alive(pid)
    assert run.status == ("FAILED" if how == "timeout" else "CANCELLED")


@pytest.mark.feature("TK7")
async def test_tk7_a_cancelled_thread_run_ends_at_once_and_its_thread_is_watched(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry, release, entered = Registry(), threading.Event(), threading.Event()
    beats: list[str] = []

    @registry.task(id="thread")
    def waits() -> None:
        entered.set()
        release.wait(2 * PATIENCE_S)

    @registry.every("20ms")
    async def beat() -> None:
        beats.append(current_run().id)

    async with asyncio.timeout(PATIENCE_S), Scheduler(registry=registry, tz="UTC") as scheduler:
        run = await waits.submit()
        await asyncio.to_thread(entered.wait, PATIENCE_S)
        assert await scheduler.runs.cancel(run.id)
        with pytest.raises(RunCancelled):
            await run
        beats.clear()
        while len(beats) < 8:
            await asyncio.sleep(0.005)
        assert [left.what for left in scheduler.runs.abandoned] == [f"task thread, run {run.id},"]
        release.set()
        while scheduler.runs.abandoned:
            await asyncio.sleep(0.001)
        assert run.status == "CANCELLED"
    assert any(f"run {run.id}, was cancelled; its thread has returned only now" in text for text in caplog.messages)


@pytest.mark.feature("TK11")
async def test_tk11_each_run_sees_itself_on_the_loop_and_in_threads() -> None:
    registry, turn = Registry(), threading.Barrier(5)

    @registry.task
    async def on_loop() -> tuple[str, str]:
        before = current_run().id
        await asyncio.sleep(0.001)
        return before, current_run().id

    @registry.task
    def in_thread() -> tuple[str, str]:
        before = current_run().id
        turn.wait(10)  # five are inside at once
        return before, current_run().id

    async with Scheduler(registry=registry, tz="UTC", threads=5):
        runs: list[Run[tuple[str, str]]] = []
        for _ in range(50):
            runs += [await on_loop.submit(), await in_thread.submit()]
        for run in runs:
            assert await run == (run.id, run.id)


@pytest.mark.feature("PA29")
async def test_pa29_plain_functions_and_coroutines_alike(virtual: Any) -> None:
    registry = Registry()

    def plain(left: int, *, right: int = 0) -> tuple[int, int]:
        if current_run().attempt < 2:
            raise ConnectionError("once")
        current_run().set("seen", left)
        return left + right, current_run().attempt

    async def coroutine(left: int, *, right: int = 0) -> tuple[int, int]:
        await asyncio.sleep(0)
        return plain(left, right=right)

    for func in (plain, coroutine):
        registry.register(Task(func, every="1m", args=(10,), kwargs={"right": 20}, retry=1, id=func.__name__))
    async with virtual(registry, at="2025-01-01", tz="UTC") as stage:
        await stage.advance("2 minutes")
        lives = [
            [(run.status, run.result, run.started_at, run.notes) for run in stage.runs(task)]
            for task in ("plain", "coroutine")
        ]
    assert lives[0] == lives[1]
    assert [life[:2] for life in lives[0]] == [("SUCCESS", (30, 2))] * 2


@pytest.mark.feature("NB16")
async def test_nb16_threads_that_are_due_together_end_in_the_same_order_again(virtual: Any) -> None:
    def nap(seconds: float) -> None:
        time.sleep(seconds)

    logs = []
    for shortest_first in (True, False):
        registry = Registry()
        for number in range(5):
            pause = 0.002 * (number if shortest_first else 5 - number)
            registry.register(Task(nap, every="1h", args=(pause,), id=f"nap{number}"))
        async with virtual(registry, at="2025-01-01", tz="UTC") as stage:
            await stage.advance("3 hours")
            logs.append(stage.log())
    assert logs[0].count("RunEnded nap4") == 3
    assert logs[0] == logs[1]
