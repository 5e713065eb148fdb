"""What ties a run to the other runs of its graph."""

from __future__ import annotations

from typing import Any, Literal

Rule = Literal["all_success", "all_done", "any_success", "any_failed", "none_failed"]
"""Which ends of its upstreams let a run start; ``graph.verdict`` has the table."""

Kind = Literal["flow", "hand", "gate"]


class Edges:
    """The edges that lead to a run. One that is in no graph has none, which costs it nothing.

    flow: the id of the run that its flow began with.
    needs: the ids of its upstreams.
    rule: which of their ends let it start.
    upstreams: the runs that it needs, for their results; only until it has ended.
    kind: what made it wait. ``"flow"``: its task follows others; ``"hand"``: runs among its arguments; ``"gate"``: its
        task has both a trigger and upstreams.
    blocked: whether it has not been decided yet that it may start.
    since_us: with ``dependency="fresh"``: successes up to this instant do not count.
    until_us: when a gate waits no longer; ``None`` is never.
    """

    __slots__ = ("blocked", "flow", "kind", "needs", "rule", "since_us", "until_us", "upstreams")

    def __init__(
        self,
        flow: str,
        needs: tuple[str, ...] = (),
        rule: Rule = "all_success",
        upstreams: tuple[Any, ...] = (),
        kind: Kind = "flow",
        blocked: bool = False,
        since_us: int | None = None,
        until_us: int | None = None,
    ) -> None:
        self.flow = flow
        self.needs = needs
        self.rule: Rule = rule
        self.upstreams = upstreams
        self.kind: Kind = kind
        self.blocked = blocked
        self.since_us = since_us
        self.until_us = until_us

    def decided(self, sources: tuple[Any, ...] | None) -> None:
        """The run may start; with ``sources`` the results of these runs are there for it. For stores."""
        self.blocked = False
        if sources is not None:
            self.upstreams = sources
            self.needs = tuple(source.id for source in sources)


class Edged:
    """What a run tells of its edges."""

    __slots__ = ()

    id: str
    edges: Edges | None
    """The edges that lead to it; ``None`` for a run that is in no graph."""

    @property
    def flow(self) -> str:
        """The id of the run that its flow began with: of a run that needs nothing its own."""
        return self.id if self.edges is None else self.edges.flow

    @property
    def needs(self) -> tuple[str, ...]:
        """The ids of the runs that it needs."""
        return () if self.edges is None else self.edges.needs

    @property
    def blocked(self) -> bool:
        """Whether it waits for the runs that it needs, or ended before that was decided."""
        return self.edges is not None and self.edges.blocked

    @property
    def counted(self) -> bool:
        """Whether it is one of those that are on their way, or was: a run that follows others is not while it waits."""
        return self.edges is None or not self.edges.blocked or self.edges.kind == "gate"
