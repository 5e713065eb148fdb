"""What several commands take: the scheduler that is meant, the store alone, a task, a zone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from asyncsched.cli._dry import zone_for
from asyncsched.cli._show import Screen
from asyncsched.cli._target import Target, find
from asyncsched.errors import ConfigError
from asyncsched.registry import Registry
from asyncsched.scheduler import Scheduler

_VARIABLE = "ASYNCSCHED_TARGET"
_WHERE = "module:attr, or a file such as app.py; the attribute may be left out where there is one Scheduler."
TargetArgument = Annotated[str, typer.Argument(metavar="TARGET", envvar=_VARIABLE, help=_WHERE)]
TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK", help="Its id, or the name of its function.", show_default=False)
]
AppDir = Annotated[Path, typer.Option(help="Where modules and files are looked for, first on sys.path.")]
Factory = Annotated[bool, typer.Option("--factory", help="TARGET is a function that makes the Scheduler.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Zone = Annotated[
    str | None, typer.Option("--tz", metavar="ZONE", help="The zone of what names none; default the scheduler's.")
]
StoreUrl = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="In place of TARGET the store alone, such as sqlite:///jobs.db."),
]
HERE = Path()


class Command(TyperCommand):
    """Its words are shown as they are: which of them may be left out depends on the others."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        words = [one.metavar or "" for one in self.get_params(ctx) if one.param_type_name == "argument"]
        return [self.options_metavar or "", *words]


class Place(NamedTuple):
    """Where a command looks or acts, and its other words.

    coded: whether the code of the tasks is at hand; else only the store is.
    zone: of what names none.
    """

    scheduler: Scheduler
    zone: str
    coded: bool
    words: Sequence[str]


def found(target: str, app_dir: Path, factory: bool) -> Target:
    """The scheduler that is meant; how it was found is told where that may surprise."""
    meant = find(target, app_dir, factory=factory)
    if meant.note:
        Screen(stderr=True).say((meant.note, "yellow"))
    return meant


def place_of(
    words: Sequence[str] | None,
    names: Sequence[str],
    *,
    forms: str = "",
    store: str | None = None,
    tz: str | None = None,
    app_dir: Path = HERE,
    factory: bool = False,
) -> Place:
    """Which scheduler, or store, is meant by ``[TARGET] NAMES...``, and the words for the names.

    forms: what could be given, where that is more than one thing.

    Raises:
        ConfigError: there are too few words or too many.
    """
    given = list(words or ())
    if store is not None:
        if len(given) != len(names):
            also = f" and {' '.join(names)}" if names else ""
            raise ConfigError(f"give --store URL{also}, and no TARGET; given: {' '.join(given) or 'nothing'}")
        alone = Scheduler(store, registry=Registry())
        return Place(alone, zone_for(alone, tz), coded=False, words=given)
    target = os.environ.get(_VARIABLE)
    if len(given) == len(names) + 1:
        target = given.pop(0)
    if target is None or len(given) != len(names):
        wanted = forms or " ".join(["TARGET", *names])
        where = f"TARGET says where the scheduler is, as app:scheduler does of app.py; {_VARIABLE} may say it for all"
        raise ConfigError(f"give {wanted}; given: {' '.join(words or ()) or 'nothing'} ({where})")
    meant = found(target, app_dir, factory).scheduler
    return Place(meant, zone_for(meant, tz), coded=True, words=given)
