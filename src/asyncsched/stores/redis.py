"""Tasks, runs and history in Redis or Valkey, for any number of nodes on any number of machines."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from asyncsched import crash_points
from asyncsched.errors import ConfigError
from asyncsched.run import Run
from asyncsched.stores._base import Amendment, Declared, FireOrder, Reconciled, RunFilter, Standing, Store
from asyncsched.stores._durable.lease import STALL_LIMIT, stall_limit_us_of
from asyncsched.stores._durable.tasks import Declaration, declaration_of, digest_of, standing_of
from asyncsched.stores._redis import stages
from asyncsched.stores._redis import tasks as stored
from asyncsched.stores._redis.address import address_of, lease_of, split_url
from asyncsched.stores._redis.exchange import ExchangeDesk
from asyncsched.stores._redis.graph_verbs import GraphDesk
from asyncsched.stores._redis.keeping import KeepingDesk
from asyncsched.stores._redis.lookups import find, last_ended, rows_among, upstreams_of
from asyncsched.stores._redis.node_verbs import NodeDesk
from asyncsched.stores._redis.records import plain, plain_news
from asyncsched.stores._redis.renames import take_over
from asyncsched.stores._redis.roster import enrol, forget, unpark
from asyncsched.stores._redis.transaction import server_now_us
from asyncsched.stores._redis.wire import Unit as Changes
from asyncsched.values import VALUE_LIMIT

# So many ended runs are read when tasks are declared, as a whole and of one task; then the last of each. What comes
# after is remembered as far as it is kept.
_RECALLED, _RECALLED_OF_ONE = 20_000, 100
_AT_ONCE = 200  # in one script: the server does nothing else meanwhile


class RedisStore(ExchangeDesk, GraphDesk, KeepingDesk, NodeDesk, Store):
    """Keeps everything at a Redis server (6.2 or later) or Valkey, which any number of nodes use at once.

    Args:
        url: ``redis://user:password@host:6379/0``, ``rediss://`` with TLS, ``unix:///run/redis.sock?db=0``,
            ``redis+sentinel://host,host/service/0``, or ``redis+cluster://host,host``.
        namespace: what all keys begin with. Stores with several namespaces at a server know nothing of one another.
        allow_volatile: whether the server may forget what it was told: it then need not write a log of what it does
            (``appendonly yes``), nor keep everything when its memory is full (``maxmemory-policy noeviction``).
        max_value_size: so many bytes of JSON may the arguments of one run take, and so many its result.
        lease: a node that the server has not heard of for so long is taken for dead by the others, from 3 s to a day.
        stall_limit: where the program's event loop hangs for so long, the node gives its lease up, from 1 s to a day.

    Raises:
        ConfigError: an argument is wrong.
    """

    shared = in_order = True

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "asyncsched",
        allow_volatile: bool = False,
        max_value_size: int = VALUE_LIMIT,
        lease: timedelta | str = "20s",
        stall_limit: timedelta | str = STALL_LIMIT,
    ) -> None:
        """Name the server; it is connected to when the scheduler starts."""
        if isinstance(max_value_size, bool) or not isinstance(max_value_size, int) or max_value_size < 1:
            raise ConfigError(f"max_value_size={max_value_size!r}: a whole number of bytes above zero, such as 65_536")
        address = address_of(url, namespace, volatile=allow_volatile)
        super().__init__(address, lease_of(lease), stall_limit_us_of(stall_limit))
        self._known.value_limit = max_value_size
        self._recalling = _RECALLED

    def __str__(self) -> str:
        return str(self._address)

    async def now_us(self) -> int:
        return await server_now_us(self._server)

    async def reconcile(self, declared: Sequence[Declared]) -> Reconciled:
        link = self._server
        rows = [declaration_of(one) for one in declared]
        for one in declared:
            self._known.declare(one.task, one.signature, one.history_limit)
        renamed = await take_over(link, [(alias, one.task) for one in declared for alias in one.aliases])
        for before, task in renamed:
            self._known.rename(before, task)
        added, changed = await stored.put_all(link, rows)
        standings = await self._declare(rows, declared)
        fresh = set(added)
        await self._recall([one.task for one in declared if one.task not in fresh])
        for place, stands in enumerate(standings):
            if stands.declaration is None:  # it could not be read: what code declares is put in its place
                standings[place] = await self.put_task(declared[place])
                changed.append(stands.task)
        self._changed()
        return Reconciled(standings, added, changed, renamed)

    async def _declare(self, rows: Sequence[Declaration], declared: Sequence[Declared]) -> list[Standing]:
        """Declare these tasks, whose parked runs are tried again; where they stand."""
        link = self._server
        tasks = [row.task for row in rows]
        found = await stored.standing_among(link, tasks)
        known = {columns[0]: columns for columns in found}
        changes = [
            ("call", "HDEL", f"t:{row.task}", "metadata")
            if row.metadata is None
            else ("call", "HSET", f"t:{row.task}", "metadata", row.metadata)
            for row in rows
            if row.task in known and known[row.task][10] != row.metadata
        ]
        if changes:
            await link.carry_out([Changes([], changes)])
        await unpark(link, tasks)
        self._rosters.add(await enrol(link, self._id, tasks))
        self._declares.update(tasks)
        pairs = {row.task: pair for row, pair in zip(rows, zip(declared, rows, strict=True), strict=True)}
        return [standing_of(known[task], pairs[task]) for task in tasks if task in known]

    async def _recall(self, tasks: Sequence[str]) -> None:
        """Know the last of the ended runs of these tasks."""
        if tasks:
            most = min(_RECALLED_OF_ONE, max(1, self._recalling // len(tasks)))
            for task, ended in (await last_ended(self._server, tasks, most)).items():
                self._recalling -= len(ended)
                self._known.recall(task, ended)

    async def put_task(self, declared: Declared) -> Standing:
        row = declaration_of(declared)
        self._known.declare(declared.task, declared.signature, declared.history_limit)
        await stored.put(self._server, row)
        (standing,) = await self._declare([row], [declared])
        self._changed()
        return standing

    async def amend(self, task: str, version: int, amendment: Amendment) -> Standing | None:
        found = await stored.amend(self._server, task, version, amendment)
        self._changed()
        return None if found is None else standing_of(found)

    async def drop_task(self, task: str) -> list[Run[Any]]:
        link = self._server
        self._declares.discard(task)
        self._rosters.discard(digest_of([task]))
        await link.carry_out([Changes([], [("drop", task)])])
        await forget(link, task)
        (live,) = await link.ask(("ZRANGE", f"l:{task}", 0, -1))
        waiting = [row.id for row in await rows_among(link, live) if row.status == "PENDING"]
        self._known.remove(task)
        self._changed()
        return await self.cancel(waiting, "its task was removed")

    async def standings(self, tasks: Collection[str]) -> list[Standing]:
        return [standing_of(one) for one in await stored.standing_among(self._server, tasks)]

    async def fire(self, orders: Sequence[FireOrder]) -> set[str]:
        runs = [run for order in orders for run in order.runs]
        for run in runs:
            self._known.hold(run)
        won = await self._arrivals.write([run.id for run in runs], self._fire(orders))
        if won:
            self._changed()
        return won

    @crash_points.within("fire-before-commit")
    @crash_points.after("fire-after-commit", len)
    async def _fire(self, orders: Sequence[FireOrder]) -> set[str]:
        link, new = self._server, self._known.new
        won: set[str] = set()
        rows = [([new(run) for run in order.runs], [new(skip).row for skip in order.skips]) for order in orders]
        pairs = list(zip(orders, rows, strict=True))
        if all(map(stored.is_plain, orders)):
            for start in range(0, len(pairs), _AT_ONCE):
                piece = pairs[start : start + _AT_ONCE]
                done = await link.carry_out([stored.plain_order(order, *made) for order, made in piece])
                for (order, _made), answer in zip(piece, done.answers, strict=True):
                    if answer is not None:
                        won.add(order.task)
                        self._fired(order, {})
            return won
        for order, (made, skips) in pairs:
            merged = await stages.fire(link, self._builder, order, made, skips)
            if merged is not None:
                won.add(order.task)
                self._fired(order, {row.id: row for row in merged})
        return won

    @crash_points.within("submit-before-commit")
    @crash_points.after("submit-after-commit")
    async def submit(self, runs: Sequence[Run[Any]]) -> list[Run[Any]]:
        link, known = self._server, self._known
        new = [known.new(run) for run in runs]
        for run in runs:
            known.hold(run)
        ids = [run.id for run in runs]
        if all(map(plain, runs)):
            pieces = [new[start : start + _AT_ONCE] for start in range(0, len(new), _AT_ONCE)]
            begun = [link.begin([Changes([], plain_news(piece))], len(piece)) for piece in pieces]
            written = begun[0] if len(begun) == 1 else asyncio.gather(*begun)
            await link.end(self._arrivals.write(ids, written))
            for run in runs:
                self._know(run)
            self._changed()
            return list(runs)
        answer = await self._arrivals.write(ids, stages.submit(link, self._builder, new))
        standing = self._standing(runs, answer)
        self._changed()
        return standing

    async def runs(self, wanted: RunFilter) -> list[Run[Any]]:
        rows = await find(self._server, wanted)
        return self._show(rows, await upstreams_of(self._server, rows))

    async def run(self, run_id: str) -> Run[Any] | None:
        rows = await rows_among(self._server, [run_id])
        found = self._show(rows, await upstreams_of(self._server, rows))
        return found[0] if found else None

    def recent(self, task: str) -> Sequence[Run[Any]]:
        return self._known.recent.of(task)


def store_at(url: str) -> RedisStore:
    """The store that ``redis://user:password@host:6379/0`` names, with the options of the store behind ``?``.

    Raises:
        ConfigError: it names none.
    """
    server, options = split_url(url)
    return RedisStore(
        server,
        namespace=options.get("namespace", "asyncsched"),
        allow_volatile=options.get("volatile", "refuse") == "allow",
        max_value_size=int(options.get("max_value_size", VALUE_LIMIT)),
        lease=options.get("lease", "20s"),
        stall_limit=options.get("stall_limit", STALL_LIMIT),
    )
