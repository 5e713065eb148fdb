"""Processes at one SQLite file, killed at any moment: nothing acknowledged is lost, and nothing is doubled."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

# Each run appends its id, its token and its process to a file of its own before it ends: what really happened.
WORK = """
import asyncio, os, sys
from asyncsched import Registry, Scheduler, current_run

path, acked, done, until_idle = sys.argv[1:]
registry = Registry()
acknowledged = os.open(acked, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
effects = os.open(done, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

@registry.every("50ms", id="tick", history_limit=100_000)
async def tick() -> None:
    pass

@registry.task(id="work", history_limit=100_000)
async def work(number: int) -> int:
    run = current_run()
    await asyncio.sleep(0.005)
    os.write(effects, f"{run.id} {run.token}\\n".encode())
    return number

async def produce() -> None:
    for number in range(1_000_000):
        run = await work.submit(number)
        os.write(acknowledged, f"{run.id}\\n".encode())

async def main() -> None:
    async with Scheduler("sqlite:///" + path, registry=registry) as scheduler:
        print("ready", flush=True)
        if until_idle == "yes":
            await scheduler.idle()
        else:
            await asyncio.gather(*(produce() for _ in range(5)))

asyncio.run(main())
"""

FLOW = """
import asyncio, sys
from asyncsched import Registry, Scheduler, result_of

path, hang = sys.argv[1:]
registry = Registry()

@registry.task(id="first")
async def first() -> list[int]:
    print("first", flush=True)
    return [1, 2]

@registry.after(first, id="second")
async def second(rows: list[int] = result_of(first)) -> int:
    print("second", flush=True)
    if hang == "yes":
        await asyncio.Event().wait()
    return sum(rows)

@registry.after(second, id="third")
async def third(total: int = result_of(second)) -> int:
    print("third", flush=True)
    return total * 10

async def main() -> None:
    async with Scheduler("sqlite:///" + path, registry=registry) as scheduler:
        if hang == "yes":
            await first.submit()
            await asyncio.Event().wait()
        waiting = [run for run in await scheduler.runs.list(task="third")]
        print("result", await waiting[0], flush=True)

asyncio.run(main())
"""


def start(text: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", text, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


@pytest.mark.parametrize("seed", [1])
def test_what_was_acknowledged_runs_once_or_again_with_another_token(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    path, acked, done = tmp_path / "jobs.db", tmp_path / "acked", tmp_path / "done"
    living = [start(WORK, path, acked, done, "no") for _ in range(3)]
    try:
        for _kill in range(6):
            chosen = living.pop(random.randrange(3))
            assert chosen.stdout is not None
            assert chosen.stdout.readline() == "ready\n", chosen.communicate()[1]
            with contextlib.suppress(subprocess.TimeoutExpired):  # at some moment after it has begun
                chosen.wait(random.uniform(0.05, 0.5))
            os.kill(chosen.pid, signal.SIGKILL)
            stop(chosen)
            living.append(start(WORK, path, acked, done, "no"))
    finally:
        for process in living:
            stop(process)
    last = start(WORK, path, acked, done, "yes")
    _out, err = last.communicate(timeout=100)
    assert last.returncode == 0, err

    history = [run_id for (run_id,) in rows(path, "SELECT id FROM asyncsched_history WHERE status != 'SKIPPED'")]
    acknowledged = acked.read_text().split()
    effects = [tuple(line.split()) for line in done.read_text().splitlines()]
    assert len(acknowledged) > 50
    assert set(acknowledged) - set(history) == set()
    assert rows(path, "SELECT count(*) FROM asyncsched_runs") == [(0,)]
    assert len(history) == len(set(history))
    assert len(effects) == len(set(effects)), "a token was given out twice"
    assert {run_id for run_id, _token in effects} >= set(acknowledged)
    fires = rows(path, "SELECT scheduled_at, count(*) FROM asyncsched_history WHERE task = 'tick' GROUP BY 1")
    assert {count for _at, count in fires} == {1}
    assert len({at_us % 50_000 for at_us, _count in fires}) == 1
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert not list(tmp_path.glob("jobs.db-node-*"))


def test_a_flow_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    killed = start(FLOW, path, "yes")
    assert killed.stdout is not None
    said = [killed.stdout.readline().strip() for _ in range(2)]
    stop(killed)
    assert said == ["first", "second"]
    again = start(FLOW, path, "no")
    out, err = again.communicate(timeout=60)
    assert out.split("\n") == ["second", "third", "result 30", ""], err
