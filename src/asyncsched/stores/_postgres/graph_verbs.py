"""The verbs about graphs, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from asyncsched.graph import Tally
from asyncsched.run import Run
from asyncsched.stores._durable.orders import Decided
from asyncsched.stores._durable.rows import Row, edges_text, row_of, settled_row
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
        taken = {run.id: run for run in self._known.take_all((row for row, _tally in found), upstreams)}
        return [Follower(taken[row.id], row.token, tally) for row, tally in found if row.id in taken]

    async def settle(self, decisions: Sequence[Decision]) -> list[Decision]:
        decided = [self._decided(decision) for decision in decisions]
        answer = await self._write(lambda db: graphs.settle(db, decided))
        counted = []
        for decision, row in zip(decisions, answer, strict=True):
            if row is not None:
                counted.append(decision)
                self._carry_out(decision, row)
        if counted:
            self._changed()
        return counted

    def _decided(self, decision: Decision) -> Decided:
        run, token, settled, sources, met = decision
        values = self._known.values(run.task)
        if settled is not None:
            return Decided(settled_row(run, token, settled, values), False, None, met)
        edges = run.edges
        assert edges is not None
        needs = edges.needs if sources is None else tuple(source.id for source in sources)
        row = row_of(run, values)._replace(token=token + 1, edges=edges_text(edges, needs, blocked=False))
        return Decided(row, True, None if sources is None else needs, met)

    def _carry_out(self, decision: Decision, row: Row) -> None:
        run, token, settled, sources, _met = decision
        if settled is not None:
            if run.token == token:  # else somebody here has looked it up meanwhile
                run.apply(settled)
            if run.edges is not None:
                run.edges.upstreams = ()
            self._known.ended(run)
            return
        assert run.edges is not None
        run.edges.decided(sources)
        run.token, run.due_us = row.token, row.due_at

    async def lookback(self, tasks: Collection[str]) -> dict[str, Lookback]:
        asked = list(tasks)
        found = {}
        for task, (succeeded, unfinished) in (await self._read(lambda db: graphs.lookback(db, asked))).items():
            last = self._known.take_all([] if succeeded is None else [succeeded], {})
            found[task] = Lookback(last[0] if last else None, self._known.take_all(unfinished, {}))
        return found

    async def offers(self, task: str, upstreams: Mapping[str, str]) -> Offers:
        taken, ended = await self._read(lambda db: graphs.offers(db, task, upstreams))
        return Offers(taken, self._known.take_all(ended, {}))

    async def join(
        self, task: str, before: Mapping[str, str], after: Mapping[str, str], runs: Sequence[Run[Any]]
    ) -> bool:
        new = [self._known.new(run) for run in runs]
        for run in runs:
            self._known.hold(run)
        joined = await self._arrive(
            (run.id for run in runs), self._write(lambda db: graphs.join(db, task, before, after, new))
        )
        if joined:
            self._made(runs)
            self._changed()
        return joined

    def _made(self, runs: Sequence[Run[Any]]) -> None:
        """Know runs that were written, and let those that they need know that their ends matter."""
        for run in runs:
            self._know(run)
            if run.edges is not None and run.edges.blocked:
                self._known.matter(run.edges.upstreams)
