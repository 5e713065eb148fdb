"""The verbs about which tasks are kept, and which of them any node declares, on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Any

from asyncsched.stored import StoredTask, Unserved
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._durable.tasks import STANDING, stored_task
from asyncsched.stores._roster import RosterVerbs
from asyncsched.stores._sqlite.presence import Presence
from asyncsched.stores._sqlite.roster import listed, park_unserved, since, unpark_unread, unread, unserved
from asyncsched.stores._sqlite.unit import upstreams_of


class RosterDesk(Presence, RosterVerbs):
    """Which tasks there are, at a SQLite file."""

    async def tasks(self, task_ids: Collection[str] | None = None) -> list[StoredTask]:
        asked = None if task_ids is None else list(task_ids)

        def work(db: sqlite3.Connection) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
            found = listed(db, asked, STANDING)
            retired = [columns[0] for columns in found if not columns[-4]]
            return found, since(db, retired) if retired else {}

        found, went = await self._read(work)
        return [stored_task(columns, went.get(columns[0])) for columns in found]

    async def due(self, limit: int) -> list[str]:
        query = (
            "SELECT id FROM asyncsched_tasks WHERE next_at IS NOT NULL AND paused_until_at IS NULL "
            "ORDER BY next_at, id LIMIT ?"
        )
        found: list[str] = await self._read(lambda db: [task for (task,) in db.execute(query, (limit,))])
        return found

    async def park_unserved(self) -> list[Unserved]:
        await self._read_again()
        served = self._declares.__contains__
        if not await self._read(lambda db: unserved(db, served)):  # as it nearly always is
            return []
        parked: list[Unserved] = await self._write(lambda db, _now_us: park_unserved(db, served))
        return parked

    async def _read_again(self) -> None:
        """Let runs wait again that others have put aside as they could not read them, and that can be read here."""
        served = self._declares.__contains__

        def work(db: sqlite3.Connection) -> tuple[list[Row], dict[str, Row]]:
            rows = [row for row in unread(db) if served(row.task)]
            return rows, upstreams_of(db, rows)

        rows, upstreams = await self._read(work)
        if run_ids := self._unread.readable(rows, upstreams, self._known):
            await self._write(lambda db, now_us: unpark_unread(db, now_us, run_ids))
            self.hint()
