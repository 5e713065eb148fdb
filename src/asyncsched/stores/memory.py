"""Tasks, runs and history in this process: dicts and heaps. Objects stay themselves, nothing is copied."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from heapq import heappop, heappush, nlargest
from itertools import chain
from typing import Any

from asyncsched.clock import Clock, SystemClock
from asyncsched.retry import NO_RETRY
from asyncsched.run import FINAL, HandedBack, Run, RunStatus, Settled, settle
from asyncsched.stores._base import Ack, Amendment, Cycled, Declared, FireOrder, Reconciled, RunFilter, Standing, Store

# Tasks that were never declared have none of their own.
_HISTORY_LIMIT = 100


class _Kept:
    """A task as it stands: what ``Standing`` tells, in a form that changes with every fire."""

    __slots__ = (
        "declaration",
        "history_limit",
        "next_us",
        "paused_until_us",
        "skip_us",
        "task",
        "trigger",
        "version",
    )

    def __init__(self, declared: Declared, version: int, paused_until_us: int | None) -> None:
        self.task = declared.task
        self.declaration = declared.declaration
        self.trigger = declared.trigger
        self.history_limit = declared.history_limit
        self.next_us = declared.next_us
        self.version = version
        self.paused_until_us = paused_until_us
        self.skip_us: int | None = None

    def standing(self) -> Standing:
        return Standing(
            self.task,
            self.declaration,
            self.trigger,
            self.next_us,
            self.version,
            self.history_limit,
            self.paused_until_us,
            self.skip_us,
        )


class _History(list[Run[Any]]):
    """The ended runs of a task, oldest first, at most ``limit``.

    A list: at this length it moves as fast as a deque, which takes 600 bytes for its first run.
    """

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        self.limit = limit


class MemoryStore(Store):
    """Keeps everything until the process ends. Leaving a scheduler and entering it again keeps it too."""

    answers_at_once = True

    def __init__(self) -> None:
        self._node = ""
        self._now_us: Callable[[], int] = SystemClock().now_us
        self._tasks: dict[str, _Kept] = {}
        self._live: dict[str, Run[Any]] = {}
        self._ready: dict[str, list[tuple[int, int, int, Run[Any]]]] = {}
        self._delayed: list[tuple[int, int, Run[Any]]] = []
        self._holders: dict[str, set[str]] = {}
        self._queued: dict[str, deque[Run[Any]]] = {}
        self._ended: dict[str, Run[Any]] = {}
        self._history: dict[str, _History] = {}
        self._written = 0
        self._edits = 0

    def __str__(self) -> str:
        return "memory"

    async def open(self, node: str, clock: Clock) -> None:
        self._node, self._now_us = node, clock.now_us
        now_us = self._now_us()
        for run in list(self._live.values()):
            if run.status is RunStatus.RUNNING:
                run.apply(settle(HandedBack(), run.attempt, NO_RETRY, now_us))
                self._admit(run, now_us)

    async def close(self) -> None:
        """Nothing is held: what is stored stays."""

    async def now_us(self) -> int:
        return self._now_us()

    async def reconcile(self, declared: Sequence[Declared]) -> Reconciled:
        found = Reconciled([], [], [])
        for one in declared:
            known = self._tasks.get(one.task)
            if known is None or known.declaration != one.declaration:
                (found.added if known is None else found.changed).append(one.task)
                known = self._put(one)
            found.standings.append(known.standing())
        return found

    async def put_task(self, declared: Declared) -> Standing:
        return self._put(declared).standing()

    def _put(self, declared: Declared) -> _Kept:
        # One count for all tasks: a task that was dropped and comes back never has a version that it had before.
        self._edits += 1
        known = self._tasks.get(declared.task)
        put = self._tasks[declared.task] = _Kept(
            declared, self._edits, None if known is None else known.paused_until_us
        )
        kept = self._history.get(declared.task)
        if kept is not None:
            kept.limit = declared.history_limit
            for _ in range(len(kept) - declared.history_limit):
                del self._ended[kept.pop(0).id]
        return put

    async def amend(self, task: str, version: int, amendment: Amendment) -> Standing | None:
        known = self._tasks.get(task)
        if known is not None and known.version == version:
            self._edits += 1
            known.version = self._edits
            known.paused_until_us, known.skip_us = amendment
        return None if known is None else known.standing()

    async def drop_task(self, task: str) -> list[Run[Any]]:
        self._tasks.pop(task, None)
        waiting = [run.id for run in self._live.values() if run.task == task]
        return await self.cancel(waiting, "its task was removed") if waiting else []

    async def standings(self, tasks: Collection[str]) -> list[Standing]:
        return [self._tasks[task].standing() for task in tasks if task in self._tasks]

    async def fire(self, orders: Sequence[FireOrder]) -> set[str]:
        won = set()
        now_us = self._now_us()
        for task, version, was_us, next_us, runs, skips in orders:
            known = self._tasks.get(task)
            if known is None or known.version != version or known.next_us != was_us:
                continue
            if was_us is not None and was_us > now_us:
                continue
            known.next_us = next_us
            for run in runs:
                self._live[run.id] = run
                self._admit(run, now_us)
            for skip in skips:
                self._keep(skip)
            won.add(task)
        return won

    async def submit(self, runs: Sequence[Run[Any]]) -> None:
        now_us = self._now_us()
        for run in runs:
            self._live[run.id] = run
            self._admit(run, now_us)

    async def cycle(self, acks: Sequence[Ack], limit: int, queues: Mapping[str, int] | None = None) -> Cycled:
        now_us = self._now_us()
        accepted = []
        for ack in acks:
            run, token, settled = ack
            if run.token != token or run.id not in self._live:
                continue
            accepted.append(ack)
            run.apply(settled)
            if run.status in FINAL:
                self._end(run)
            else:
                self._admit(run, now_us)
        while self._delayed and self._delayed[0][0] <= now_us:
            run = heappop(self._delayed)[2]
            if run.status is RunStatus.PENDING:
                self._admit(run, now_us)
        left = None if queues is None else dict(queues)
        claimed: list[Run[Any]] = []
        while (ready := self._foremost(left)) is not None and len(claimed) < limit:
            run = heappop(ready)[3]
            if left is not None:
                left[run.queue] -= 1
            run.start(self._node, now_us)
            claimed.append(run)
        return Cycled(accepted, claimed, self._next_due_us(now_us, more=ready is not None))

    def _foremost(self, left: Mapping[str, int] | None) -> list[tuple[int, int, int, Run[Any]]] | None:
        """The queue whose first run goes before those of all others that may be claimed from."""
        best = None
        if left is None and len(self._ready) == 1:  # as it is in most programs
            (best,) = self._ready.values()
            while best and best[0][3].status is not RunStatus.PENDING:
                heappop(best)
            return best or None
        for queue, ready in self._ready.items():
            while ready and ready[0][3].status is not RunStatus.PENDING:
                heappop(ready)
            if ready and (left is None or left.get(queue, 0) > 0) and (best is None or ready[0] < best[0]):
                best = ready
        return best

    def _next_due_us(self, now_us: int, *, more: bool) -> int | None:
        if more:
            return now_us
        while self._delayed and self._delayed[0][2].status is not RunStatus.PENDING:
            heappop(self._delayed)
        return self._delayed[0][0] if self._delayed else None

    async def cancel(self, run_ids: Collection[str], reason: str) -> list[Run[Any]]:
        now_us = self._now_us()
        named = (self._live.get(run_id) for run_id in run_ids)
        waiting = [run for run in named if run is not None and run.status is RunStatus.PENDING]
        for run in waiting:
            run.apply(Settled(RunStatus.CANCELLED, now_us, reason=reason))
            self._end(run)
        return waiting

    async def runs(self, wanted: RunFilter) -> list[Run[Any]]:
        kept = self._history.values() if wanted.task is None else [self._history.get(wanted.task, ())]
        fitting = (
            run
            for run in chain(self._live.values(), *kept)
            if wanted.task in (None, run.task) and (wanted.status is None or run.status in wanted.status)
        )
        return nlargest(wanted.limit, fitting, key=_age)

    async def run(self, run_id: str) -> Run[Any] | None:
        return self._live.get(run_id) or self._ended.get(run_id)

    def recent(self, task: str) -> Sequence[Run[Any]]:
        return list(reversed(self._history.get(task, ())))

    def _admit(self, run: Run[Any], now_us: int) -> None:
        """Let the run wait for its instant, then for its key; with both it is ready."""
        self._written += 1
        if run.due_us > now_us:
            heappush(self._delayed, (run.due_us, self._written, run))
            return
        priority, queue, key, limit = run.terms
        if key is not None:
            holders = self._holders.setdefault(key, set())
            # A run that is tried again has kept its place.
            if run.id not in holders and len(holders) >= limit:
                self._queued.setdefault(key, deque()).append(run)
                return
            holders.add(run.id)
        ready = self._ready.get(queue)
        if ready is None:
            ready = self._ready[queue] = []
        heappush(ready, (-priority, run.due_us, self._written, run))

    def _end(self, run: Run[Any]) -> None:
        """Move a run that has ended to the history, and let the next of its key be ready."""
        del self._live[run.id]
        self._keep(run)
        key = run.terms.limit_key
        if key is not None and run.id in self._holders.get(key, ()):
            self._pass_on(key, run.id)

    def _pass_on(self, key: str, held_by: str) -> None:
        """Let the next run that waits for the key have the place of the one that held it."""
        holders, waiting = self._holders[key], self._queued.get(key)
        holders.discard(held_by)
        while waiting:
            following = waiting.popleft()
            if following.status is RunStatus.PENDING:
                holders.add(following.id)
                self._admit(following, self._now_us())
                break
        if not waiting:
            self._queued.pop(key, None)
        if not holders:
            del self._holders[key]

    def _keep(self, run: Run[Any]) -> None:
        kept = self._history.get(run.task)
        if kept is None:
            known = self._tasks.get(run.task)
            kept = _History(_HISTORY_LIMIT if known is None else known.history_limit)
            self._history[run.task] = kept
        if kept.limit:
            if len(kept) == kept.limit:
                del self._ended[kept.pop(0).id]
            kept.append(run)
            self._ended[run.id] = run


def _age(run: Run[Any]) -> tuple[int, int, str]:
    # Fires that were missed together are recorded together; among them the later fire is the newer one.
    return run.created_us, run.due_us if run.scheduled_us is None else run.scheduled_us, run.id
