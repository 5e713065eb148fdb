"""The rows of features about stores that outlive the process: real files and servers, real processes, real kills."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from addresses import Place
from asyncsched import Registry, Scheduler, Task
from asyncsched.clock import SystemClock
from asyncsched.errors import ArgumentsError
from asyncsched.events import TaskChanged
from asyncsched.run import RunStatus

TICKS = """
import asyncio, json, sys
from asyncsched import Registry, Scheduler
from asyncsched.events import RunEnded

registry = Registry()

@registry.every("100ms", id="tick", history_limit=1_000)
async def tick() -> int:
    return 1

async def main() -> None:
    scheduler = Scheduler(sys.argv[1], registry=registry)
    scheduler.events.on([RunEnded], lambda event: print("ended", event.run.id, flush=True))
    async with scheduler:
        known = await scheduler.runs.list(task="tick", limit=1_000)
        print("known", json.dumps([[run.id, run.scheduled_us, run.status] for run in known]), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

SHARED = """
import asyncio, json, os, sys, time
from asyncsched import Registry, Scheduler

registry = Registry()
count, until = int(sys.argv[2]), time.monotonic() + float(sys.argv[3])

@registry.every("250ms", id="tick", history_limit=1_000)
async def tick() -> int:
    return os.getpid()

@registry.task(id="add", history_limit=10_000)
async def add(a: int, b: int) -> int:
    return a + b

async def main() -> None:
    async with Scheduler("sqlite:///" + sys.argv[1], registry=registry):
        runs = await asyncio.gather(*(add.submit(number, 1) for number in range(count)))
        assert [await run for run in runs] == [number + 1 for number in range(count)]
        await asyncio.sleep(max(0, until - time.monotonic()))
    print(json.dumps([run.id for run in runs]))

asyncio.run(main())
"""


@contextmanager
def program(text: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """The program, which is killed when the block is left."""
    command = [sys.executable, "-c", text, *map(str, args)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def told(running: subprocess.Popen[str], word: str) -> str:
    """What the program says after the next such word."""
    assert running.stdout is not None
    for line in running.stdout:
        first, _, rest = line.strip().partition(" ")
        if first == word:
            return rest
    assert running.stderr is not None
    raise AssertionError(running.stderr.read())


async def fires_of(url: str, task: str) -> list[Any]:
    """The runs and skips of a task's fires that the store has."""
    async with Scheduler(url, registry=Registry(), queues=[]) as looking:
        runs = await looking.runs.list(task=task, limit=100_000)
    return [run for run in runs if run.scheduled_us is not None]


@pytest.mark.feature("EA20")
async def test_ea20_after_kill_9_tasks_runs_and_the_grid_are_what_they_were(shared: Place) -> None:
    ended: set[str] = set()
    for kill in range(2):
        with program(TICKS, shared.url) as running:
            known = json.loads(told(running, "known"))
            assert ended <= {run_id for run_id, _at, status in known if status == "SUCCESS"}
            assert bool(known) == (kill > 0)
            ended |= {told(running, "ended") for _ in range(3)}
            os.kill(running.pid, signal.SIGKILL)
    runs = await fires_of(shared.url, "tick")
    assert ended <= {run.id for run in runs if run.status is RunStatus.SUCCESS}
    assert max(Counter(run.scheduled_us for run in runs).values()) == 1
    assert len({run.scheduled_us % 100_000 for run in runs}) == 1


def hourly(every: str = "1h") -> Registry:
    registry = Registry()

    async def work() -> None: ...

    registry.register(Task(work, id="work", every=every))
    return registry


@pytest.mark.feature("LS24")
async def test_ls24_an_unchanged_trigger_keeps_its_grid_a_changed_one_is_armed_anew_and_told(shared: Place) -> None:
    seen: list[Any] = []
    fires = []
    for every in ("1h", "1h", "30m"):
        scheduler = shared.scheduler(hourly(every))
        scheduler.events.on([TaskChanged], seen.append)
        async with scheduler:
            fires.append((await scheduler.tasks.next_fires())[0][1])
    assert fires[0] == fires[1]
    assert fires[0] - fires[2] > timedelta(minutes=29)
    assert [event.task for event in seen] == ["work"]


class AnHourAgo(SystemClock):
    def now_us(self) -> int:
        return super().now_us() - 3_600_000_000


@pytest.mark.feature("LS28")
async def test_ls28_what_is_overdue_at_a_restart_is_one_late_run(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    async with Scheduler(url, registry=hourly("25m"), clock=AnHourAgo()):
        pass
    async with Scheduler(url, registry=hourly("25m")) as scheduler:
        await scheduler.idle()
        assert [(run.status, run.stands_for) for run in await scheduler.runs.list()] == [("SUCCESS", 2)]


@pytest.mark.feature("NB14")
async def test_nb14_of_four_processes_at_one_file_each_fire_is_one_run(tmp_path: Path) -> None:
    instants: list[int] = []
    seconds = 1.0
    while len(instants) < 8:  # a slow machine needs longer
        seconds *= 3
        path = tmp_path / f"{seconds}.db"
        await asyncio.to_thread(share, path, 0, seconds)
        fires = await fires_of(f"sqlite:///{path}", "tick")
        instants = sorted(run.scheduled_us for run in fires)
    assert instants == list(range(instants[0], instants[-1] + 1, 250_000))
    # Who leaves starts nothing more: the run of the last instant may wait for whoever comes next, and runs there.
    registry = Registry()
    registry.register(Task(os.getpid, id="tick", history_limit=1_000))
    async with Scheduler(f"sqlite:///{path}", registry=registry) as last:
        await last.idle()
        ended = await last.runs.list(task="tick", limit=1_000)
    assert {run.id for run in ended} == {run.id for run in fires}
    assert {run.status for run in ended} <= {RunStatus.SUCCESS, RunStatus.SKIPPED}


@pytest.mark.feature("PA12")
async def test_pa12_four_processes_submit_at_once_and_none_is_told_that_the_file_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    submitted = [run_id for runs in await asyncio.to_thread(share, path, 500, 0.0) for run_id in runs]
    async with Scheduler(f"sqlite:///{path}", registry=Registry(), queues=[]) as looking:
        runs = await looking.runs.list(task="add", limit=100_000)
    assert len(submitted) == 2_000
    assert sorted(run.id for run in runs) == sorted(submitted)
    assert {(run.status, run.attempt) for run in runs} == {("SUCCESS", 1)}


def share(path: Path, count: int, seconds: float) -> list[list[str]]:
    """Let four processes submit so many runs each, and serve for so long; the ids of the runs of each."""
    command = [sys.executable, "-c", SHARED, str(path), str(count), str(seconds)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    answers = []
    for process in running:
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        assert "locked" not in err
        answers.append(json.loads(out))
    return answers


@pytest.mark.feature("PA18")
async def test_pa18_a_closure_is_a_task_and_what_cannot_be_stored_is_refused_by_name(tmp_path: Path) -> None:
    registry, seen = Registry(), []

    @registry.task(id="see")
    async def see(lines: Any) -> None:
        seen.append(lines)

    async with Scheduler(f"sqlite:///{tmp_path / 'jobs.db'}", registry=registry) as scheduler:
        await (await see.submit(["a"]))
        with (tmp_path / "file").open("w") as file, pytest.raises(ArgumentsError, match="argument lines="):
            await see.submit(file)
        assert len(await scheduler.runs.list()) == 1
    assert seen == [["a"]]


@pytest.mark.feature("PQ2")
async def test_pq2_many_who_open_a_new_store_at_once_make_one_schema(shared: Place) -> None:
    nodes = [shared.scheduler(hourly(), node=f"n{number}") for number in range(8)]
    await asyncio.gather(*(node.start() for node in nodes))
    assert await asyncio.gather(*(node.tasks.stored() for node in nodes)) == [await nodes[0].tasks.stored()] * 8
    await asyncio.gather(*(node.stop() for node in nodes))
