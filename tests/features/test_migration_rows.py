"""The rows of features about schemas: the oldest file with data, opened by today's library, by several at once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler
from asyncsched.clock import from_us
from asyncsched.errors import RunFailed
from asyncsched.run import Run, RunStatus
from asyncsched.scheduler import store_of
from asyncsched.stores._sqlite import schema
from asyncsched.stores.sqlite import SQLiteStore
from asyncsched.values import Unstored
from oldest import HOUR_US, NOW_US, held, tables, write_oldest

AT_ONCE = """
import asyncio, json, sys, time
from pathlib import Path
from asyncsched import Registry, Scheduler
from asyncsched.stores.sqlite import SQLiteStore

path, served = sys.argv[1:]
store = SQLiteStore(path)
print("ready", flush=True)
while not Path(path + ".go").exists():
    time.sleep(0.001)

async def main():
    if served == "no":
        return await store.migrate()
    async with Scheduler(store, registry=Registry(), queues=[]) as scheduler:
        return len(await scheduler.runs.list(limit=1_000))

print(json.dumps(asyncio.run(main())))
"""


def at_once(path: Path, served: str, count: int = 4) -> list[Any]:
    """What so many processes give that go to the file at one moment."""
    command = [sys.executable, "-c", AT_ONCE, str(path), served]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        Path(f"{path}.go").touch()
        said = [process.communicate(timeout=60)[0] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [process.returncode for process in running] == [0] * count
    return [json.loads(text) for text in said]


@pytest.mark.feature("PE23")
def test_pe23_of_several_nodes_that_migrate_at_once_one_does_and_the_data_is_equal(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    write_oldest(path)
    applied = at_once(path, "no")
    assert sorted(applied, key=len) == [[], [], [], [step.name for step in schema.STEPS[1:]]]
    assert held(path) == tables()
    assert asyncio.run(SQLiteStore(path).schema()).missing == ()


@pytest.mark.feature("PE23")
def test_pe23_of_several_nodes_that_start_at_once_one_migrates_and_all_serve(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    write_oldest(path)
    kept = len(tables()["runs"]) + len(tables()["history"])
    assert at_once(path, "yes") == [kept] * 4
    assert asyncio.run(SQLiteStore(path).schema()).seen == tuple(step.name for step in schema.STEPS)


def declared(ran: list[str]) -> Registry:
    """The tasks of the oldest file, as the code declares them today."""
    registry = Registry()

    @registry.every("1h", id="hourly", tz="UTC", history_limit=50)
    async def hourly() -> None: ...

    @registry.task(id="bill")
    async def bill(customer: str = "", when: date | None = None) -> date:
        ran.append(customer)
        return date(2026, 1, 2)

    @registry.task(id="slow", key="k", max_running=1)
    async def slow(k: str) -> str:
        return k

    @registry.task(id="up")
    async def up() -> int:
        return 1

    @registry.task(id="down", depends_on=up)
    async def down() -> int:
        return 2

    return registry


async def ended(run: Run[Any]) -> RunStatus:
    """How the run ends."""
    until = time.monotonic() + 20
    while not run.status.final and time.monotonic() < until:
        await asyncio.sleep(0.005)
    return run.status


@pytest.mark.feature("PA17")
async def test_pa17_a_file_of_the_first_release_is_taken_up_where_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    write_oldest(path)
    ran: list[str] = []
    async with Scheduler(f"sqlite:///{path}", registry=declared(ran)) as scheduler:
        runs = {run.id[-2:]: run for run in await scheduler.runs.list(limit=100)}
        # What had ended is as it was: values, errors, notes, records of skips.
        assert await runs["11"] == date(2026, 1, 2)
        assert (runs["11"].args, runs["11"].notes) == (("x", date(2026, 2, 3)), {"pages": 3})
        assert (runs["12"].status, runs["12"].attempt) == (RunStatus.FAILED, 3)
        with pytest.raises(RunFailed, match="ValueError: no money"):
            await runs["12"]
        assert (runs["13"].reason, runs["13"].stands_for) == ("missed", 9)
        assert runs["13"].scheduled_for == from_us(NOW_US - HOUR_US)
        assert (runs["14"].reason, runs["14"].retry_of) == ("by hand", runs["12"].id)
        assert isinstance(runs["15"].result, Unstored)
        # What waited goes on: ready ones, the one whose node is gone, the one behind it, the one below an upstream.
        going = [runs[key] for key in ("01", "02", "05", "04")]
        assert [await ended(run) for run in going] == [RunStatus.SUCCESS] * 4
        assert "ready" in ran
        assert (runs["03"].status, runs["03"].args) == (RunStatus.PENDING, ("later",))
        assert runs["07"].args == (1,)
        assert runs["07"].kwargs == {"deep": {"er": [None, True, 1.5, "ü"]}}
        # The grid and the pause stand.
        (hourly,) = [task for task in await scheduler.tasks.list() if task.id == "hourly"]
        assert hourly.trigger is not None
        (stored,) = await store_of(scheduler).tasks(["hourly"])
        assert (stored.paused_until_us, stored.trigger) == (2**62, stored.trigger)
        assert stored.trigger.next_after(datetime(2026, 11, 21, 16, tzinfo=UTC)) == from_us(NOW_US + HOUR_US)
        # The same text is still the same run.
        bill = await scheduler.tasks.get("bill")
        assert (await bill.using(unique="u").submit("again")).id == runs["03"].id
