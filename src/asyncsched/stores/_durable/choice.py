"""Which of the runs that are ready a node gets: the rules of a claim, on values, for every store that keeps rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from asyncsched.stores._durable.lost import SUSPECT
from asyncsched.stores._durable.orders import Claim


class Candidate(Protocol):
    """A run that is ready: where it stands, and with how many nodes it has been lost."""

    @property
    def queue(self) -> str: ...

    @property
    def group(self) -> str | None: ...

    @property
    def task(self) -> str: ...

    @property
    def lost(self) -> int: ...


C = TypeVar("C", bound=Candidate)


class Choice:
    """Takes from those that are ready, the foremost first, look after look, what a node may start.

    left, room: how many more of each queue, and of each group; ``None`` if any number.
    others: tasks that it turned out not to serve: the next look passes over their runs.
    wary: whether the next look passes over suspects, too.
    """

    def __init__(self, asked: Claim) -> None:
        self.asked = asked
        self.left = None if asked.queues is None else dict(asked.queues)
        self.room = None if asked.groups is None else dict(asked.groups)
        self.others: set[str] = set()
        self.wary = False
        self._count = 0

    @property
    def limit(self) -> int:
        """How many more it may have."""
        return self.asked.limit - self._count

    @property
    def queues(self) -> list[str] | None:
        """Those of which it may have more; ``None`` for all."""
        return None if self.left is None else [queue for queue, left in self.left.items() if left > 0]

    @property
    def full(self) -> list[str]:
        """The groups of which it may have no more."""
        return [] if self.room is None else [group for group, left in self.room.items() if left <= 0]

    def doubts(self, ready: Sequence[Candidate]) -> bool:
        """Whether it matters for these if the node runs a suspect: ``wary`` is to say so before one is chosen."""
        return not (self._count or self.wary) and bool(ready) and ready[0].lost >= SUSPECT

    def choose(self, ready: Sequence[C]) -> tuple[list[C], bool]:
        """Those of the foremost that are to be started, and whether there are more that this claim leaves alone."""
        chosen: list[C] = []
        for one in ready:
            if not self.asked.serves(one.task):
                if one.task in self.others:  # it would be found for ever
                    raise ValueError("the task of a run is no text")
                self.others.add(one.task)
                break
            # It is started by itself: if this process then dies at once, no others are to be blamed.
            suspect = one.lost >= SUSPECT
            if self.limit <= 0 or (suspect and self._count):
                return chosen, True
            if (suspect and self.wary) or not self._has_room(one):
                break
            self.take(one.queue, one.group)
            chosen.append(one)
            if suspect:
                return chosen, True
        return chosen, False

    def _has_room(self, one: Candidate) -> bool:
        has_left = self.left is None or self.left[one.queue] > 0
        return has_left and (self.room is None or one.group is None or self.room.get(one.group, 1) > 0)

    def take(self, queue: str, group: str | None, by: int = 1) -> None:
        """Count a run that is started; or with ``by=-1`` one that was chosen, and that others had claimed before."""
        self._count += by
        if self.left is not None:
            self.left[queue] -= by
        if self.room is not None and group is not None and group in self.room:
            self.room[group] -= by
