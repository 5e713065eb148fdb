"""What a store must do for graphs, beside all else: each verb is one unit, takes batches and returns values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from asyncsched.graph import Tally
from asyncsched.run import Run, Settled


class Follower(NamedTuple):
    """A blocked run, the token that it has, and how the runs that it needs stand."""

    run: Run[Any]
    token: int
    tally: Tally


class Met(NamedTuple):
    """The runs of a task that are on their way: how many a decision was based on, counted up to ``most``.

    On its way is what has begun, and what is due; but for runs that follow others and are still blocked, backfilled
    ones, and those that are put aside.
    """

    number: int
    most: int


class Decision(NamedTuple):
    """What becomes of a blocked run that has ``token``.

    settled: how it ends; ``None``: it is ready.
    sources: the runs whose results it is given, if they are others than those that it waited for.
    met: what of its task was on its way when that was decided; ``None`` where it does not matter.
    """

    run: Run[Any]
    token: int
    settled: Settled | None
    sources: tuple[Run[Any], ...] | None = None
    met: Met | None = None


class Lookback(NamedTuple):
    """How a task stands to those that depend on it: its last success, and its runs that have not ended."""

    succeeded: Run[Any] | None
    unfinished: Sequence[Run[Any]]


class Offers(NamedTuple):
    """What a join may take.

    taken: the flow that it took last of each side, by its root.
    ended: the ended runs of its upstreams in later flows, as far as history keeps them.
    """

    taken: Mapping[str, str]
    ended: Sequence[Run[Any]]


class GraphVerbs(ABC):
    """The verbs about runs that need others, and about tasks that depend on others."""

    @abstractmethod
    async def followers(self, run_ids: Collection[str] | None) -> list[Follower]:
        """The blocked runs that need one of these; with ``None`` all that need a run which has ended.

        A run whose ``edges.blocked`` is true when it is written is blocked: PENDING, and claimed by nobody until
        ``settle`` lets it be ready. ``cycle`` brings ``edges`` of an accepted run up to date: where it is ``None``, no
        blocked run needs it.
        """

    @abstractmethod
    async def settle(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Let blocked runs be ready, or end; these decisions that counted.

        A decision counts if the run is blocked and its token is the one that is named; the token then grows. With
        ``met`` it counts only if so many runs of the task are on their way, those that were made ready by the decisions
        before it among them; a store that is not ``shared`` need not look. A run
        that is made ready is due now, unless it was due later, and what is claimed of it brings the results of its
        upstreams, in ``edges.upstreams``.
        """

    @abstractmethod
    async def lookback(self, tasks: Collection[str]) -> dict[str, Lookback]:
        """How each of these tasks stands to those that depend on it. Every success counts, however long ago."""

    @abstractmethod
    async def offers(self, task: str, upstreams: Mapping[str, str]) -> Offers:
        """What the join ``task`` may take; ``upstreams`` has the root for each of its upstreams."""

    @abstractmethod
    async def join(
        self, task: str, before: Mapping[str, str], after: Mapping[str, str], runs: Sequence[Run[Any]]
    ) -> bool:
        """Write the runs of a join's new flow, if what it has taken is still ``before``; it then is ``after``."""
