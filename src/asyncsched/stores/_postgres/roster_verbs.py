"""The verbs about which tasks are kept, and which of them any node declares, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from asyncsched.stored import StoredTask, Unserved
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._durable.tasks import STANDING, stored_task
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.lookups import upstreams_of
from asyncsched.stores._postgres.presence import Presence
from asyncsched.stores._postgres.roster import listed, park_unserved, since, unpark_unread, unread, unserved
from asyncsched.stores._postgres.tasks import DECLARING
from asyncsched.stores._roster import RosterVerbs


class RosterDesk(Presence, RosterVerbs):
    """Which tasks there are, at a PostgreSQL store."""

    async def tasks(self, task_ids: Collection[str] | None = None) -> list[StoredTask]:
        asked = None if task_ids is None else list(task_ids)

        async def work(db: Database) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
            found = [tuple(one) for one in await listed(db, asked, STANDING)]
            retired = [columns[0] for columns in found if not columns[-4]]
            return found, await since(db, retired) if retired else {}

        found, went = await self._read(work)
        return [stored_task(columns, went.get(columns[0])) for columns in found]

    async def due(self, limit: int) -> list[str]:
        query = (
            "SELECT id FROM asyncsched.tasks WHERE next_at IS NOT NULL AND paused_until_at IS NULL "
            "ORDER BY next_at, id LIMIT $1"
        )
        return [task for (task,) in await self._read(lambda db: db.rows(query, limit))]

    async def park_unserved(self) -> list[Unserved]:
        await self._read_again()
        served = self._declares.__contains__
        if not await self._read(lambda db: unserved(db, served)):  # as it nearly always is
            return []
        return await self._write(lambda db: park_unserved(db, served), [DECLARING])

    async def _read_again(self) -> None:
        """Let runs wait again that others have put aside as they could not read them, and that can be read here."""

        async def work(db: Database) -> tuple[list[Row], dict[str, Row]]:
            rows = [row for row in await unread(db) if row.task in self._declares]
            return rows, await upstreams_of(db, rows)

        rows, upstreams = await self._read(work)
        if run_ids := self._unread.readable(rows, upstreams, self._known):
            await self._write(lambda db: unpark_unread(db, run_ids))
            self._changed()
            self.hint()
