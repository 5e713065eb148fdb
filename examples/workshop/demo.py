"""The workshop at a pace to watch: everything every few seconds, told as it happens. Ctrl-C ends it.

What it has done and what it is at stands in a file: kill it, start it again, and it goes on.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from asyncsched import Registry, Retry, Run, Scheduler, Task, current_run, result_of
from asyncsched.errors import StoreError
from asyncsched.events import Event, FireSkipped, RunEnded, RunRetrying, RunStarted, SchedulerStopping
from workshop import offers, shapes, tasks

GREEN, YELLOW, RED, DIM, BOLD = "32", "33", "31", "2", "1"
COLOURS = {"SUCCESS": GREEN, "FAILED": RED, "RETRY": YELLOW, "SKIPPED": YELLOW, "CANCELLED": YELLOW}
WHY = {"overlap": "the run before is not over yet", "missed": "it is too late for this one"}
LATE = timedelta(seconds=1)
NARROWEST, LINE = 60, "  {:<8}  {:<9}  {:<8}  {:>8}  "
STEPS = ("collect", "price", "offer")
# So much is remembered of each task: a day of the quickest one.
KEPT = 24 * 60 * 15


class Mill:
    """A machine that cuts a greater gear each time, breaks its cutter at every fourth, and starts over."""

    def __init__(self, parts: Path) -> None:
        self.parts = parts

    async def cut(self) -> str:
        """A coroutine: while it waits for the machine, the loop does other things."""
        cut = len(list(self.parts.glob("gear-*.stl"))) + 1
        await asyncio.sleep(1.5)
        if cut % 4 == 0 and current_run().attempt == 1:
            raise RuntimeError("the cutter broke")
        teeth = 8 + cut
        part = shapes.write(self.parts / f"gear-{teeth}.stl", shapes.gear(teeth, 1.5 * teeth, 8))
        return f"{part.name} is ready"


def quick(home: Path) -> list[Task[..., Any]]:
    """What the workshop does in the demo, in the folder ``home``."""
    parts, results, backups = home / "parts", home / "results", home / "backups"
    again = Retry(attempts=2, wait="1s")
    cleaning = {"results": results, "older_than": timedelta(seconds=20)}
    return [
        Task(every="4s", func=Mill(parts).cut, id="mill", immediate=True, retry=again, history_limit=KEPT),
        Task(every="5s", func=tasks.compute, id="compute", args=(parts, results), immediate=True, history_limit=KEPT),
        Task(every="10s", func=tasks.backup, id="backup", args=(parts, backups, 3), history_limit=KEPT),
        Task(cron="*/15 * * * * *", func=tasks.clean, id="clean", kwargs=cleaning, history_limit=KEPT),
    ]


def estimate(registry: Registry, home: Path) -> None:
    """Declares the three steps that make an offer: each runs when what it needs has succeeded, with its result."""

    @registry.every("6s", id="collect", history_limit=KEPT)
    def collect() -> dict[str, float]:
        return offers.collect(home / "results", most=6)

    @registry.after(collect, id="price", history_limit=KEPT)
    async def price(volumes: dict[str, float] = result_of(collect)) -> float:
        return await offers.price(volumes, seconds=0.4)

    @registry.after(price, id="offer", history_limit=KEPT)
    def offer(volumes: dict[str, float] = result_of(collect), euros: float = result_of(price)) -> str:
        return offers.offer(home / "offers", len(volumes), euros)


class Board:
    """What is printed: one line for each thing that happens, in columns, in colour where that is wanted."""

    def __init__(self) -> None:
        tty = sys.stdout.isatty()
        self._colours = tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._width = max(NARROWEST, shutil.get_terminal_size().columns) if tty else None
        self._running: dict[str, Run[Any]] = {}
        self._begun_us = int(datetime.now(UTC).timestamp() * 1_000_000)
        self._early: list[Event] | None = []
        """What happened before the table has its head."""
        self.ended: Counter[str] = Counter()

    def paint(self, text: str, *codes: str) -> str:
        """``text`` in these colours, or as it is."""
        return f"\033[{';'.join(codes)}m{text}\033[0m" if self._colours else text

    def say(self, text: str = "") -> None:
        """Prints at once, whatever stdout is."""
        print(text, flush=True)

    @asynccontextmanager
    async def announced(self, scheduler: Scheduler) -> AsyncIterator[None]:
        """Handed to ``serve``: says what goes on and when each task fires next, once it has started."""
        found = await scheduler.runs.list(limit=KEPT)
        if any(run.created_us < self._begun_us for run in found):
            self.say("\n".join(self.paint(f"  {line}", BOLD) for line in going_on(found, self._begun_us)) + "\n")
        now = datetime.now(UTC)
        firing = [(task.next_fire, task) for task in await scheduler.tasks.list() if task.next_fire is not None]
        for next_fire, task in sorted(firing, key=lambda one: one[0]):
            at = f"{next_fire.astimezone():%H:%M:%S}" if next_fire > now - LATE else "overdue"
            what = "" if task.trigger is None else task.trigger.describe()
            self.say(f"  {at:<8}  {self.paint('next     ', DIM)}  {task.id:<8}  {what}")
        self.say("\n" + self.paint(LINE.format("time", "status", "task", "took") + "result", DIM))
        early, self._early = self._early or (), None
        for event in early:
            self._tell(event)
        yield

    def row(self, status: str, task: str, took: str, result: str) -> None:
        """One line of the table, cut to the width of the terminal."""
        before = LINE.format(f"{datetime.now(UTC).astimezone():%H:%M:%S}", status, task, took)
        if self._width is not None and len(before) + len(result) > self._width:
            result = result[: self._width - len(before) - 1] + "…"
        cell = f"{status:<9}"
        self.say(before.replace(cell, self.paint(cell, COLOURS.get(status, BOLD)), 1) + result)

    def tell(self, event: Event) -> None:
        """Prints the event, once the table has its head."""
        if self._early is None:
            self._tell(event)
        else:
            self._early.append(event)

    def _tell(self, event: Event) -> None:
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
                self.row(run.status, run.task, _took(run.duration), _result(run))
            case SchedulerStopping():
                self.say()
                left = ", ".join(run.task for run in self._running.values())
                self.say(f"  Nothing fires any more. Draining: {left or 'nothing is running'}.")


def _took(duration: timedelta | None) -> str:
    seconds = 0.0 if duration is None else duration.total_seconds()
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def _result(run: Run[Any]) -> str:
    match run.task, run.result:
        case "collect", {**volumes}:
            result = f"step 1 of 3: {len(volumes)} parts"
        case "price", float(euros):
            result = f"step 2 of 3: {euros:.2f} euros"
        case "offer", str(text):
            result = f"step 3 of 3: {text}"
        case _:
            result = f"{run.reason if run.error is None and run.result is None else run.error or run.result}"
    return result if run.stands_for == 1 else f"{result} (one late run for {run.stands_for} fires)"


def going_on(found: Sequence[Run[Any]], begun_us: int) -> list[str]:
    """What those who start the workshop anew are told: what there was before, and where it goes on."""
    before = [run for run in found if run.created_us < begun_us]
    ended = [run for run in before if run.status.final]
    lines = [f"Goes on: {len(ended)} run{'s' * (len(ended) != 1)} so far."]
    cut_off = [run for run in before if not run.status.final and run.first_us is not None and run.first_us < begun_us]
    for run in before:
        if run.status.final or run.blocked or run.task not in STEPS:
            continue
        step = STEPS.index(run.task)
        done = f", with what {STEPS[step - 1]} found" if step else ""
        lines.append(f"The offer is at step {step + 1} of 3: {run.task} begins again{done}.")
    lines += [f"{run.task} was cut off, and begins again." for run in cut_off if run.task not in STEPS]
    return lines


async def watch(home: Path) -> None:
    """Serves the workshop in ``home`` until it is told to stop, and prints what happens."""
    shapes.stock(home / "parts")
    registry = Registry()
    for task in quick(home):
        registry.register(task)
    estimate(registry, home)
    scheduler = Scheduler(f"sqlite:///{home / 'jobs.db'}", registry=registry)
    board = Board()
    board.say(board.paint("asyncsched: a workshop for CAD parts", BOLD) + f", in {home}/")
    board.say(
        board.paint("Ctrl-C ends it; what is running may finish. Kill it, and it goes on with the next start.", DIM)
    )
    board.say()
    told = (RunStarted, RunRetrying, RunEnded, FireSkipped, SchedulerStopping)
    listener = scheduler.events.on(told, board.tell)
    drained = await scheduler.serve(board.announced)
    listener.cancel()
    cancelled = ", ".join(run.task for run in drained.cancelled) or "none"
    ended = ", ".join(f"{count} {status}" for status, count in sorted(board.ended.items(), reverse=True))
    board.say(f"  Drained: {drained.finished} finished, {cancelled} cancelled.")
    board.say(f"\n  Runs that ended: {ended or 'none'}.")
    folders = [home / name for name in ("parts", "results", "offers", "backups") if (home / name).exists()]
    board.say(f"  In {home}/: " + ", ".join(f"{len(list(folder.iterdir()))} {folder.name}" for folder in folders) + ".")


def main(folder: str = "asyncsched-demo") -> None:
    """Makes the first parts in ``folder`` and watches the workshop there."""
    try:
        asyncio.run(watch(Path(folder)))
    except StoreError as error:
        sys.exit(f"the workshop cannot be opened: {error}")
