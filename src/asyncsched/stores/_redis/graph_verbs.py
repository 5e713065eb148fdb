"""The verbs about graphs, on Redis."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from asyncsched.run import Run
from asyncsched.stores._graphs import Decision, Follower, GraphVerbs, Lookback, Offers
from asyncsched.stores._redis import graphs, stages
from asyncsched.stores._redis.claims import TOGETHER
from asyncsched.stores._redis.lookups import upstreams_of
from asyncsched.stores._redis.presence import Presence
from asyncsched.stores._redis.records import looks_at
from asyncsched.stores._redis.unit import transact


class GraphDesk(Presence, GraphVerbs):
    """Blocked runs and joins, at a Redis store."""

    async def followers(self, run_ids: Collection[str] | None) -> list[Follower]:
        link = self._server
        found = await graphs.followers(link, run_ids)
        upstreams = await upstreams_of(link, [row for row, _tally in found])
        return self._followers(found, upstreams)

    async def settle(self, decisions: Sequence[Decision]) -> list[Decision]:
        link = self._server
        counted: list[Decision] = []
        for some in _together(decisions):
            decided = [self._decided(decision) for decision in some]
            work = partial(graphs.settle_all, decided=decided)
            found = await transact(link, work, *looks_at([one.row for one in decided]))
            counted += self._carried_out(some, found)
        if counted:
            self._changed()
        return counted

    async def lookback(self, tasks: Collection[str]) -> dict[str, Lookback]:
        return self._looked_back(await graphs.lookback(self._server, tasks))

    async def offers(self, task: str, upstreams: Mapping[str, str]) -> Offers:
        taken, ended = await graphs.offers(self._server, task, upstreams)
        return Offers(taken, self._known.take_all(ended, {}))

    async def join(
        self, task: str, before: Mapping[str, str], after: Mapping[str, str], runs: Sequence[Run[Any]]
    ) -> bool:
        new = [self._known.new(run) for run in runs]
        for run in runs:
            self._known.hold(run)
        joined = await self._arrivals.write(
            [run.id for run in runs],
            stages.join(self._server, self._builder, task, dict(before), dict(after), new),
        )
        if joined:
            self._made(runs)
            self._changed()
        return joined


def _together(decisions: Sequence[Decision]) -> list[list[Decision]]:
    """Decisions in pieces; one that depends on how many runs are on their way is by itself."""
    pieces: list[list[Decision]] = []
    for decision in decisions:
        alone = decision.met is not None
        if not pieces or alone or len(pieces[-1]) == TOGETHER or pieces[-1][0].met is not None:
            pieces.append([])
        pieces[-1].append(decision)
    return pieces
