"""Stopping: first nothing fires any more, then runs may end, then they are told to, and what is left is reported."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Scheduler
from asyncsched.errors import MisuseError
from asyncsched.events import RunEnded, SchedulerStarted, SchedulerStopped, SchedulerStopping

T0 = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE_S = 30.0


def ten_seconds(seen: list[str]) -> Registry:
    registry = Registry()

    @registry.every("1m", id="work")
    async def work() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        seen.append("ended")
        return "done"

    return registry


async def test_runs_may_end(virtual: Any) -> None:
    seen: list[str] = []
    async with virtual(Scheduler(registry=ten_seconds(seen), shutdown_timeout="30s"), at=T0) as sched:
        await sched.advance("64s")
        drained = await sched.scheduler.stop()
        assert sched.now() == T0 + timedelta(seconds=70)
        assert (seen, drained.finished, drained.cancelled, drained.left) == (["ended"], 1, (), ())
        assert [type(event) for event in sched.events][-3:] == [SchedulerStopping, RunEnded, SchedulerStopped]
        assert [event.left for event in sched.events if isinstance(event, SchedulerStopping)] == [1]


@pytest.mark.parametrize(("timeout", "ends_at"), [("0s", 64), ("4s", 68)])
async def test_what_takes_too_long_is_cancelled(virtual: Any, timeout: str, ends_at: int) -> None:
    seen: list[str] = []
    async with virtual(Scheduler(registry=ten_seconds(seen), shutdown_timeout=timeout), at=T0) as sched:
        await sched.advance("64s")
        drained = await sched.scheduler.stop()
        assert sched.now() == T0 + timedelta(seconds=ends_at)
        (run,) = sched.runs()
        assert (seen, drained.finished, drained.cancelled) == (["cancelled"], 0, (run,))
        assert (run.status, run.reason) == ("CANCELLED", "the scheduler stopped")


async def test_nothing_fires_while_runs_end(virtual: Any) -> None:
    registry = ten_seconds([])

    @registry.every("1s")
    async def beat() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("60s")
        await sched.scheduler.stop()
        assert len(sched.runs("beat")) == 60
        assert sched.now() == T0 + timedelta(seconds=70)


async def test_what_was_not_started_is_kept_for_the_next_time(virtual: Any) -> None:
    registry = ten_seconds([])

    @registry.task
    async def one_off() -> str:
        return "at last"

    async with virtual(registry, at=T0) as sched:
        await sched.advance("60s")
        leaving = asyncio.create_task(sched.scheduler.stop())
        run = await one_off.submit()
        await asyncio.sleep(1)
        with pytest.raises(MisuseError, match=r"stopping: it takes no new run"):
            await one_off.submit()
        waiting = asyncio.ensure_future(_result(run))
        await leaving
        with pytest.raises(MisuseError, match="stopped before this run ended"):
            await waiting
        assert run.status == "PENDING"
        await sched.restart()
        assert await run == "at last"


async def _result(run: Any) -> Any:
    return await run


async def test_a_run_that_cleans_up_has_time_to(virtual: Any) -> None:
    registry = Registry()
    cleaned: list[float] = []

    @registry.task
    async def careful() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(2)
            cleaned.append(asyncio.get_running_loop().time())

    async with virtual(Scheduler(registry=registry, shutdown_timeout="1s"), at=T0) as sched:
        run = await careful.submit()
        await sched.advance("1s")
        drained = await sched.scheduler.stop()
        assert (cleaned, run.status, drained.left) == ([4], "CANCELLED", ())


async def test_a_run_that_will_not_end_is_left_and_named(virtual: Any, caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()
    release = asyncio.Event()

    @registry.task(id="stubborn")
    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with virtual(Scheduler(registry=registry, shutdown_timeout="1s"), at=T0) as sched:
        run = await stubborn.submit()
        await sched.advance("1s")
        drained = await sched.scheduler.stop()
        assert (drained.left, drained.cancelled) == ((run,), ())
        assert f"task stubborn: run {run.id} was left running" in caplog.text
        release.set()
        await asyncio.sleep(0)


async def test_leaving_by_an_exception_drains_too(virtual: Any) -> None:
    seen: list[str] = []
    async with virtual(Registry(), at=T0) as sched:
        clock = sched.clock
        scheduler = Scheduler(registry=ten_seconds(seen), clock=clock, tz="UTC")

        async def program() -> None:
            async with scheduler:
                await asyncio.sleep(65)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await program()
        assert seen == ["ended"]
        assert scheduler.drained is not None
        assert scheduler.drained.finished == 1


async def test_cancelling_the_one_who_leaves_cancels_the_runs(virtual: Any) -> None:
    seen: list[str] = []
    async with virtual(ten_seconds(seen), at=T0) as sched:
        await sched.advance("60s")
        leaving = asyncio.create_task(sched.scheduler.stop())
        await asyncio.sleep(1)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert seen == ["cancelled"]
        assert not sched.scheduler.running


async def test_a_thread_is_left_behind_and_reported() -> None:
    registry, entered, release = Registry(), threading.Event(), threading.Event()

    @registry.task(id="thread")
    def waits() -> None:
        entered.set()
        release.wait(60)

    scheduler = Scheduler(registry=registry, tz="UTC", shutdown_timeout="100ms")
    try:
        async with scheduler:
            run = await waits.submit()
            assert await asyncio.to_thread(entered.wait, PATIENCE_S)
        assert scheduler.drained is not None
        assert scheduler.drained.cancelled == (run,)
        assert run.status == "CANCELLED"
        assert scheduler._executors["thread"].busy == 1  # until it returns
    finally:
        release.set()


# Its runs last for so long after it was asked to stop.
PROGRAM = """
import asyncio, sys, threading, time
from asyncsched import Registry, Scheduler
from asyncsched.events import SchedulerStopping

