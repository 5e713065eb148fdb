"""Who waits in memory for other runs, and how those stand."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from asyncsched.edges import Edges
from asyncsched.graph import Tally, failed
from asyncsched.renaming import renamed_names
from asyncsched.run import FINAL, Run, RunStatus
from asyncsched.stores._graphs import Decision, Follower, GraphVerbs, Lookback, Offers

_SUCCESS = RunStatus.SUCCESS


class BlockedRuns:
    """The PENDING runs that need others, counted by how those ended; and what the tasks of graphs are asked for."""

    def __init__(self) -> None:
        # By the id of a blocked run: how many of its upstreams wait, succeeded, failed, were skipped.
        self._counts: dict[str, list[int]] = {}
        # By the id of an upstream: the blocked runs that need it.
        self._followers: dict[str, dict[str, Run[Any]]] = {}
        self._succeeded: dict[str, Run[Any]] = {}
        self._taken: dict[str, Mapping[str, str]] = {}

    def hold(self, run: Run[Any]) -> None:
        """Let a run wait for its upstreams."""
        edges = run.edges
        assert edges is not None
        counts = self._counts[run.id] = [0, 0, 0, 0]
        followers = self._followers
        for upstream in edges.upstreams:
            counts[_place(upstream)] += 1
            if upstream.edges is None:
                upstream.edges = Edges(upstream.id)  # from here on its end matters to others
            if (known := followers.get(upstream.id)) is None:
                known = followers[upstream.id] = {}
            known[run.id] = run

    def holds(self, run: Run[Any]) -> bool:
        """Whether the run waits for its upstreams."""
        return run.id in self._counts

    def let_go(self, run: Run[Any]) -> None:
        """Let a run wait for its upstreams no more."""
        edges = run.edges
        assert edges is not None
        del self._counts[run.id]
        for upstream in edges.needs:
            known = self._followers[upstream]
            del known[run.id]
            if not known:
                del self._followers[upstream]

    def ended(self, run: Run[Any]) -> None:
        """Count the end of a run for those that need it."""
        assert run.edges is not None
        run.edges.upstreams = ()
        if run.id in self._counts:
            self.let_go(run)
        if run.status is _SUCCESS:
            self._succeeded[run.task] = run
        if known := self._followers.get(run.id):
            place, counts = _place(run), self._counts
            for follower in known:
                tally = counts[follower]
                tally[0] -= 1
                tally[place] += 1

    def followers(self, run_ids: Collection[str] | None) -> list[Follower]:
        """The blocked runs that need one of these, each once; with ``None`` all."""
        found: dict[str, Run[Any]] = {}
        for run_id in self._followers if run_ids is None else run_ids:
            if known := self._followers.get(run_id):
                found.update(known)
        counts = self._counts
        return [Follower(run, run.token, Tally._make(counts[run_id])) for run_id, run in found.items()]

    def succeeded(self, task: str) -> Run[Any] | None:
        """The last success of a task in a graph."""
        return self._succeeded.get(task)

    def taken(self, task: str) -> Mapping[str, str]:
        """The flows that the last run of a join has taken, by their roots."""
        return self._taken.get(task, {})

    def take(self, task: str, before: Mapping[str, str], after: Mapping[str, str]) -> bool:
        """Let a join have taken these flows, unless another run of it was first."""
        if self.taken(task) != before:
            return False
        self._taken[task] = after
        return True

    def rename(self, before: str, task: str) -> None:
        """Keep under its id of today what is kept of the task that had the id ``before``."""
        if before in self._succeeded:
            self._succeeded.setdefault(task, self._succeeded.pop(before))
        if before in self._taken:
            self._taken.setdefault(task, self._taken.pop(before))
        self._taken = {join: renamed_names(taken, before, task) for join, taken in self._taken.items()}

    def forget(self, task: str) -> None:
        """Keep nothing of the task."""
        self._succeeded.pop(task, None)
        self._taken.pop(task, None)


def _place(run: Run[Any]) -> int:
    """Where in a tally a run is counted."""
    status = run.status
    if status is _SUCCESS:
        return 1
    if status not in FINAL:
        return 0
    return 2 if failed(status, run.reason) else 3


class MemoryGraphs(GraphVerbs):
    """Those verbs of the memory store that graphs need."""

    _now_us: Callable[[], int]
    _live: dict[str, Run[Any]]
    _blocked: BlockedRuns
    _admit: Callable[[Run[Any], int], None]

    @abstractmethod
    def recent(self, task: str) -> Sequence[Run[Any]]: ...

    @abstractmethod
    def _submit(self, run: Run[Any], now_us: int) -> Run[Any]: ...

    @abstractmethod
    def _end(self, run: Run[Any], now_us: int) -> None: ...

    async def followers(self, run_ids: Collection[str] | None) -> list[Follower]:
        return self._blocked.followers(run_ids)

    async def settle(self, decisions: Sequence[Decision]) -> list[Decision]:
        now_us = self._now_us()
        counted = []
        for decision in decisions:
            run, token, settled, sources, _met = decision
            if run.token != token or not self._blocked.holds(run):
                continue
            counted.append(decision)
            if settled is not None:
                run.apply(settled)
                self._end(run, now_us)
                continue
            self._blocked.let_go(run)
            assert run.edges is not None
            run.edges.decided(sources)
            run.token += 1
            run.due_us = max(run.due_us, now_us)
            self._admit(run, now_us)
        return counted

    async def lookback(self, tasks: Collection[str]) -> dict[str, Lookback]:
        unfinished: dict[str, list[Run[Any]]] = {task: [] for task in tasks}
        for run in self._live.values():
            if run.task in unfinished:
                unfinished[run.task].append(run)
        return {task: Lookback(self._last_success(task), unfinished[task]) for task in tasks}

    def _last_success(self, task: str) -> Run[Any] | None:
        known = self._blocked.succeeded(task)
        return known or next((run for run in self.recent(task) if run.status is _SUCCESS), None)

    async def offers(self, task: str, upstreams: Mapping[str, str]) -> Offers:
        taken = self._blocked.taken(task)
        ended: list[Run[Any]] = []
        for upstream, root in upstreams.items():
            after = taken.get(root, "")
            ended += [run for run in self.recent(upstream) if run.edges is not None and run.edges.flow > after]
        return Offers(taken, ended)

    async def join(
        self, task: str, before: Mapping[str, str], after: Mapping[str, str], runs: Sequence[Run[Any]]
    ) -> bool:
        if not self._blocked.take(task, before, after):
            return False
        now_us = self._now_us()
        for run in runs:
            self._submit(run, now_us)
        return True
