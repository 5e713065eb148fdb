"""``asyncsched runs`` and ``show``: what a store has on record."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from asyncsched.again import RECORDED
from asyncsched.cli._acting import look
from asyncsched.cli._arguments import Place
from asyncsched.cli._show import Part, Screen, print_json, second_words, short_names
from asyncsched.cli._target import task_named
from asyncsched.clock import from_us, to_us
from asyncsched.errors import UnknownRun
from asyncsched.phrases import error_words, moment_words, number_words, wait_words
from asyncsched.run import Run, RunStatus
from asyncsched.stores import RunFilter, Store
from asyncsched.values import Unstored
from asyncsched.zone import load_zone

STYLES: Mapping[str, str] = {"SUCCESS": "green", "FAILED": "red", "RUNNING": "cyan", "PENDING": "blue"}
_NEAR = 1_000
_TELLING = 8
_LISTED = 10
_WIDEST = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which runs are to be shown; ``None`` is all. ``task`` may be the name of its function."""

    task: str | None = None
    status: Collection[RunStatus] | None = None
    queue: str | None = None
    since: datetime | None = None
    limit: int = 20


class Zones:
    """The zone of each task, where the code of it is at hand; else the one of those that name none."""

    def __init__(self, place: Place) -> None:
        self._default = place.zone
        self._tasks = {task.id: task for task in place.scheduler.served()}

    def show(self, task: str, at_us: int) -> datetime:
        """The instant in the zone of the task."""
        known = self._tasks.get(task)
        return from_us(at_us).astimezone(load_zone(self._default if known is None else known.zone(self._default)))


def show_runs(place: Place, wanted: Wanted, *, as_json: bool) -> None:
    """Prints the runs, the newest first.

    Raises:
        UnknownTask: there is none of this name; the message offers near ones.
    """
    task = None if wanted.task is None else task_id_of(place, wanted.task)

    since_us = None if wanted.since is None else to_us(wanted.since)
    chosen = RunFilter(task=task, status=wanted.status, queue=wanted.queue, since_us=since_us, limit=wanted.limit)
    runs = look(place, lambda store: store.runs(chosen))
    zones = Zones(place)
    if as_json:
        print_json([run_json(run, zones) for run in runs])
    else:
        list_runs(Screen(), runs, zones)


def task_id_of(place: Place, name: str) -> str:
    """The id of the task that is called so; without the code the name itself."""
    return task_named(place.scheduler, name).id if place.coded else name


def list_runs(screen: Screen, runs: Sequence[Run[Any]], zones: Zones) -> None:
    """A line for each run: its id, when it fired or was made, what became of it."""
    if not runs:
        screen.say("no runs")
        return
    names = short_names({run.task for run in runs})
    moments = [second_words(zones.show(run.task, _when_us(run))) for run in runs]
    width, longest = max(map(len, moments)), max(map(len, names.values()))
    for run, moment in zip(runs, moments, strict=True):
        status: Part = (f"{run.status:9}", STYLES.get(run.status, "yellow"))
        said = f"  {'  '.join(_words(run, zones))}"
        screen.say((f"{run.id}  ", "dim"), f"{moment:{width}}  ", status, f"  {names[run.task]:{longest}}{said}")


def _when_us(run: Run[Any]) -> int:
    return run.created_us if run.scheduled_us is None else run.scheduled_us


def _words(run: Run[Any], zones: Zones) -> Sequence[str]:
    """What is unusual about a run, or what it waits for."""
    parts = [] if run.duration is None else [wait_words(run.duration)]
    if run.attempt > 1:
        parts.append(f"attempt {run.attempt}")
    if run.stands_for > 1:
        parts.append(f"for {run.stands_for:,} fires")
    if run.status is RunStatus.PENDING and run.due_us > max(run.created_us, run.scheduled_us or 0):
        parts.append(f"due {second_words(zones.show(run.task, run.due_us))}")
    if run.queue != "default":
        parts.append(f"queue {run.queue}")
    if run.error is not None and run.status in (RunStatus.FAILED, RunStatus.PENDING):
        parts.append(said_error(run))
    elif run.reason:
        parts.append(run.reason)
    return parts


def said_error(run: Run[Any]) -> str:
    """The error of a run on one line, as it was raised: one that was read back names its type in its text."""
    error = run.error
    assert error is not None
    words = error_words(error)
    return words.removeprefix("RunFailed: ")


async def run_named(store: Store, run_id: str) -> Run[Any]:
    """The run of this id, or the only one of the newest 1,000 whose id begins or ends so, with 8 characters at least.

    Ids begin with the instant at which they were made, so it is their ends that tell them apart.

    Raises:
        UnknownRun: there is none, or more than one; the message offers those that were meant, perhaps.
    """
    found = await store.run(run_id)
    if found is not None:
        return found
    latest = {run.id: run for run in await store.runs(RunFilter(limit=_NEAR))}
    parts = [known for known in latest if len(run_id) > 3 and (known.startswith(run_id) or known.endswith(run_id))]
    if len(run_id) >= _TELLING and parts:
        if len(parts) == 1:
            return latest[parts[0]]
        more = "" if len(parts) <= _LISTED else f" and {len(parts) - _LISTED:,} more"
        listed = ", ".join(parts[:_LISTED])
        raise UnknownRun(f"{len(parts):,} runs begin or end with {run_id!r}, give more of the id: {listed}{more}")
    near = parts[:3] or get_close_matches(run_id, latest, 3, 0.9)
    hint = f"did you mean {' or '.join(near)}?" if near else "'asyncsched runs' lists those that are kept"
    raise UnknownRun(f"no run {run_id!r}: {hint}")


