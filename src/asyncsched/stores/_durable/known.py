"""The runs that somebody in this process holds, brought up to date by what a store says of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asyncsched.edges import Edges
from asyncsched.errors import RunFailed
from asyncsched.renaming import renamed_terms
from asyncsched.run import FINAL, Run, RunStatus, Settled
from asyncsched.signature import Signature
from asyncsched.stores._durable.held import HeldRuns
from asyncsched.stores._durable.marred import check, shown
from asyncsched.stores._durable.orders import New, needs_of_run
from asyncsched.stores._durable.recent import RecentRuns
from asyncsched.stores._durable.rows import Row, needs_of, refill, row_of, run_of
from asyncsched.values import VALUE_LIMIT, Values

log = logging.getLogger("asyncsched.stores")

_TOLD = 1_000  # so many unreadable runs are remembered, so that each is told of once
_REMOVED = 1_000  # of so many removed tasks it is known how their values are stored: runs of them may be under way


class KnownRuns(HeldRuns):
    """The runs that somebody in this process holds: each is one object, which is brought up to date."""

    def __init__(self) -> None:
        super().__init__()
        self._signatures: dict[str, Signature] = {}
        self._values: dict[str, Values] = {}
        self.value_limit = VALUE_LIMIT
        """So many bytes may the arguments of a run take, and its result."""
        self.recent = RecentRuns()
        self.node_id = ""
        self._told: dict[str, None] = {}
        self._removed: dict[str, None] = {}

    def declare(self, task: str, signature: Signature | None, limit: int) -> None:
        """Know how the values of a task are stored, and how many of its ended runs are kept."""
        if signature is not None and self._signatures.get(task) is not signature:
            self._signatures[task] = signature
            self._values.pop(task, None)
        self.recent.limit(task, limit)
        self._removed.pop(task, None)

    def remove(self, task: str) -> None:
        """Know no more of a task that was removed, once others have been and no run of it is under way here."""
        self._removed[task] = None
        if len(self._removed) <= _REMOVED:
            return
        under_way = {run.task for run in map(self._runs.get, self.here) if run is not None}
        for gone in [one for one in self._removed if one not in under_way][: _REMOVED // 2]:
            del self._removed[gone]
            self._signatures.pop(gone, None)
            self._values.pop(gone, None)
            self.recent.remove(gone)

    def values(self, task: str) -> Values:
        """How the values of the task are stored."""
        found = self._values.get(task)
        if found is None:
            signature = self._signatures.get(task)
            if signature is None:
                return Values(None, self.value_limit)
            found = self._values[task] = Values(signature, self.value_limit)
        return found

    def new(self, run: Run[Any]) -> New:
        """A run as it is to be written.

        Raises:
            ArgumentsError: an argument cannot be stored.
        """
        return New(row_of(run, self.values(run.task)), needs_of_run(run), self.node_id)

    def rename(self, before: str, task: str) -> None:
        """Let the runs of a task that had the id ``before`` bear its id of today."""
        for run in list(self._runs.values()):
            if run.task == before:
                run.task, run.terms = task, renamed_terms(run.terms, before, task)
        self.recent.rename(before, task)

    def take(self, row: Row, upstreams: Mapping[str, Row]) -> Run[Any]:
        """The run of this row, at least as new as it. ``upstreams`` has the rows of those that it needs, by id."""
        run = self._runs.get(row.id)
        values = self.values(row.task)
        if run is None:
            check(row)
            given = self._needed(row, upstreams) if row.edges else {}
            run = run_of(row, values, given)
            self._runs[row.id] = run
        elif row.token > run.token:
            check(row)
            refill(run, row, values)
        self._complete(run, upstreams)
        if run.waiters is not None and run.status in FINAL:
            run.wake_waiters()
        return run

    def _needed(self, row: Row, upstreams: Mapping[str, Row]) -> dict[str, Run[Any]]:
        needed = (upstreams[need] for need in needs_of(row) if need in upstreams)
        return {one.id: one for one in self.take_all(needed, {})}

    def start(self, row: Row, upstreams: Mapping[str, Row]) -> Run[Any]:
        """The run of this row, whose next attempt begins here. Raises what is wrong with it."""
        self.counted.pop(row.id, None)
        self.here.add(row.id)
        run = self._runs.get(row.id)
        if run is None or run.token != row.token - 1 or run.status is not RunStatus.PENDING:
            return self.take(row, upstreams)
        assert row.node is not None
        assert row.started_at is not None
        run.due_us = row.due_at
        run.start(row.node, row.started_at)
        self._complete(run, upstreams)
        return run

    def take_all(self, rows: Iterable[Row], upstreams: Mapping[str, Row]) -> list[Run[Any]]:
        """The runs of these rows; one that cannot be read is left out, and told of."""
        found = []
        for row in rows:
            try:
                found.append(self.take(row, upstreams))
            except Exception as error:
                if self.tells(row.id):
                    log.warning("run %s of task %s cannot be read, it is left out: %s", row.id, row.task, error)
        return found

    def tells(self, run_id: str) -> bool:
        """Whether it is to be told of a run that it cannot be read: once, though every sweep may look at it."""
        known = run_id in self._told
        self._told[run_id] = None
        if len(self._told) > _TOLD:
            del self._told[next(iter(self._told))]
        return not known

    def show_all(self, rows: Iterable[Row], upstreams: Mapping[str, Row]) -> list[Run[Any]]:
        """The runs of these rows, to be looked at; of one that cannot be read as much as can, with the reason."""
        found = []
        for row in rows:
            try:
                found.append(self.take(row, upstreams))
            except Exception as error:
                known = self._runs.get(row.id)
                found.append(shown(row, str(error)) if known is None else known)
        return found

    def _complete(self, run: Run[Any], upstreams: Mapping[str, Row]) -> None:
        """Let a run that has not ended have the runs at hand that it needs, as they are by now."""
        edges = run.edges
        if edges is None or not edges.needs or run.status in FINAL:
            return
        found = []
        for need in edges.needs:
            # One that is held may have ended elsewhere, unheard so far: its result is needed now.
            upstream = self.take(upstreams[need], {}) if need in upstreams else self.get(need)
            found += [] if upstream is None else [upstream]
        if len(found) == len(edges.needs) or not edges.upstreams:
            edges.upstreams = tuple(found)

    def matter(self, runs: Iterable[Run[Any]]) -> None:
        """Let these know that others need them."""
        for run in runs:
            if run.edges is None:
                run.edges = Edges(run.id)

    def ended(self, run: Run[Any]) -> None:
        """Remember a run that has ended as the newest of its task."""
        self.counted.pop(run.id, None)
        self.here.discard(run.id)
        if self.doubles:
            self.doubles.end(run, self._runs.get(run.id))
        self.recent.add(run)

    def recall(self, task: str, rows: Sequence[Row]) -> None:
        """Remember the ended runs of a task, oldest first, unless the newest is known."""
        self.recent.recall(task, rows[-1].id, lambda: self.take_all(rows, {}))


def lose(run: Run[object], now_us: int) -> None:
    """Let a run be over that ended elsewhere, nobody knows how: its task keeps no history of it."""
    message = f"run {run.id} of {run.task!r} ended at another node, and what became of it is no longer kept"
    if run.status is RunStatus.PENDING:
        run.become(RunStatus.RUNNING)
    run.apply(Settled(RunStatus.FAILED, now_us, error=RunFailed(message, run_id=run.id)))
