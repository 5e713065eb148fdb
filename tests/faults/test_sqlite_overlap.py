"""Two processes fire one task at one file, and are killed: each fire does what its policy says of the runs there are.

The file itself writes down, by triggers of the test, in which order runs were made, begun, ended and fires skipped; the
pure function that decides is asked again about each fire, and must say the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from asyncsched.overlap import overlap_verdict
from asyncsched.policy import Policy
from asyncsched.stores._durable.rows import RUNNING

PERIOD_MS = 100
POLICIES = ("skip", "allow", "queue_one", "queue_all", "cancel_previous")
DURATIONS = (0.2, 0.5, 1.0, 2.0, 3.0)
LONG = os.environ.get("ASYNCSCHED_FAULTS") == "long"
FEW = [("skip", 3.0), ("allow", 2.0), ("queue_one", 3.0), ("queue_all", 2.0), ("cancel_previous", 3.0)]
CELLS = [(policy, by) for policy in POLICIES for by in DURATIONS] if LONG else FEW

WORKER = """
import asyncio, json, os, sys, time
from asyncsched import Registry, Scheduler, current_run

url, effects, ticks = sys.argv[1:]
registry = Registry()
out = os.open(effects, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def note(what):
    run = current_run()
    os.write(out, f"{what} {run.id} {run.token} {os.getpid()} {time.monotonic_ns()}\\n".encode())

def declare(name, overlap, seconds, most):
    @registry.every("PERIODms", id=name, overlap=overlap, max_running=most or None, history_limit=100_000)
    async def tick() -> None:
        note("begin")
        try:
            await asyncio.sleep(seconds)
        finally:
            note("end")

for one in json.loads(ticks):
    declare(*one)

async def main() -> None:
    async with Scheduler(url, registry=registry):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
""".replace("PERIOD", str(PERIOD_MS))

LOG = f"""
BEGIN IMMEDIATE;
CREATE TABLE seen (seq INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT, run TEXT);
CREATE TRIGGER made AFTER INSERT ON asyncsched_runs BEGIN
    INSERT INTO seen (what, run) VALUES ('made', new.id); END;
CREATE TRIGGER begun AFTER UPDATE OF state ON asyncsched_runs WHEN new.state = {RUNNING} BEGIN
    INSERT INTO seen (what, run) VALUES ('begun', new.id); END;
CREATE TRIGGER back AFTER UPDATE OF state ON asyncsched_runs WHEN new.state != {RUNNING} AND new.attempt = 0 BEGIN
    INSERT INTO seen (what, run) VALUES ('back', new.id); END;
CREATE TRIGGER over AFTER DELETE ON asyncsched_runs BEGIN
    INSERT INTO seen (what, run) VALUES ('over', old.id); END;
CREATE TRIGGER skipped AFTER INSERT ON asyncsched_history WHEN new.reason = 'overlap' BEGIN
    INSERT INTO seen (what, run) VALUES ('skipped', new.id); END;
INSERT INTO seen (what, run) SELECT 'found', id FROM asyncsched_runs ORDER BY rowid;
INSERT INTO seen (what, run) SELECT 'begun', id FROM asyncsched_runs WHERE state = {RUNNING};
COMMIT;
"""


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


class Pair:
    """Two processes at a store, of which one is killed now and then and begun anew.

    ticks: of each task its name, its policy, how long it runs in seconds, and how many run at once; 0: any number.
    """

    def __init__(self, folder: Path, url: str, *ticks: tuple[str, str, float, int]) -> None:
        self.effects = folder / "effects"
        self._args = [url, str(self.effects), json.dumps(ticks)]
        self.killed: dict[int, int] = {}
        self.living: list[subprocess.Popen[str]] = []

    def begin(self) -> None:
        command = [sys.executable, "-c", WORKER, *self._args]
        self.living.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))

    def ready(self) -> None:
        for process in self.living:
            assert process.stdout is not None
            if process.poll() is None and not hasattr(process, "said"):
                process.said = process.stdout.readline()  # type: ignore[attr-defined]
                assert process.said == "ready\n", process.communicate()[1]  # type: ignore[attr-defined]

    def kill(self, number: int) -> None:
        process = self.living.pop(number)
        process.kill()
        process.communicate()
        self.killed[process.pid] = time.monotonic_ns()


@contextlib.contextmanager
def pair(
    folder: Path, url: str, *ticks: tuple[str, str, float, int], made: Callable[[], None] = lambda: None
) -> Iterator[Pair]:
    """Two processes at work; ``made`` is called when the first one has made the tables."""
    two = Pair(folder, url, *ticks)
    try:
        two.begin()
        two.ready()
        made()
        two.begin()
        two.ready()
        yield two
    finally:
        while two.living:
            two.kill(0)


@contextlib.contextmanager
def logged_pair(folder: Path, overlap: str, seconds: float, most: int = 0) -> Iterator[tuple[Pair, Path]]:
    """Two processes at a file, which writes down what happens."""
    path = folder / "jobs.db"

    def log() -> None:
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as db:
            db.executescript(LOG)

    with pair(folder, f"sqlite:///{path}", ("tick", overlap, seconds, most), made=log) as two:
        yield two, path


def run_for(two: Pair, seconds: float, kills: int, random: Random) -> None:
    for _ in range(kills):
        time.sleep(seconds / (kills + 1) * random.uniform(0.7, 1.3))
        two.kill(random.randrange(len(two.living)))
        two.begin()
        two.ready()
    time.sleep(seconds / (kills + 1))


def verdicts(path: Path, overlap: str) -> tuple[int, int]:
    """How many fires ran and how many were skipped; each as the pure function says, asked in the order of the file."""
    policy = Policy.of({"overlap": overlap})
    seen = rows(path, "SELECT what, run FROM seen ORDER BY seq")
    live: dict[str, bool] = {}
    ran = skipped = 0
    for what, run in seen:
        if what in ("made", "skipped"):
            running = sum(live.values())
            verdict = overlap_verdict(policy, running, len(live) - running)
            assert (verdict == "skip") == (what == "skipped"), f"{what} beside {live}"
        match what:
            case "found":
                live[run] = False
            case "made":
                live[run] = False
                ran += 1
            case "skipped":
                skipped += 1
            case "begun" | "back":
                live[run] = what == "begun"
            case "over":
                del live[run]
    return ran, skipped


def spans(two: Pair, among: Collection[str] | None = None) -> list[tuple[int, int]]:
    """From when to when the function really ran, each time, of all runs or of these; what was killed, until then."""
    begun: dict[str, tuple[int, int]] = {}
    found = []
    for line in two.effects.read_text().splitlines():
        what, run, token, pid, at_ns = line.split()
        if among is not None and run not in among:
            continue
        if what == "begin":
            assert f"{run} {token}" not in begun, "a token was given out twice"
            begun[f"{run} {token}"] = int(at_ns), int(pid)
        else:
            found.append((begun.pop(f"{run} {token}")[0], int(at_ns)))
    return sorted(found + [(at_ns, two.killed[pid]) for at_ns, pid in begun.values()])


@pytest.mark.parametrize(("overlap", "by"), CELLS)
def test_each_fire_does_what_its_policy_says_of_all_processes(tmp_path: Path, overlap: str, by: float) -> None:
    random = Random(f"{overlap} {by}")
    with logged_pair(tmp_path, overlap, by * PERIOD_MS / 1_000) as (two, path):
        run_for(two, 10.0 if LONG else 2.5, 6 if LONG else 2, random)
        while len(two.living) > 1:
            two.kill(0)
    ran, skipped = verdicts(path, overlap)
    assert ran > 3
    if overlap in ("skip", "queue_one") and by > 1.5:
        assert skipped > 3
    if overlap == "cancel_previous" and by > 1.5:
        assert rows(path, "SELECT count(*) FROM asyncsched_history WHERE status = 'CANCELLED'")[0][0] > 3
    if overlap != "allow":
        assert all(one[1] <= other[0] for one, other in pairwise(spans(two))), "two ran at once"
    fires = [
        one
        for table in ("history", "runs")
        for one in rows(path, f"SELECT scheduled_at, stands_for FROM asyncsched_{table}")
    ]
    ((next_at,),) = rows(path, "SELECT next_at FROM asyncsched_tasks WHERE id = 'tick'")
    instants = [at_us for at_us, _stands_for in fires]
    assert len(instants) == len(set(instants))
    assert sum(stands_for for _at_us, stands_for in fires) == (next_at - min(instants)) // (PERIOD_MS * 1_000)


def test_no_more_run_at_once_in_all_processes_than_their_task_allows(tmp_path: Path) -> None:
    with logged_pair(tmp_path, "allow", 0.4, most=2) as (two, _path):
        run_for(two, 10.0 if LONG else 2.5, 6 if LONG else 2, Random(2))
        two.kill(0)
        two.kill(0)
    found = spans(two)
    most = max(sum(begin <= at_ns < end for begin, end in found) for at_ns, _end in found)
    assert most == 2
