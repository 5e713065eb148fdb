"""Plain functions in worker processes."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import errands
from asyncsched import Registry, Run, Task
from asyncsched.context import enter_run
from asyncsched.errors import ArgumentsError, ConfigError, ProcessDied
from asyncsched.executors import ProcessExecutor
from errands import alive

PATIENCE = 10.0  # seconds, for what takes a moment unless the machine is dead


@pytest.fixture
async def executor() -> AsyncIterator[ProcessExecutor]:
    executor = ProcessExecutor(1)
    yield executor
    await executor.close()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.005)


async def test_a_worker_process_gives_results_and_is_kept_for_the_next_call(executor: ProcessExecutor) -> None:
    assert await executor.call(errands.square, (7,), {}) == 49
    assert await executor.call(errands.square, (), {"number": 2}) == 4
    assert await executor.call(errands.Tools.twice, ("ab",), {}) == "abab"
    assert await executor.call(errands.cube.__wrapped__, (3,), {}) == 27  # by a name that means the task
    pid = await executor.call(errands.pid, (b"x" * 10_000_000,), {})
    assert pid not in (os.getpid(), os.getppid())
    assert await executor.call(errands.pid, (), {}) == pid
    assert (executor.busy, executor.abandoned) == (0, ())
    await executor.close()
    assert not alive(pid)
    assert await executor.call(errands.pid, (), {}) != pid


async def test_it_raises_what_the_function_raises_with_its_traceback(executor: ProcessExecutor) -> None:
    with pytest.raises(ValueError, match="a wrong value") as caught:
        await executor.call(errands.raises, (), {})
    assert 'errands.py", line' in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="Demanding: so"):
        await executor.call(errands.raises_what_cannot_be_sent, (), {})
    with pytest.raises(SystemExit, match="3"):
        await executor.call(errands.leaves, (), {})
    with pytest.raises(TypeError, match="errands:gives_what_cannot_be_sent gave cannot be sent"):
        await executor.call(errands.gives_what_cannot_be_sent, (), {})
    with pytest.raises(ArgumentsError, match="arguments of errands:square cannot be sent"):
        await executor.call(errands.square, (threading.Lock(),), {})
    assert await executor.call(errands.square, (2,), {}) == 4


@pytest.mark.parametrize(("returncode", "how"), [(7, "with exit status 7"), (-signal.SIGSEGV, "by SIGSEGV")])
async def test_a_process_that_dies_is_an_error_and_the_next_call_gets_another(
    executor: ProcessExecutor, returncode: int, how: str
) -> None:
    with pytest.raises(ProcessDied, match=f"that called errands:dies died {how}") as caught:
        await executor.call(errands.dies, (returncode,), {})
    assert caught.value.returncode == returncode
    assert await executor.call(errands.square, (3,), {}) == 9


async def test_the_function_can_ask_for_its_run_and_note_something(executor: ProcessExecutor) -> None:
    run: Run[Any] = Run(id="r", task="t", created_us=0, due_us=0, args=(threading.Lock(),))
    run.start("here", 1)
    enter_run(run)
    assert await executor.call(errands.who, ("key",), {"value": run}) == ("r", 1, True)
    assert run.notes is not None
    assert run.notes["key"].id == "r"


async def test_cancelling_kills_the_process_and_what_it_has_started(executor: ProcessExecutor, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    call = asyncio.ensure_future(executor.call(errands.sleeps, (note,), {}))
    await until(note.exists)
    assert executor.busy == 1
    waiting = asyncio.ensure_future(executor.call(errands.square, (2,), {}))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await waiting == 4
    pids = [int(text) for text in note.read_text("utf-8").split()]
    assert not alive(pids[0])
    await until(lambda: not running(pids[1]))
    assert executor.busy == 0


async def test_a_call_that_is_cancelled_while_its_process_starts_is_not_made(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    call = asyncio.ensure_future(executor.call(errands.sleeps, (tmp_path / "pids",), {}))
    for _ in range(3):  # a thread has it
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await executor.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_process_ends_by_itself_when_nobody_asks_any_more(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
import errands
from asyncsched.executors import ProcessExecutor

asyncio.run(ProcessExecutor(1).call(errands.sleeps, (Path(sys.argv[1]),), {}))
"""
    note = tmp_path / "pids"
    path = os.pathsep.join(sys.path)
    with subprocess.Popen([sys.executable, "-c", program, note], env=os.environ | {"PYTHONPATH": path}) as parent:
        await until(note.exists)
        parent.kill()
    pids = [int(text) for text in note.read_text("utf-8").split()]
    await until(lambda: not any(running(pid) for pid in pids))