def show_run(place: Place, run_id: str, *, as_json: bool) -> None:
    """Prints all that is on record of a run, whose id may be cut short.

    Raises:
        UnknownRun: there is none of this id; the message offers near ones.
    """
    run = look(place, lambda store: run_named(store, run_id))
    zones = Zones(place)
    if as_json:
        print_json(run_json(run, zones))
        return
    screen = Screen()
    screen.say((run.task, "bold"), f"  {run.id}  ", (str(run.status), STYLES.get(run.status, "yellow")))
    for label, text in _facts(run, zones):
        screen.say((f"  {label:9}  ", "dim"), text)
    if run.error is not None:
        screen.say(("  error      ", "red"), said_error(run))
        for line in (_traceback(run) or "").splitlines():
            screen.say(f"    {line}")


def _traceback(run: Run[Any]) -> str | None:
    """The traceback of the error: the recorded one, of an error that was read back."""
    recorded = "\n".join(getattr(run.error, "__notes__", ()))
    return recorded.removeprefix(RECORDED).strip() or run.traceback


def _facts(run: Run[Any], zones: Zones) -> Sequence[tuple[str, str]]:
    """What there is to say of a run, labelled; the error aside."""

    def moment(at_us: int | None) -> str | None:
        return None if at_us is None else moment_words(zones.show(run.task, at_us // 1_000 * 1_000))

    took = "" if run.duration is None else f", after {wait_words(run.duration)}"
    waits = run.status is RunStatus.PENDING and not run.blocked
    facts: Sequence[tuple[str, str | None]] = (
        ("for", moment(run.scheduled_us)),
        ("made", moment(run.created_us)),
        ("due", moment(run.due_us) if waits else None),
        ("started", moment(run.started_us)),
        ("finished", None if run.finished_us is None else f"{moment(run.finished_us)}{took}"),
        ("reason", run.reason),
        ("attempt", f"{run.attempt}" if run.attempt else None),
        ("node", run.node),
        ("queue", run.queue),
        ("priority", f"{run.priority}" if run.priority else None),
        ("fires", number_words(run.stands_for, "fire") if run.stands_for > 1 else None),
        ("repeats", run.retry_of),
        ("flow", None if run.flow == run.id else run.flow),
        ("needs", ", ".join(run.needs) or None),
        ("arguments", _brief([*map(_jsonable, run.args)], _jsonable(dict(run.kwargs)))),
        ("result", None if run.result is None else json.dumps(_jsonable(run.result), ensure_ascii=False)),
        *((f"{key}", json.dumps(_jsonable(value), ensure_ascii=False)) for key, value in (run.notes or {}).items()),
    )
    return [(label, text) for label, text in facts if text is not None]


def _brief(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    said = [json.dumps(value, ensure_ascii=False) for value in args]
    said += [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in kwargs.items()]
    return ", ".join(said) or None


def run_json(run: Run[Any], zones: Zones) -> dict[str, Any]:
    """All that is on record of a run as JSON values: instants in ISO 8601 in the task's zone, durations in seconds."""

    def moment(at_us: int | None) -> str | None:
        return None if at_us is None else zones.show(run.task, at_us).isoformat()

    return {
        "id": run.id,
        "task": run.task,
        "status": str(run.status),
        "reason": run.reason,
        "scheduled_for": moment(run.scheduled_us),
        "created": moment(run.created_us),
        "due": moment(run.due_us),
        "started": moment(run.started_us),
        "finished": moment(run.finished_us),
        "took": None if run.duration is None else run.duration.total_seconds(),
        "attempt": run.attempt,
        "stands_for": run.stands_for,
        "queue": run.queue,
        "priority": run.priority,
        "node": run.node,
        "args": [_jsonable(value) for value in run.args],
        "kwargs": _jsonable(dict(run.kwargs)),
        "result": _jsonable(run.result),
        "error": None if run.error is None else said_error(run),
        "traceback": _traceback(run),
        "notes": _jsonable(run.notes or {}),
        "retry_of": run.retry_of,
        "flow": run.flow,
        "needs": list(run.needs),
    }


def _jsonable(value: Any) -> Any:
    """The value as JSON has it; what has no place there as its text, a run as its id."""
    if isinstance(value, Unstored):
        return f"({value.kind}, which was not stored: {value.why})"
    if isinstance(value, Run):
        return {"run": value.id}
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        from pydantic_core import to_jsonable_python  # 30 ms to import, and most values are plain

        return to_jsonable_python(value, fallback=repr)
    return value
