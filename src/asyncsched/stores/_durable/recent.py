"""The newest ended runs of each task, as this process knows them without asking the file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from asyncsched.run import Run
from asyncsched.stores._durable.orders import HISTORY_LIMIT

# A task may keep more, or by age alone: the file has them all, and nobody reads so many at a glance.
_AT_HAND = 10_000


class RecentRuns:
    """Ended runs by their task, oldest first, as many as the task keeps."""

    def __init__(self) -> None:
        self._limits: dict[str, int] = {}
        self._ended: defaultdict[str, list[Run[Any]]] = defaultdict(list)

    def limit(self, task: str, limit: int) -> None:
        """Keep so many of the task from now on."""
        self._limits[task] = min(limit, _AT_HAND)
        if task in self._ended:
            kept = self._ended[task]
            del kept[: max(0, len(kept) - limit)]

    def keeps(self, task: str) -> int:
        """How many of the task are kept; none of one that is not declared here."""
        return self._limits.get(task, 0)

    def last(self, task: str, most: int) -> list[Run[Any]]:
        """The newest of the task, oldest first."""
        return self._ended[task][-most:] if task in self._ended else []

    def add(self, run: Run[Any]) -> None:
        """Keep a run as the newest of its task."""
        limit = self._limits.get(run.task, HISTORY_LIMIT)
        kept = self._ended[run.task]
        if limit:
            if len(kept) >= limit:
                del kept[0]
            kept.append(run)

    def rename(self, before: str, task: str) -> None:
        """Keep under its id of today what is kept of the task that had the id ``before``."""
        if kept := self._ended.pop(before, None):
            self._ended[task][:0] = kept

    def remove(self, task: str) -> None:
        """Forget the task."""
        self._limits.pop(task, None)
        self._ended.pop(task, None)

    def recall(self, task: str, last: str, runs: Callable[[], Sequence[Run[Any]]]) -> None:
        """Keep these of the task, oldest first, unless the newest, whose id is ``last``, is known."""
        known = self._ended.get(task)
        if not known or known[-1].id != last:
            self._ended[task] = list(runs())

    def forget(self, before_us: Callable[[str], int | None]) -> None:
        """Forget, of each task, what ended before the instant that this says of it; ``None``: nothing."""
        for task, kept in self._ended.items():
            limit_us = before_us(task)
            if limit_us is not None and kept and (kept[0].finished_us or limit_us) < limit_us:
                kept[:] = [run for run in kept if (run.finished_us or limit_us) >= limit_us]

    def of(self, task: str) -> list[Run[Any]]:
        """Those of the task, newest first."""
        return list(reversed(self._ended.get(task, ())))
