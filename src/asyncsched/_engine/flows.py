"""Dependencies as futures: whoever needs a run that has ended is decided in the same turn, and starts there.

A flow is written whole, together with the run that begins it; what is below is blocked until the runs that it needs
have ended as its rule asks. What is decided is decided by ``graph``; here it is asked, written and told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

from asyncsched._engine.alongside import Alongside
from asyncsched._engine.living import ArmedTask, Living, Reminder
from asyncsched._engine.places import Places
from asyncsched._engine.timer import Timer
from asyncsched.edges import Edges
from asyncsched.errors import RunCancelled, UpstreamFailed
from asyncsched.graph import (
    READY,
    Ready,
    Skip,
    Tally,
    Verdict,
    Wait,
    failed,
    gate_verdict,
    join_ready,
    latest_ready,
)
from asyncsched.ids import RunIds
from asyncsched.overlap import overlap_verdict
from asyncsched.run import Run, RunStatus, Settled, SkipReason
from asyncsched.stores import Decision, FireOrder, Follower, Lookback, Met, Store

# So many runs are decided in one turn of the loop: at up to 20 us each others wait about 4 ms.
_AT_ONCE = 200
OVERTAKEN = "its task was to run again, and runs one at a time: overlap='cancel_previous'"


class Flows:
    """The edges between the runs of this node's tasks.

    stirred: called when runs have become ready.
    over: called with each run that has ended while it waited for others.
    cancel: stops the runs of these ids, for this reason.
    """

    def __init__(
        self,
        living: Living,
        places: Places,
        timer: Timer,
        store: Store,
        ids: RunIds,
        now_us: Callable[[], int],
        stirred: Callable[[], None],
        over: Callable[[Run[Any], int], None],
        cancel: Callable[[Collection[str], str], Awaitable[object]],
    ) -> None:
        self._living = living
        self._timer = timer
        self._store = store
        self._alongside = Alongside(store)
        self._ids = ids
        self._now_us = now_us
        self._stirred = stirred
        self._told_over = over
        self._cancel = cancel
        self._places = places
        self.pending = False
        """Whether there is anything to follow."""
        self._behind: list[Run[Any]] = []
        """Runs that have ended, and whose followers have not been asked yet."""
        self._open: list[Follower] = []
        """Those who needed them, and have not been decided."""
        self._watched: WeakSet[Run[Any]] = WeakSet()
        """Fires that wait for their upstreams, and no longer than they may."""
        self._found = False
        """The store may have blocked runs that nobody here has looked at."""
        self._late: list[Run[Any]] = []
        """Fires that have waited for their upstreams as long as they may."""
        self._coming: dict[str, int] = {}
        """How many runs of a task have become ready in what is being decided."""
        self._overtaken: dict[str, list[str]] = {}
        """The runs that are to be cancelled for those."""

    async def _resume(self) -> None:
        """Go on with what was blocked when the store was last used."""
        now_us = self._now_us()
        followers = await self._store.followers(None)
        for follower in followers:
            if follower.run not in self._watched:
                self._watch(follower.run)
        self._open += followers
        for task_id in self._places.joins:
            await self._join(task_id, now_us)
        self._found = False

    def sweep(self) -> None:
        """Decide, in the next turn, about those who were left behind: whoever was to do it may have died before."""
        self._found = self.pending = True
        self._stirred()

    # -- what is written

    def lay(self, armed: ArmedTask, run: Run[Any], now_us: int) -> list[Run[Any]]:
        """The run and all that its flow consists of below it; the run is where the flow begins."""
        if run.edges is None:
            run.edges = Edges(run.id)
        runs = [run]
        for task_id, needs in self._places.plan(armed.task.id):
            member = self._living.tasks[task_id]
            runs.append(self._follower(member, run.id, tuple(runs[need] for need in needs), now_us))
        return runs

    def _follower(self, armed: ArmedTask, flow: str | None, upstreams: tuple[Run[Any], ...], now_us: int) -> Run[Any]:
        task = armed.task
        run_id = self._ids.make(now_us)
        terms = armed.terms
        if terms.once is not None:  # that is about submits and fires; what is below them belongs to its own flow
            terms = terms._replace(once=None, once_key=None)
        run: Run[Any] = Run(run_id, task.id, now_us, now_us, None, 1, terms, task.args, task.kwargs)
        needs = tuple(upstream.id for upstream in upstreams)
        run.edges = Edges(flow or run_id, needs, task.links.rule, upstreams, "flow", True)
        return run

    def laid(self, runs: Iterable[Run[Any]]) -> None:
        """Take account of the runs of a flow that have been written, besides the one that it begins with."""
        for run in runs:
            if armed := self._living.tasks.get(run.task):
                armed.newest = run
            if run.status.final:  # an earlier run stands for it
                self.ended(run)

    # -- what a trigger and upstreams both have a say in

    async def gate(
        self, orders: Sequence[tuple[ArmedTask, FireOrder]], now_us: int
    ) -> list[tuple[ArmedTask, FireOrder]]:
        """The orders as they are written: their runs wait for upstreams, or are skipped for them, or begin flows."""
        asked = {need for armed, order in orders if order.runs and armed.place for need in armed.place.gate}
        found = await self._store.lookback(asked) if asked else {}
        return [(armed, self._gated(armed, order, found, now_us)) for armed, order in orders]

    def _gated(self, armed: ArmedTask, order: FireOrder, found: Mapping[str, Lookback], now_us: int) -> FireOrder:
        assert armed.place is not None
        runs: list[Run[Any]] = []
        skips = list(order.skips)
        since_us = self._decided_us(armed)
        for run in order.runs:
            if armed.place.gate:
                looks = [found[need] for need in armed.place.gate]
                self._tie(armed, run, looks, since_us, now_us)
                if run.status.final:
                    skips.append(run)
                    continue
            runs += self.lay(armed, run, now_us)
        made = len(order.runs) - len(skips) + len(order.skips)
        return order._replace(runs=runs, skips=skips, counted=min(order.counted, made))

    def _tie(
        self, armed: ArmedTask, run: Run[Any], looks: Sequence[Lookback], since_us: int | None, now_us: int
    ) -> None:
        """Let a fire be ready, wait or be skipped, as its upstreams stand."""
        links = armed.task.links
        unfinished = [
            upstream
            for look in looks
            if links.dependency == "fresh" or look.succeeded is None
            for upstream in look.unfinished
        ]
        limit = links.dependency_timeout
        waiting = bool(unfinished) and (limit is None or bool(limit))
        match gate_verdict(links.dependency, since_us, map(_success_us, looks), waiting=waiting):
            case Ready():
                sources = _sources(looks)
                run.edges = Edges(run.id, ids_of(sources), upstreams=sources, kind="gate")
            case Wait():
                until_us = None if limit is None else now_us + int(limit.total_seconds() * 1_000_000)
                needs = tuple(unfinished)
                run.edges = Edges(run.id, ids_of(needs), "all_done", needs, "gate", True, since_us, until_us)
                self._watch(run)
            case Skip(reason):
                run.apply(Settled(RunStatus.SKIPPED, now_us, reason=reason))

    def _decided_us(self, armed: ArmedTask) -> int | None:
        """When it was last decided about a fire of the task: successes up to then were there for that one."""
        kept = [run for run in self._living.recent(armed.task.id) if run.scheduled_us is not None][:1]
        if (newest := armed.newest) is not None and newest.scheduled_us is not None:
            kept.append(newest)
        return max((run.first_us or run.scheduled_us or 0 for run in kept), default=None)

    def _watch(self, run: Run[Any]) -> None:
        """Let a fire that waits be decided when it has waited as long as it may."""
        edges = run.edges
        if edges is not None and edges.kind == "gate" and edges.until_us is not None:
            self._watched.add(run)
            self._timer.set(Reminder(lambda: self._over(run)), edges.until_us)

    def _over(self, run: Run[Any]) -> None:
        if run.blocked and not run.status.final:
            self._late.append(run)
            self.pending = True
            self._stirred()

    # -- what has ended

    def ended(self, run: Run[Any]) -> None:
        """Have those decided, in the next turn, who need this run."""
        self._behind.append(run)
        self.pending = True

    async def follow(self) -> None:
        """Decide who needed what has ended, and who needed those, until nothing changes; what is much takes turns."""
        left = _AT_ONCE
        while self._behind or self._open or self._late or self._found:
            now_us = self._now_us()
            if not self._open:
                await self._ask(now_us)
            decided = self._open[:left]
            if decided:
                await self._settle(decided, now_us)
                del self._open[: len(decided)]
                left -= len(decided)
            if left <= 0:
                self._stirred()
                return
        self.pending = False

    async def _ask(self, now_us: int) -> None:
        """Ask who needs what has ended, and begin the runs of joins."""
        if self._found:
            await self._resume()
        late, ended = self._late[:], self._behind[:]
        followers = await self._store.followers([run.id for run in ended]) if ended else []
        for join in dict.fromkeys(join for run in ended for join in self._joins(run)):
            await self._join(join, now_us)
        self._open += followers
        self._open += [Follower(run, run.token, Tally()) for run in late]
        del self._late[: len(late)]
        del self._behind[: len(ended)]

    def _joins(self, run: Run[Any]) -> Sequence[str]:
        armed = self._living.tasks.get(run.task)
        return () if armed is None or armed.place is None else armed.place.joins

    async def _settle(self, followers: Sequence[Follower], now_us: int) -> None:
        asked = {need for one in followers for need in self._gate(one.run)}
        found = await self._store.lookback(asked) if asked else {}
        self._coming.clear()
        self._overtaken.clear()
        decisions = []
        for follower in followers:
            decision = self._decide(follower, found, now_us)
            if decision is not None:
                decisions.append(decision)
        if not decisions:
            return
        counted = await self._store.settle(decisions)
        ready = False
        for run, _token, settled, _sources, _met in counted:
            armed = self._living.tasks.get(run.task)
            self._alongside.forget(run.task)
            if settled is not None:
                self._told_over(run, now_us)
            else:
                ready = True
                if armed is not None and run.edges is not None and run.edges.kind != "gate":
                    armed.take([run], now_us)
        if ready:
            self._stirred()
        if len(counted) < len(decisions):
            await self._again(decisions, counted, now_us)
        for run_ids in list(self._overtaken.values()):
            await self._cancel(run_ids, OVERTAKEN)

    async def _again(self, decisions: Sequence[Decision], counted: Sequence[Decision], now_us: int) -> None:
        """Have those decided once more that were not what was known here to be on the way of their tasks."""
        done = {decision.run.id for decision in counted}
        lost = {one.run.id: one.run for one in decisions if one.met is not None and one.run.id not in done}
        needs = {need for run in lost.values() for need in run.needs}
        still = [one for one in await self._store.followers(needs) if one.run.id in lost]
        hindered = {one.run.task for one in still}
        for task in {run.task for run in lost.values()}:
            self._overtaken.pop(task, None)
            if task not in hindered:  # another node was first
                self._alongside.forget(task)
        await self._alongside.ask(hindered, now_us)
        self._open += still

    def _gate(self, run: Run[Any]) -> tuple[str, ...]:
        """The tasks on which it depends, where a fire has made it."""
        if run.edges is None or run.edges.kind != "gate":
            return ()
        armed = self._living.tasks.get(run.task)
        return () if armed is None or armed.place is None else armed.place.gate

    def _decide(self, follower: Follower, found: Mapping[str, Lookback], now_us: int) -> Decision | None:
        run, token, tally = follower
        edges, armed = run.edges, self._living.tasks.get(run.task)
        assert edges is not None
        sources = met = None
        verdict: Verdict
        if edges.kind == "gate":
            looks = [found[need] for need in self._gate(run)]
            dependency = "ever" if armed is None else armed.task.links.dependency
            waiting = tally.waiting > 0
            verdict = gate_verdict(dependency, edges.since_us, map(_success_us, looks), waiting=waiting)
            sources = _sources(looks)
        else:
            verdict = tally.verdict(edges.rule)
            if verdict is READY and edges.kind == "flow" and armed is not None and not run.terms.backfill:
                verdict, met = self._hindrance(armed, now_us)
        match verdict:
            case Wait():
                return None
            case Ready():
                return Decision(run, token, None, sources, met)
            case Skip(reason):
                error = _upstream_failed(run) if reason is SkipReason.UPSTREAM_FAILED else None
                return Decision(run, token, Settled(RunStatus.SKIPPED, now_us, error=error, reason=reason), None, met)

    def _hindrance(self, armed: ArmedTask, now_us: int) -> tuple[Verdict, Met | None]:
        """What the task's own policy says to a run of it that its upstreams let start, and by what."""
        if armed.paused_until_us is not None:
            return Skip(SkipReason.PAUSED), None
        task_id = armed.task.id
        more = self._coming.get(task_id, 0)
        running, waiting = self._alongside.of(armed, now_us)
        met = self._alongside.met(armed, running + waiting + more)
        overlap = overlap_verdict(armed.policy, running, waiting + more)
        if overlap == "skip":
            return Skip(SkipReason.OVERLAP), met
        if overlap == "cancel":
            self._overtaken[task_id] = self._alongside.ids(armed, now_us)
        self._coming[task_id] = more + 1
        return READY, met

    def submitted(self, runs: Iterable[Run[Any]]) -> None:
        """Have those of these runs decided that need runs which have ended already."""
        for run in runs:
            if run.blocked and run.edges is not None:
                stale = not self._store.answers_at_once  # then what is here of a run may be older than the store knows
                self._behind += [upstream for upstream in run.edges.upstreams if stale or upstream.status.final]
                self.pending = True

    # -- joins

    async def _join(self, task_id: str, now_us: int) -> None:
        """Begin a run of a join, if its sides are ready."""
        graph, armed = self._places.graph, self._living.tasks.get(task_id)
        if graph is None or armed is None or not (task_id in graph and graph.is_join(task_id)):
            return
        sides = graph.sides(task_id)
        taken, ended = await self._store.offers(task_id, {need: root for root, side in sides.items() for need in side})
        rule = graph[task_id].rule
        taking = {}
        for root, side in sides.items():
            flows: dict[str, dict[str, tuple[RunStatus, str | None]]] = {}
            for run in ended:
                if run.task in side:
                    flows.setdefault(run.flow, {})[run.task] = run.status, run.reason
            if (flow := latest_ready(rule, side, flows)) is not None:
                taking[root] = flow
        if not join_ready(rule, (root in taking for root in sides)):
            return
        flows_taken = set(taking.values())
        upstreams = tuple(run for run in ended if run.flow in flows_taken)
        run = self._follower(armed, None, upstreams, now_us)
        runs = self.lay(armed, run, now_us)
        if await self._store.join(task_id, taken, {**taken, **taking}, runs):
            self.laid(runs)
            self._open += await self._store.followers(run.needs)


