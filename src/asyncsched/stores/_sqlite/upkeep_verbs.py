"""The verbs about what is kept, on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from asyncsched.run import Run
from asyncsched.stores._durable.orders import Limits
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._sqlite.lookups import unfinished
from asyncsched.stores._sqlite.presence import Presence
from asyncsched.stores._sqlite.unit import upstreams_of
from asyncsched.stores._sqlite.upkeep import prune
from asyncsched.stores._upkeep import Pruned, UpkeepVerbs


class UpkeepDesk(Presence, UpkeepVerbs):
    """What is no longer kept, at a SQLite file."""

    _looked_to = 0
    """Up to which place of the history it was looked what may be forgotten."""

    async def unfinished(self, tasks: Collection[str]) -> list[Run[Any]]:
        asked = list(tasks)

        def work(db: sqlite3.Connection) -> tuple[list[Row], dict[str, Row]]:
            rows = unfinished(db, asked)
            return rows, upstreams_of(db, rows)

        def take(answer: tuple[list[Row], dict[str, Row]]) -> list[Run[Any]]:
            runs = self._known.take_all(*answer)
            for run in runs:
                self._known.keep(run)
            return runs

        runs: list[Run[Any]] = await self._read(work, take)
        return runs

    def awaited(self) -> Sequence[Run[Any]]:
        return self._known.awaited()

    async def prune(self, keep_us: Mapping[str, int | None], others_us: int | None, most: int = 1_000) -> Pruned:
        limits, after = Limits(dict(keep_us), others_us), self._looked_to

        def take(answer: tuple[Pruned, int]) -> Pruned:
            pruned, self._looked_to = answer
            now_us = self._clock.now_us()
            self._known.recent.forget(lambda task: limits.before_us(task, now_us))
            return pruned

        pruned: Pruned = await self._write(lambda db, now_us: prune(db, now_us, limits, most, after), take)
        return pruned
