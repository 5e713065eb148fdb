"""Who may start now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from asyncsched._engine.living import LivingRun
from asyncsched.stores import Ack

# Runs started in one turn of the loop: at up to 40 us each, with their first steps, others wait about 4 ms.
AT_ONCE = 100


class Free(NamedTuple):
    """How many runs may be claimed, and how many of each queue; ``queues`` is ``None`` where none is limited."""

    limit: int
    queues: Mapping[str, int] | None

    @property
    def full(self) -> bool:
        """Whether more can only be claimed once something has ended."""
        return self.limit < AT_ONCE


class Capacity:
    """The limits of this node.

    max_running: how many runs may be under way here at once; ``None`` is no limit.
    queues: which queues are served, each with its own limit or ``None``; ``None`` is all, without a limit.
    """

    def __init__(self, max_running: int | None, queues: Mapping[str, int | None] | None) -> None:
        self._max_running = max_running
        self._queues = queues
        self._unlimited = Free(AT_ONCE, None) if max_running is None and queues is None else None

    def free(self, living: Mapping[str, LivingRun], leaving: Sequence[Ack]) -> Free:
        """What may be claimed while these runs are under way and those of the acknowledgements are leaving."""
        if self._unlimited is not None:
            return self._unlimited
        limit = AT_ONCE
        if self._max_running is not None:
            limit = max(0, min(AT_ONCE, self._max_running - len(living) + len(leaving)))
        return Free(limit, None if self._queues is None else self._left(living.values(), leaving))

    def _left(self, living: Iterable[LivingRun], leaving: Sequence[Ack]) -> dict[str, int]:
        assert self._queues is not None
        running = Counter(one.run.queue for one in living)
        running.subtract(Counter(ack.run.queue for ack in leaving))
        return {
            queue: AT_ONCE if limit is None else max(0, limit - running[queue]) for queue, limit in self._queues.items()
        }
