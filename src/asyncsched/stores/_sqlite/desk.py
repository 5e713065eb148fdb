"""The store's side on the event loop: the runs that are known here, what they are as rows, and the two threads."""

from __future__ import annotations

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from asyncsched.clock import Clock, SystemClock
from asyncsched.edges import Edges
from asyncsched.errors import MisuseError
from asyncsched.run import FINAL, Run, RunStatus
from asyncsched.signature import Signature
from asyncsched.stores._sqlite.connection import Synchronous
from asyncsched.stores._sqlite.rows import Row, fill, row_of, run_of, terms_of
from asyncsched.stores._sqlite.threads import DatabaseThread, Take, Work
from asyncsched.stores._sqlite.unit import HISTORY_LIMIT, New, needs_of_run
from asyncsched.values import Values

log = logging.getLogger("asyncsched.stores")

_UNKNOWN = Values(None)


class KnownRuns:
    """The runs that somebody in this process holds: each is one object, which is brought up to date."""

    def __init__(self) -> None:
        self._runs: WeakValueDictionary[str, Run[Any]] = WeakValueDictionary()
        self._signatures: dict[str, Signature] = {}
        self._values: dict[str, Values] = {}
        self.limits: dict[str, int] = {}
        self.counted: dict[str, Run[Any]] = {}
        """Those on their way that the engine counts and that do not run here: where they end, it is to be told."""
        self.here: set[str] = set()
        """The ids of those that run here."""
        self.node_id = ""
        self._ended: defaultdict[str, list[Run[Any]]] = defaultdict(list)

    def declare(self, task: str, signature: Signature | None, limit: int) -> None:
        """Know how the values of a task are stored, and how many of its ended runs are kept."""
        if signature is not None and self._signatures.get(task) is not signature:
            self._signatures[task] = signature
            self._values.pop(task, None)
        self.limits[task] = limit
        if task in self._ended:
            kept = self._ended[task]
            del kept[: max(0, len(kept) - limit)]

    def values(self, task: str) -> Values:
        """How the values of the task are stored."""
        found = self._values.get(task)
        if found is None:
            signature = self._signatures.get(task)
            if signature is None:
                return _UNKNOWN
            found = self._values[task] = Values(signature)
        return found

    def new(self, run: Run[Any]) -> New:
        """A run as it is to be written.

        Raises:
            ArgumentsError: an argument cannot be stored.
        """
        return New(row_of(run, self.values(run.task)), needs_of_run(run), self.node_id)

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

    def get(self, run_id: str) -> Run[Any] | None:
        """The run of this id, if somebody here holds it."""
        return self._runs.get(run_id)

    def take(self, row: Row, upstreams: Mapping[str, Row]) -> Run[Any]:
        """The run of this row, at least as new as it. ``upstreams`` has the rows of those that it needs, by id."""
        run = self._runs.get(row.id)
        values = self.values(row.task)
        if run is None:
            given = {need: self.take(upstream, {}) for need, upstream in upstreams.items()} if row.edges else {}
            run = run_of(row, values, given)
            self._runs[row.id] = run
        elif row.token > run.token:
            fill(run, row, values)
        self._complete(run, upstreams)
        if run.waiters is not None and run.status in FINAL:
            run.wake_waiters()
        return run

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
                log.warning("run %s of task %s cannot be read, it is left out: %s", row.id, row.task, error)
        return found

    def _complete(self, run: Run[Any], upstreams: Mapping[str, Row]) -> None:
        """Let a run that has not ended have the runs at hand that it needs."""
        edges = run.edges
        if edges is None or not edges.needs or edges.upstreams or run.status in FINAL:
            return
        found = []
        for need in edges.needs:
            upstream = self.get(need)
            if upstream is None and need in upstreams:
                upstream = self.take(upstreams[need], {})
            found += [] if upstream is None else [upstream]
        edges.upstreams = tuple(found)

    def move(self, run: Run[Any], row: Row, new: Run[Any]) -> None:
        """Let a run take over the instant, terms and arguments of a newer one."""
        run.due_us, run.terms = row.due_at, terms_of(row.terms)
        run.args, run.kwargs = new.args, new.kwargs

    def matter(self, runs: Iterable[Run[Any]]) -> None:
        """Let these know that others need them."""
        for run in runs:
            if run.edges is None:
                run.edges = Edges(run.id)

    def ended(self, run: Run[Any]) -> None:
        """Remember a run that has ended as the newest of its task."""
        self.counted.pop(run.id, None)
        self.here.discard(run.id)
        limit = self.limits.get(run.task, HISTORY_LIMIT)
        kept = self._ended[run.task]
        if limit:
            if len(kept) >= limit:
                del kept[0]
            kept.append(run)

    def recall(self, task: str, rows: Sequence[Row]) -> None:
        """Remember the ended runs of a task, oldest first, unless the newest is known."""
        known = self._ended.get(task)
        if not known or known[-1].id != rows[-1].id:
            self._ended[task] = self.take_all(rows, {})

    def recent(self, task: str) -> list[Run[Any]]:
        """Its ended runs that are known here, newest first."""
        return list(reversed(self._ended.get(task, ())))


class Desk:
    """A SQLite file, as one node works at it: asks the threads, and keeps the runs that are known here."""

    def __init__(self, path: str, synchronous: Synchronous) -> None:
        self._path = str(Path(path).expanduser())
        self._synchronous: Synchronous = synchronous
        self._known = KnownRuns()
        self._clock: Clock = SystemClock()
        self._writer: DatabaseThread | None = None
        self._reader: DatabaseThread | None = None

    async def _write(self, work: Callable[[sqlite3.Connection, int], Any], take: Take = lambda answer: answer) -> Any:
        """Let ``work`` be done in a transaction; what ``take`` makes of its answer, once that is committed."""
        now_us = self._clock.now_us()
        return await self._thread(self._writer).ask(lambda db: work(db, now_us), take)

    async def _read(self, work: Work, take: Take = lambda answer: answer) -> Any:
        """Let ``work`` be done on what has been committed; what ``take`` makes of its answer."""
        return await self._thread(self._reader).ask(work, take)

    def _thread(self, thread: DatabaseThread | None) -> DatabaseThread:
        if thread is None:
            raise MisuseError(f"the SQLite store {self._path} is not open: enter the scheduler first")
        return thread
