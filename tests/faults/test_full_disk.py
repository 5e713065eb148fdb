"""A disk that is full for a while: who asks is told, nothing acknowledged is lost, and it goes on by itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Fills what room there is, waits, and makes room again; prints what happened meanwhile.
PROGRAM = """
import asyncio, json, logging, os, resource, sys, time
from pathlib import Path
from asyncsched import Registry, Scheduler
from asyncsched.errors import StoreError
from asyncsched.events import RunEnded, StoreBack, StoreLost

logging.basicConfig()
place, kind = Path(sys.argv[1]), sys.argv[2]
filler = place / "filler"
registry = Registry()

@registry.every("100ms", id="tick", history_limit=10_000)
async def tick() -> None: ...

@registry.task(id="keep", history_limit=10_000)
async def keep(text: str) -> int:
    return len(text)

def fill() -> None:
    if kind == "quota":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    else:
        room = os.statvfs(place)
        filler.write_bytes(bytes(room.f_bavail * room.f_frsize - 600_000))

def free() -> None:
    if kind == "quota":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        filler.unlink()

async def main() -> None:
    scheduler = Scheduler(f"sqlite:///{place}/jobs.db", registry=registry)
    heard, ended = [], asyncio.Event()
    scheduler.events.on([StoreLost, StoreBack], lambda event: heard.append(type(event).__name__))
    async with scheduler:
        await asyncio.sleep(0.5)
        fill()
        acked, errors = [], []
        while len(errors) < 5:
            try:
                acked.append((await keep.submit("x" * 20_000)).id)
            except StoreError as error:
                errors.append(str(error))
        while "StoreLost" not in heard:
            await asyncio.sleep(0.01)
        busy = time.process_time()
        await asyncio.sleep(3)
        busy = time.process_time() - busy
        free()
        freed = time.monotonic()
        scheduler.events.on([RunEnded], lambda event: event.task == "tick" and ended.set())
        await ended.wait()
        resumed = time.monotonic() - freed
        acked.append((await keep.submit("x")).id)
        await scheduler.runs.wait(acked[-1])
        await asyncio.sleep(0.3)
    async with Scheduler(f"sqlite:///{place}/jobs.db", registry=registry, queues=[]) as again:
        runs = await again.runs.list(limit=100_000)
    keeps = {run.id: run.status for run in runs if run.task == "keep"}
    ticks = sorted((run.scheduled_us, run.stands_for) for run in runs if run.task == "tick")
    print(json.dumps([acked, errors, heard, busy, resumed, keeps, ticks]))

asyncio.run(main())
"""
IN_OWN_MOUNTS = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def may_mount(place: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run([*IN_OWN_MOUNTS, f"mount -t tmpfs none {place}"], capture_output=True, timeout=10)
    return tried.returncode == 0


def run(place: Path, kind: str) -> list[Any]:
    command = [sys.executable, "-c", PROGRAM, str(place), kind]
    if kind == "tmpfs":
        if not may_mount(place):
            pytest.skip("no file system can be mounted here")
        command = [*IN_OWN_MOUNTS, f'mount -t tmpfs -o size=8m none {place} && exec "$@"', "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the store fails") <= 5, done.stderr
    assert done.stderr.count("answers again") == 1, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


# A quota works for everybody, and everywhere; the small file system where this user may mount one.
@pytest.mark.parametrize("kind", ["quota", "tmpfs"])
def test_a_full_disk_is_told_loses_nothing_and_is_over_when_there_is_room(tmp_path: Path, kind: str) -> None:
    acked, errors, heard, busy, resumed, keeps, ticks = run(tmp_path, kind)
    assert len(acked) > 1  # the last one is of after it was freed
    for error in errors:
        assert ("the disk is full: free some space" if kind == "tmpfs" else "over its quota") in error
    assert set(keeps) == set(acked)
    assert set(keeps.values()) == {"SUCCESS"}
    assert heard == ["StoreLost", "StoreBack"]
    assert resumed <= 5
    assert busy < 1
    # Each fire is a run, or the later one stands for it.
    before_us = ticks[0][0] - 100_000
    for scheduled_us, stands_for in ticks:
        assert scheduled_us == before_us + stands_for * 100_000
        before_us = scheduled_us
    assert max(stands_for for _at, stands_for in ticks) > 10
