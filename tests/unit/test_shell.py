"""Programs of the operating system as functions."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Shell, Task
from asyncsched.errors import ConfigError, RunCancelled, ShellFailed
from asyncsched.executors import Finished
from asyncsched.executors.shell import OUTPUT_LIMIT
from errands import alive

PATIENCE = 30.0  # seconds, for what takes a moment unless the machine is dead


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.002)


async def started(shell: Shell, pids: Path) -> tuple[asyncio.Task[Finished], list[int]]:
    """The call, once its program has written down as many process ids as its first line says."""
    call = asyncio.create_task(shell())
    await until(lambda: pids.exists() and pids.read_text("utf-8").endswith("ready\n"))
    return call, [int(word) for word in pids.read_text("utf-8").split()[:-1]]


async def cancel(call: asyncio.Task[Any]) -> float:
    """Cancel the call; how many seconds it took, which are not many: the programs would sleep for a minute."""
    began = time.perf_counter()
    call.cancel()
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait({call})
    with pytest.raises(asyncio.CancelledError):
        call.result()
    return time.perf_counter() - began


# --- what it gives


async def test_a_command_line_gives_its_status_and_both_outputs() -> None:
    assert await Shell("echo out; echo err >&2")() == Finished(0, "out\n", "err\n")


async def test_a_list_is_a_program_and_its_arguments_without_a_shell() -> None:
    assert (await Shell(["echo", "$HOME", "*"])()).stdout == "$HOME *\n"


async def test_it_reads_what_it_is_given_or_nothing() -> None:
    assert (await Shell("cat", stdin="grüße")()).stdout == "grüße"
    assert (await Shell("cat", stdin=b"x" * 300_000)()).stdout == "x" * 300_000
    assert (await Shell("cat")()).stdout == ""
    assert (await Shell("true", stdin="x" * 300_000)()).returncode == 0


async def test_directory_environment_and_encoding(tmp_path: Path) -> None:
    assert (await Shell("pwd", cwd=tmp_path)()).stdout == f"{tmp_path}\n"
    assert (await Shell("echo $A$HOME", env={"A": "b"})()).stdout == "b\n"
    assert (await Shell(r"printf '\344'", encoding="latin-1")()).stdout == "ä"
    assert (await Shell(r"printf '\344'")()).stdout == "\ufffd"


async def test_another_status_than_zero_is_an_error_that_carries_it() -> None:
    with pytest.raises(ShellFailed, match="'echo no >&2; exit 3' ended with exit status 3: no") as caught:
        await Shell("echo no >&2; exit 3")()
    assert (caught.value.returncode, caught.value.stdout, caught.value.stderr) == (3, "", "no\n")
    with pytest.raises(ShellFailed, match="ended by SIGKILL"):
        await Shell("kill -9 $$")()
    assert (await Shell("exit 3", check=False)()).returncode == 3


async def test_what_cannot_be_started_is_the_system_s_own_error() -> None:
    with pytest.raises(FileNotFoundError):
        await Shell(["/nowhere/nothing"])()


async def test_of_a_long_output_the_end_is_kept() -> None:
    found = await Shell(f"head -c {3 * OUTPUT_LIMIT} /dev/zero | tr '\\0' x; echo end")()
    assert len(found.stdout) == OUTPUT_LIMIT
    assert found.stdout.endswith("xxend\n")
    assert found.left_out == 2 * OUTPUT_LIMIT + 4


# --- how it is ended


async def test_cancelling_ends_the_program_and_all_that_it_has_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    shell = Shell("sleep 60 & sleep 60 >/dev/null 2>&1 & echo $$ $! ready > pids; wait", cwd=tmp_path, grace="1 minute")
    call, numbers = await started(shell, pids)
    await cancel(call)  # well before the grace is over
    assert not alive(numbers[0])
    await until(lambda: not any(map(running, numbers)))


def running(pid: int) -> bool:
    """Whether it runs: an orphan, in a container without init, may stay a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_program_may_clean_up_when_it_is_cancelled(tmp_path: Path) -> None:
    shell = Shell("trap 'echo bye > last; exit 0' TERM; echo $$ ready > pids; sleep 60 & wait", cwd=tmp_path)
    call, _ = await started(shell, tmp_path / "pids")
    await cancel(call)
    assert (tmp_path / "last").read_text("utf-8") == "bye\n"


