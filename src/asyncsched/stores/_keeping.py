"""What the memory store keeps for a time only: idempotency keys, and ended runs of tasks that say how long."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from asyncsched.limits import Idempotency
from asyncsched.renaming import renamed_key
from asyncsched.run import Run
from asyncsched.stores._pieces import LAST
from asyncsched.stores._upkeep import Pruned, UpkeepVerbs

OF_REMOVED = 20_000
"""So many ended runs are kept of all tasks together that were removed: some 15 MB of plain ones."""


class IdempotencyKeys:
    """Which run stands for each key that was given to a submit."""

    def __init__(self) -> None:
        self._runs: dict[str, tuple[Run[Any], int]] = {}
        self._leaving: list[tuple[int, str]] = []

    def run(self, key: str, now_us: int) -> Run[Any] | None:
        """The run that stands for the key: within its time, and as long as it has not ended."""
        self.forget(now_us)
        found = self._runs.get(key)
        return None if found is None else found[0]

    def keep(self, given: Idempotency, run: Run[Any], now_us: int) -> None:
        """Let this run stand for the key from now on."""
        until_us = now_us + given.keep_us
        self._runs[given.key] = run, until_us
        heappush(self._leaving, (until_us, given.key))

    def rename(self, before: str, task: str) -> None:
        """Let the runs of a task that had the id ``before`` stand for its keys of today."""
        self._runs = {renamed_key(key, before, task) or key: kept for key, kept in self._runs.items()}
        self._leaving = [(at_us, renamed_key(key, before, task) or key) for at_us, key in self._leaving]
        heapify(self._leaving)

    def forget(self, now_us: int) -> int:
        """Forget the keys that are past their time and whose run has ended; how many."""
        forgotten = 0
        waiting = []
        while self._leaving and self._leaving[0][0] <= now_us:
            until_us, key = heappop(self._leaving)
            run, latest_us = self._runs.get(key, (None, 0))
            if run is None or latest_us != until_us:
                continue  # it has come anew meanwhile
            if run.status.final:
                del self._runs[key]
                forgotten += 1
            else:
                waiting.append((until_us, key))
        for entry in waiting:
            heappush(self._leaving, entry)
        return forgotten


class RemovedTasks:
    """The tasks that are gone and of which ended runs are still kept: at most so many of all together."""

    def __init__(self, most: int = OF_REMOVED) -> None:
        self._most = most
        self._kept: dict[str, Sequence[Run[Any]]] = {}
        self._count = 0
        """At least as many runs as are kept of them: some may have been forgotten since."""

    def add(self, task: str, kept: Sequence[Run[Any]], coming: int) -> None:
        """A task is gone; its ended runs, to which so many more will come at most."""
        self._kept.pop(task, None)
        self._kept[task] = kept
        self._count += len(kept) + coming

    def back(self, task: str) -> None:
        """The task is there again, or has another id."""
        self._kept.pop(task, None)

    def surplus(self) -> list[tuple[str, int]]:
        """Of which tasks how many runs are to be forgotten, once they are too many.

        Those that went first lose theirs first, and so many at once that it is not counted again soon.
        """
        if self._count <= self._most:
            return []
        fewer = self._most * 7 // 8
        self._count = sum(map(len, self._kept.values()))
        surplus = []
        for task, kept in list(self._kept.items()):
            gone = min(len(kept), max(0, self._count - fewer))
            if gone:
                self._count -= gone
                surplus.append((task, gone))
            if gone == len(kept):
                del self._kept[task]
        return surplus


class MemoryUpkeep(UpkeepVerbs):
    """Those verbs of the memory store that keep it small."""

    _now_us: Callable[[], int]
    _live: dict[str, Run[Any]]
    _keys: IdempotencyKeys
    _piece = 0

    async def unfinished(self, tasks: Collection[str]) -> list[Run[Any]]:
        return [run for run in reversed(self._live.values()) if run.task in tasks]

    def awaited(self) -> Sequence[Run[Any]]:
        return [run for run in self._live.values() if run.waiters is not None]

    @abstractmethod
    def _histories(self, piece: int) -> Mapping[str, Sequence[Run[Any]]]:
        """The ended runs of the tasks in this piece, oldest first."""

    @abstractmethod
    def _drop_oldest(self, task: str, count: int) -> None:
        """Forget so many of the ended runs of the task."""

    async def prune(self, keep_us: Mapping[str, int | None], others_us: int | None, most: int = 1_000) -> Pruned:
        now_us = self._now_us()
        keys = self._keys.forget(now_us)
        looked = runs = 0
        while looked < most:
            for task, kept in list(self._histories(self._piece).items()):
                limit_us = keep_us.get(task, others_us)
                looked += 1
                if limit_us is None:
                    continue
                past = 0
                while past < len(kept) and (kept[past].finished_us or now_us) < now_us - limit_us:
                    past += 1
                self._drop_oldest(task, past)
                looked += past
                runs += past
            self._piece = (self._piece + 1) & LAST
            if not self._piece:
                return Pruned(runs, keys, more=False)
        return Pruned(runs, keys, more=True)
