"""``asyncsched why``: what became of a task's fires, as far as this process can know."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from asyncsched._engine.explaining import explain_stored
from asyncsched.backfill import fires_between
from asyncsched.cli._dry import dry_run
from asyncsched.cli._show import Screen, print_json
from asyncsched.cli._target import task_named
from asyncsched.clock import SystemClock, from_us, to_us
from asyncsched.errors import ConfigError
from asyncsched.explanation import Explanation
from asyncsched.phrases import moment_words
from asyncsched.scheduler import Scheduler, store_of
from asyncsched.task import Task
from asyncsched.testing import run
from asyncsched.triggers import Binding, Every, Trigger
from asyncsched.zone import load_zone

_SHOWN = 3
# Back to where fires are looked for: the shortest stretch that holds enough of them.
_STRETCHES = (timedelta(seconds=10), timedelta(minutes=10), timedelta(days=1), timedelta(days=31), timedelta(days=400))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What there is to say of a task.

    recorded: whether the store was asked; else only what the declarations say is known.
    been: the last instants of its trigger, newest first; what became of them is not known here.
    coming: the next ones.
    """

    found: Explanation
    recorded: bool
    store: str
    been: Sequence[datetime] = ()
    coming: Sequence[datetime] = ()

    def to_json(self) -> Mapping[str, Any]:
        """This as JSON values."""
        return {
            **self.found.to_json(),
            "recorded": self.recorded,
            "store": self.store,
            "been": [at.isoformat() for at in self.been],
            "coming": [at.isoformat() for at in self.coming],
        }


def show_why(scheduler: Scheduler, name: str, zone: str, last: int, *, as_json: bool) -> None:
    """Prints what became of the fires of a task.

    Raises:
        UnknownTask: there is none of this name; the message offers near ones.
    """
    answer = _answer(scheduler, task_named(scheduler, name), zone, last)
    if as_json:
        print_json(answer.to_json())
        return
    screen = Screen()
    if answer.recorded:
        screen.say(str(answer.found))
        return
    found = answer.found
    screen.say((found.task, "bold"), "" if found.trigger is None else f": {found.trigger}")
    for label, moments in (("been", answer.been), ("coming", answer.coming)):
        for moment in moments:
            screen.say((f"  {label:9}  ", "dim"), moment_words(moment))
    for note in found.notes:
        screen.say(("  note       ", "yellow"), note.says)
    who = f"{answer.store} keeps that within the program that serves it"
    cure = f"print(await scheduler.tasks.explain({found.task!r})) there"
    screen.say(("  unknown    ", "yellow"), f"what became of its fires: {who} -> {cure}")


def _answer(scheduler: Scheduler, task: Task[..., Any], zone: str, last: int) -> Answer:
    store = store_of(scheduler)
    if store.shared:
        found = asyncio.run(explain_stored(store, SystemClock(), zone, task, last))
        if found is not None:
            return Answer(found=found, recorded=True, store=str(store))
    now = SystemClock().now().replace(microsecond=0)
    return run(_declared(scheduler, task, zone, now, str(store)))


async def _declared(scheduler: Scheduler, task: Task[..., Any], zone: str, now: datetime, store: str) -> Answer:
    """What can be told of a task that nobody has served, as far as is known here."""
    async with dry_run(scheduler, now, zone) as dry:
        found = await dry.scheduler.tasks.explain(task.id)
        coming = task.next_fires(_SHOWN)
    been = _been(task, zone, now)
    return Answer(found=found, recorded=False, store=store, been=been, coming=coming)


def _been(task: Task[..., Any], zone: str, now: datetime) -> list[datetime]:
    """The last instants of its trigger, newest first; none where they depend on when the program was started."""
    trigger = task.trigger
    if trigger is None or _counts_from_start(trigger):
        return []
    now_us = to_us(now)
    bound = trigger.bind(Binding(zone=task.tz or zone, anchor_us=now_us, key=task.id))
    found: list[int] = []
    for stretch in _STRETCHES:
        try:
            found = fires_between(bound, to_us(now - stretch), now_us)
        except ConfigError:  # more than anybody would list; there were fewer in the shorter one, and those will do
            break
        if len(found) >= _SHOWN:
            break
    return [from_us(at_us).astimezone(load_zone(task.zone(zone))) for at_us in islice(reversed(found), _SHOWN)]


def _counts_from_start(trigger: Trigger) -> bool:
    return isinstance(trigger, Every) and trigger.start is None
