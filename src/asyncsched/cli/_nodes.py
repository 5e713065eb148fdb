"""``asyncsched nodes``: the processes that are at a store, and the one that is to take nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import typer

from asyncsched.cli._acting import look, looking_name
from asyncsched.cli._arguments import HERE, AppDir, AsJson, Command, Factory, Place, StoreUrl, Zone, place_of
from asyncsched.cli._show import Part, Screen, print_json, second_words
from asyncsched.clock import SECOND_US, from_us
from asyncsched.duration import format_duration
from asyncsched.nodes import SKEW_US, StoredNode, node_named
from asyncsched.stores import Store
from asyncsched.zone import load_zone

commands = typer.Typer(help="The processes that are at a store.", no_args_is_help=True)

_HELP = "TARGET may be left out where --store, or ASYNCSCHED_TARGET, says which store is meant."
_SHORT = 8  # of an id: as much as tells nodes apart


@commands.command("list", cls=Command)
def list_command(
    words: Annotated[list[str] | None, typer.Argument(metavar="[TARGET]", help=_HELP, show_default=False)] = None,
    store: StoreUrl = None,
    tz: Zone = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """List the nodes: what each does, runs and has, and when the store last heard of it."""
    place = place_of(words, (), store=store, tz=tz, app_dir=app_dir, factory=factory)
    nodes, now_us = look(place, _nodes)
    if as_json:
        print_json([node.to_json() for node in nodes])
        return
    screen = Screen()
    if not nodes:
        screen.say("no nodes: no process serves this store")
        return
    width = max(len(node.name) for node in nodes)
    for node in nodes:
        screen.say(*_line(node, width), ", ".join(_words(node, place, now_us)))


@commands.command("drain", cls=Command)
def drain_command(
    words: Annotated[list[str] | None, typer.Argument(metavar="[TARGET] NODE", help=_HELP, show_default=False)] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
    app_dir: AppDir = HERE,
    factory: Factory = False,
) -> None:
    """Let a node claim no more runs.

    It finishes those under way, and says in its log and in `nodes list` that it does so. NODE is its id, the beginning
    of that, or its name.
    """
    place = place_of(words, ("NODE",), store=store, tz="UTC", app_dir=app_dir, factory=factory)

    async def ask(store: Store) -> StoredNode:
        nodes, _now_us = await _nodes(store)
        node = node_named(nodes, place.words[0])
        await store.ask_to_drain(node.id)
        return node_named((await _nodes(store))[0], node.id)

    node = look(place, ask)
    if as_json:
        print_json(node.to_json())
        return
    left = f"{node.running:,} run(s) under way there go on" if node.running else "nothing is under way there"
    Screen().say((node.name, "bold"), f": is to claim no more runs; {left}")


async def _nodes(store: Store) -> tuple[list[StoredNode], int]:
    """The nodes but for this one, which only looks; and the store's instant."""
    here = looking_name()
    return [node for node in await store.nodes() if node.name != here], await store.now_us()


def _line(node: StoredNode, width: int) -> Sequence[Part]:
    return (f"{node.name:{width}}", "bold"), (f"  {node.id[:_SHORT]}  ", "dim")


def _words(node: StoredNode, place: Place, now_us: int) -> list[str]:
    said, parts = node.report, []
    if node.drained:
        parts.append("drained")
    elif node.draining:
        parts.append("draining")
    if said is not None and said.roles == ("fire",):
        parts.append("fires only")
    elif said is not None and said.roles == ("run",):
        parts.append("runs only")
    elif said is not None and not said.roles:
        parts.append("submits only")
    if said is not None and said.queues:
        parts.append(f"queues {' '.join(said.queues)}")
    parts.append(f"{node.running:,} running")
    parts.append(f"since {_moment(node.started_us, place)}")
    ago = timedelta(seconds=max(0, now_us - node.heard_us) // SECOND_US)
    parts.append(f"heard {format_duration(ago)} ago" if ago else "heard just now")
    if said is None:
        return [*parts, "has not said what it is"]
    parts += [f"asyncsched {said.version}", f"tzdata {said.tzdata}"]
    if abs(said.skew_us) > SKEW_US:
        how = "ahead" if said.skew_us > 0 else "behind"
        parts.append(f"its clock is {abs(said.skew_us) / SECOND_US:.1f} s {how}")
    return parts


def _moment(at_us: int, place: Place) -> str:
    at: datetime = from_us(at_us).astimezone(load_zone(place.zone))
    return second_words(at)
