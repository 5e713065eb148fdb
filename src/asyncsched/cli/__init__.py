"""The command line: what serves and what computes; ``_stored`` has the commands about what a store keeps.

Needs the extra ``cli``; ``asyncsched.__main__`` says so where it is missing.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from asyncsched import __version__
from asyncsched.arguments import Role
from asyncsched.cli import _explain, _graph, _look, _nodes, _run, _simulate, _stored, _why
from asyncsched.cli._arguments import HERE, AppDir, AsJson, Command, Factory, TargetArgument, TaskArgument, Zone, found
from asyncsched.cli._dry import moment, zone_for
from asyncsched.cli._show import Screen
from asyncsched.cli._target import TargetError
from asyncsched.clock import SystemClock
from asyncsched.duration import as_duration
from asyncsched.errors import AsyncschedError, ConfigError, WorldError

USAGE, UNREACHABLE, NO_TARGET, MISCONFIGURED = 2, 4, 5, 78

app = typer.Typer(
    help="Cron, intervals and background jobs for asyncio.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_NEXT = 10


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"asyncsched {__version__}\n")
        raise typer.Exit


@app.callback()
def asyncsched(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Cron, intervals and background jobs for asyncio."""


@app.command("run", cls=Command)
def run_command(
    target: TargetArgument,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End once nothing is due, waiting to start or running.")
    ] = False,
    role: Annotated[
        Role | None, typer.Option("--role", metavar="fire|run", help="Only fire, or only run; default both.")
    ] = None,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Serve in the foreground until a signal comes."""
    meant = found(target, app_dir, factory)
    try:
        code = _run.serve(
            meant.scheduler,
            zone_for(meant.scheduler, None),
            until_idle=until_idle,
            roles=None if role is None else {role},
        )
    except ConfigError as error:
        code = _refuse(error, MISCONFIGURED)
    raise typer.Exit(code)


@app.command("next", cls=Command)
def next_command(
    target: TargetArgument,
    count: Annotated[
        int | None, typer.Option("-n", min=1, help="How many; default 10, or all of them with --for.")
    ] = None,
    span: Annotated[str | None, typer.Option("--for", metavar="DURATION", help="How far ahead: 24h, 2 days.")] = None,
    tz: Zone = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Show when the tasks fire next.

    As if the scheduler started now; nothing is run.
    """
    ahead = None if span is None else as_duration("--for", span)
    meant = found(target, app_dir, factory)
    limit = count or (None if ahead else _NEXT)
    _look.show_next(meant.scheduler, zone_for(meant.scheduler, tz), limit, ahead, as_json=as_json)


@app.command("explain", cls=Command)
def explain_command(
    expression: Annotated[str, typer.Argument(metavar="EXPR", help="A cron line, a sentence, a duration, a date.")],
    tz: Annotated[str | None, typer.Option("--tz", metavar="ZONE", help="Its zone; default the system's.")] = None,
    start: Annotated[str | None, typer.Option("--from", metavar="DATE", help="From when on; default now.")] = None,
    count: Annotated[int, typer.Option("-n", min=0, help="How many fires.")] = 5,
    task_id: Annotated[str | None, typer.Option("--id", help="The task's id, from which H is spread.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say a trigger in words, with its next fires.

    Also what it does where the clock of its zone is changed, and what its writer may not have meant.
    """
    _explain.show_explained(expression, tz, start, count, task_id, as_json=as_json)


@app.command("why", cls=Command)
def why_command(
    target: TargetArgument,
    task: TaskArgument,
    count: Annotated[int, typer.Option("-n", min=1, help="How many ended runs and skips.")] = 20,
    tz: Zone = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Say what became of a task's fires, and why it did not run.

    Asks the store. What is kept in memory is known to the program that serves the tasks alone.
    """
    meant = found(target, app_dir, factory)
    _why.show_why(meant.scheduler, task, zone_for(meant.scheduler, tz), count, as_json=as_json)


@app.command("graph", cls=Command)
def graph_command(
    target: TargetArgument,
    task: Annotated[
        str | None, typer.Argument(metavar="[TASK]", help="Only what is above and below this task.", show_default=False)
    ] = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="A flowchart for Mermaid.")] = False,
    dot: Annotated[bool, typer.Option("--dot", help="A digraph for Graphviz.")] = False,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Show which tasks need which.

    As a tree, with the rules, the triggers and the joins.
    """
    forms: dict[_graph.Form, bool] = {"mermaid": mermaid, "dot": dot, "json": as_json}
    wanted: list[_graph.Form] = [form for form, wish in forms.items() if wish]
    if len(wanted) > 1:
        raise ConfigError(f"{' and '.join(f'--{form}' for form in wanted)}: give one of them")
    meant = found(target, app_dir, factory)
    _graph.show_graph(meant.scheduler, task, wanted[0] if wanted else "text")


@app.command("simulate", cls=Command)
def simulate_command(
    target: TargetArgument,
    end: Annotated[str, typer.Option("--to", metavar="DATE", help="Up to this date or time, not included.")],
    start: Annotated[str | None, typer.Option("--from", metavar="DATE", help="From when on; default now.")] = None,
    tz: Zone = None,
    takes: Annotated[str, typer.Option(metavar="DURATION", help="How long each run is taken to last.")] = "0s",
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many fires.")] = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Print every fire of a stretch of time.

    The scheduler lives through it in an instant, on virtual time. No function is called.
    """
    lasting = as_duration("--takes", takes, zero=True)
    meant = found(target, app_dir, factory)
    zone = zone_for(meant.scheduler, tz)
    begin = SystemClock().now().replace(microsecond=0) if start is None else moment("--from", start, zone)
    until = moment("--to", end, zone)
    if until <= begin:
        raise ConfigError(f"--to {end} is not after --from {start or 'now'}")
    plan = _simulate.Plan(scheduler=meant.scheduler, zone=zone, start=begin, end=until, limit=limit, takes=lasting)
    _simulate.show_simulated(plan, as_json=as_json)


app.add_typer(_stored.commands)
app.add_typer(_nodes.commands, name="nodes")


def main() -> None:
    """Do what the command line says; every error of ours is one message and an exit code."""
    try:
        app(prog_name="asyncsched")
    except TargetError as error:
        sys.exit(_refuse(error, NO_TARGET))
    except WorldError as error:
        sys.exit(_refuse(error, UNREACHABLE))
    except AsyncschedError as error:
        sys.exit(_refuse(error, USAGE))


def _refuse(error: Exception, code: int) -> int:
    Screen(stderr=True).say(("asyncsched: ", "red"), str(error))
    return code
