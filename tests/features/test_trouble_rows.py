"""The rows of features about troubles, on SQLite: whatever is wrong with one thing, all others go on."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, current_run
from asyncsched.events import RunEnded
from asyncsched.values import Unstored


def change(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)


def tasks() -> Registry:
    registry = Registry()

    # Where the machine is busy a fire may be late; it is a run of its own all the same.
    @registry.every("100ms", id="healthy", history_limit=1_000, missed="all", overlap="queue_all")
    async def healthy() -> None: ...

    @registry.task(id="poison")
    async def poison(how: str = "") -> Any:
        if how == "raises":
            raise ValueError("no")
        current_run().set("note", object())
        return {"result": lambda: None, "large": "x" * 100_000}.get(how)

    return registry


def spoil(column: str, value: str) -> Callable[[Path], None]:
    return lambda path: change(path, f"UPDATE asyncsched_runs SET {column} = {value} WHERE task = 'poison'")


POISONS: dict[str, tuple[str, Callable[[Path], None] | None, str]] = {
    "raising task": ("raises", None, "no"),
    "unstorable result": ("result", None, "no plain JSON"),
    "too large result": ("large", None, "it takes 100,002 bytes"),
    "arguments that are no JSON": ("", spoil("args", "'nonsense'"), "stored arguments cannot be read"),
    "an instant that is none": ("", spoil("due_at", "'soon'"), "its due_at cannot be that"),
    "a state that is none": ("", spoil("state", "9"), "its state cannot be that"),
    "terms that are none": ("", spoil("terms", "'[]'"), "its terms cannot be read"),
}


@pytest.mark.feature("NB12")
@pytest.mark.parametrize(("how", "spoilt", "why"), POISONS.values(), ids=POISONS)
async def test_nb12_on_sqlite_the_cause_is_recorded_and_a_healthy_task_misses_none_of_20_fires(
    tmp_path: Path, how: str, spoilt: Callable[[Path], None] | None, why: str
) -> None:
    path = tmp_path / "jobs.db"
    async with Scheduler(f"sqlite:///{path}", registry=(registry := tasks()), queues=[]):
        run_id = (await registry["poison"].submit(how)).id
        change(path, "UPDATE asyncsched_tasks SET next_at = NULL, declaration = 'null' WHERE id = 'healthy'")
    change(path, "DELETE FROM asyncsched_runs WHERE task = 'healthy'")
    if spoilt is not None:
        spoilt(path)
    ended = []
    scheduler = Scheduler(f"sqlite:///{path}", registry=tasks())
    async with scheduler:
        scheduler.events.on([RunEnded], lambda event: ended.append(event.run), task="healthy")
        async with asyncio.timeout(30):
            while len(ended) < 20:
                await asyncio.sleep(0.05)
        run = await scheduler.runs.get(run_id)
        told = f"{run.reason} {run.error}"
    fires = sorted((run.scheduled_us, run.status) for run in ended)[:20]
    assert fires == [(fires[0][0] + 100_000 * number, "SUCCESS") for number in range(20)]
    del run  # a result is at hand where it was made
    async with Scheduler(f"sqlite:///{path}", registry=Registry(), queues=[]) as looking:
        result = (await looking.runs.get(run_id)).result
    assert why in (result.why if isinstance(result, Unstored) else told)
