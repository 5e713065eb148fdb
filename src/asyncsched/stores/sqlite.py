"""Tasks, runs and history in a file: SQLite, for one machine and any number of processes on it."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from asyncsched.duration import as_duration
from asyncsched.errors import ConfigError
from asyncsched.run import Run
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
from asyncsched.stores._durable.orders import Claim, Order
from asyncsched.stores._durable.rows import Row, settled_row
from asyncsched.stores._durable.tasks import Found, declaration_of, digest_of, standing_of
from asyncsched.stores._sqlite import tasks as stored
from asyncsched.stores._sqlite.alone import alone, insertion
from asyncsched.stores._sqlite.claims import Exchanged, exchange
from asyncsched.stores._sqlite.connection import Synchronous
from asyncsched.stores._sqlite.graph_verbs import GraphDesk
from asyncsched.stores._sqlite.lookups import find, last_ended
from asyncsched.stores._sqlite.migration import SchemaDesk
from asyncsched.stores._sqlite.node_verbs import NodeDesk
from asyncsched.stores._sqlite.nodes import LEAST_LEASE_US, MOST_LEASE_US
from asyncsched.stores._sqlite.rescue import park
from asyncsched.stores._sqlite.roster_verbs import RosterDesk
from asyncsched.stores._sqlite.transactions import TransactionDesk
from asyncsched.stores._sqlite.unit import any_row, upstreams_of
from asyncsched.stores._sqlite.upkeep_verbs import UpkeepDesk
from asyncsched.values import VALUE_LIMIT

log = logging.getLogger("asyncsched.stores")

# So many ended runs are read when tasks are declared, as a whole and of one task; then the last of each. What comes
# after is remembered as far as it is kept.
_RECALLED, _RECALLED_OF_ONE = 20_000, 100


class SQLiteStore(GraphDesk, SchemaDesk, UpkeepDesk, TransactionDesk, RosterDesk, NodeDesk, Store):
    """Keeps everything in one file. Several processes of one machine may use it at once.

    Args:
        path: the file; made, for its owner alone, if there is none. Its directory must exist.
        synchronous: ``"full"``: what was acknowledged outlives a loss of power. ``"normal"``: it outlives the end of
            the process, however that comes, but the last moments before a loss of power may be gone; and it is faster.
        migrate: whether what the file's schema lacks is applied when the store is opened. If not, that is an error,
            which says how to apply it by hand.
        max_value_size: so many bytes of JSON may the arguments of one run take, and so many its result.
        network: whether the file may lie on a network file system, where SQLite's locks do not hold: one process alone
            may then use it.
        lease: a process that gives no sign of life for so long, being stopped or stuck, is taken for dead by the
            others, from 3 s to a day. One that has ended is known to be dead at once.

    Raises:
        ConfigError: an argument is wrong.
    """

    shared = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "full",
        migrate: bool = True,
        max_value_size: int = VALUE_LIMIT,
        network: bool = False,
        lease: timedelta | str = "20s",
    ) -> None:
        """Name the file; it is opened when the scheduler starts."""
        name = os.fspath(path)
        if not isinstance(name, str) or not name or name.startswith(":memory:"):
            raise ConfigError(f"SQLiteStore({path!r}): give the path of a file; 'memory://' keeps nothing on disk")
        if synchronous not in get_args(Synchronous):
            raise ConfigError(f"synchronous={synchronous!r}: one of {', '.join(map(repr, get_args(Synchronous)))}")
        if isinstance(max_value_size, bool) or not isinstance(max_value_size, int) or max_value_size < 1:
            raise ConfigError(f"max_value_size={max_value_size!r}: a whole number of bytes above zero, such as 65_536")
        super().__init__(name, synchronous)
        self._lease_us = _lease_us(lease)
        self._migrates, self._network = migrate, network
        self._known.value_limit = max_value_size
        self._recalling = _RECALLED

    def __str__(self) -> str:
        return f"sqlite {self._path}"

    async def now_us(self) -> int:
        return self._clock.now_us()

    async def reconcile(self, declared: Sequence[Declared]) -> Reconciled:
        rows = [declaration_of(one) for one in declared]
        for one in declared:
            self._known.declare(one.task, one.signature, one.history_limit)
        answer: Found = await self._write(lambda db, now_us: stored.reconcile(db, now_us, rows, self._id))
        standings, added, changed, renamed, digest = answer
        self._rosters.add(digest)
        self._declares.update(one.task for one in declared)
        for before, task in renamed:
            self._known.rename(before, task)
        fresh = set(added)
        asked = [one.task for one in declared if one.task not in fresh]
        if asked:
            most = min(_RECALLED_OF_ONE, max(1, self._recalling // len(asked)))
            for task, ended in (await self._read(lambda db: last_ended(db, asked, most))).items():
                self._recalling -= len(ended)
                self._known.recall(task, ended)
        known = zip(declared, rows, strict=True)
        found = list(map(standing_of, standings, known))
        for place, stands in enumerate(found):
            if stands.declaration is None:  # it could not be read: what code declares is put in its place
                found[place] = await self.put_task(declared[place])
                changed.append(stands.task)
        return Reconciled(found, added, changed, renamed)

    async def put_task(self, declared: Declared) -> Standing:
        row = declaration_of(declared)
        self._known.declare(declared.task, declared.signature, declared.history_limit)
        found, digest = await self._write(lambda db, now_us: stored.put(db, now_us, row, self._id))
        self._rosters.add(digest)
        self._declares.add(declared.task)
        return standing_of(found)

    async def amend(self, task: str, version: int, amendment: Amendment) -> Standing | None:
        found = await self._write(lambda db, _now_us: stored.amend(db, task, version, amendment))
        return None if found is None else standing_of(found)

    async def drop_task(self, task: str) -> list[Run[Any]]:
        reason = "its task was removed"
        self._declares.discard(task)
        self._rosters.discard(digest_of([task]))
        cancelled: list[Run[Any]] = await self._write(
            lambda db, now_us: stored.drop(db, now_us, task, reason), self._take_ended
        )
        self._known.remove(task)
        return cancelled

    async def standings(self, tasks: Collection[str]) -> list[Standing]:
        asked = list(tasks)
        found = await self._read(lambda db: stored.standing_among(db, asked))
        return [standing_of(one) for one in found]

    async def fire(self, orders: Sequence[FireOrder]) -> set[str]:
        if not orders:
            return set()
        new = self._known.new
        rows = [
            Order(
                order.task,
                order.version,
                order.was_us,
                order.next_us,
                [new(run) for run in order.runs],
                [new(skip).row for skip in order.skips],
                order.counted,
                order.met,
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

    async def submit(self, runs: Sequence[Run[Any]]) -> list[Run[Any]]:
        if runs and all(map(alone, runs)):
            return await self._insert(runs)
        rows = [self._known.new(run) for run in runs]

        def take(answer: list[Row | None]) -> list[Run[Any]]:
            return self._standing(runs, answer)

        standing: list[Run[Any]] = await self._write(lambda db, now_us: stored.submit(db, now_us, rows), take)
        return standing

    async def _insert(self, runs: Sequence[Run[Any]]) -> list[Run[Any]]:
        known, now_us = self._known, self._clock.now_us()
        rows = insertion(runs, known.values, known.node_id, now_us)

        def take(_done: None) -> list[Run[Any]]:
            for run in runs:
                self._know(run)
            return list(runs)

        written: list[Run[Any]] = await self._thread(self._writer).post(rows, take)
        return written

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
            await self._write(lambda db, now_us: park(db, now_us, unreadable))
        return cycled

    def _exchanged(self, acks: Sequence[Ack], answer: Exchanged, unreadable: list[tuple[Row, str]]) -> Cycled:
        """Bring the runs up to date of which an exchange tells."""
        counted = {place: needed for place, (counts, needed) in enumerate(answer.accepted) if counts}
        accepted = self._settled(acks, counted)
        if answer.stranger:
            self._given_up()
        over = self._lapsed(answer.lapsed)
        started = self._begin_all(answer.claimed, answer.upstreams, unreadable)
        return self._told(accepted, started, over, answer.next_us, answer.lapses_us)

    async def cancel(self, run_ids: Collection[str], reason: str) -> list[Run[Any]]:
        asked = list(run_ids)
        node_id = self._id

        def work(db: sqlite3.Connection, now_us: int) -> tuple[list[Row], list[Row]]:
            return stored.cancel(db, now_us, asked, reason), stored.stop(db, asked, reason, node_id)

        def take(answer: tuple[list[Row], list[Row]]) -> list[Run[Any]]:
            ended, stopping = answer
            return [*self._take_ended(ended), *self._known.take_all(stopping, {})]

        cancelled: list[Run[Any]] = await self._write(work, take)
        return cancelled

    async def runs(self, wanted: RunFilter) -> list[Run[Any]]:
        return await self._look(lambda db: find(db, wanted), self._show)

    async def run(self, run_id: str) -> Run[Any] | None:
        def work(db: sqlite3.Connection) -> list[Row]:
            found = any_row(db, run_id)
            return [] if found is None else [found]

        found = await self._look(work, self._show)
        return found[0] if found else None

    async def _look(
        self,
        work: Callable[[sqlite3.Connection], list[Row]],
        take: Callable[[Sequence[Row], Mapping[str, Row]], list[Run[Any]]],
    ) -> list[Run[Any]]:
        """The runs of the rows that ``work`` finds, as ``take`` makes them."""

        def with_upstreams(db: sqlite3.Connection) -> tuple[list[Row], dict[str, Row]]:
            rows = work(db)
            return rows, upstreams_of(db, rows)

        found: list[Run[Any]] = await self._read(with_upstreams, lambda answer: take(*answer))
        return found

    def recent(self, task: str) -> Sequence[Run[Any]]:
        return self._known.recent.of(task)


def _lease_us(lease: timedelta | str) -> int:
    given_us = as_duration("lease", lease) // timedelta(microseconds=1)
    if not LEAST_LEASE_US <= given_us <= MOST_LEASE_US:
        why = "a busy machine is taken for a dead one before that" if given_us < LEAST_LEASE_US else "that is no lease"
        raise ConfigError(f"lease={lease!r}: from '3s' to '1d', such as '20s': {why}")
    return given_us


def store_at(url: str) -> SQLiteStore:
    """The store that ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or such with ``?synchronous=normal`` names.

    Raises:
        ConfigError: it names none.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = options.keys() - {"synchronous", "migrate", "max_value_size", "network", "lease"}
    if not url.startswith("sqlite:///") or len(parts.path) < 2 or parts.fragment or unknown:
        cure = "'sqlite:///jobs.db' for a file here, 'sqlite:////var/lib/jobs.db' for one by its full path"
        what = f"{', '.join(sorted(unknown))} is no option; give" if unknown else "give"
        raise ConfigError(f"store={url!r}: {what} {cure}, with ?synchronous=normal if the last moments may be lost")
    if (migrate := options.get("migrate", "yes")) not in ("yes", "no"):
        raise ConfigError(f"store={url!r}: migrate={migrate!r}: yes, or no if 'asyncsched migrate' does it")
    if (network := options.get("network", "refuse")) not in ("refuse", "allow"):
        raise ConfigError(f"store={url!r}: network={network!r}: allow, or refuse, which is the default")
    size = options.get("max_value_size", str(VALUE_LIMIT))
    if not (size.isascii() and size.isdigit()):
        raise ConfigError(f"store={url!r}: max_value_size={size!r}: a whole number of bytes, such as 65536")
    return SQLiteStore(
        unquote(parts.path[1:]),
        synchronous=options.get("synchronous", "full"),  # type: ignore[arg-type]
        migrate=migrate == "yes",
        max_value_size=int(size),
        network=network == "allow",
        lease=options.get("lease", "20s"),
    )
