"""Tasks, runs and history in PostgreSQL, for any number of nodes on any number of machines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any

from asyncsched import crash_points
from asyncsched.errors import ConfigError
from asyncsched.run import Run
from asyncsched.stores._base import (
    Amendment,
    Declared,
    FireOrder,
    Reconciled,
    RunFilter,
    Standing,
    Store,
)
from asyncsched.stores._durable.lease import STALL_LIMIT, stall_limit_us_of
from asyncsched.stores._durable.orders import Order
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._durable.tasks import declaration_of, digest_of, standing_of
from asyncsched.stores._postgres import plain
from asyncsched.stores._postgres import tasks as stored
from asyncsched.stores._postgres.address import address_of, lease_us_of, options_of
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.graph_verbs import GraphDesk
from asyncsched.stores._postgres.lookups import find, last_ended, upstreams_of
from asyncsched.stores._postgres.migration import SchemaDesk
from asyncsched.stores._postgres.node_verbs import NodeDesk
from asyncsched.stores._postgres.roster_verbs import RosterDesk
from asyncsched.stores._postgres.run_transaction import WorkDesk
from asyncsched.stores._postgres.tasks import DECLARING
from asyncsched.stores._postgres.unit import any_row
from asyncsched.stores._postgres.upkeep_verbs import UpkeepDesk
from asyncsched.values import VALUE_LIMIT

# So many ended runs are read when tasks are declared, as a whole and of one task; then the last of each. What comes
# after is remembered as far as it is kept.
_RECALLED, _RECALLED_OF_ONE = 20_000, 100


class PostgresStore(WorkDesk, GraphDesk, SchemaDesk, UpkeepDesk, RosterDesk, NodeDesk, Store):
    """Keeps everything in a schema of a PostgreSQL database (13 or later), which any number of nodes use at once.

    Args:
        url: ``postgresql://user:password@host:5432/database``, with the driver's own options behind ``?``.
        schema: the schema with the tables; made if there is none. Stores with several schemas in a database know
            nothing of one another.
        migrate: whether what the schema lacks is applied when the store is opened. If not, that is an error, which says
            how to apply it by hand.
        max_value_size: so many bytes of JSON may the arguments of one run take, and so many its result.
        lease: a node that the server has not heard of for so long is taken for dead by the others, from 3 s to a day.
        notify: whether nodes tell one another by NOTIFY that there is something to look at. Without, as behind a
            transaction pooler, they look once a second.
        connections: so many connections does a node use at most, beside one that renews its lease and listens; and as
            many again for runs with a ``Transaction``.
        stall_limit: where the program's event loop hangs for so long, the node gives its lease up, from 1 s to a day.

    Raises:
        ConfigError: an argument is wrong.
    """

    shared = True

    def __init__(
        self,
        url: str,
        *,
        schema: str = "asyncsched",
        migrate: bool = True,
        max_value_size: int = VALUE_LIMIT,
        lease: timedelta | str = "20s",
        notify: bool = True,
        connections: int = 4,
        stall_limit: timedelta | str = STALL_LIMIT,
    ) -> None:
        """Name the database; it is connected to when the scheduler starts."""
        address = address_of(url, schema, connections, notify=notify)
        if isinstance(max_value_size, bool) or not isinstance(max_value_size, int) or max_value_size < 1:
            raise ConfigError(f"max_value_size={max_value_size!r}: a whole number of bytes above zero, such as 65_536")
        super().__init__(address, lease_us_of(lease), stall_limit_us_of(stall_limit), migrates=migrate)
        self._known.value_limit = max_value_size
        self._recalling = _RECALLED

    def __str__(self) -> str:
        return str(self._address)

    async def now_us(self) -> int:
        now_us: int = await self._read(lambda db: db.value("SELECT asyncsched.now_us()"))
        return now_us

    async def reconcile(self, declared: Sequence[Declared]) -> Reconciled:
        rows = [declaration_of(one) for one in declared]
        for one in declared:
            self._declare(one)
        node_id = self._id
        found = await self._write(lambda db: stored.reconcile(db, rows, node_id), [DECLARING])
        self._rosters.add(found.digest)
        self._declares.update(one.task for one in declared)
        for before, task in found.renamed:
            self._known.rename(before, task)
        fresh = set(found.added)
        await self._recall([one.task for one in declared if one.task not in fresh])
        changed = list(found.changed)
        standings = list(map(standing_of, found.standings, zip(declared, rows, strict=True)))
        for place, stands in enumerate(standings):
            if stands.declaration is None:  # it could not be read: what code declares is put in its place
                standings[place] = await self.put_task(declared[place])
                changed.append(stands.task)
        self._changed()
        return Reconciled(standings, found.added, changed, found.renamed)

    async def _recall(self, tasks: Sequence[str]) -> None:
        """Know the last of the ended runs of these tasks."""
        if tasks:
            most = min(_RECALLED_OF_ONE, max(1, self._recalling // len(tasks)))
            for task, ended in (await self._read(lambda db: last_ended(db, tasks, most))).items():
                self._recalling -= len(ended)
                self._known.recall(task, ended)

    def _declare(self, declared: Declared) -> None:
        self._known.declare(declared.task, declared.signature, declared.history_limit)
        self._limits[declared.task] = declared.history_limit

    async def put_task(self, declared: Declared) -> Standing:
        row, node_id = declaration_of(declared), self._id
        self._declare(declared)
        found, digest = await self._write(lambda db: stored.put(db, row, node_id), [DECLARING])
        self._rosters.add(digest)
        self._declares.add(declared.task)
        self._changed()
        return standing_of(found)

    async def amend(self, task: str, version: int, amendment: Amendment) -> Standing | None:
        found = await self._write(lambda db: stored.amend(db, task, version, amendment))
        self._changed()
        return None if found is None else standing_of(found)

    async def drop_task(self, task: str) -> list[Run[Any]]:
        reason = "its task was removed"
        self._declares.discard(task)
        self._rosters.discard(digest_of([task]))
        rows = await self._write(lambda db: stored.drop(db, task, reason), [DECLARING])
        self._known.remove(task)
        self._limits.pop(task, None)
        self._forgotten.pop(task, None)
        self._changed()
        return self._take_ended(rows)

    async def standings(self, tasks: Collection[str]) -> list[Standing]:
        found = await self._read(lambda db: stored.standing_among(db, tasks))
        return [standing_of(one) for one in found]

    async def fire(self, orders: Sequence[FireOrder]) -> set[str]:
        won: set[str] = set()
        left = list(orders)
        while left:  # of each task one at a time: the next one begins where that has left the watermark
            batch: dict[str, FireOrder] = {}
            rest = [order for order in left if batch.setdefault(order.task, order) is not order]
            runs = [run for order in batch.values() for run in order.runs]
            for run in runs:
                self._known.hold(run)
            won |= await self._arrivals.write((run.id for run in runs), self._fire(list(batch.values())))
            left = rest
        if won:
            self._changed()
        return won

    @crash_points.within("fire-before-commit")
    @crash_points.after("fire-after-commit", len)
    async def _fire(self, orders: Sequence[FireOrder]) -> set[str]:
        alone = [order for order in orders if all(map(plain.plain, order.runs))]
        won = await self._fire_plainly(alone) if alone else set()
        if len(alone) < len(orders):
            rest = [order for order in orders if order not in alone]
            new = self._known.new
            rows = [
                self._order(order)._replace(runs=[new(run) for run in order.runs], skips=self._skips(order))
                for order in rest
            ]
            others, merged = await self._write(lambda db: stored.fire(db, rows))
            skipped = {row.id: row for row in merged}
            won |= others
        else:
            skipped = {}
        for order in orders:
            if order.task in won:
                self._fired(order, skipped)
        return won

    async def _fire_plainly(self, orders: Sequence[FireOrder]) -> set[str]:
        known = self._known
        runs = plain.columns_of([run for order in orders for run in order.runs], known.values, known.node_id)
        skips = [
            (*row, skip.terms.queue)
            for order in orders
            for skip, row in zip(order.skips, self._skips(order), strict=True)
        ]
        heads = list(map(self._order, orders))
        won = await self._read(lambda db: plain.fire(db, heads, runs, skips))
        await self._forget(skip.task for order in orders if order.task in won for skip in order.skips)
        return won

    def _order(self, order: FireOrder) -> Order:
        return Order(order.task, order.version, order.was_us, order.next_us, (), (), order.counted, order.met)

    def _skips(self, order: FireOrder) -> list[Row]:
        return [self._known.new(skip).row for skip in order.skips]

    @crash_points.within("submit-before-commit")
    @crash_points.after("submit-after-commit")
    async def submit(self, runs: Sequence[Run[Any]]) -> list[Run[Any]]:
        known = self._known
        if runs and not runs[0].terms.backfill and all(map(plain.plain, runs)):
            columns = plain.columns_of(runs, known.values, known.node_id)
            self._hold(runs)
            await self._arrivals.write((run.id for run in runs), self._inserting.ask(columns))
            for run in runs:
                self._know(run)
            self._latest.submitted(runs[-1])
            return list(runs)
        new = [known.new(run) for run in runs]
        self._hold(runs)
        answer = await self._arrivals.write((run.id for run in runs), self._write(lambda db: stored.submit(db, new)))
        standing = self._standing(runs, answer)
        if standing:
            self._latest.submitted(standing[-1])
        self._changed()
        return standing

    def _hold(self, runs: Iterable[Run[Any]]) -> None:
        """Know runs that are about to be written: one that is claimed before that is told is the same object."""
        if self._pool is not None:
            for run in runs:
                self._known.hold(run)

    async def runs(self, wanted: RunFilter) -> list[Run[Any]]:
        return await self._look_up(lambda db: find(db, wanted))

    async def run(self, run_id: str) -> Run[Any] | None:
        async def work(db: Database) -> list[Row]:
            found = await any_row(db, run_id)
            return [] if found is None else [found]

        found = await self._look_up(work)
        return found[0] if found else None

    async def _look_up(self, work: Callable[[Database], Awaitable[list[Row]]]) -> list[Run[Any]]:
        """The runs of the rows that ``work`` finds."""

        async def with_upstreams(db: Database) -> tuple[list[Row], dict[str, Row]]:
            rows = await work(db)
            return rows, await upstreams_of(db, rows)

        return self._show(*await self._read(with_upstreams))

    def recent(self, task: str) -> Sequence[Run[Any]]:
        return self._known.recent.of(task)


def store_at(url: str) -> PostgresStore:
    """The store that ``postgresql://user:password@host/database`` names, with the options of the store behind ``?``.

    Raises:
        ConfigError: it names none.
    """
    options = options_of(url)
    return PostgresStore(
        options.url,
        schema=options.schema,
        migrate=options.migrate,
        max_value_size=options.max_value_size,
        lease=options.lease,
        notify=options.notify,
        connections=options.connections,
        stall_limit=options.stall_limit,
    )
