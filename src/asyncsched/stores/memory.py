"""Tasks, runs and history in this process: dicts and heaps. Objects stay themselves, nothing is copied."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from heapq import nlargest
from itertools import chain
from typing import Any

from asyncsched.clock import Clock, SystemClock
from asyncsched.deadlines import lapse
from asyncsched.retry import NO_RETRY
from asyncsched.run import FINAL, NO_TERMS, HandedBack, Run, RunStatus, Settled, settle
from asyncsched.stores._base import (
    Ack,
    Amendment,
    Cycled,
    Declared,
    FireOrder,
    Reconciled,
    RunFilter,
    Standing,
    Store,
)
from asyncsched.stores._blocked import BlockedRuns, MemoryGraphs
from asyncsched.stores._keeping import IdempotencyKeys, MemoryUpkeep, RemovedTasks
from asyncsched.stores._only_node import OnlyNode
from asyncsched.stores._pieces import LAST, Pieces
from asyncsched.stores._served import KeptTask, MemoryRoster
from asyncsched.stores._standing import StandingRuns
from asyncsched.stores._waiting import BoundedRuns, WaitingRoom

# Tasks that were never declared have none of their own.
_HISTORY_LIMIT = 100


class _History(list[Run[Any]]):
    """The ended runs of a task, oldest first, at most ``limit``.

    A list: at this length it moves as fast as a deque, which takes 600 bytes for its first run.
    """

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        self.limit = limit


class MemoryStore(MemoryGraphs, MemoryUpkeep, MemoryRoster, OnlyNode, Store):
    """Keeps everything until the process ends. Leaving a scheduler and entering it again keeps it too.

    Of the tasks that were removed it keeps the newest 20,000 ended runs, or some fewer, of all together: so a program
    that adds and removes tasks all day does not grow.
    """

    answers_at_once = True

    def __init__(self) -> None:
        super().__init__()
        self._node = ""
        self._now_us: Callable[[], int] = SystemClock().now_us
        self._tasks: dict[str, KeptTask] = {}
        self._left_us: list[int | None] = []
        self._live: dict[str, Run[Any]] = {}
        self._bounded = BoundedRuns()
        self._room = WaitingRoom(self._bounded)
        self._admit = self._room.admit
        self._standing = StandingRuns()
        self._keys = IdempotencyKeys()
        self._removed = RemovedTasks()
        self._blocked = BlockedRuns()
        self._ended: Pieces[Run[Any]] = Pieces()
        self._history: Pieces[_History] = Pieces()
        self._edits = 0

    def __str__(self) -> str:
        return "memory"

    async def open(self, node: str, clock: Clock) -> None:
        self._node, self._now_us = node, clock.now_us
        now_us = self._now_us()
        self._end_era(now_us)
        self._left_us.append(None)
        self._enter()
        for run in list(self._live.values()):
            if run.status is RunStatus.RUNNING:
                run.apply(settle(HandedBack(), run.attempt, NO_RETRY, now_us))
                self._admit(run, now_us)

    async def close(self) -> None:
        self._end_era(self._now_us())
        self._leave()

    def _end_era(self, now_us: int) -> None:
        """Let nobody serve what was declared, from now on, if somebody does."""
        if self._left_us and self._left_us[-1] is None:
            self._left_us[-1] = now_us

    async def now_us(self) -> int:
        return self._now_us()

    async def reconcile(self, declared: Sequence[Declared]) -> Reconciled:
        renamed: list[tuple[str, str]] = []
        found = Reconciled([], [], [], renamed)
        for one in declared:
            if one.aliases:
                renamed += self._take_over(one)
            known = self._tasks.get(one.task)
            if known is None or known.declaration != one.declaration:
                if known is None or known.overrides.trigger is None:
                    (found.added if known is None else found.changed).append(one.task)
                known = self._put(one)
            self._declare(one)
            found.standings.append(known.standing(one.task))
        return found

    async def put_task(self, declared: Declared) -> Standing:
        self._put(declared)
        self._declare(declared)
        return self._tasks[declared.task].standing(declared.task)

    def _put(self, declared: Declared) -> KeptTask:
        # One count for all tasks: a task that was dropped and comes back never has a version that it had before.
        self._edits += 1
        known = self._tasks.get(declared.task)
        put = self._tasks[declared.task] = KeptTask(declared, self._edits, len(self._left_us) - 1, known)
        if known is None:
            self._removed.back(declared.task)
        kept = self._history[hash(declared.task) & LAST].get(declared.task)
        if kept is not None:
            kept.limit = declared.history_limit
            for _ in range(len(kept) - declared.history_limit):
                self._forget(kept.pop(0))
        return put

    async def amend(self, task: str, version: int, amendment: Amendment) -> Standing | None:
        known = self._tasks.get(task)
        if known is not None and known.version == version:
            self._edits += 1
            known.version = self._edits
            known.amend(amendment)
        return None if known is None else known.standing(task)

    async def drop_task(self, task: str) -> list[Run[Any]]:
        self._tasks.pop(task, None)
        self._blocked.forget(task)
        live = [run.id for run in self._live.values() if run.task == task]
        cancelled = await self.cancel(live, "its task was removed")
        kept = self._history.get(task)
        if kept is not None:
            self._removed.add(task, kept, len(live) - len(cancelled))
            for gone, count in self._removed.surplus():
                self._drop_oldest(gone, count)
        return cancelled

    async def standings(self, tasks: Collection[str]) -> list[Standing]:
        return [self._tasks[task].standing(task) for task in tasks if task in self._tasks]

    async def fire(self, orders: Sequence[FireOrder]) -> set[str]:
        won = set()
        now_us = self._now_us()
        for task, version, was_us, next_us, runs, skips, counted, _met in orders:
            known = self._tasks.get(task)
            if known is None or known.version != version or known.next_us != was_us:
                continue
            if was_us is not None and was_us > now_us:
                continue
            known.next_us = next_us
            if counted:
                known.made += counted
            unwritten = None
            for run in runs:
                if run.terms.once is not None and not self._standing.fired(run, now_us):
                    self._keep(run)
                    unwritten = run.id
                    continue
                if unwritten is not None and run.flow == unwritten:
                    continue
                self._live[run.id] = run
                if run.edges is not None and run.edges.blocked:
                    self._blocked.hold(run)
                    continue
                self._admit(run, now_us)
            for skip in skips:
                self._keep(skip)
            won.add(task)
        return won

    async def submit(self, runs: Sequence[Run[Any]]) -> list[Run[Any]]:
        now_us = self._now_us()
        standing: list[Run[Any]] = []
        merged: dict[str, Run[Any]] = {}
        fired = self._fired(runs[0].task) if runs and runs[0].terms.backfill else None
        for run in runs:
            stands = merged.get(run.flow) if merged else None
            if stands is None and fired is not None and run.scheduled_us is not None:
                stands = fired.setdefault((run.task, run.scheduled_us), run)
            if stands is None or stands is run:
                stands = self._submit(run, now_us)
            if stands is not run:
                merged[run.id] = stands
            standing.append(stands)
        return standing

    def _fired(self, task: str) -> dict[tuple[str, int | None], Run[Any]]:
        """The runs of the fires of a task, by task and instant."""
        kept = chain(self._live.values(), self._history.get(task) or ())
        return {(run.task, run.scheduled_us): run for run in kept if run.status is not RunStatus.SKIPPED}

    def _submit(self, run: Run[Any], now_us: int) -> Run[Any]:
        given = run.terms.idempotency
        if given is None:
            return self._merge(run, now_us)
        stands = self._keys.run(given.key, now_us)
        if stands is None:
            stands = self._merge(run, now_us)
            self._keys.keep(given, stands, now_us)
        return stands

    def _merge(self, run: Run[Any], now_us: int) -> Run[Any]:
        if run.terms.once is not None:
            standing, moved = self._standing.submitted(run, now_us)
            if moved:
                self._room.move(standing, run.due_us)
            if standing is not run:
                return standing
        self._live[run.id] = run
        if run.edges is not None and run.edges.blocked:
            self._blocked.hold(run)
        else:
            self._admit(run, now_us)
        return run

    async def cycle(
        self,
        acks: Sequence[Ack],
        limit: int,
        queues: Mapping[str, int] | None = None,
        groups: Mapping[str, int] | None = None,
    ) -> Cycled:
        now_us = self._now_us()
        accepted = []
        for ack in acks:
            named, token, settled = ack
            run = self._live.get(named.id)
            if run is None or run.token != token:
                continue
            accepted.append(ack)
            run.apply(settled)
            if run.status in FINAL:
                self._end(run, now_us)
            else:
                self._admit(run, now_us)
        bounded = self._bounded
        lapsed = self._lapse(now_us) if bounded.waiting else ()
        claimed, next_us = self._room.claim(self._node, limit, queues, groups, now_us)
        return Cycled(accepted, claimed, next_us, lapsed, bounded.next_us() if bounded.waiting else None)

    def _lapse(self, now_us: int) -> list[Run[Any]]:
        """End the runs that have waited too long."""
        lapsed = []
        for run in self._bounded.due(now_us):
            settled = lapse(run, now_us)
            if settled is not None:
                run.apply(settled)
                self._end(run, now_us)
                self._room.left_behind()
                lapsed.append(run)
        return lapsed

    async def cancel(self, run_ids: Collection[str], reason: str) -> list[Run[Any]]:
        now_us = self._now_us()
        named = (self._live.get(run_id) for run_id in run_ids)
        waiting = [run for run in named if run is not None and run.status is RunStatus.PENDING]
        for run in waiting:
            run.apply(Settled(RunStatus.CANCELLED, now_us, reason=reason))
            self._end(run, now_us)
            self._room.left_behind()
        return waiting

    async def runs(self, wanted: RunFilter) -> list[Run[Any]]:
        kept = self._history.values() if wanted.task is None else [self._history.get(wanted.task) or ()]
        return nlargest(wanted.limit, filter(wanted.fits, chain(self._live.values(), *kept)), key=_age)

    async def run(self, run_id: str) -> Run[Any] | None:
        return self._live.get(run_id) or self._ended.get(run_id)

    def recent(self, task: str) -> Sequence[Run[Any]]:
        kept = self._history[hash(task) & LAST].get(task)
        return kept[::-1] if kept else []

    def _end(self, run: Run[Any], now_us: int) -> None:
        """Move a run that has ended to the history, and let the next of its key be ready."""
        del self._live[run.id]
        self._keep(run)
        if run.edges is not None:
            self._blocked.ended(run)
        terms = run.terms
        if terms is NO_TERMS:
            return
        if terms.limit_key is not None:
            self._room.release(run, now_us)
        if terms.once is not None:
            self._standing.ended(run, now_us)

    def _keep(self, run: Run[Any]) -> None:
        histories = self._history[hash(run.task) & LAST]
        kept = histories.get(run.task)
        if kept is None:
            known = self._tasks.get(run.task)
            kept = _History(_HISTORY_LIMIT if known is None else known.history_limit)
            histories[run.task] = kept
            if known is None:
                self._removed.add(run.task, kept, 1)
        if kept.limit:
            if len(kept) == kept.limit:
                self._forget(kept.pop(0))
            kept.append(run)
            self._ended[hash(run.id) & LAST][run.id] = run

    def _forget(self, run: Run[Any]) -> None:
        del self._ended[hash(run.id) & LAST][run.id]

    def _rename_history(self, before: str, task: str) -> bool:
        kept = self._history[hash(before) & LAST].pop(before, None)
        if kept is None:
            return False
        self._removed.back(before)
        histories = self._history[hash(task) & LAST]
        for run in kept:
            run.task = task
        later = histories.get(task)
        if later is None:
            histories[task] = kept
        else:
            surplus = max(0, len(kept) + len(later) - later.limit)
            for run in kept[:surplus]:
                self._forget(run)
            later[:0] = kept[surplus:]
        return True

    def _histories(self, piece: int) -> Mapping[str, Sequence[Run[Any]]]:
        return self._history[piece]

    def _drop_oldest(self, task: str, count: int) -> None:
        histories = self._history[hash(task) & LAST]
        kept = histories[task]
        for run in kept[:count]:
            self._forget(run)
        del kept[:count]
        if not kept and task not in self._tasks:
            del histories[task]


def _age(run: Run[Any]) -> tuple[int, int, str]:
    # Fires that were missed together are recorded together; among them the later fire is the newer one.
    return run.created_us, run.due_us if run.scheduled_us is None else run.scheduled_us, run.id