async def test_a_program_that_does_not_listen_is_killed_after_the_grace(tmp_path: Path) -> None:
    command = "trap '' TERM; echo $$ ready > pids; while :; do sleep 60; done"
    call, (pid,) = await started(Shell(command, cwd=tmp_path, grace="100ms"), tmp_path / "pids")
    assert await cancel(call) >= 0.1
    assert not alive(pid)


async def test_who_holds_the_outputs_from_outside_the_group_is_not_waited_for(tmp_path: Path) -> None:
    command = "setsid sh -c 'echo $$ ready > pids; exec sleep 60'; sleep 60"
    call, (holder,) = await started(Shell(command, cwd=tmp_path, grace="50ms"), tmp_path / "pids")
    await cancel(call)
    assert running(holder)
    os.kill(holder, signal.SIGKILL)


async def test_cancelling_twice_kills_at_once(tmp_path: Path) -> None:
    command = "trap '' TERM; echo $$ ready > pids; while :; do sleep 60; done"
    call, (pid,) = await started(Shell(command, cwd=tmp_path, grace="1 minute"), tmp_path / "pids")
    call.cancel()
    await asyncio.sleep(0)
    await cancel(call)
    await until(lambda: not running(pid))


async def test_cancelling_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    for turns in range(6):
        call = asyncio.create_task(Shell("sleep 0.3; touch done", cwd=tmp_path)())
        for _ in range(turns):
            await asyncio.sleep(0)
        await cancel(call)
    await asyncio.sleep(0.4)
    assert list(tmp_path.iterdir()) == []


# --- as the function of a task


async def test_virtual_time_stands_still_meanwhile(virtual: Any) -> None:
    registry = Registry()
    registry.every("1m", id="shell")(Shell("sleep 0.05; echo hello"))
    async with virtual(registry, at="2025-01-01", tz="UTC") as stage:
        await stage.advance("2 minutes")
        assert [(run.result.stdout, f"{run.finished_at:%H:%M:%S.%f}") for run in stage.runs("shell")] == [
            ("hello\n", "00:01:00.000000"),
            ("hello\n", "00:02:00.000000"),
        ]


async def test_the_grace_is_real_where_time_is_virtual(virtual: Any) -> None:
    registry = Registry()
    task = registry.register(Task(Shell("trap '' TERM; sleep 60", grace="50ms"), id="shell"))
    async with virtual(registry, at="2025-01-01", tz="UTC") as stage:
        run = await task.submit()
        await stage.until(task="shell", status="RUNNING")
        await asyncio.to_thread(time.sleep, 0.05)
        assert await stage.scheduler.runs.cancel(run.id)
        with pytest.raises(RunCancelled):
            await run


def test_it_runs_on_a_loop_in_any_thread() -> None:
    registry = Registry()
    task = registry.register(Task(Shell("echo hello"), id="shell"))
    with Scheduler(registry=registry, tz="UTC").start_in_thread() as handle:
        assert handle.wait(handle.call(task.submit)).stdout == "hello\n"


def test_it_is_a_value() -> None:
    assert Shell(["ls", "-l"]) == Shell(("ls", "-l"), grace="500ms")
    assert len({Shell("ls", env={"A": "b"}), Shell("ls", env={"A": "b"}), Shell("ls", cwd="/")}) == 2
    assert Task(Shell("ls"), id="x").executor == "loop"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((5,), {}, "Shell\\(5\\): a command line such as"),
        (("",), {}, "a command line such as"),
        (([],), {}, "a command line such as"),
        ((["ls", 1],), {}, "a command line such as"),
        (("ls",), {"encoding": "klingon"}, "encoding='klingon': there is none of this name"),
        (("ls",), {"grace": "soon"}, "grace="),
        (("ls",), {"grace": "-1s"}, "grace="),
    ],
)
def test_a_wrong_argument_is_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Shell(*arguments, **options)


def test_a_task_of_it_needs_an_id() -> None:
    with pytest.raises(ConfigError, match="give the task an id="):
        Task(Shell("ls"), every="1m")
