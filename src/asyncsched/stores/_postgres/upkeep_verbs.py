"""The verbs about what is kept, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from asyncsched.run import Run
from asyncsched.stores._durable.orders import Limits
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.lookups import unfinished, upstreams_of
from asyncsched.stores._postgres.presence import Presence
from asyncsched.stores._postgres.transaction import Transaction
from asyncsched.stores._postgres.upkeep import prune
from asyncsched.stores._upkeep import Pruned, UpkeepVerbs


class UpkeepDesk(Presence, UpkeepVerbs):
    """What is no longer kept, at a PostgreSQL store."""

    _looked_to = 0
    """Up to which place of the history it was looked what may be forgotten."""

    async def unfinished(self, tasks: Collection[str]) -> list[Run[Any]]:
        asked = list(tasks)

        async def work(db: Database) -> tuple[list[Row], dict[str, Row]]:
            rows = await unfinished(db, asked)
            return rows, await upstreams_of(db, rows)

        runs = self._known.take_all(*await self._read(work))
        for run in runs:
            self._known.keep(run)
        return runs

    def awaited(self) -> Sequence[Run[Any]]:
        return self._known.awaited()

    async def prune(self, keep_us: Mapping[str, int | None], others_us: int | None, most: int = 1_000) -> Pruned:
        limits, after = Limits(dict(keep_us), others_us), self._looked_to

        async def work(db: Transaction) -> tuple[Pruned, int, int]:
            pruned, looked_to = await prune(db, limits, most, after)
            return pruned, looked_to, db.now_us

        pruned, self._looked_to, now_us = await self._write(work)
        self._known.recent.forget(lambda task: limits.before_us(task, now_us))
        return pruned
