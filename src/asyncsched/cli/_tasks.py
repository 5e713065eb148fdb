"""``asyncsched ls`` and ``skip-next``: the tasks that a store keeps, whoever declares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from asyncsched.cli._acting import act, look
from asyncsched.cli._arguments import Place
from asyncsched.cli._records import Zones
from asyncsched.cli._show import Screen, print_json, second_words, short_names
from asyncsched.cli._target import task_named
from asyncsched.clock import to_us
from asyncsched.scheduler import Scheduler
from asyncsched.stored import FOREVER, StoredTask, overrides_words
from asyncsched.triggers import Every, Trigger


def show_tasks(place: Place, *, as_json: bool) -> None:
    """Prints all tasks that are kept: when they fire, what of them waits and runs, and why one does not fire."""
    tasks = look(place, lambda store: store.tasks())
    zones = Zones(place)
    if as_json:
        print_json([task.to_json() | {"next_fire": _iso(_next(task, zones))} for task in tasks])
        return
    screen = Screen()
    if not tasks:
        screen.say("no tasks: nobody has served any here yet")
        return
    names = short_names(task.task for task in tasks)
    tasks = sorted(tasks, key=lambda task: names[task.task])
    declared = {task.id: task.trigger for task in place.scheduler.served()}
    # As the code says it where it is at hand: what is stored is bound to a zone and to a first instant.
    shown = [task.trigger if task.overrides.trigger else declared.get(task.task, task.trigger) for task in tasks]
    triggers = ["" if trigger is None else _without_start(trigger).describe() for trigger in shown]
    width, longest = max(map(len, names.values())), max(map(len, triggers))
    for task, trigger in zip(tasks, triggers, strict=True):
        said = f"  {', '.join(_words(task, zones))}"
        screen.say((f"{names[task.task]:{width}}", "dim" if task.retired else ""), f"  {trigger:{longest}}{said}")


def _without_start(trigger: Trigger) -> Trigger:
    """The trigger, of an interval without the first instant, which is any: the next one says as much."""
    return replace(trigger, start=None) if isinstance(trigger, Every) else trigger


def _words(task: StoredTask, zones: Zones) -> Sequence[str]:
    parts = []
    paused_us = task.paused_until_us
    if task.retired:
        since = "" if task.retired_us is None else f" since {_moment(task, task.retired_us, zones)}"
        parts.append(f"no process serves it{since}")
    elif paused_us is not None:
        end = "it is resumed" if paused_us == FOREVER else _moment(task, paused_us, zones)
        parts.append(f"paused until {end}")
    elif (coming := _next(task, zones)) is not None:
        parts.append(f"next {second_words(coming)}")
    if task.skips_next:
        parts.append("the next fire is to be skipped")
    counts = (("waiting", task.waiting - task.parked), ("parked", task.parked), ("running", task.running))
    parts += [f"{count:,} {what}" for what, count in counts if count]
    put = overrides_words(task.overrides, task.coded)
    named = {name: put[name] for name in ("trigger", "priority", "max_running") if name in put}
    for name, value in named.items():
        code = f" in place of {put['code_trigger'] or 'none'}" if name == "trigger" else ""
        parts.append(f"{name} put by hand{code}" if name == "trigger" else f"{name} {value} put by hand")
    return parts


def _moment(task: StoredTask, at_us: int, zones: Zones) -> str:
    return second_words(zones.show(task.task, at_us))


def _next(task: StoredTask, zones: Zones) -> datetime | None:
    at = task.next_fire
    return None if at is None else zones.show(task.task, to_us(at))


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def skip_next(place: Place, name: str, *, as_json: bool) -> None:
    """Lets the task's next fire be a recorded skip, and prints which that is.

    Raises:
        UnknownTask: there is none of this name; the message offers near ones.
    """
    task_id = task_named(place.scheduler, name).id

    async def work(node: Scheduler) -> datetime | None:
        return await node.tasks.skip_next(task_id)

    at = act(place, work)
    if as_json:
        print_json({"task": task_id, "skips": _iso(at)})
        return
    said = "nothing to skip: no fire is coming" if at is None else f"skips {second_words(at)}"
    Screen().say((short_names([task_id])[task_id], "bold"), f": {said}")