def running(pid: int) -> bool:
    """Whether it runs: who is an orphan in a container without init may stay a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_virtual_time_stands_still_meanwhile(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(errands.square, every="1m", args=(5,), executor="process", id="five"))
    async with virtual(registry, at="2025-01-01", tz="UTC") as stage:
        await stage.advance("2 minutes")
        assert [(run.result, f"{run.finished_at:%H:%M:%S.%f}") for run in stage.runs("five")] == [
            (25, "00:01:00.000000"),
            (25, "00:02:00.000000"),
        ]


# --- which functions


class Adder:
    def add(self) -> None: ...

    @classmethod
    def make(cls) -> None: ...

    def __call__(self) -> None: ...


def local() -> Callable[[], None]:
    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    "func",
    [lambda: None, local(), Adder(), Adder().add, functools.partial(errands.square, 2)],
    ids=["lambda", "closure", "object", "method", "partial"],
)
def test_what_another_process_cannot_import_is_refused(func: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="it needs one that is defined with def at the top of a module"):
        Task(func, id="x", executor="process")


async def never() -> None: ...


def test_a_coroutine_function_is_refused() -> None:
    with pytest.raises(ConfigError, match="a coroutine function runs on the loop"):
        Task(never, executor="process")


@pytest.mark.parametrize("func", [errands.square, Adder.make, errands.Tools.twice, os.getpid, errands.cube])
def test_what_has_a_name_in_a_module_is_taken(func: Callable[..., Any]) -> None:
    assert Task(func, id="x", executor="process").executor == "process"


async def test_a_name_that_means_nothing_there_is_an_error(executor: ProcessExecutor) -> None:
    def gone() -> None: ...

    gone.__module__, gone.__qualname__ = "errands", "gone"
    with pytest.raises(ConfigError, match="a worker process does not find errands:gone"):
        await executor.call(gone, (), {})


SCRIPT = """
import asyncio, os, sys
from asyncsched import Registry, Scheduler

app = Scheduler(registry=Registry(), tz="UTC")

class Point:
    x = 5

@app.task(executor="process")
def pid(point):
    assert isinstance(point, Point)
    return os.getpid(), point

async def main():
    async with app:
        run = await pid.submit(Point())
        try:
            found, point = await run
            print(found != os.getpid(), isinstance(point, Point), sys.argv[1:])
        except Exception as error:
            print(type(error).__name__, error)

"""


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ('if __name__ == "__main__":\n    asyncio.run(main())', "True True ['word']"),
        ("asyncio.run(main())", "ConfigError executor='process' loads the program's main module once more"),
    ],
    ids=["guarded", "unguarded"],
)
@pytest.mark.parametrize("how", [["app.py"], ["-m", "app"]], ids=["script", "module"])
def test_a_function_of_the_main_module(tmp_path: Path, start: str, said: str, how: list[str]) -> None:
    (tmp_path / "app.py").write_text(SCRIPT + start + "\n", encoding="utf-8")
    command = [sys.executable, "-W", "error", *how, "word"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.startswith(said), done.stdout + done.stderr
    assert (done.returncode, done.stderr) == (0, "")


def test_a_function_without_a_file_is_refused(tmp_path: Path) -> None:
    program = "from asyncsched import task\n@task(executor='process')\ndef f(): ..."
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert "ConfigError: executor='process' imports the function in another process, and f stands in no file" in (
        done.stderr
    )
