"""The verbs about graphs, on SQLite."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from asyncsched.graph import Tally
from asyncsched.run import Run
from asyncsched.stores._durable.rows import Row
from asyncsched.stores._graphs import Decision, Follower, GraphVerbs, Lookback, Offers
from asyncsched.stores._sqlite import graphs
from asyncsched.stores._sqlite.unit import upstreams_of
from asyncsched.stores._sqlite.watch import Watch


class GraphDesk(Watch, GraphVerbs):
    """Blocked runs and joins, at a SQLite file."""

    async def followers(self, run_ids: Collection[str] | None) -> list[Follower]:
        ids = None if run_ids is None else list(run_ids)

        def work(db: Any) -> tuple[list[tuple[Row, Tally]], dict[str, Row]]:
            found = graphs.followers(db, ids)
            return found, upstreams_of(db, [row for row, _tally in found])

        found: list[Follower] = await self._read(work, lambda answer: self._followers(*answer))
        return found

    async def settle(self, decisions: Sequence[Decision]) -> list[Decision]:
        decided = [self._decided(decision) for decision in decisions]

        def take(answer: list[Row | None]) -> list[Decision]:
            return self._carried_out(decisions, answer)

        counted: list[Decision] = await self._write(lambda db, now_us: graphs.settle(db, now_us, decided), take)
        return counted

    async def lookback(self, tasks: Collection[str]) -> dict[str, Lookback]:
        asked = list(tasks)

        found: dict[str, Lookback] = await self._read(lambda db: graphs.lookback(db, asked), self._looked_back)
        return found

    async def offers(self, task: str, upstreams: Mapping[str, str]) -> Offers:
        asked = dict(upstreams)

        def take(answer: tuple[dict[str, str], list[Row]]) -> Offers:
            taken, ended = answer
            return Offers(taken, self._known.take_all(ended, {}))

        found: Offers = await self._read(lambda db: graphs.offers(db, task, asked), take)
        return found

    async def join(
        self, task: str, before: Mapping[str, str], after: Mapping[str, str], runs: Sequence[Run[Any]]
    ) -> bool:
        taken = dict(before), dict(after)
        new = [self._known.new(run) for run in runs]

        def take(*, joined: bool) -> bool:
            if joined:
                self._made(runs)
            return joined

        joined: bool = await self._write(
            lambda db, now_us: graphs.join(db, now_us, task, *taken, new), lambda answer: take(joined=answer)
        )
        return joined
