"""What of a task is on its way while it fires: as this node knows it, or as the store says where that was not so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from asyncsched._engine.ledger import is_due
from asyncsched._engine.living import ArmedTask
from asyncsched.overlap import most_met
from asyncsched.run import Run
from asyncsched.stores import Met, Store

# What was hindered so often in a row is written as it was decided: its runs come and go faster than they are read.
_TRIES = 8


class Alongside:
    """The runs on their way, for those who decide by them.

    A store that processes share compares what was decided by with what is true. Where they differ nothing is written,
    the store is asked, and what it says is what is decided by next.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shared = store.shared
        self._tries: dict[str, int] = {}
        self.said: dict[str, Sequence[Run[Any]]] = {}
        """By task what the store said, until something was written by it."""

    def of(self, armed: ArmedTask, now_us: int) -> tuple[int, int]:
        """How many are running or between two attempts, and how many are due and have not started."""
        said = self.said.get(armed.task.id) if self.said else None
        if said is None:
            return armed.on_their_way(now_us) if armed.live else (0, 0)
        begun = sum(run.attempt > 0 for run in said)
        return begun, len(said) - begun

    def ids(self, armed: ArmedTask, now_us: int) -> list[str]:
        """The ids of these, where the policy of the task asks for each."""
        said = self.said.get(armed.task.id)
        if said is None:
            return [] if armed.ledger is None else armed.ledger.due_ids(now_us)
        return [run.id for run in said]

    def met(self, armed: ArmedTask, count: int) -> Met | None:
        """What the store is to compare, where so many were taken into account."""
        if not self._shared or self._tries.get(armed.task.id, 0) >= _TRIES:
            return None
        most = most_met(armed.policy)
        return Met(min(count, most), most) if most else None

    async def ask(self, tasks: Collection[str], now_us: int) -> None:
        """Know what the store says of these tasks, for which nothing was written."""
        for task, look in (await self._store.lookback(tasks)).items() if tasks else ():
            self.said[task] = [run for run in look.unfinished if run.counted and is_due(run, now_us)]
            self._tries[task] = self._tries.get(task, 0) + 1

    def forget(self, task: str) -> None:
        """Go by what is known here again."""
        if self.said:
            self.said.pop(task, None)
            self._tries.pop(task, None)
