"""The verbs about graphs, on SQLite."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from asyncsched.graph import Tally
from asyncsched.run import Run
from asyncsched.stores._durable.orders import Decided
from asyncsched.stores._durable.rows import Row, edges_text, row_of, settled_row
from asyncsched.stores._graphs import Decision, Follower, GraphVerbs, Lookback, Offers
from asyncsched.stores._sqlite import graphs
from asyncsched.stores._sqlite.unit import upstreams_of
from asyncsched.stores._sqlite.watch import Watch


class GraphDesk(Watch, GraphVerbs):
    """Blocked runs and joins, at a SQLite file."""

    async def followers(self, run_ids: Collection[str] | None) -> list[Follower]:
        ids = None if run_ids is None else list(run_ids)

        def take(answer: tuple[list[tuple[Row, Tally]], dict[str, Row]]) -> list[Follower]:
            found, upstreams = answer
            taken = {run.id: run for run in self._known.take_all((row for row, _tally in found), upstreams)}
            return [Follower(taken[row.id], row.token, tally) for row, tally in found if row.id in taken]

        def work(db: Any) -> tuple[list[tuple[Row, Tally]], dict[str, Row]]:
            found = graphs.followers(db, ids)
            return found, upstreams_of(db, [row for row, _tally in found])

        found: list[Follower] = await self._read(work, take)
        return found

    async def settle(self, decisions: Sequence[Decision]) -> list[Decision]:
        decided = [self._decided(decision) for decision in decisions]

        def take(answer: list[Row | None]) -> list[Decision]:
            counted = []
            for decision, row in zip(decisions, answer, strict=True):
                if row is not None:
                    counted.append(decision)
                    self._carry_out(decision, row)
            return counted

        counted: list[Decision] = await self._write(lambda db, now_us: graphs.settle(db, now_us, decided), take)
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
        run, _token, settled, sources, _met = decision
        if settled is not None:
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

        def take(answer: dict[str, tuple[Row | None, list[Row]]]) -> dict[str, Lookback]:
            found = {}
            for task, (succeeded, unfinished) in answer.items():
                last = self._known.take_all([] if succeeded is None else [succeeded], {})
                found[task] = Lookback(last[0] if last else None, self._known.take_all(unfinished, {}))
            return found

        found: dict[str, Lookback] = await self._read(lambda db: graphs.lookback(db, asked), take)
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

    def _made(self, runs: Sequence[Run[Any]]) -> None:
        """Know runs that were written, and let those that they need know that their ends matter."""
        for run in runs:
            self._know(run)
            if run.edges is not None and run.edges.blocked:
                self._known.matter(run.edges.upstreams)
