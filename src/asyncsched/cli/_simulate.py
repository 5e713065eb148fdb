"""``asyncsched simulate``: what a scheduler would fire over a stretch of time, without calling anything."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from asyncsched.cli._changes import changes, fire_note, zone_followed
from asyncsched.cli._dry import dry_run
from asyncsched.cli._show import Screen, fire_json, print_json, short_names
from asyncsched.clock import from_us, to_us
from asyncsched.events import Event, FireSkipped, RunEnded, RunStarted
from asyncsched.phrases import moment_words, number_words, wait_words
from asyncsched.run import Run, RunStatus
from asyncsched.scheduler import Scheduler
from asyncsched.task import Task
from asyncsched.testing import run
from asyncsched.triggers import Binding, Every, Trigger
from asyncsched.zone import load_zone

_US = timedelta(microseconds=1)
_WIDTH = len("Sat 28 Mar 2026 02:30:00 CEST")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be simulated: from ``start`` (included) to ``end`` (not included).

    limit: so many fires and skips at most. takes: how long each run is taken to last.
    """

    scheduler: Scheduler
    zone: str
    start: datetime
    end: datetime
    limit: int | None = None
    takes: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Row:
    """One fire of a task, one record of skipped ones, or a change of a zone's clock."""

    at: datetime
    task: str | None
    skipped: bool
    note: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What came of the fires of each task, by its id."""

    fired: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """How many fires and records of skipped ones there were."""
        return self.fired.total() + self.skipped.total()


class Recorder:
    """Makes a row of each fire and each skip, and hands on the rows in order, with the changes of clocks between."""

    def __init__(self, plan: Plan, show: Callable[[Row], None]) -> None:
        self.counts = Counts()
        self.over = asyncio.Event()
        """Set when the limit has been reached, or the end: nothing is recorded any more."""
        self.cut_short = False
        self._plan = plan
        self._show = show
        self._triggers = {task.id: bound for task in plan.scheduler.served() if (bound := _bound(task, plan))}
        zones = {task.id: task.zone(plan.zone) for task in plan.scheduler.served()}
        self._zones = {task: self._zone(task, zone) for task, zone in zones.items()}
        span = to_us(plan.start), to_us(plan.end)
        coming = [change for zone in {plan.zone, *self._zones.values()} for change in changes(zone, *span)]
        self._changes = sorted(coming, key=lambda change: change.at)

    def _zone(self, task: str, zone: str) -> str:
        bound = self._triggers.get(task)
        return (zone_followed(bound) if bound else None) or zone

    def due_at_start(self) -> Sequence[str]:
        """The tasks that fire at the very start, for which a scheduler that starts then comes too late."""
        at_us = to_us(self._plan.start)
        return [
            task.id
            for task in self._plan.scheduler.served()
            if (bound := self._triggers.get(task.id))
            and not (isinstance(bound, Every) or task.policy.immediate)
            and bound.next_us(at_us - 1) == at_us
        ]

    def tell(self, event: Event) -> None:
        """Record the event."""
        if self.over.is_set() or event.at_us >= to_us(self._plan.end):
            return
        match event:
            case RunStarted(run=started) if started.attempt == 1:
                self.counts.fired[started.task] += 1
                self._fire(started, event.at_us)
            case FireSkipped(run=skip):
                self.counts.skipped[skip.task] += skip.stands_for
                note = f"{skip.reason}" + (f", {skip.stands_for:,} fires" if skip.stands_for > 1 else "")
                self._row(
                    skip.task, event.at_us if skip.scheduled_us is None else skip.scheduled_us, note, skipped=True
                )
            case RunEnded(run=ended) if ended.status is RunStatus.FAILED:
                self.counts.failed[ended.task] += 1

    def _fire(self, started: Run[Any], at_us: int) -> None:
        due_us = at_us if started.scheduled_us is None else started.scheduled_us
        bound = self._triggers.get(started.task)
        note = fire_note(bound, due_us) if bound else None
        self._row(started.task, due_us, note or "", skipped=False)

    def _row(self, task: str, at_us: int, note: str, *, skipped: bool) -> None:
        self.show_changes(at_us)
        self._show(Row(from_us(at_us).astimezone(load_zone(self._zones[task])), task, skipped, note))
        if self._plan.limit is not None and self.counts.rows >= self._plan.limit:
            self.cut_short = True
            self.over.set()

    def show_changes(self, until_us: int) -> None:
        """Hand on the changes of clocks that have not been told, up to ``until_us``."""
        while self._changes and to_us(self._changes[0].moment) <= until_us:
            change = self._changes.pop(0)
            self._show(Row(change.moment, None, False, f"{change.zone}: {change.words()}"))


def _bound(task: Task[..., Any], plan: Plan) -> Trigger | None:
    if task.trigger is None:
        return None
    return task.trigger.bind(Binding(zone=task.tz or plan.zone, anchor_us=to_us(plan.start), key=task.id))


async def simulate(plan: Plan, show: Callable[[Row], None]) -> Recorder:
    """Live through the plan on virtual time; each row goes to ``show`` when it comes."""
    recorder = Recorder(plan, show)
    async with dry_run(plan.scheduler, plan.start, plan.zone, recorder.tell, plan.takes) as dry:
        for task in recorder.due_at_start():
            await dry.scheduler.tasks.run_now(task)
        arriving = asyncio.ensure_future(dry.clock.reach(plan.end - _US))
        filling = asyncio.ensure_future(recorder.over.wait())
        await asyncio.wait([arriving, filling], return_when=asyncio.FIRST_COMPLETED)
        arriving.cancel()
        filling.cancel()
        recorder.over.set()
    if not recorder.cut_short:
        recorder.show_changes(to_us(plan.end) - 1)
    return recorder


def _live_through(plan: Plan, show: Callable[[Row], None]) -> Recorder:
    log = logging.getLogger("asyncsched")
    before = log.level
    log.setLevel(logging.CRITICAL)  # what the engine would warn of are rows here
    try:
        return run(simulate(plan, show))
    finally:
        log.setLevel(before)


def show_simulated(plan: Plan, *, as_json: bool) -> None:
    """Prints every fire and skip of the plan, and what they come to."""
    if as_json:
        rows: list[Row] = []
        recorder = _live_through(plan, rows.append)
        print_json(_json(plan, rows, recorder))
        return
    names = short_names(task.id for task in plan.scheduler.served())
    longest = max(map(len, names.values()), default=0)
    screen = Screen()

    def show(row: Row) -> None:
        when = f"{moment_words(row.at):{_WIDTH}}  "
        if row.task is None:
            screen.say(when, (f"-- {row.note} --", "bold"))
            return
        note = f"SKIPPED {row.note}" if row.skipped else row.note
        screen.say(
            when, f"{names[row.task]:{longest}}" if note else names[row.task], (f"  {note}" if note else "", "yellow")
        )

    recorder = _live_through(plan, show)
    counts = recorder.counts
    screen.say()
    for task, name in names.items():
        screen.say(f"{name:{longest}}  {_sum_words(counts, task)}")
    in_all = _sum_of(counts.fired.total(), counts.skipped.total(), counts.failed.total())
    start, end = (moment_words(at.astimezone(load_zone(plan.zone))) for at in (plan.start, plan.end))
    # Elapsed time, which is not the difference of what the clock shows.
    span = f"{wait_words(plan.end - plan.start)} from {start} to {end}"
    screen.say((in_all, "bold"), f" by --limit, of {span}" if recorder.cut_short else f" in {span}")


def _sum_words(counts: Counts, task: str) -> str:
    return _sum_of(counts.fired[task], counts.skipped[task], counts.failed[task])


def _sum_of(fired: int, skipped: int, failed: int) -> str:
    parts = [number_words(fired, "fire")]
    parts += [f"{count:,} {what}" for count, what in ((skipped, "skipped"), (failed, "failed")) if count]
    return ", ".join(parts)


def _json(plan: Plan, rows: Sequence[Row], recorder: Recorder) -> dict[str, object]:
    counts = recorder.counts
    return {
        "from": fire_json(plan.start.astimezone(load_zone(plan.zone))),
        "to": fire_json(plan.end.astimezone(load_zone(plan.zone))),
        "zone": plan.zone,
        "complete": not recorder.cut_short,
        "fires": [
            {"task": row.task} | fire_json(row.at, skipped=row.skipped, note=row.note or None)
            for row in rows
            if row.task is not None
        ],
        "changes": [fire_json(row.at, clock=row.note) for row in rows if row.task is None],
        "tasks": {
            task.id: {
                "fires": counts.fired[task.id],
                "skipped": counts.skipped[task.id],
                "failed": counts.failed[task.id],
            }
            for task in plan.scheduler.served()
        },
    }
