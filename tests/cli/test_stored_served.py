"""The commands about what a store keeps, while another process serves it: what is asked here happens there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

APP = """
import asyncio
from pathlib import Path
from asyncsched import Registry, Scheduler

registry = Registry()
scheduler = Scheduler("sqlite:///jobs.db", registry=registry, tz="UTC", shutdown_timeout="0s")


@registry.every("100ms", history_limit=1_000)
async def tick(): ...


@registry.task
async def add(a: int, b: int) -> int:
    return a + b


@registry.task(queue="slow")
async def sleep():
    Path("asleep").touch()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        Path("cancelled").touch()
        raise


@registry.at("02:30", history_limit=1_000)
async def nightly(): ...
"""
PATIENCE_S = 30


@pytest.fixture
def served(here: Path, program) -> subprocess.Popen[str]:
    """A process that serves the app: it is up."""
    (here / "app.py").write_text(APP, encoding="utf-8")
    process = program("run", "app")
    assert process.stdout.readline().startswith("asyncsched ")
    return process


@pytest.fixture
def ask(served: subprocess.Popen[str], command) -> Callable[..., Any]:
    """What a command says as JSON, called in this process."""

    def call(*words: str) -> Any:
        done = command(*words, "--json")
        assert (done.code, done.err) == (0, ""), done
        return json.loads(done.out)

    return call


def until(holds: Callable[[], Any]) -> Any:
    """What ``holds`` gives once that is true."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to hold")


def test_what_is_submitted_here_runs_there(ask, here: Path) -> None:
    run = ask("submit", "app", "add", "[1, 2]")
    ended = until(lambda: (found := ask("show", "app", run["id"]))["status"] == "SUCCESS" and found)
    assert ended["result"] == 3
    assert not ended["node"].endswith(f":{os.getpid()}")
    triggered = ask("trigger", "app", "nightly")
    until(lambda: ask("show", "app", triggered["id"])["status"] == "SUCCESS")
    (again,) = ask("retry", "app", run["id"])
    until(lambda: ask("show", "app", again["id"])["result"] == 3)


def test_what_is_cancelled_here_stops_there(ask, here: Path) -> None:
    run = ask("submit", "app", "sleep")
    until((here / "asleep").exists)
    assert ask("show", "app", run["id"])["status"] == "RUNNING"
    assert ask("cancel", "app", run["id"]) == {"cancelled": 1}
    ended = until(lambda: (found := ask("show", "app", run["id"]))["status"] == "CANCELLED" and found)
    assert ended["reason"] == "it was cancelled by hand"
    assert (here / "cancelled").exists()


def test_a_queue_is_cancelled_without_the_code(ask, here: Path) -> None:
    ids = [ask("submit", "app", "sleep", *more)["id"] for more in ([], ["--delay", "1h"])]
    until((here / "asleep").exists)
    assert ask("cancel", "--store", "sqlite:///jobs.db", "--queue", "slow") == {"cancelled": 2}
    until(lambda: {ask("show", "app", run_id)["status"] for run_id in ids} == {"CANCELLED"})


@pytest.mark.parametrize("where", [("app", "tick"), ("--store", "sqlite:///jobs.db", "app:tick")])
def test_what_is_paused_here_pauses_there_until_it_is_resumed(ask, where: tuple[str, ...]) -> None:
    def ticked() -> int:
        runs = ask("runs", "app", "--task", "tick", "--status", "success", "-n", "1000")
        return len(runs)

    until(ticked)
    ask("pause", *where)
    # What has been fired before that process heard of it runs; then nothing comes any more.
    settled = until(lambda: (count := ticked()) == (time.sleep(0.5), ticked())[1] and count)
    time.sleep(0.5)
    assert ticked() == settled
    ask("resume", *where)
    until(lambda: ticked() > settled + 2)
    skips = ask("runs", "app", "--task", "tick", "--status", "skipped")
    assert {skip["reason"] for skip in skips} <= {"paused", "overlap"}
    assert sum(skip["stands_for"] for skip in skips if skip["reason"] == "paused") >= 5


def test_a_past_range_is_replayed_there(ask) -> None:
    made = ask("backfill", "app", "nightly", "--start", "2026-03-01", "--end", "2026-03-06")
    assert len(made["runs"]) == 5
    until(lambda: {ask("show", "app", run)["status"] for run in made["runs"]} == {"SUCCESS"})


def test_a_process_may_fire_alone_and_another_run_alone(here: Path, program, command) -> None:
    (here / "app.py").write_text(APP, encoding="utf-8")
    firing = program("run", "app", "--role", "fire")
    head = firing.stdout.readline()
    assert (head.startswith("asyncsched "), head.endswith(" tasks  only fires\n")) == (True, True), head

    def runs(*words: str) -> Any:
        return json.loads(command("runs", "app", "--task", "tick", *words, "--json").out)

    until(lambda: runs("--status", "pending"))
    assert runs("--status", "success") == []
    firing.send_signal(signal.SIGTERM)
    assert firing.wait(PATIENCE_S) == 0
    running = program("run", "app", "--role", "run")
    assert running.stdout.readline().endswith(" tasks  only runs\n")
    until(lambda: runs("--status", "success"))
    last = until(lambda: not runs("--status", "pending") and runs("-n", "1"))
    time.sleep(0.5)
    assert runs("-n", "1") == last, "nobody fires"
    assert running.poll() is None


def test_the_tasks_are_listed_with_what_is_going_on(ask, command) -> None:
    ask("submit", "app", "sleep")
    ask("submit", "app", "add", "[1, 2]", "--delay", "1h")
    ask("pause", "app", "nightly")
    until(lambda: {task["task"]: task["running"] for task in ask("ls", "app")}["app:sleep"] == 1)
    lines = command("ls", "app").out.splitlines()
    assert [line.split()[0] for line in lines] == ["add", "nightly", "sleep", "tick"]
    assert lines[0].endswith("  1 waiting")
    assert lines[1].endswith("  every day at 02:30  paused until it is resumed")
    assert lines[2].endswith("  1 running")
    assert lines[3].startswith("tick     every 100ms         next ")
    ask("cancel", "app", "--task", "sleep")
