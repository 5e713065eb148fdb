"""The verbs about graphs, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from asyncsched.graph import Tally
from asyncsched.run import Run
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._graphs import Decision, Follower, GraphVerbs, Lookback, Offers
from asyncsched.stores._postgres import graphs
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.lookups import upstreams_of
from asyncsched.stores._postgres.presence import Presence


class GraphDesk(Presence, GraphVerbs):
    """Blocked runs and joins, at a PostgreSQL store."""

    async def followers(self, run_ids: Collection[str] | None) -> list[Follower]:
        ids = None if run_ids is None else list(run_ids)

        async def work(db: Database) -> tuple[list[tuple[Row, Tally]], dict[str, Row]]:
            found = await graphs.followers(db, ids)
            return found, await upstreams_of(db, [row for row, _tally in found])

        found, upstreams = await self._read(work)
        return self._followers(found, upstreams)

    async def settle(self, decisions: Sequence[Decision]) -> list[Decision]:
        decided = [self._decided(decision) for decision in decisions]
        answer = await self._write(lambda db: graphs.settle(db, decided))
        counted = self._carried_out(decisions, answer)
        if counted:
            self._changed()
        return counted

    async def lookback(self, tasks: Collection[str]) -> dict[str, Lookback]:
        asked = list(tasks)
        return self._looked_back(await self._read(lambda db: graphs.lookback(db, asked)))

    async def offers(self, task: str, upstreams: Mapping[str, str]) -> Offers:
        taken, ended = await self._read(lambda db: graphs.offers(db, task, upstreams))
        return Offers(taken, self._known.take_all(ended, {}))

    async def join(
        self, task: str, before: Mapping[str, str], after: Mapping[str, str], runs: Sequence[Run[Any]]
    ) -> bool:
        new = [self._known.new(run) for run in runs]
        for run in runs:
            self._known.hold(run)
        joined = await self._arrivals.write(
            (run.id for run in runs), self._write(lambda db: graphs.join(db, task, before, after, new))
        )
        if joined:
            self._made(runs)
            self._changed()
        return joined
