"""The commands about what a store keeps: each looks or acts for a moment, while other processes serve."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from asyncsched.cli import _controls, _migrate, _orders, _records, _tasks
from asyncsched.cli._arguments import HERE, AppDir, AsJson, Command, Factory, Place, StoreUrl, Zone, place_of
from asyncsched.cli._dry import moment
from asyncsched.cli._target import task_named
from asyncsched.clock import SystemClock
from asyncsched.duration import as_duration
from asyncsched.errors import ConfigError
from asyncsched.run import RunStatus

commands = typer.Typer()

Words = list[str] | None
_ALL_WORDS = 3  # TARGET TASK ARGS
_OF_TARGET = "TARGET may be left out where ASYNCSCHED_TARGET says which scheduler is meant."
_OF_STORE = "TARGET may be left out where --store, or ASYNCSCHED_TARGET, says which store is meant."


def _words(metavar: str, said: str = _OF_TARGET) -> typer.models.ArgumentInfo:
    return typer.Argument(metavar=metavar, help=said, show_default=False)  # type: ignore[no-any-return]


OnlyTask = Annotated[str | None, typer.Option("--task", metavar="TASK", help="Only of this task.")]
OnlyQueue = Annotated[str | None, typer.Option("--queue", metavar="QUEUE", help="Only of this queue.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="DATE|DURATION", help="From then on: 2026-03-28, or 2h for the last two."),
]


@commands.command("ls", cls=Command)
def ls_command(
    words: Annotated[Words, _words("[TARGET]", _OF_STORE)] = None,
    store: StoreUrl = None,
    tz: Zone = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """List the tasks that a store keeps."""
    place = place_of(words, (), store=store, tz=tz, app_dir=app_dir, factory=factory)
    _tasks.show_tasks(place, as_json=as_json)


@commands.command("runs", cls=Command)
def runs_command(
    words: Annotated[Words, _words("[TARGET]", _OF_STORE)] = None,
    task: OnlyTask = None,
    status: Annotated[
        list[str] | None, typer.Option("--status", metavar="STATUS", help="Only with this status; may be repeated.")
    ] = None,
    queue: OnlyQueue = None,
    since: Since = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many.")] = 20,
    store: StoreUrl = None,
    tz: Zone = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """List runs, the newest first."""
    place = place_of(words, (), store=store, tz=tz, app_dir=app_dir, factory=factory)
    wanted = _records.Wanted(
        task=task,
        status=[_status(one) for one in status] if status else None,
        queue=queue,
        since=_since(since, place),
        limit=limit,
    )
    _records.show_runs(place, wanted, as_json=as_json)


@commands.command("show", cls=Command)
def show_command(
    words: Annotated[Words, _words("[TARGET] RUN", _OF_STORE)] = None,
    store: StoreUrl = None,
    tz: Zone = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Show all that is on record of a run."""
    place = place_of(words, ("RUN",), store=store, tz=tz, app_dir=app_dir, factory=factory)
    _records.show_run(place, place.words[0], as_json=as_json)


@commands.command("trigger", cls=Command)
def trigger_command(
    words: Annotated[Words, _words("[TARGET] TASK")] = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Run a task now, with its own arguments.

    Whoever serves the store runs it. Its next fire stays where it is.
    """
    place = place_of(words, ("TASK",), app_dir=app_dir, factory=factory)
    _orders.trigger(place, place.words[0], as_json=as_json)


@commands.command("submit", cls=Command)
def submit_command(
    words: Annotated[Words, _words("[TARGET] TASK [ARGS]")] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="DATE", help="Not before this date or time.")] = None,
    delay: Annotated[
        str | None, typer.Option("--delay", metavar="DURATION", help="Not before this long from now.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", help="In place of the task's; the greater goes first.")
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue", metavar="QUEUE", help="In place of the task's.")] = None,
    unique: Annotated[
        str | None, typer.Option("--unique", metavar="TEXT", help="If a live run has the same text, it is that one.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option("--idempotency-key", metavar="KEY", help="If a submit had the same key, it is that run."),
    ] = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Submit a run of a task.

    ARGS are JSON: a list, or an object with names. Whoever serves the store runs it.
    """
    if at is not None and delay is not None:
        raise ConfigError(f"--at {at} and --delay {delay}: give one of them")
    given = list(words or ())
    has_arguments = len(given) == _ALL_WORDS or (given and given[-1].lstrip()[:1] in ("[", "{"))
    arguments = given.pop() if has_arguments else None
    place = place_of(given, ("TASK",), forms="TARGET TASK [ARGS]", app_dir=app_dir, factory=factory)
    order = _orders.Order(
        at=None if at is None else moment("--at", at, _zone_of(place, place.words[0])),
        delay=None if delay is None else as_duration("--delay", delay, zero=True),
        priority=priority,
        queue=queue,
        unique=unique,
        idempotency_key=idempotency_key,
    )
    _orders.submit(place, place.words[0], arguments, order, as_json=as_json)


@commands.command("pause", cls=Command)
def pause_command(
    words: Annotated[Words, _words("[TARGET] TASK", _OF_STORE)] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="DATE", help="It goes on by itself then; default when it is resumed."),
    ] = None,
    store: StoreUrl = None,
    tz: Zone = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Let no fire of a task become a run."""
    place = place_of(words, ("TASK",), store=store, tz=tz, app_dir=app_dir, factory=factory)
    end = None if until is None else moment("--until", until, _zone_of(place, place.words[0]))
    if end is not None and end <= SystemClock().now():
        raise ConfigError(f"--until {until} has passed: give an instant to come")
    _controls.pause(place, place.words[0], end, as_json=as_json)


@commands.command("resume", cls=Command)
def resume_command(
    words: Annotated[Words, _words("[TARGET] TASK", _OF_STORE)] = None,
    store: StoreUrl = None,
    tz: Zone = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Let a paused task fire again."""
    place = place_of(words, ("TASK",), store=store, tz=tz, app_dir=app_dir, factory=factory)
    _controls.resume(place, place.words[0], as_json=as_json)


