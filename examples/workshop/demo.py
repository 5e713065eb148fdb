"""The workshop at a pace to watch: everything every few seconds, told as it happens. Ctrl-C ends it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from asyncsched import Registry, Retry, Run, Scheduler, Task
from asyncsched.events import Event, FireSkipped, RunEnded, RunRetrying, RunStarted, SchedulerStopping
from workshop import shapes, tasks

GREEN, YELLOW, RED, DIM, BOLD = "32", "33", "31", "2", "1"
COLOURS = {"SUCCESS": GREEN, "FAILED": RED, "RETRY": YELLOW, "SKIPPED": YELLOW, "CANCELLED": YELLOW}
WHY = {"overlap": "the run before is not over yet", "missed": "it is too late for this one"}
NARROWEST, LINE = 60, "  {:<8}  {:<9}  {:<8}  {:>8}  "


class Mill:
    """A machine that cuts a new gear each time, breaks its cutter at every fourth, and starts over."""

    def __init__(self, parts: Path) -> None:
        self.parts = parts
        self.cuts = 0

    async def cut(self) -> str:
        """A coroutine: while it waits for the machine, the loop does other things."""
        self.cuts += 1
        await asyncio.sleep(1.5)
        if self.cuts % 4 == 0:
            raise RuntimeError("the cutter broke")
        teeth = 8 + self.cuts
        part = shapes.write(self.parts / f"gear-{teeth}.stl", shapes.gear(teeth, 1.5 * teeth, 8))
        return f"{part.name} is ready"


def quick(home: Path) -> list[Task[..., Any]]:
    """What the workshop does in the demo, in the folder ``home``."""
    parts, results, backups = home / "parts", home / "results", home / "backups"
    again = Retry(attempts=2, wait="1s")
    cleaning = {"results": results, "older_than": timedelta(seconds=20)}
    return [
        Task(every="4s", func=Mill(parts).cut, id="mill", immediate=True, retry=again),
        Task(every="5s", func=tasks.compute, id="compute", args=(parts, results), immediate=True),
        Task(every="10s", func=tasks.backup, id="backup", args=(parts, backups, 3)),
        Task(cron="*/15 * * * * *", func=tasks.clean, id="clean", kwargs=cleaning),
    ]


class Board:
    """What is printed: one line for each thing that happens, in columns, in colour where that is wanted."""

    def __init__(self) -> None:
        tty = sys.stdout.isatty()
        self._colours = tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._width = max(NARROWEST, shutil.get_terminal_size().columns) if tty else None
        self._running: dict[str, Run[Any]] = {}
        self.ended: Counter[str] = Counter()

    def paint(self, text: str, *codes: str) -> str:
        """``text`` in these colours, or as it is."""
        return f"\033[{';'.join(codes)}m{text}\033[0m" if self._colours else text

    def say(self, text: str = "") -> None:
        """Prints at once, whatever stdout is."""
        print(text, flush=True)

    @asynccontextmanager
    async def announced(self, scheduler: Scheduler) -> AsyncIterator[None]:
        """Handed to ``serve``: says when each task fires next, once it has started."""
        for task in await scheduler.tasks.list():
            if task.next_fire is not None and task.trigger is not None:
                at = f"{task.next_fire.astimezone():%H:%M:%S}"
                self.say(f"  {at:<8}  {self.paint('next     ', DIM)}  {task.id:<8}  {task.trigger.describe()}")
        self.say("\n" + self.paint(LINE.format("time", "status", "task", "took") + "result", DIM))
        yield

    def row(self, status: str, task: str, took: str, result: str) -> None:
        """One line of the table, cut to the width of the terminal."""
        before = LINE.format(f"{datetime.now(UTC).astimezone():%H:%M:%S}", status, task, took)
        if self._width is not None and len(before) + len(result) > self._width:
            result = result[: self._width - len(before) - 1] + "…"
        cell = f"{status:<9}"
        self.say(before.replace(cell, self.paint(cell, COLOURS.get(status, BOLD)), 1) + result)

    def tell(self, event: Event) -> None:
        """Prints the event."""
        match event:
            case RunStarted(run=run):
                self._running[run.id] = run
            case RunRetrying(run=run):
                self._running.pop(run.id, None)
                self.row("RETRY", run.task, "", f"{run.error}: tried again in a second")
            case FireSkipped(run=run):
                self.row("SKIPPED", run.task, "", WHY.get(run.reason or "", f"{run.reason}"))
            case RunEnded(run=run):
                self._running.pop(run.id, None)
                self.ended[run.status] += 1
                result = run.reason if run.error is None and run.result is None else run.error or run.result
                self.row(run.status, run.task, _took(run.duration), f"{result}")
            case SchedulerStopping():
                self.say()
                left = ", ".join(run.task for run in self._running.values())
                self.say(f"  Nothing fires any more. Draining: {left or 'nothing is running'}.")


def _took(duration: timedelta | None) -> str:
    seconds = 0.0 if duration is None else duration.total_seconds()
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


async def watch(home: Path) -> None:
    """Serves the workshop in ``home`` until it is told to stop, and prints what happens."""
    shapes.stock(home / "parts")
    scheduler = Scheduler(registry=Registry())
    for task in quick(home):
        scheduler.register(task)
    board = Board()
    board.say(board.paint("asyncsched: a workshop for CAD parts", BOLD) + f", in {home}/")
    board.say(board.paint("Ctrl-C ends it; what is running may finish.", DIM) + "\n")
    told = (RunStarted, RunRetrying, RunEnded, FireSkipped, SchedulerStopping)
    listener = scheduler.events.on(told, board.tell)
    drained = await scheduler.serve(board.announced)
    listener.cancel()
    cancelled = ", ".join(run.task for run in drained.cancelled) or "none"
    ended = ", ".join(f"{count} {status}" for status, count in sorted(board.ended.items(), reverse=True))
    board.say(f"  Drained: {drained.finished} finished, {cancelled} cancelled.")
    board.say(f"\n  Runs that ended: {ended or 'none'}.")
    folders = [folder for folder in (home / "parts", home / "results", home / "backups") if folder.exists()]
    board.say(f"  In {home}/: " + ", ".join(f"{len(list(folder.iterdir()))} {folder.name}" for folder in folders) + ".")


def main(folder: str = "asyncsched-demo") -> None:
    """Makes the first parts in ``folder`` and watches the workshop there."""
    asyncio.run(watch(Path(folder)))
