"""Who may start now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from asyncsched._engine.living import LivingRun
from asyncsched.stores import Ack

# Runs started in one turn of the loop: at up to 40 us each, with their first steps, others wait about 4 ms.
AT_ONCE = 100


class Free(NamedTuple):
    """How many runs may be claimed, how many of each queue, of each group; ``None`` where none is limited."""

    limit: int
    queues: Mapping[str, int] | None
    groups: Mapping[str, int] | None

    @property
    def full(self) -> bool:
        """Whether more can only be claimed once something has ended."""
        return self.limit < AT_ONCE


class Capacity:
    """The limits of this node.

    max_running: how many runs may be under way here at once; ``None`` is no limit.
    queues: which queues are served, each with its own limit or ``None``; ``None`` is all, without a limit.
    groups: how many runs of a group of tasks may be under way here at once; groups that it does not name have no limit.
    """

    def __init__(
        self,
        max_running: int | None,
        queues: Mapping[str, int | None] | None,
        groups: Mapping[str, int] | None = None,
    ) -> None:
        self.max_running = max_running
        self.queues = queues
        self.groups = groups or {}
        self.serves = queues is None or bool(queues)
        """Whether any run may ever be claimed here."""
        limited = max_running is not None or queues is not None or groups
        self._unlimited = None if limited else Free(AT_ONCE, None, None)

    def free(self, living: Mapping[str, LivingRun], leaving: Sequence[Ack]) -> Free:
        """What may be claimed while these runs are under way and those of the acknowledgements are leaving."""
        if self._unlimited is not None:
            return self._unlimited
        limit = AT_ONCE
        if self.max_running is not None:
            limit = max(0, min(AT_ONCE, self.max_running - len(living) + len(leaving)))
        queues = groups = None
        if self.queues is not None:
            queues = _left(self.queues, (one.run.queue for one in living.values()), (ack.run.queue for ack in leaving))
        if self.groups:
            under_way = (one.run.terms.group for one in living.values())
            groups = _left(self.groups, under_way, (ack.run.terms.group for ack in leaving))
        return Free(limit, queues, groups)


def _left(limits: Mapping[str, int | None], running: Iterable[Any], leaving: Iterable[Any]) -> dict[str, int]:
    """How many more of each may be claimed."""
    under_way = Counter(running)
    under_way.subtract(Counter(leaving))
    return {name: AT_ONCE if limit is None else max(0, limit - under_way[name]) for name, limit in limits.items()}
