"""``asyncsched trigger``, ``submit``, ``backfill``: runs made by hand; whoever serves the store runs them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from asyncsched.backfill import Backfill
from asyncsched.cli._acting import act
from asyncsched.cli._arguments import Place
from asyncsched.cli._records import Zones, list_runs, run_json
from asyncsched.cli._show import Screen, print_json, second_words, short_names
from asyncsched.cli._target import task_named
from asyncsched.errors import ConfigError
from asyncsched.phrases import number_words
from asyncsched.run import Run
from asyncsched.scheduler import Scheduler
from asyncsched.task import Call

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How a run is to be submitted; what is ``None`` is as the task says."""

    at: datetime | None = None
    delay: timedelta | None = None
    priority: int | None = None
    queue: str | None = None
    unique: str | None = None
    idempotency_key: str | None = None

    def of(self, call: Call[..., Any]) -> Call[..., Any]:
        """The task, to be submitted so.

        Raises:
            ConfigError: both ``at`` and ``delay``, or a value that is none.
        """
        given = {name: getattr(self, name) for name in self.__slots__}
        chosen = {name: value for name, value in given.items() if value is not None}
        return call.using(**chosen) if chosen else call  # type: ignore[attr-defined]


def trigger(place: Place, name: str, *, as_json: bool) -> None:
    """Makes a run of the task now, with its own arguments; prints it.

    Raises:
        UnknownTask: there is none of this name; the message offers near ones.
    """
    task_id = task_named(place.scheduler, name).id
    _tell([act(place, lambda node: node.tasks.run_now(task_id))], place, as_json=as_json)


def submit(place: Place, name: str, arguments: str | None, order: Order, *, as_json: bool) -> None:
    """Submits a run of the task with these arguments, which are JSON; prints the run that stands.

    Raises:
        UnknownTask: there is none of this name; the message offers near ones.
        ConfigError: the arguments are neither a list nor an object.
        ArgumentsError: they do not fit the function; the message names the parameter.
    """
    task = task_named(place.scheduler, name)
    args, kwargs = _arguments(arguments)

    async def work(_node: Scheduler) -> Run[Any]:
        return await order.of(task).submit(*args, **kwargs)

    _tell([act(place, work)], place, as_json=as_json)


def _arguments(text: str | None) -> tuple[Sequence[Any], Mapping[str, Any]]:
    if text is None:
        return (), {}
    right = """a list, as in '["a@b.c", 3]', or an object with names, as in '{"to": "a@b.c"}'"""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"arguments {text!r} are no JSON ({error}): give {right}") from None
    if isinstance(value, list):
        return value, {}
    if isinstance(value, dict):
        return (), value
    raise ConfigError(f"arguments {text!r}: give {right}")


def _tell(runs: Sequence[Run[Any]], place: Place, *, as_json: bool) -> None:
    zones = Zones(place)
    if as_json:
        print_json(run_json(runs[0], zones))
    else:
        list_runs(Screen(), runs, zones)


def backfill(place: Place, name: str, start: datetime, end: datetime, *, dry_run: bool, as_json: bool) -> None:
    """Makes runs for the fires of a past range that have none, and prints what was found.

    Raises:
        UnknownTask: there is none of this name; the message offers near ones.
        ConfigError: it has no fires to replay; the range is none, or reaches into the future.
    """
    task_id = task_named(place.scheduler, name).id

    async def work(node: Scheduler) -> Backfill:
        return await node.tasks.backfill(task_id, start, end, dry_run=dry_run)

    found = act(place, work)
    if as_json:
        instants = [at.isoformat() for at in found.instants]
        runs = [run.id for run in found.runs]
        print_json({"task": task_id, "dry_run": dry_run, "fires": instants, "runs": runs, "present": found.present})
        return
    screen = Screen()
    for at in found.instants[:_SHOWN]:
        screen.say(f"  {second_words(at)}")
    if len(found.instants) > _SHOWN:
        screen.say(f"  and {len(found.instants) - _SHOWN:,} more")
    said = "without a run" if dry_run else "will be run"
    verb = "is" if len(found.instants) == 1 else "are"
    fires = number_words(len(found.instants), "fire")
    told = f"{fires} {verb} {said}" if dry_run else f"{fires} {said}"
    screen.say((short_names([task_id])[task_id], "bold"), f": {told}, {found.present:,} had one already")
