"""Runs of a SQLite file that somebody in this process holds, and which of them the engine counts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from weakref import WeakValueDictionary

from asyncsched.run import FINAL, Run
from asyncsched.stores._doubles import Doubles


class HeldRuns:
    """Runs by their ids: each is one object."""

    def __init__(self) -> None:
        self._runs: WeakValueDictionary[str, Run[Any]] = WeakValueDictionary()
        self.counted: dict[str, Run[Any]] = {}
        """Those on their way that the engine counts and that do not run here: where they end, it is to be told."""
        self.here: set[str] = set()
        """The ids of those that run here."""
        self.doubles = Doubles()

    def get(self, run_id: str) -> Run[Any] | None:
        """The run of this id, if somebody here holds it."""
        return self._runs.get(run_id)

    def hold(self, run: Run[Any]) -> None:
        """Know a run that there may be one day."""
        self._runs[run.id] = run

    def keep(self, run: Run[Any]) -> None:
        """Know a run that was made here."""
        self._runs[run.id] = run
        if run.status not in FINAL and run.id not in self.here:
            self.counted[run.id] = run

    def counts(self, run_id: str) -> bool:
        """Whether the engine counts this run among those that are on their way."""
        run = self.counted.get(run_id)
        return run_id in self.here or (run is not None and run.counted)

    def again(self, run: Run[Any]) -> None:
        """Know that a run waits once more that ran here."""
        self.here.discard(run.id)
        self.counted[run.id] = run

    def lose(self, but: Collection[str] = ()) -> list[Run[Any]]:
        """Know that what runs here, except for these, is others' by now: those, each as its attempt knows it."""
        found = [self._runs.get(run_id) for run_id in self.here if run_id not in but]
        lost = [run for run in found if run is not None]
        for run in lost:
            self._runs[run.id] = self.counted[run.id] = self.doubles.lose(run)
        self.here.intersection_update(but)
        return lost

    def doubt(self) -> None:
        """Know of none of them how it stands: the store has forgotten some of what it had acknowledged.

        One that has ended may be carried out anew, as another object; the others are as the store says next.
        """
        for run_id, run in list(self._runs.items()):
            if run.status in FINAL:
                del self._runs[run_id]
            elif run_id not in self.here:
                run.token = -1

    def awaited(self) -> list[Run[Any]]:
        """The runs that have not ended here and that somebody waits for."""
        runs = [*self._runs.values(), *self.doubles.lost()]
        return [run for run in runs if run.waiters is not None and run.status not in FINAL]
