"""Processes at one store, killed at any moment (F1): nothing acknowledged is lost, and nothing is doubled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from .crew import LONG, Crew, chosen, pause, seeded
from .grounds import SHARED, ground_of
from .invariants import recoveries_us
from .worker import FLOW

WORKERS = 6 if LONG else 4
KILLS, RUNS = (250, 20_000) if LONG else (20, 1_500)

FLOW_OF_THREE = """
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


def kill_now_and_then(crew: Crew, random: Random) -> None:
    """Kill one worker after the other, a new one follows each; until many were killed and many runs submitted."""
    for _ in range(WORKERS):
        crew.start("produce")
    kills = 0
    while kills < KILLS or crew.acknowledged() < RUNS:
        pause(random, 0.02, 0.15)
        left = [name for name, process in crew.living.items() if process.poll() is not None]
        assert not left, f"{left[0]} ended by itself: {crew.said(left[0])}"
        ready = [name for name in crew.living if crew.ready(name)]
        # Most must be at work, or nothing would ever be done; some die while they are still on their way in.
        if kills < KILLS and len(ready) > WORKERS // 2:
            crew.kill(chosen(random, list(crew.living) if random.random() < 0.2 else ready))
            crew.start("produce")
            kills += 1


@pytest.mark.timeout(1800 if LONG else 180)
@pytest.mark.parametrize("kind", SHARED)
def test_what_was_acknowledged_runs_once_or_again_with_another_token(kind: str, tmp_path: Path) -> None:
    random, ground = seeded("kills"), ground_of(kind, tmp_path)
    with Crew(tmp_path / "crew", ground).declare() as crew:
        kill_now_and_then(crew, random)
        crew.mark("enough")
        for name in list(crew.living)[:2]:
            crew.kill(name)
        crew.mark("stop")
        for name in list(crew.living):
            crew.leaves(name)
        crew.drain(patience_s=600 if LONG else 60)
        assert crew.judge(int(ground.recovery_s * 1e6)) == []
        evidence = crew.evidence()
        assert any(recoveries_us(evidence)), "I7 was not tried"
        assert sum(one.key is not None for one in evidence.executions) > KILLS, "I8 was not tried"
        assert len(crew.deaths) >= KILLS
        assert crew.acknowledged() >= RUNS
        flows = ground.flows()
        assert flows
        assert {flow: tasks for flow, tasks in flows.items() if tasks != sorted(FLOW)} == {}


def test_a_flow_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    killed = start(FLOW_OF_THREE, path, "yes")
    assert killed.stdout is not None
    said = [killed.stdout.readline().strip() for _ in range(2)]
    stop(killed)
    assert said == ["first", "second"]
    again = start(FLOW_OF_THREE, path, "no")
    out, err = again.communicate(timeout=60)
    assert out.split("\n") == ["second", "third", "result 30", ""], err
