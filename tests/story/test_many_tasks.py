"""A file with very many tasks: those that are due first are served first, and fire while the others are taken up."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from asyncsched import Registry, Scheduler, Task
from asyncsched.events import SchedulerStarted, TaskAdded

MANY = 2_300


async def nothing() -> None: ...


def registry_of(ran: list[str]) -> Registry:
    """Many hourly tasks, and at their end two in a graph."""

    async def note() -> None:
        ran.append("last")

    registry = Registry()
    for number in range(MANY - 1):
        registry.register(Task(nothing, every="1h", id=f"task-{number}"))
    registry.register(Task(note, every="1h", id="last"))
    registry.register(Task(nothing, id="root"))
    registry.register(Task(nothing, id="leaf", depends_on=["root"]))
    return registry


def set_back(path: Path, task: str) -> None:
    """Let the task be overdue, as if nobody had run for a while."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE asyncsched_tasks SET next_at = next_at - 7200000000 WHERE id = ?", (task,))


async def test_tasks_fire_while_others_are_still_taken_up(tmp_path: Path) -> None:
    path, ran, told = tmp_path / "jobs.db", list[str](), list[str]()
    url = f"sqlite:///{path}?synchronous=normal"
    scheduler = Scheduler(url, registry=registry_of(ran))
    scheduler.events.on({TaskAdded, SchedulerStarted}, lambda event: told.append(getattr(event, "task", "started")))
    async with scheduler:
        assert len(await scheduler.tasks.list()) == MANY + 2
    # Those of the graph first: a flow is written whole.
    assert set(told[:2]) == {"root", "leaf"}
    assert told[2] == "started"
    assert len(told) == MANY + 3

    set_back(path, "last")
    async with Scheduler(url, registry=registry_of(ran)) as again:
        await again.idle()
        # It was declared after a thousand others, and taken up before them.
        assert "last" in [task.id for task in await again.tasks.list()][:1_002]
    assert ran == ["last"]
