"""What a node tells a durable store to do, in columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from asyncsched.run import Run
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._graphs import Met

HISTORY_LIMIT = 100  # of tasks that were never declared


class Needed(NamedTuple):
    """An upstream of a blocked run: how it ended, ``None`` twice if it has not."""

    id: str
    status: str | None
    reason: str | None


class New(NamedTuple):
    """A run to be written.

    needs: what it waits for; ``None`` if it does not.
    maker: the node that writes it.
    """

    row: Row
    needs: tuple[Needed, ...] | None
    maker: str


def needs_of_run(run: Run[Any]) -> tuple[Needed, ...] | None:
    """What a run that is to be written waits for; ``None`` if nothing."""
    edges = run.edges
    if edges is None or not edges.blocked:
        return None
    return tuple(
        Needed(one.id, one.status.value, one.reason) if one.status.final else Needed(one.id, None, None)
        for one in edges.upstreams
    )


class Order(NamedTuple):
    """One task's due fires as rows."""

    task: str
    version: int
    was_us: int | None
    next_us: int | None
    runs: Sequence[New]
    skips: Sequence[Row]
    counted: int
    met: Met | None


class Claim(NamedTuple):
    """What a node claims: who it is, how many it may have, and of which tasks."""

    owner: str
    node: str
    limit: int
    queues: Mapping[str, int] | None
    groups: Mapping[str, int] | None
    serves: Callable[[str], bool]


class Decided(NamedTuple):
    """What becomes of a blocked run.

    row: as it then stands; its token is that of the blocked one and one more.
    sources: the runs whose results it is given, if they are others than those that it waited for.
    met: what of its task was on its way when that was decided; ``None`` where it does not matter.
    """

    row: Row
    ready: bool
    sources: tuple[str, ...] | None
    met: Met | None


class Limits(NamedTuple):
    """How long ended runs are kept, in microseconds, by their tasks; those of others; ``None``: for ever."""

    tasks: Mapping[str, int | None]
    others_us: int | None

    def before_us(self, task: str, now_us: int) -> int | None:
        """What ended before this is no longer kept."""
        keep_us = self.tasks.get(task, self.others_us)
        return None if keep_us is None else now_us - keep_us

    def never_us(self, now_us: int) -> int | None:
        """What ended from then on is kept, whatever its task."""
        given = [keep_us for keep_us in (*self.tasks.values(), self.others_us) if keep_us is not None]
        return now_us - min(given) if given else None
