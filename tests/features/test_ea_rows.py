"""The rows of features about tasks as plain values, and about the programs that serve them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched.errors import ConfigError, DuplicateTask

T0 = datetime(2025, 1, 1, 14, 0, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


async def nothing() -> None: ...


@pytest.mark.feature("EA1")
@pytest.mark.parametrize("slow", [False, True], ids=["instant", "runs that take half the interval"])
async def test_ea1_an_interval_never_drifts(virtual: Any, slow: bool) -> None:
    async def work() -> None:
        await asyncio.sleep(0.5 if slow else 0)

    registry = Registry()
    registry.register(Task(work, every={"seconds": 1}, id="mapping"))
    registry.every("1s", id="text")(work)
    async with virtual(registry, at=T0) as sched:
        await sched.advance("100s")
        for task in ("mapping", "text"):
            started = [run.started_at for run in sched.runs(task)]
            assert started == [T0 + timedelta(seconds=second) for second in range(1, 101)]


@pytest.mark.feature("EA1")
@pytest.mark.parametrize("interval", [{"minutes": 0}, {"minutes": -5}, timedelta(0), timedelta(-5), "0s", "-5m"])
def test_ea1_zero_or_less_is_no_interval(interval: Any) -> None:
    with pytest.raises(ValueError, match=r"0|-5|duration"):
        Task(nothing, every=interval)


@pytest.mark.feature("EA2")
async def test_ea2_a_time_of_day_that_has_passed_is_tomorrows(virtual: Any) -> None:
    registry = Registry()
    task = registry.register(Task(nothing, at="14:30"))
    async with virtual(registry, at="2025-01-01 14:35", tz="UTC") as sched:
        await sched.advance("9h")
        assert sched.runs() == sched.skips() == []
        assert task.next_fire == datetime(2025, 1, 2, 14, 30, tzinfo=UTC)


@pytest.mark.feature("EA2")
async def test_ea2_a_known_task_that_was_down_at_its_time_runs_once_late(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, at="14:30"))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("20m")
        await sched.crash()
        await sched.advance("15m")
        await sched.restart()
        await sched.advance("1h")
        (run,) = sched.runs("nothing")
        assert (run.scheduled_for, run.started_at) == (T0 + timedelta(minutes=30), T0 + timedelta(minutes=35))


@pytest.mark.feature("EA2")
@pytest.mark.parametrize("text", ["25:00", "7pm", "14:60", "14", "noonish", ""])
def test_ea2_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"HH:MM"):
        Task(nothing, at=text)


@pytest.mark.feature("EA3")
async def test_ea3_run_at_fires_once(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, run_at=T0 + timedelta(minutes=1)))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("1 day")
        assert [run.started_at for run in sched.runs()] == [T0 + timedelta(minutes=1)]


@pytest.mark.feature("EA3")
async def test_ea3_a_run_at_in_the_past_runs_at_once_unless_it_is_past_its_grace(virtual: Any) -> None:
    past = T0 - timedelta(minutes=1)
    registry = Registry()
    registry.register(Task(nothing, run_at=past, id="late"))
    registry.register(Task(nothing, run_at=past, id="too-late", grace="10s"))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("1 day")
        (run,) = sched.runs()
        assert (run.task, run.scheduled_for, run.started_at) == ("late", past, T0)
        (skip,) = sched.skips()
        assert (skip.task, skip.scheduled_for, skip.status, skip.reason) == ("too-late", past, "SKIPPED", "missed")


@pytest.mark.feature("EA3")
async def test_ea3_a_run_at_that_fails_is_tried_again(virtual: Any) -> None:
    errors = [OSError("not yet")]

    async def flaky() -> str:
        if errors:
            raise errors.pop()
        return "done"

    registry = Registry()
    registry.register(Task(flaky, run_at=T0 + timedelta(minutes=1), retry=1))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("1 day")
        (run,) = sched.runs()
        assert (run.attempt, run.status, run.result) == (2, "SUCCESS", "done")


TRIGGERS: dict[str, Any] = {"every": "5m", "at": "14:30", "cron": "0 4 * * *", "run_at": T0, "trigger": "hourly"}


@pytest.mark.feature("EA4")
@pytest.mark.parametrize(("one", "other"), list(combinations(TRIGGERS, 2)))
def test_ea4_two_triggers_are_an_error_that_names_both(one: str, other: str) -> None:
    with pytest.raises(ConfigError, match=f"{one}= and {other}=: give one of them"):
        Task(nothing, **{one: TRIGGERS[one], other: TRIGGERS[other]})


@pytest.mark.feature("EA4")
async def test_ea4_one_trigger_or_none_will_do(virtual: Any) -> None:
    async def answer() -> int:
        return 42

    registry = Registry()
    for name, value in TRIGGERS.items():
        registry.register(Task(nothing, id=name, **{name: value}))
    task = registry.register(Task(answer))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("1 day")
        assert {run.task for run in sched.runs()} == set(TRIGGERS)
        assert await (await task.submit()) == 42
        assert len(sched.runs("answer")) == 1


@pytest.mark.feature("EA5")
async def test_ea5_an_id_is_given_once_and_replaced_on_purpose(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, every="1h", id="twin"))
    with pytest.raises(DuplicateTask, match="'twin'"):
        registry.register(Task(nothing, every="2h", id="twin"))
    async with virtual(registry, at=T0) as sched:
        with pytest.raises(DuplicateTask, match="'twin'"):
            await sched.scheduler.tasks.add(Task(nothing, every="2h", id="twin"))
        new = await sched.scheduler.tasks.replace(Task(nothing, every="2h", id="twin"))
        assert await sched.scheduler.tasks.list() == [new]
        await sched.advance("2h")
        assert [run.started_at for run in sched.runs("twin")] == [T0 + timedelta(hours=2)]


@pytest.mark.feature("EA6")
async def test_ea6_functions_and_coroutines_are_called_with_their_arguments(virtual: Any) -> None:
    def add(left: int, right: int) -> int:
        return left + right

    async def add_later(left: int, right: int) -> int:
        await asyncio.sleep(1)
        return left + right

    registry = Registry()
    registry.register(Task(add, every="1m", args=(10, 20)))
    registry.register(Task(add_later, every="1m", args=(10,), kwargs={"right": 20}))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("61s")
        for task in ("add", "add_later"):
            assert [(run.status, run.result) for run in sched.runs(task)] == [("SUCCESS", 30)]


QUIET = """
import asyncio
from asyncsched import Registry, Scheduler, Task

