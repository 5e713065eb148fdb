"""The nodes at a store: what each says of itself, and what the store knows of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from asyncsched.clock import from_us
from asyncsched.errors import UnknownNode

SKEW_US = 1_000_000
"""By so much may a machine's clock differ from the store's before anybody is told."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node says of itself.

    version: of this library. tzdata: which edition of the time zones it has.
    roles: what it does of ``"fire"`` and ``"run"``. queues: whose runs it executes; ``None``: of all.
    skew_us: how much its machine's clock was ahead of the store's when that was last told; negative if it was behind.
    draining: it claims nothing any more, as it was asked to.
    """

    host: str
    pid: int
    version: str
    tzdata: str
    roles: tuple[str, ...] = ("fire", "run")
    queues: tuple[str, ...] | None = None
    skew_us: int = 0
    draining: bool = False

    def text(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self), separators=(",", ":"))


def report_of(text: str | None) -> NodeReport | None:
    """What a node has said, as it was stored; ``None`` if it has said nothing that can be read.

    What only a later version of the library says is left out.
    """
    try:
        said = json.loads(text or "null")
        return NodeReport(
            host=str(said["host"]),
            pid=int(said["pid"]),
            version=str(said["version"]),
            tzdata=str(said["tzdata"]),
            roles=tuple(map(str, said.get("roles", ("fire", "run")))),
            queues=None if said.get("queues") is None else tuple(map(str, said["queues"])),
            skew_us=int(said.get("skew_us", 0)),
            draining=bool(said.get("draining", False)),
        )
    except (ValueError, TypeError, KeyError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNode:
    """A node that is at the store.

    id: the store's word for it, another one each time that it comes. name: ``node=`` of the scheduler.
    heard_us: when the store last heard of it. running: how many runs it has under way.
    report: what it says of itself; ``None`` if that is nothing yet, as with one that only looks for a moment.
    asked: somebody has asked it to drain.
    """

    id: str
    name: str
    started_us: int
    heard_us: int
    running: int
    report: NodeReport | None
    asked: bool

    @property
    def started_at(self) -> datetime:
        """When it came, in UTC."""
        return from_us(self.started_us)

    @property
    def heard_at(self) -> datetime:
        """When the store last heard of it, in UTC."""
        return from_us(self.heard_us)

    @property
    def skew(self) -> timedelta | None:
        """How much its machine's clock is ahead of the store's, negative if it is behind; ``None``: it has not said."""
        return None if self.report is None else timedelta(microseconds=self.report.skew_us)

    @property
    def draining(self) -> bool:
        """Whether it claims nothing any more, or will not as soon as it hears that it is not to."""
        return self.asked or (self.report is not None and self.report.draining)

    @property
    def drained(self) -> bool:
        """Whether it has said that it claims nothing any more, and nothing is under way there."""
        return self.report is not None and self.report.draining and not self.running

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        said = self.report
        return {
            "id": self.id,
            "name": self.name,
            "host": None if said is None else said.host,
            "pid": None if said is None else said.pid,
            "version": None if said is None else said.version,
            "tzdata": None if said is None else said.tzdata,
            "roles": None if said is None else list(said.roles),
            "queues": None if said is None or said.queues is None else list(said.queues),
            "running": self.running,
            "started": self.started_at.isoformat(),
            "last_heard": self.heard_at.isoformat(),
            "skew_seconds": None if said is None else said.skew_us / 1_000_000,
            "draining": self.draining,
            "drained": self.drained,
        }


class Difference(NamedTuple):
    """In what another node differs from this one: ``what`` is ``"tzdata"`` or ``"version"``."""

    what: Literal["tzdata", "version"]
    here: str
    there: str
    node: str


def differences(here: NodeReport, others: Collection[StoredNode]) -> Sequence[Difference]:
    """In what the others differ from a node; of each other value only one node is named."""
    found: dict[tuple[str, str], Difference] = {}
    for other in others:
        if (said := other.report) is not None:
            if said.version != here.version:
                one = Difference("version", here.version, said.version, other.name)
                found.setdefault((one.what, one.there), one)
            if said.tzdata != here.tzdata and "unknown" not in (said.tzdata, here.tzdata):
                one = Difference("tzdata", here.tzdata, said.tzdata, other.name)
                found.setdefault((one.what, one.there), one)
    return list(found.values())


def node_named(nodes: Collection[StoredNode], wanted: str) -> StoredNode:
    """The node with this id or name, or the only one whose id begins so.

    Raises:
        UnknownNode: there is none, or several have the name.
    """
    for found in (
        [node for node in nodes if node.id == wanted],
        [node for node in nodes if node.name == wanted],
        [node for node in nodes if wanted and node.id.startswith(wanted)],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(node.id for node in found)
            raise UnknownNode(f"node {wanted!r} may be any of {len(found)}: give the id of one of them, {ids}")
    there = ", ".join(f"{node.name} ({node.id[:8]})" for node in nodes) or "none"
    raise UnknownNode(f"no node {wanted!r} is at the store; there is: {there}")
