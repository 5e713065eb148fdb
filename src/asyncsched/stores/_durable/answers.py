"""What the answers of a store make of the runs that are known here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asyncsched.deadlines import lapse
from asyncsched.graph import Tally
from asyncsched.run import FINAL, Run
from asyncsched.stores._base import Ack, Cycled, FireOrder
from asyncsched.stores._durable.company import Company
from asyncsched.stores._durable.marred import PARKED_AS
from asyncsched.stores._durable.orders import Decided
from asyncsched.stores._durable.rows import Row, edges_text, row_of, settled_row
from asyncsched.stores._graphs import Decision, Follower, Lookback

log = logging.getLogger("asyncsched.stores")


class Answers(Company):
    """A node that is told, in rows, what a verb did."""

    # -- an exchange

    def _settled(self, acks: Sequence[Ack], counted: Mapping[int, bool]) -> list[Ack]:
        """Bring the runs up to date whose acknowledgements counted; these.

        counted: the places of those, each with whether others need the run.
        """
        accepted = []
        for place in sorted(counted):
            ack = acks[place]
            accepted.append(ack)
            run = ack.run
            if run.token == ack.token:  # else somebody here has looked it up meanwhile
                run.apply(ack.settled)
            if counted[place]:
                self._known.matter([run])
            if run.status in FINAL:
                if run.edges is not None:
                    run.edges.upstreams = ()
                if self._known.doubles and run.lost and run.id in self._known.counted:
                    self._elsewhere.append(self._known.counted[run.id])
                self._known.ended(run)
            else:
                self._known.again(run)
        return accepted

    def _begin_all(
        self,
        claimed: Iterable[Row],
        upstreams: Mapping[str, Row],
        unreadable: list[tuple[Row, str]],
        wrong: Mapping[str, str] | None = None,
    ) -> list[Run[Any]]:
        """The runs that were claimed, whose next attempts begin here; those that cannot be read become ``unreadable``.

        wrong: what is wrong with some of them, by their ids, as was seen before.
        """
        started = []
        for row in claimed:
            known = self._known.counts(row.id)
            try:
                if wrong and row.id in wrong:
                    raise ValueError(wrong[row.id])
                started.append(self._known.start(row, upstreams))
                self._found += [] if known else started[-1:]
            except Exception as error:
                self._known.here.discard(row.id)
                if self._known.tells(row.id):
                    log.error("run %s of task %s cannot be read, it is put aside: %s", row.id, row.task, error)
                unreadable.append((row, f"{PARKED_AS}: {error}"))
        return started

    def _told(
        self,
        accepted: list[Ack],
        started: list[Run[Any]],
        over: list[Run[Any]],
        next_us: int | None = None,
        lapses_us: int | None = None,
    ) -> Cycled:
        """What an exchange did, with all that the engine has not been told yet.

        over: the runs that have waited too long.
        """
        elsewhere, self._elsewhere = self._elsewhere, []
        found, self._found = self._found, []
        return Cycled(accepted, started, next_us, (*elsewhere, *over), lapses_us, tuple(found), self._notice())

    def _lapsed(self, rows: Iterable[Row]) -> list[Run[Any]]:
        """The runs that have waited too long, as they ended; without those that cannot be read."""
        ended = []
        heard = {run.id for run in self._elsewhere}  # which are told with these
        for row in rows:
            if row.id in heard:
                continue
            run = self._known.get(row.id)
            if run is not None and run.token == row.token - 1 and row.finished_at is not None:
                settled = lapse(run, row.finished_at)
                if settled is not None:
                    run.apply(settled)
            ended += self._take_ended([row])
        return ended

    def _take_ended(self, rows: Sequence[Row]) -> list[Run[Any]]:
        """The runs of these rows, which have just ended here."""
        unknown = {row.id for row in rows if not self._known.counts(row.id)}
        ended = self._known.show_all(rows, {})
        for run in ended:
            self._known.ended(run)
        self._found += [run for run in ended if run.id in unknown]
        return ended

    # -- runs that come

    def _fired(self, order: FireOrder, skipped: Mapping[str, Row]) -> None:
        """Know the runs and skips that an order has written."""
        for run in order.runs:
            if run.flow in skipped and run.id not in skipped:
                continue  # below one that is not run: it was not written
            self._known.keep(run)
            if (row := skipped.get(run.id)) is not None:
                self._known.take(row, {})
                self._known.ended(run)
        self._made([run for run in order.runs if run.status not in FINAL and run.flow not in skipped])
        for skip in order.skips:
            self._known.keep(skip)
            self._known.ended(skip)

    def _standing(self, runs: Sequence[Run[Any]], answer: Sequence[Row | None]) -> list[Run[Any]]:
        """The run that stands for each that was submitted; ``None`` says that it is that one."""
        standing = []
        for run, other in zip(runs, answer, strict=True):
            if other is None:
                self._made([run])
            standing.append(run if other is None else self._stands(other))
        return standing

    # -- graphs

    def _followers(self, found: Sequence[tuple[Row, Tally]], upstreams: Mapping[str, Row]) -> list[Follower]:
        """The runs that wait for others."""
        taken = {run.id: run for run in self._known.take_all((row for row, _tally in found), upstreams)}
        return [Follower(taken[row.id], row.token, tally) for row, tally in found if row.id in taken]

    def _decided(self, decision: Decision) -> Decided:
        """A decision as the store is to carry it out."""
        run, token, settled, sources, met = decision
        values = self._known.values(run.task)
        if settled is not None:
            return Decided(settled_row(run, token, settled, values), False, None, met)
        edges = run.edges
        assert edges is not None
        needs = edges.needs if sources is None else tuple(source.id for source in sources)
        row = row_of(run, values)._replace(token=token + 1, edges=edges_text(edges, needs, blocked=False))
        return Decided(row, True, None if sources is None else needs, met)

    def _carried_out(self, decisions: Sequence[Decision], rows: Sequence[Row | None]) -> list[Decision]:
        """Bring the runs up to date whose decisions counted; these. ``None`` stands for one that did not."""
        counted = []
        for decision, row in zip(decisions, rows, strict=True):
            if row is not None:
                counted.append(decision)
                self._carry_out(decision, row)
        return counted

    def _carry_out(self, decision: Decision, row: Row) -> None:
        run, token, settled, sources, _met = decision
        known = run.token != token  # somebody here has looked it up meanwhile
        if settled is not None:
            if not known:
                run.apply(settled)
            if run.edges is not None:
                run.edges.upstreams = ()
            self._known.ended(run)
            return
        assert run.edges is not None
        run.edges.decided(sources)
        if not known:
            run.token, run.due_us = row.token, row.due_at

    def _looked_back(self, answer: Mapping[str, tuple[Row | None, list[Row]]]) -> dict[str, Lookback]:
        """The last success of each task, and what of it has not ended."""
        found = {}
        for task, (succeeded, unfinished) in answer.items():
            last = self._known.take_all([] if succeeded is None else [succeeded], {})
            found[task] = Lookback(last[0] if last else None, self._known.take_all(unfinished, {}))
        return found

    def _made(self, runs: Iterable[Run[Any]]) -> None:
        """Know runs that were written, and let those that they need know that their ends matter."""
        for run in runs:
            self._know(run)
            if run.edges is not None and run.edges.blocked:
                self._known.matter(run.edges.upstreams)
