"""The rows of features about intervals and stalls, timeouts, limits, and about time that is not waited for."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Retry, Scheduler, Task
from asyncsched.events import Event, FireSkipped, RunEnded, RunRetrying, RunStarted
from asyncsched.triggers import Every
from effort import counted_lines, counted_turns, noted_jumps

PATIENCE_S = 30.0

T0 = datetime(2025, 1, 1, tzinfo=UTC)


def seconds_of(instants: list[datetime]) -> list[float]:
    return [(instant - T0).total_seconds() for instant in instants]


@pytest.mark.feature("TK3")
async def test_tk3_an_interval_first_fires_one_interval_after_the_start_or_at_once(virtual: Any) -> None:
    registry = Registry()

    @registry.every("5s")
    async def patient() -> None: ...

    @registry.every("5s", immediate=True)
    async def eager() -> None: ...

    async with virtual(registry, at="2025-01-01", tz="UTC") as sched:
        await sched.advance("10s")
        assert [f"{run.started_at:%H:%M:%S.%f}" for run in sched.runs("patient")] == [
            "00:00:05.000000",
            "00:00:10.000000",
        ]
        assert [f"{run.started_at:%H:%M:%S.%f}" for run in sched.runs("eager")] == [
            "00:00:00.000000",
            "00:00:05.000000",
            "00:00:10.000000",
        ]


@pytest.mark.feature("TK4")
@pytest.mark.parametrize(
    ("options", "at_22", "until_27"),
    [
        ({"missed": "all"}, [22, 22, 22, 22], [25]),
        ({"anchor": "completion"}, [22], [27]),
        ({"missed": "skip"}, [], [25]),
    ],
    ids=["all catches up", "completion moves the grid", "skip keeps it"],
)
async def test_tk4_what_follows_a_stall(
    virtual: Any, options: dict[str, Any], at_22: list[float], until_27: list[float]
) -> None:
    async def work() -> None: ...

    registry = Registry()
    registry.register(Task(work, every="5s", **options))
    async with virtual(registry, at=T0) as sched:
        await sched.jump("22s")
        assert seconds_of([run.started_at for run in sched.runs("work")]) == at_22
        await sched.advance("5s")
        assert seconds_of([run.started_at for run in sched.runs("work")]) == at_22 + until_27


@pytest.mark.feature("TK5")
async def test_tk5_the_start_of_an_interval_is_its_first_fire_and_a_replacement_has_its_own(virtual: Any) -> None:
    async def work() -> None: ...

    first, second = T0 + timedelta(seconds=3), T0 + timedelta(seconds=31, microseconds=7)
    registry = Registry()
    task = registry.register(Task(work, trigger=Every("5s", start=first)))
    async with virtual(registry, at=T0) as sched:
        assert task.next_fire == first
        await sched.advance("10s")
        assert seconds_of([run.scheduled_for for run in sched.runs("work")]) == [3, 8]
        new = await sched.scheduler.tasks.replace(Task(work, trigger=Every("5s", start=second)))
        assert new.next_fire == second
        await sched.advance("30s")
        assert seconds_of([run.scheduled_for for run in sched.runs("work")]) == [3, 8, 31.000007, 36.000007]


@pytest.mark.feature("TK6")
async def test_tk6_a_timeout_cancels_the_attempt(virtual: Any) -> None:
    registry = Registry()
    seen: list[float] = []

    @registry.task(timeout="100ms")
    async def slow() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append(asyncio.get_running_loop().time())
            raise

    async with virtual(registry, at=T0) as sched:
        run = await slow.submit()
        with pytest.raises(TimeoutError, match="100ms"):
            await run
        assert (run.status, seconds_of([run.finished_at]), seen) == ("FAILED", [0.1], [0.1])
        assert sched.now() == T0 + timedelta(milliseconds=100)


@pytest.mark.feature("TK10")
@pytest.mark.parametrize(
    ("of_scheduler", "of_task"),
    [({}, {"max_running": 3}), ({"queues": {"mail": 3}}, {"queue": "mail"}), ({"max_running": 3}, {})],
    ids=["a task", "a queue", "the scheduler"],
)
async def test_tk10_no_more_run_at_once_than_the_limit_says(
    virtual: Any, of_scheduler: dict[str, Any], of_task: dict[str, Any]
) -> None:
    registry = Registry()
    inside: set[object] = set()
    most = 0

    @registry.task(**of_task)
    async def work() -> None:
        nonlocal most
        me = object()
        inside.add(me)
        most = max(most, len(inside))
        await asyncio.sleep(1)
        inside.remove(me)

    async with virtual(Scheduler(registry=registry, **of_scheduler), at=T0) as sched:
        runs = await work.submit_many([()] * 20)
        await asyncio.gather(*map(ended, runs))
        assert (most, [run.status for run in runs]) == (3, ["SUCCESS"] * 20)
        assert sched.now() == T0 + timedelta(seconds=7)  # three at a time, without a pause


async def ended(run: Any) -> None:
    await run


@pytest.mark.feature("TK12")
@pytest.mark.feature("PA25")
@pytest.mark.full_speed
async def test_tk12_pa25_a_month_of_an_hourly_task_is_a_jump_a_fire_and_a_little_python(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1h")
    async def hourly() -> None: ...

    async with virtual(registry, at="2025-01-01", tz="UTC") as sched:
        loop = asyncio.get_running_loop()
        with noted_jumps(loop) as jumps, counted_turns(loop) as turns, counted_lines() as lines:
            await sched.advance("30 days")
        assert len(sched.runs("hourly")) == 720
        assert {run.status for run in sched.runs("hourly")} == {"SUCCESS"}
    assert len(jumps) == 720
    assert turns.count < 5 * 720
    assert lines.count < 2_500 * 720


@pytest.mark.feature("TK1")
async def test_tk1_one_run_is_one_asyncio_task_that_is_strongly_held() -> None:
    registry, seen = Registry(), set[str]()

    @registry.task
    async def work(number: int) -> int:
        task = asyncio.current_task()
        assert task is not None
        seen.add(task.get_name())
        nobody_else_holds_it: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, nobody_else_holds_it.set_result, 1)
        return number + await nobody_else_holds_it

    before = asyncio.all_tasks()
    async with Scheduler(registry=registry, tz="UTC"):
        for _ in range(5):
            runs = [await work.submit(number) for number in range(200)]
            gc.collect()
            await asyncio.sleep(0)
            gc.collect()
            assert [await run for run in runs] == list(range(1, 201))
            assert asyncio.all_tasks() == before
    assert len(seen) == 1000


@pytest.mark.feature("TK2")
def test_tk2_leaving_leaves_nothing_of_it_alive() -> None:
    registry = Registry()

    @registry.every("1h", immediate=True)
    async def endless() -> None:
        await asyncio.Event().wait()

    @registry.task
    def plain() -> str:
        return threading.current_thread().name

    def alive() -> tuple[int, set[threading.Thread], int]:
        for thread in threading.enumerate():
            if thread.name == "asyncsched worker":  # it has said that it ends, and may need a moment to be gone
                thread.join(PATIENCE_S)
        fds = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
        return len(asyncio.all_tasks()), set(threading.enumerate()), fds

    async def fifty_times() -> None:
        before = alive()
        for _ in range(50):
            async with Scheduler(registry=registry, tz="UTC", shutdown_timeout="0s"):
                assert await (await plain.submit()) != threading.current_thread().name
            assert alive() == before

    asyncio.run(fifty_times(), debug=True)


SERVES = """
import asyncio, sys
from asyncsched import Registry, Scheduler
from asyncsched.events import SchedulerStopping

