"""Runs that go on elsewhere while an attempt of them goes on here: two objects of one run, until it has ended."""

from __future__ import annotations

from copy import copy
from typing import Any

from asyncsched.keeper import lost_runs
from asyncsched.run import Run

# What the attempt that was lost is known by stays as it was: its fence above all.
_ENDS = (
    "attempt", "due_us", "error", "finished_us", "first_us", "node", "notes", "reason", "result", "started_us",
    "status",
)  # fmt: skip


class Doubles:
    """Runs that this node has lost, each as the attempt knows it that goes on here and counts for nothing any more."""

    def __init__(self) -> None:
        self._lost: dict[str, list[Run[Any]]] = {}

    def __bool__(self) -> bool:
        return bool(self._lost)

    def lose(self, run: Run[Any]) -> Run[Any]:
        """Another object of the run, for what becomes of it; this one says from now on that it is lost."""
        lost_runs.add(run)
        self._lost.setdefault(run.id, []).append(run)
        double = copy(run)
        double.waiters = None
        return double

    def lost(self) -> list[Run[Any]]:
        """Those of which nobody knows yet how they ended."""
        return [run for lost in self._lost.values() for run in lost]

    def end(self, run: Run[Any], double: Run[Any] | None = None) -> None:
        """Let those who hold the lost one know how the run ended; or ``double``, where the lost one has counted."""
        lost = self._lost.pop(run.id, [])
        if double is not None and double is not run and lost:
            double.token = run.token
            lost.append(double)
        for other in lost:
            if other is not run:
                for name in _ENDS:
                    setattr(other, name, getattr(run, name))
            other.wake_waiters()

    def clear(self) -> None:
        """Forget them."""
        self._lost.clear()