@commands.command("skip-next", cls=Command)
def skip_next_command(
    words: Annotated[Words, _words("[TARGET] TASK")] = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Let the next fire of a task be a recorded skip."""
    place = place_of(words, ("TASK",), app_dir=app_dir, factory=factory)
    _tasks.skip_next(place, place.words[0], as_json=as_json)


@commands.command("cancel", cls=Command)
def cancel_command(
    words: Annotated[Words, _words("[TARGET] [RUN]", _OF_STORE)] = None,
    task: OnlyTask = None,
    queue: OnlyQueue = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Stop a run, or all that wait or run of a task or a queue.

    Those that wait never start; those that run, in whichever process, are cancelled there.
    """
    names = ("RUN",) if task is None and queue is None else ()
    forms = "TARGET RUN, or TARGET --task TASK, or TARGET --queue QUEUE"
    place = place_of(words, names, forms=forms, store=store, app_dir=app_dir, factory=factory)
    chosen = _controls.Chosen(run=place.words[0] if names else None, task=task, queue=queue)
    _controls.cancel(place, chosen, as_json=as_json)


@commands.command("retry", cls=Command)
def retry_command(
    words: Annotated[Words, _words("[TARGET] [RUN]")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that failed, once, in place of one RUN.")] = False,
    task: OnlyTask = None,
    queue: OnlyQueue = None,
    since: Since = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Run again what has ended, or all that failed.

    As new runs, with the same arguments.
    """
    if not everything and (task, queue, since) != (None, None, None):
        raise ConfigError("--task, --queue and --since say which of all runs that failed: give --all too")
    names = () if everything else ("RUN",)
    place = place_of(words, names, forms="TARGET RUN, or TARGET --all", app_dir=app_dir, factory=factory)
    run = None if everything else place.words[0]
    chosen = _controls.Chosen(run=run, task=task, queue=queue, since=_since(since, place))
    _controls.retry(place, chosen, as_json=as_json)


@commands.command("backfill", cls=Command)
def backfill_command(
    start: Annotated[str, typer.Option("--start", metavar="DATE", help="From then on, included.")],
    end: Annotated[str, typer.Option("--end", metavar="DATE", help="Up to this date or time, not included.")],
    words: Annotated[Words, _words("[TARGET] TASK")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make nothing, tell only.")] = False,
    tz: Zone = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Make runs for the fires of a past range that have none."""
    place = place_of(words, ("TASK",), tz=tz, app_dir=app_dir, factory=factory)
    zone = _zone_of(place, place.words[0])
    first, last = moment("--start", start, zone), moment("--end", end, zone)
    _orders.backfill(place, place.words[0], first, last, dry_run=dry_run, as_json=as_json)


@commands.command("prune", cls=Command)
def prune_command(
    words: Annotated[Words, _words("[TARGET]", _OF_STORE)] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", metavar="DURATION", help="Of all tasks what ended longer ago; default as the code says."
        ),
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Forget ended runs that are past their keeping.

    And idempotency keys that are.
    """
    place = place_of(words, (), store=store, tz="UTC", app_dir=app_dir, factory=factory)
    _controls.prune(place, None if keep is None else as_duration("--keep", keep, zero=True), as_json=as_json)


@commands.command("migrate", cls=Command)
def migrate_command(
    words: Annotated[Words, _words("[TARGET]", _OF_STORE)] = None,
    check: Annotated[bool, typer.Option("--check", help="Apply nothing; end with 1 if steps are missing.")] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Apply nothing; print what would be applied.")] = False,
    backup: Annotated[
        Path | None,
        typer.Option("--backup", metavar="FILE", help="Write a copy to this file first.", show_default=False),
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Bring the schema of a store to what this version needs."""
    if check and sql:
        raise ConfigError("--check and --sql: give one of them")
    place = place_of(words, (), store=store, tz="UTC", app_dir=app_dir, factory=factory)
    deed: _migrate.Deed = "check" if check else "sql" if sql else "apply"
    raise typer.Exit(_migrate.show_migrated(place, deed, backup, as_json=as_json))


def _status(text: str) -> RunStatus:
    try:
        return RunStatus(text.upper())
    except ValueError:
        raise ConfigError(f"--status {text}: one of {', '.join(map(str, RunStatus))}") from None


def _since(text: str | None, place: Place) -> datetime | None:
    """The instant that a date says, or that lies so long ago as a duration says."""
    if text is None:
        return None
    try:
        return moment("--since", text, place.zone)
    except ConfigError as error:
        try:
            return SystemClock().now() - as_duration("--since", text)
        except ConfigError:
            raise ConfigError(f"{error}; or a duration, such as 2h") from None


def _zone_of(place: Place, task: str) -> str:
    """The zone in which the instants of a task are meant."""
    return task_named(place.scheduler, task).zone(place.zone) if place.coded else place.zone
