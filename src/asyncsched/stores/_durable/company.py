"""What a node is told of the others, until the engine asks: runs that ended, that were made, that are to stop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from asyncsched.errors import MisuseError
from asyncsched.run import FINAL, Run
from asyncsched.stores._base import Notice
from asyncsched.stores._durable.known import KnownRuns, lose
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._durable.unread import Unread


class Company:
    """A node among others."""

    hint: Callable[[], None]
    serves: Callable[[str], bool]
    counts: Callable[[str], bool]
    edited: Callable[[Collection[str]], None]

    def __init__(self) -> None:
        self._known = KnownRuns()
        self._meet_nobody()

    def _meet_nobody(self) -> None:
        """Know nothing of what was before."""
        known = self._known
        known.counted.clear()
        known.here.clear()
        known.doubles.clear()
        self._lost: list[Run[Any]] | None = None
        """The runs that it had under way when others took it for dead, until the engine is told."""
        self._stops: dict[str, str] = {}
        """Why runs under way here are to stop, until the engine is told."""
        self._stopping: Mapping[str, str] = {}
        """The same, of all that the store has said of that have not ended."""
        self._elsewhere: list[Run[Any]] = []
        """Runs that ended at other nodes, until the engine is told."""
        self._found: list[Run[Any]] = []
        """Runs that other nodes have made, until the engine is told."""
        self._rosters: set[str] = set()
        """The digests of the lists of tasks that this node declares."""
        self._declares: set[str] = set()
        """These tasks, but for those that were dropped."""
        self._watched: WeakValueDictionary[str, Run[Any]] = WeakValueDictionary()
        """Runs that somebody here holds, that may end elsewhere, and that the engine does not count."""
        self._uncommitted: WeakSet[Run[Any]] = WeakSet()
        """Those among them that are in a transaction of the user's, which may never be committed."""
        self._edits = 0
        self._unread = Unread()

    def _notice(self) -> Notice | None:
        """What the engine has not been told yet of the runs under way here."""
        if self._lost is None and not self._stops:
            return None
        notice = Notice(self._stops, self._lost)
        self._stops, self._lost = {}, None
        return notice

    def _watch(self, run: Run[Any], *, written: bool = True) -> None:
        """Know of the end of a run that waits or runs elsewhere; or, unless it is ``written``, may do so one day."""
        if not run.status.final and self._known.get(run.id) is run:
            self._watched[run.id] = run
            if not written:
                self._uncommitted.add(run)

    def _show(self, rows: Iterable[Row], upstreams: Mapping[str, Row]) -> list[Run[Any]]:
        """The runs of these rows, to be looked at; who awaits one hears how it ends, wherever that is."""
        found = self._known.show_all(rows, upstreams)
        for run in found:
            self._watch(run)
        return found

    def _stands(self, row: Row) -> Run[Any]:
        """The run that stands for a submit, of whichever node; who awaits it hears how it ends."""
        run = self._known.take(row, {})
        self._watch(run)
        return run

    def _watching(self) -> list[str]:
        """The runs of which it is to be asked how they stand though the engine does not count them."""
        return [run_id for run_id, run in self._watched.items() if not run.status.final]

    def _know(self, run: Run[Any]) -> None:
        """Know a run that was written here: the engine counts it, or else whoever holds it is told how it ends."""
        if run.edges is not None or self.counts(run.task):
            self._known.keep(run)
            return
        if self._known.get(run.id) is not run:
            self._known.hold(run)
        if not run.status.final:
            self._watched[run.id] = run

    def _hear_of_ends(self, ended: Mapping[str, Row | None], now_us: int) -> None:
        """Take account of runs that ended elsewhere; ``None`` for one of which nothing is kept any more."""
        known = self._known
        for run_id, row in ended.items():
            run = known.counted.get(run_id)
            if run is not None:
                self._end_elsewhere(run, row, now_us)
                known.ended(run)
                self._elsewhere.append(run)
                continue
            run = None if run_id in known.here else self._watched.get(run_id)
            if run is not None and (row is not None or run not in self._uncommitted):
                self._end_elsewhere(run, row, now_us)
                del self._watched[run_id]

    def _end_elsewhere(self, run: Run[Any], row: Row | None, now_us: int) -> None:
        if row is not None:
            self._known.take(row, {})
        else:
            lose(run, now_us)
            run.wake_waiters()

    def _hear_of_runs(self, made: Iterable[Row]) -> None:
        """Take account of runs of fires that others have written."""
        known = self._known
        for row in made:
            if self.serves(row.task) and not known.counts(row.id):
                for run in known.take_all([row], {}):
                    if run.status not in FINAL:  # it did not end here meanwhile
                        known.keep(run)
                        self._found.append(run)

    def _hear_of_orders(self, stops: Mapping[str, str], edited: Collection[str], edits: int) -> None:
        """Take account of why runs under way here are to stop, and of tasks that were changed."""
        self._stops |= {run_id: why for run_id, why in stops.items() if run_id not in self._stopping}
        self._stopping = stops
        if edits != self._edits:
            self._edits = edits
            self.edited(edited)

    def _part(self) -> None:
        """Wait for nobody any more: whoever awaits a run that the engine does not know of is told."""
        for run in list(self._watched.values()):
            if not run.status.final:
                run.wake_waiters(MisuseError("the scheduler stopped before this run ended"))
        self._watched.clear()