def _success_us(look: Lookback) -> int | None:
    return None if look.succeeded is None else look.succeeded.finished_us


def _sources(looks: Sequence[Lookback]) -> tuple[Run[Any], ...]:
    return tuple(look.succeeded for look in looks if look.succeeded is not None)


def ids_of(runs: Iterable[Run[Any]]) -> tuple[str, ...]:
    return tuple(run.id for run in runs)


def _upstream_failed(run: Run[Any]) -> UpstreamFailed:
    """What whoever awaits a run gets that was skipped for its upstreams."""
    assert run.edges is not None
    wrong = [one for one in run.edges.upstreams if failed(one.status, one.reason)]
    named = ", ".join(f"{one.task} ({one.status}, run {one.id})" for one in wrong[:3])
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    cause = wrong[0].error if wrong else None
    if cause is None and wrong and wrong[0].status is RunStatus.CANCELLED:
        message = f"run {wrong[0].id} of {wrong[0].task!r} was cancelled: {wrong[0].reason}"
        cause = RunCancelled(message, run_id=wrong[0].id, reason=wrong[0].reason)
    message = f"run {run.id} of {run.task!r} never ran, for it needs {named}{more}"
    return UpstreamFailed(message, run_id=run.id, upstreams=ids_of(wrong), cause=cause)