def add(left, right):
    return left + right

async def add_later(left, right):
    return left + right

async def main():
    registry = Registry()
    tasks = [registry.register(Task(f, every="1h", args=(10, 20))) for f in (add, add_later)]
    async with Scheduler(registry=registry, tz="UTC"):
        print([await (await task.submit()) for task in tasks])

asyncio.run(main(), debug=True)
"""


@pytest.mark.feature("EA6")
def test_ea6_nothing_is_warned_of() -> None:
    done = subprocess.run([sys.executable, "-X", "dev", "-W", "error", "-c", QUIET], capture_output=True, timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == (b"[30, 30]\n", b"", 0)


@pytest.mark.feature("EA15")
async def test_ea15_what_is_due_at_once_runs_at_once(virtual: Any) -> None:
    async def half_a_second() -> None:
        await asyncio.sleep(0.5)

    registry = Registry()
    for name in ("one", "other"):
        registry.register(Task(half_a_second, run_at=T0 + timedelta(seconds=1), id=name))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("2s")
        assert [run.finished_at for run in sched.runs()] == [T0 + timedelta(seconds=1.5)] * 2


@pytest.mark.feature("EA16")
def test_ea16_a_program_without_a_loop_runs_it_in_a_thread() -> None:
    where: list[str] = []
    registry = Registry()

    @registry.every("10ms")
    async def beat() -> None:
        where.append(threading.current_thread().name)

    @registry.task
    async def double(number: int) -> int:
        await asyncio.sleep(0.01)
        return 2 * number

    handle = Scheduler(registry=registry, tz="UTC").start_in_thread()
    run = handle.call(double.submit, 21)
    assert handle.wait(run) == 42
    until = time.monotonic() + 30
    while not where and time.monotonic() < until:
        time.sleep(0.01)
    drained = handle.stop()
    assert set(where) == {"asyncsched loop"}
    assert (drained.cancelled, drained.left) == ((), ())
    assert [thread.name for thread in threading.enumerate() if "asyncsched" in thread.name] == []


SERVES = """
from asyncsched import Registry, Scheduler
app = Scheduler(registry=Registry(), tz="UTC")

@app.every("1h", immediate=True)
async def ready():
    print("ready", flush=True)

print("ended", app.run().finished)
"""


@pytest.mark.feature("EA16")
@pytest.mark.skipif(os.name != "posix", reason="a signal is sent")
def test_ea16_run_blocks_until_a_signal_comes() -> None:
    command = [sys.executable, "-W", "error", "-c", SERVES]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=10)
    assert (out, err, program.returncode) == ("ended 0\n", "", 0)


DECLARES = """
import threading
before = threading.enumerate()
from asyncsched import Registry, Scheduler, every
called = []

@every("1ms", immediate=True)
async def work():
    called.append(1)

mine = Registry()

@mine.every("1ms")
async def apart(): ...

print(threading.enumerate() == before, called)
print([task.id for task in Scheduler().served()])
print([task.id for task in Scheduler(registry=mine).served()], Scheduler(registry=Registry()).served())
"""


@pytest.mark.feature("EA17")
def test_ea17_decorators_fill_the_default_registry_and_nothing_starts_on_import(tmp_path: Path) -> None:
    (tmp_path / "declares.py").write_text(DECLARES, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import declares"],
        cwd=tmp_path, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["True []", "['declares:work']", "['declares:apart'] []"], done.stderr


SERVED = """
from asyncsched import Scheduler, every

scheduler = Scheduler(tz="UTC")

@every("1h")
async def hourly(): ...

@every("1s", immediate=True)
async def often(): ...
"""


@pytest.mark.feature("EA18")
@pytest.mark.skipif(os.name != "posix", reason="a signal is sent")
def test_ea18_the_command_line_serves_a_module(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(SERVED, encoding="utf-8")
    command = [sys.executable, "-W", "error", "-m", "asyncsched", "run", "served:scheduler"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        head = [program.stdout.readline() for _ in range(4)]
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=10)
    assert head[0].endswith("2 tasks\n")
    assert {line.split()[1] for line in head[1:3]} == {"hourly", "often"}
    assert all(line.startswith("  next  ") for line in head[1:3])
    assert "SUCCESS  often" in head[3]
    assert ("drained" in out, err, program.returncode) == (True, "", 0)


@pytest.mark.feature("EA19")
def test_ea19_the_test_command_fails_below_nine_tenths_of_the_branches(tmp_path: Path) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["coverage"]
    assert settings["run"]["branch"] is True
    assert settings["report"]["fail_under"] >= 90
    assert '"--cov"' in (ROOT / "noxfile.py").read_text(encoding="utf-8")
    own = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))}
    part = ["-p", "no:randomly", "--cov", "--cov-report=", "tests/unit/test_duration.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *part],
        cwd=ROOT, env=own | {"COVERAGE_FILE": str(tmp_path / "coverage")}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert f"is less than fail-under={settings['report']['fail_under']}" in done.stdout
    assert (" failed" in done.stdout, done.returncode) == (False, 1)