app = Scheduler(registry=Registry(), tz="UTC")
both, stopping = threading.Barrier(2), threading.Event()

def stops(event):
    print("stopping", flush=True)
    stopping.set()

app.events.on({SchedulerStopping}, stops)

@app.every("1h", immediate=True)
async def work():
    await asyncio.to_thread(both.wait)
    print("working", flush=True)
    try:
        while not stopping.is_set():
            await asyncio.sleep(0.01)
        await asyncio.sleep(float(sys.argv[1]))
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        raise
    print("ended", flush=True)

@app.every("1h", immediate=True)
def blocks():
    both.wait()
    stopping.wait()
    time.sleep(float(sys.argv[2]))

drained = app.run()
print("drained", drained.finished, flush=True)
"""


class Program:
    """A real process that serves until it is told to stop."""

    def __init__(self, *seconds: float) -> None:
        command = [sys.executable, "-W", "error", "-c", PROGRAM, *map(str, seconds)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.read_until("working")

    def read_until(self, word: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == word:
                return
        raise AssertionError(f"the program ended: {self.process.communicate()}")

    def signal(self, number: signal.Signals) -> None:
        """Send the signal, and wait until the program has begun to stop."""
        self.process.send_signal(number)
        self.read_until("stopping")

    def end(self) -> tuple[int, str, str]:
        try:
            out, err = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, out, err


posix = pytest.mark.skipif(os.name != "posix", reason="signals are sent")


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_runs_end_and_the_program_ends_well(number: signal.Signals) -> None:
    program = Program(0.3, 0.3)
    program.process.send_signal(number)
    assert program.end() == (0, "stopping\nended\ndrained 2\n", "")


@posix
def test_a_second_signal_cancels_them() -> None:
    program = Program(2 * PATIENCE_S, 0)
    program.signal(signal.SIGTERM)
    program.process.send_signal(signal.SIGTERM)
    code, out, _err = program.end()
    assert (code, out) == (128 + signal.SIGTERM, "cancelled\n")


@posix
def test_a_second_signal_ends_even_what_cannot_be_cancelled() -> None:
    program = Program(2 * PATIENCE_S, 2 * PATIENCE_S)
    program.signal(signal.SIGINT)
    program.process.send_signal(signal.SIGINT)
    code, _out, _err = program.end()
    assert code == 128 + signal.SIGINT


async def test_serve_gives_back_the_handlers_that_it_found() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    scheduler = Scheduler(registry=Registry(), tz="UTC")
    started = asyncio.Event()
    scheduler.events.on({SchedulerStarted}, lambda event: started.set())
    serving = asyncio.create_task(scheduler.serve())
    await started.wait()
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    assert (await serving).finished == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
