"""The verbs about which tasks are kept, and about what is kept for how long, on Redis."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from asyncsched.run import Run
from asyncsched.stored import StoredTask, Unserved
from asyncsched.stores._durable.orders import Limits
from asyncsched.stores._durable.tasks import stored_task
from asyncsched.stores._redis.lookups import unfinished, upstreams_of
from asyncsched.stores._redis.presence import Presence
from asyncsched.stores._redis.roster import listed, park_unserved, since, unpark_unread, unread, unserved
from asyncsched.stores._redis.transaction import server_now_us
from asyncsched.stores._redis.upkeep import prune
from asyncsched.stores._roster import RosterVerbs
from asyncsched.stores._upkeep import Pruned, UpkeepVerbs


class KeepingDesk(Presence, UpkeepVerbs, RosterVerbs):
    """Which tasks there are, and what is no longer kept, at a Redis store."""

    _looked_to = 0
    """Up to which place of the history it was looked what may be forgotten."""

    async def tasks(self, task_ids: Collection[str] | None = None) -> list[StoredTask]:
        found = await listed(self._server, task_ids)
        retired = [one.columns[0] for one in found if not one.served]
        went = await since(self._server, retired) if retired else {}
        return [stored_task((*one.columns, *one[1:]), went.get(one.columns[0])) for one in found]

    async def due(self, limit: int) -> list[str]:
        (tasks,) = await self._server.ask(("ZRANGE", "due", 0, limit - 1))
        return list(tasks) if limit > 0 else []

    async def park_unserved(self) -> list[Unserved]:
        await self._read_again()
        if not await unserved(self._server, self._declares):  # as it nearly always is
            return []
        return await park_unserved(self._server, self._declares)

    async def _read_again(self) -> None:
        """Let runs wait again that others have put aside as they could not read them, and that can be read here."""
        rows = [row for row in await unread(self._server) if row.task in self._declares]
        if run_ids := self._unread.readable(rows, await upstreams_of(self._server, rows), self._known):
            await unpark_unread(self._server, run_ids)
            self._changed()
            self.hint()

    async def unfinished(self, tasks: Collection[str]) -> list[Run[Any]]:
        rows = await unfinished(self._server, tasks)
        runs = self._known.take_all(rows, await upstreams_of(self._server, rows))
        for run in runs:
            self._known.keep(run)
        return runs

    def awaited(self) -> Sequence[Run[Any]]:
        return self._known.awaited()

    async def prune(self, keep_us: Mapping[str, int | None], others_us: int | None, most: int = 1_000) -> Pruned:
        limits, now_us = Limits(dict(keep_us), others_us), await server_now_us(self._server)
        pruned, self._looked_to = await prune(self._server, now_us, limits, most, self._looked_to)
        self._known.recent.forget(lambda task: limits.before_us(task, now_us))
        return pruned