app = Scheduler(registry=Registry(), tz="UTC")
stopping = asyncio.Event()

def stops(event):
    print("stopping", flush=True)
    stopping.set()

app.events.on({SchedulerStopping}, stops)

@app.every("1h", immediate=True)
async def work():
    print("working", flush=True)
    await stopping.wait()
    await asyncio.sleep(float(sys.argv[1]))
    print("ended", flush=True)

asyncio.run(app.serve())
"""


@pytest.mark.feature("TK8")
@pytest.mark.skipif(os.name != "posix", reason="signals are sent")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_tk8_the_first_signal_drains(number: signal.Signals) -> None:
    with serving(0.3) as program:
        program.send_signal(number)
        assert program.communicate(timeout=PATIENCE_S) == ("stopping\nended\n", "")
        assert program.returncode == 0


@pytest.mark.feature("TK8")
@pytest.mark.skipif(os.name != "posix", reason="signals are sent")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_tk8_the_second_signal_forces(number: signal.Signals) -> None:
    with serving(2 * PATIENCE_S) as program:
        program.send_signal(number)
        assert program.stdout is not None
        assert program.stdout.readline() == "stopping\n"  # else the two are one
        program.send_signal(number)
        program.communicate(timeout=PATIENCE_S)
        assert program.returncode == 128 + number


def serving(seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", SERVES, str(seconds)]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "working\n"
    return program


@pytest.mark.feature("TK9")
@pytest.mark.full_speed
async def test_tk9_a_subscriber_that_never_reads_slows_nobody(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1s")
    async def beat() -> None: ...

    start = datetime(2025, 1, 1, tzinfo=UTC)
    late: list[Event] = []
    async with virtual(registry, at=start, tz="UTC") as sched:
        told: list[Event] = []
        sched.scheduler.events.on({Event}, told.append)
        with sched.scheduler.events.subscribe(size=100) as subscription:
            await sched.advance("5000s")
            assert len(told) == 10_000
            assert subscription.dropped == 10_000 - 100
            assert len(subscription._queue) == 100
        late = [run for run in sched.runs("beat") if run.started_at != run.scheduled_for]
        assert (len(sched.runs("beat")), late) == (5000, [])


Main = Callable[[], Coroutine[Any, Any, list[str]]]


def by_asyncio(main: Main) -> list[str]:
    return asyncio.run(main())


def by_debug(main: Main) -> list[str]:
    return asyncio.run(main(), debug=True)


def by_uvloop(main: Main) -> list[str]:
    return pytest.importorskip("uvloop").run(main())


async def one_program() -> list[str]:
    """What happens in a program that uses a little of everything, each thing after the one before."""
    registry, log = Registry(), list[str]()

    def note(event: Event) -> None:
        if isinstance(event, RunStarted | RunEnded | RunRetrying | FireSkipped):
            log.append(f"{type(event).__name__} {event.task} {event.run.status} {event.run.attempt} {event.run.reason}")

    def plain(number: int) -> int:
        return number + 1

    async def flaky() -> str:
        raise OSError

    async def endless() -> None:
        await asyncio.Event().wait()

    double = registry.register(Task(plain, id="plain"))
    failing = registry.register(Task(flaky, id="flaky", retry=Retry(attempts=3, wait="1ms")))
    stuck = registry.register(Task(endless, id="stuck", timeout="20ms"))
    once = registry.register(Task(endless, id="once"))
    registry.register(Task(flaky, run_at=datetime.now(UTC) - timedelta(hours=1), grace="1m", id="missed"))
    scheduler = Scheduler(registry=registry, tz="UTC", shutdown_timeout="0s")
    scheduler.events.on({Event}, note)
    async with scheduler:
        assert await (await double.submit(1)) == 2
        for task, error in ((failing, OSError), (stuck, TimeoutError)):
            with pytest.raises(error):
                await (await task.submit())
        run = await once.submit()
        while run.status == "PENDING":
            await asyncio.sleep(0)
        await scheduler.runs.cancel(run.id, reason="enough")
        while run.status == "RUNNING":
            await asyncio.sleep(0)
        await once.submit()
        while (await scheduler.runs.list(task="once"))[0].status == "PENDING":
            await asyncio.sleep(0)
    return log


ONE_LOG = [
    "FireSkipped missed SKIPPED 0 missed",
    "RunStarted plain RUNNING 1 None",
    "RunEnded plain SUCCESS 1 None",
    "RunStarted flaky RUNNING 1 None",
    "RunRetrying flaky PENDING 1 None",
    "RunStarted flaky RUNNING 2 None",
    "RunRetrying flaky PENDING 2 None",
    "RunStarted flaky RUNNING 3 None",
    "RunEnded flaky FAILED 3 None",
    "RunStarted stuck RUNNING 1 None",
    "RunEnded stuck FAILED 1 None",
    "RunStarted once RUNNING 1 None",
    "RunEnded once CANCELLED 1 enough",
    "RunStarted once RUNNING 1 None",
    "RunEnded once CANCELLED 1 the scheduler stopped",
]


@pytest.mark.feature("TK13")
@pytest.mark.feature("TC26")
@pytest.mark.parametrize("by", [by_asyncio, by_debug, by_uvloop])
def test_tk13_tc26_one_program_has_one_event_log_on_each_loop(by: Callable[[Main], list[str]]) -> None:
    """And on each interpreter: the suite runs on every version."""
    assert by(one_program) == ONE_LOG
