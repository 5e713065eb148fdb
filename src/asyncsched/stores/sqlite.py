"""Tasks, runs and history in a file: SQLite, for one machine and any number of processes on it."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from asyncsched.deadlines import lapse
from asyncsched.errors import ConfigError
from asyncsched.run import FINAL, Run
from asyncsched.stores._base import (
    Ack,
    Amendment,
    Cycled,
    Declared,
    FireOrder,
    Reconciled,
    RunFilter,
    Standing,
    Store,
)
from asyncsched.stores._sqlite import tasks as stored
from asyncsched.stores._sqlite.claims import Claim, Exchanged, exchange
from asyncsched.stores._sqlite.connection import Synchronous
from asyncsched.stores._sqlite.graph_verbs import GraphDesk
from asyncsched.stores._sqlite.lookups import find, last_ended
from asyncsched.stores._sqlite.rescue import park
from asyncsched.stores._sqlite.rows import Row, settled_row
from asyncsched.stores._sqlite.unit import any_row, upstreams_of

log = logging.getLogger("asyncsched.stores")

# So many ended runs are read when tasks are declared, as a whole and of one task; then the last of each. What comes
# after is remembered as far as it is kept.
_RECALLED, _RECALLED_OF_ONE = 20_000, 100


class SQLiteStore(GraphDesk, Store):
    """Keeps everything in one file. Several processes of one machine may use it at once.

    Args:
        path: the file; made, for its owner alone, if there is none. Its directory must exist.
        synchronous: ``"full"``: what was acknowledged outlives a loss of power. ``"normal"``: it outlives the end of
            the process, however that comes, but the last moments before a loss of power may be gone; and it is faster.

    Raises:
        ConfigError: an argument is wrong.
    """

    shared = True

    def __init__(self, path: str | os.PathLike[str], *, synchronous: Synchronous = "full") -> None:
        """Name the file; it is opened when the scheduler starts."""
        name = os.fspath(path)
        if not isinstance(name, str) or not name or name.startswith(":memory:"):
            raise ConfigError(f"SQLiteStore({path!r}): give the path of a file; 'memory://' keeps nothing on disk")
        if synchronous not in get_args(Synchronous):
            raise ConfigError(f"synchronous={synchronous!r}: one of {', '.join(map(repr, get_args(Synchronous)))}")
        super().__init__(name, synchronous)
        self._recalling = _RECALLED

    def __str__(self) -> str:
        return f"sqlite {self._path}"

    async def now_us(self) -> int:
        return self._clock.now_us()

    async def reconcile(self, declared: Sequence[Declared]) -> Reconciled:
        rows = [stored.declaration_of(one) for one in declared]
        for one in declared:
            self._known.declare(one.task, one.signature, one.history_limit)
        answer = await self._write(lambda db, now_us: stored.reconcile(db, now_us, rows))
        standings, added, changed = answer
        fresh = set(added)
        asked = [one.task for one in declared if one.task not in fresh]
        if asked:
            most = min(_RECALLED_OF_ONE, max(1, self._recalling // len(asked)))
            for task, ended in (await self._read(lambda db: last_ended(db, asked, most))).items():
                self._recalling -= len(ended)
                self._known.recall(task, ended)
        known = zip(declared, rows, strict=True)
        return Reconciled(list(map(stored.standing_of, standings, known)), added, changed)

    async def put_task(self, declared: Declared) -> Standing:
        row = stored.declaration_of(declared)
        self._known.declare(declared.task, declared.signature, declared.history_limit)
        standing: Standing = await self._write(lambda db, now_us: stored.put(db, now_us, row), stored.standing_of)
        return standing

    async def amend(self, task: str, version: int, amendment: Amendment) -> Standing | None:
        found = await self._write(lambda db, _now_us: stored.amend(db, task, version, amendment))
        return None if found is None else stored.standing_of(found)

    async def drop_task(self, task: str) -> list[Run[Any]]:
        reason = "its task was removed"
        cancelled: list[Run[Any]] = await self._write(
            lambda db, now_us: stored.drop(db, now_us, task, reason), self._take_ended
        )
        return cancelled

    async def standings(self, tasks: Collection[str]) -> list[Standing]:
        asked = list(tasks)
        found = await self._read(lambda db: [stored.standing(db, task) for task in asked])
        return [stored.standing_of(one) for one in found if one is not None]

    async def fire(self, orders: Sequence[FireOrder]) -> set[str]:
        if not orders:
            return set()
        new = self._known.new
        rows = [
            stored.Order(
                order.task,
                order.version,
                order.was_us,
                order.next_us,
                [new(run) for run in order.runs],
                [new(skip).row for skip in order.skips],
                order.counted,
            )
            for order in orders
        ]

        def take(answer: tuple[set[str], list[Row]]) -> set[str]:
            won, merged = answer
            skipped = {row.id: row for row in merged}
            for order in orders:
                if order.task in won:
                    self._fired(order, skipped)
            return won

        won: set[str] = await self._write(lambda db, now_us: stored.fire(db, now_us, rows), take)
        return won

    def _fired(self, order: FireOrder, skipped: Mapping[str, Row]) -> None:
        """Know the runs and skips that an order has written."""
        for run in order.runs:
            if run.flow in skipped and run.id not in skipped:
                continue  # below one that is not run: it was not written
            self._known.keep(run)
            if (row := skipped.get(run.id)) is not None:
                self._known.take(row, {})
                self._known.ended(run)
        self._made([run for run in order.runs if run.status not in FINAL and run.flow not in skipped])
        for skip in order.skips:
            self._known.keep(skip)
            self._known.ended(skip)

    async def submit(self, runs: Sequence[Run[Any]]) -> list[Run[Any]]:
        rows = [self._known.new(run) for run in runs]

        def take(answer: list[tuple[Row, bool] | None]) -> list[Run[Any]]:
            standing = []
            for run, other in zip(runs, answer, strict=True):
                if other is None:
                    self._made([run])
                    standing.append(run)
                    continue
                row, moved = other
                stands = self._known.take(row, {})
                if moved:
                    self._known.move(stands, row, run)
                standing.append(stands)
            return standing

        standing: list[Run[Any]] = await self._write(lambda db, now_us: stored.submit(db, now_us, rows), take)
        return standing

    async def cycle(
        self,
        acks: Sequence[Ack],
        limit: int,
        queues: Mapping[str, int] | None = None,
        groups: Mapping[str, int] | None = None,
    ) -> Cycled:
        values = self._known.values
        rows = [settled_row(ack.run, ack.token, ack.settled, values(ack.run.task)) for ack in acks]
        claim = Claim(self._id, self._node, limit, queues, groups, self.serves)
        unreadable: list[tuple[Row, str]] = []

        def take(answer: Exchanged) -> Cycled:
            return self._exchanged(acks, answer, unreadable)

        cycled: Cycled = await self._write(lambda db, now_us: exchange(db, now_us, rows, claim), take)
        if unreadable:
            await self._write(lambda db, _now_us: park(db, unreadable))
        return cycled

    def _exchanged(self, acks: Sequence[Ack], answer: Exchanged, unreadable: list[tuple[Row, str]]) -> Cycled:
        """Bring the runs up to date of which an exchange tells."""
        accepted = []
        for ack, (counted, needed) in zip(acks, answer.accepted, strict=True):
            if counted:
                accepted.append(ack)
                run = ack.run
                run.apply(ack.settled)
                if needed:
                    self._known.matter([run])
                if run.status in FINAL:
                    if run.edges is not None:
                        run.edges.upstreams = ()
                    self._known.ended(run)
                else:
                    self._known.again(run)
        lapsed, self._elsewhere = self._elsewhere, []
        found, self._found = self._found, []
        for row in answer.lapsed:
            lapsed += self._lapsed(row)
        claimed = []
        for row in answer.claimed:
            known = self._known.counts(row.id)
            try:
                claimed.append(self._known.start(row, answer.upstreams))
                found += [] if known else claimed[-1:]
            except Exception as error:
                log.error("run %s of task %s cannot be read, it is put aside: %s", row.id, row.task, error)
                unreadable.append((row, f"parked, it cannot be read: {error}"))
        return Cycled(accepted, claimed, answer.next_us, tuple(lapsed), answer.lapses_us, tuple(found))

    def _lapsed(self, row: Row) -> list[Run[Any]]:
        """The run that has waited too long, as it ended; none if it cannot be read."""
        run = self._known.get(row.id)
        if run is not None and run.token == row.token - 1 and row.finished_at is not None:
            settled = lapse(run, row.finished_at)
            if settled is not None:
                run.apply(settled)
        return self._take_ended([row])

    def _take_ended(self, rows: Sequence[Row]) -> list[Run[Any]]:
        """The runs of these rows, which have just ended here."""
        found = self._known.take_all(rows, {})
        for run in found:
            self._known.ended(run)
        return found

    async def cancel(self, run_ids: Collection[str], reason: str) -> list[Run[Any]]:
        asked = list(run_ids)
        cancelled: list[Run[Any]] = await self._write(
            lambda db, now_us: stored.cancel(db, now_us, asked, reason), self._take_ended
        )
        return cancelled

    async def runs(self, wanted: RunFilter) -> list[Run[Any]]:
        found: list[Run[Any]] = await self._look(lambda db: find(db, wanted))
        if wanted.task is None and wanted.limit >= 2**31:  # who asks for all that has not ended counts them
            for run in found:
                self._known.keep(run)
        return found

    async def run(self, run_id: str) -> Run[Any] | None:
        def work(db: sqlite3.Connection) -> list[Row]:
            found = any_row(db, run_id)
            return [] if found is None else [found]

        found = await self._look(work)
        return found[0] if found else None

    async def _look(self, work: Callable[[sqlite3.Connection], list[Row]]) -> list[Run[Any]]:
        """The runs of the rows that ``work`` finds."""

        def with_upstreams(db: sqlite3.Connection) -> tuple[list[Row], dict[str, Row]]:
            rows = work(db)
            return rows, upstreams_of(db, rows)

        found: list[Run[Any]] = await self._read(with_upstreams, lambda answer: self._known.take_all(*answer))
        return found

    def recent(self, task: str) -> Sequence[Run[Any]]:
        return self._known.recent(task)


def store_at(url: str) -> SQLiteStore:
    """The store that ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or such with ``?synchronous=normal`` names.

    Raises:
        ConfigError: it names none.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = options.keys() - {"synchronous"}
    if not url.startswith("sqlite:///") or len(parts.path) < 2 or parts.fragment or unknown:
        cure = "'sqlite:///jobs.db' for a file here, 'sqlite:////var/lib/jobs.db' for one by its full path"
        what = f"{', '.join(sorted(unknown))} is no option; give" if unknown else "give"
        raise ConfigError(f"store={url!r}: {what} {cure}, with ?synchronous=normal if the last moments may be lost")
    return SQLiteStore(unquote(parts.path[1:]), synchronous=options.get("synchronous", "full"))  # type: ignore[arg-type]
