"""Who waits in memory, and for what: for his instant, for his key, for its rate; and who is ready."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush
from itertools import chain
from typing import Any

from asyncsched.deadlines import lapses_us
from asyncsched.limits import Rate
from asyncsched.renaming import renamed_key
from asyncsched.run import NO_TERMS, Run, RunStatus

_PENDING = RunStatus.PENDING
_PLAIN = NO_TERMS[:3]
# Below this many entries of runs that are gone a sweep costs more than it frees.
_SWEEP_FROM = 64

_Ready = list[tuple[int, int, int, Run[Any]]]


class _Key:
    """The runs of one limit key.

    holders: the ids of those that have a place: ready, running, or between two attempts.
    waiting: those that wait for a place or for the rate: first those that have run before, then those of greater
        priority, then first come, first served.
    promised: the ids of those that are ready by the rate and have not started.
    starts: when the latest were started, as many as the rate looks back.
    period_us: for how long a start matters.
    wake_us: when the first that waits may start by the rate, if nothing else happens before.
    fade_us: when the starts are looked at again, to be forgotten.
    """

    __slots__ = ("fade_us", "holders", "period_us", "promised", "starts", "waiting", "wake_us")

    def __init__(self) -> None:
        self.holders: set[str] = set()
        self.waiting: list[tuple[bool, int, int, Run[Any]]] = []
        self.promised: set[str] = set()
        self.starts: deque[int] = deque(maxlen=0)
        self.period_us = 0
        self.wake_us: int | None = None
        self.fade_us: int | None = None

    def next_us(self, rate: Rate, now_us: int) -> int | None:
        """When one more may start by the rate; ``None``: not before one that is ready has started."""
        assert self.starts.maxlen is not None
        if self.starts.maxlen < rate.count:
            self.starts = deque(self.starts, rate.count)
        self.period_us = max(self.period_us, rate.period_us)
        return rate.next_us(self.starts, now_us, len(self.promised))

    def idle(self, now_us: int) -> bool:
        """Whether nobody is in it, and no start of the past matters any more."""
        if self.holders or self.waiting or self.promised:
            return False
        return not self.starts or self.starts[-1] + self.period_us <= now_us


class WaitingRoom:
    """The PENDING runs of a store, from when they may wait for their instant to when they are claimed."""

    def __init__(self, bounded: BoundedRuns) -> None:
        self._bounded = bounded
        self._ready: dict[str, _Ready] = {}
        self._held: dict[str, _Ready] = {}
        """Ready runs whose group had no room, by the group."""
        self._delayed: list[tuple[int, int, Run[Any]]] = []
        self._keys: dict[str, _Key] = {}
        self._rated: list[tuple[int, str]] = []
        """Instants at which one of a key may start by its rate."""
        self._fading: list[tuple[int, str]] = []
        """Instants at which the starts of a key may be forgotten, one for each key that has any."""
        self.absent: set[str] = set()
        """The tasks whose runs nobody is to claim."""
        self._put_aside: dict[str, _Ready] = {}
        """Their runs that are ready, by the task."""
        self._seen_us = 0
        self._written = 0
        self._gone = 0
        self._sweep_at = _SWEEP_FROM

    def admit(self, run: Run[Any], now_us: int) -> None:
        """Let the run wait for its instant, then for its key; with both it is ready."""
        self._written += 1
        terms = run.terms
        plain = terms is NO_TERMS  # as those of most fires: what it holds is known without asking
        if not plain and terms.bounds is not None:
            self._bounded.add(run)
        if run.due_us > now_us:
            heappush(self._delayed, (run.due_us, self._written, run))
            return
        priority, queue, key = _PLAIN if plain else terms[:3]
        if key is not None:
            kept = self._keys.get(key)
            if kept is None:
                kept = self._keys[key] = _Key()
            heappush(kept.waiting, (run.started_us is None, -priority, self._written, run))
            self._pass_on(key, kept, now_us)
            return
        ready = self._ready.get(queue)
        if ready is None:
            ready = self._ready[queue] = []
        heappush(ready, (-priority, run.due_us, self._written, run))

    def move(self, run: Run[Any], due_us: int) -> None:
        """Let a run that waits for its instant wait for another one."""
        if due_us != run.due_us:
            run.due_us = due_us
            self._written += 1
            heappush(self._delayed, (due_us, self._written, run))
            self.left_behind()

    def release(self, run: Run[Any], now_us: int) -> None:
        """Let go of what a run that has ended held of its key, for the next of that key."""
        key = run.terms.limit_key
        kept = None if key is None else self._keys.get(key)
        if key is not None and kept is not None:
            kept.holders.discard(run.id)
            kept.promised.discard(run.id)
            self._pass_on(key, kept, now_us)

    def claim(
        self,
        node: str,
        limit: int,
        queues: Mapping[str, int] | None,
        groups: Mapping[str, int] | None,
        now_us: int,
    ) -> tuple[list[Run[Any]], int | None]:
        """Start up to ``limit`` of the runs that are ready, on ``node``; these, and when there will be more.

        That is now if there are more already; else when the next run that waits for its instant, or for a rate, will
        be ready.
        """
        while self._delayed and self._delayed[0][0] <= now_us:
            due_us, _written, run = heappop(self._delayed)
            if run.status is _PENDING and run.due_us == due_us:
                self.admit(run, now_us)
        if self._fading or self._rated:
            self._look_at_rates(now_us)
        self._seen_us = now_us
        left = None if queues is None else dict(queues)
        room = None if groups is None else self._let_in(groups)
        absent = self.absent
        claimed: list[Run[Any]] = []
        while (ready := self._foremost(left)) is not None and len(claimed) < limit:
            entry = heappop(ready)
            run = entry[3]
            if absent and run.task in absent:
                self._put_aside.setdefault(run.task, []).append(entry)
                continue
            if room is not None and (group := run.terms.group) in room:
                assert group is not None
                if room[group] <= 0:
                    heappush(self._held.setdefault(group, []), entry)
                    continue
                room[group] -= 1
            if left is not None:
                left[run.terms.queue] -= 1
            if run.terms is not NO_TERMS and run.terms.rate is not None:
                self._count(run, now_us)
            run.start(node, now_us)
            claimed.append(run)
        if ready is not None:
            return claimed, now_us
        return claimed, self._next_us() if self._delayed or self._rated else None

    def back(self, task: str) -> None:
        """Let the runs of the task be claimed again."""
        self.absent.discard(task)
        for entry in self._put_aside.pop(task, ()):
            if entry[3].status is _PENDING:
                heappush(self._ready.setdefault(entry[3].terms.queue, []), entry)

    def rename(self, before: str, task: str) -> None:
        """Let the keys of a task that had the id ``before`` be those of its id of today, and its runs be claimed."""
        self._keys = {renamed_key(key, before, task) or key: kept for key, kept in self._keys.items()}
        for line in (self._rated, self._fading):
            line[:] = [(at_us, renamed_key(key, before, task) or key) for at_us, key in line]
            heapify(line)
        self.back(before)

    def _let_in(self, groups: Mapping[str, int]) -> dict[str, int]:
        """Of the runs that were held for their group, let as many stand with the ready ones as there is room for."""
        for group, room in groups.items():
            held = self._held.get(group)
            while held and room > 0:
                entry = heappop(held)
                if entry[3].status is _PENDING:
                    heappush(self._ready.setdefault(entry[3].terms.queue, []), entry)
                    room -= 1
        return dict(groups)

    def _next_us(self) -> int | None:
        while self._delayed and not _waits(self._delayed[0]):
            heappop(self._delayed)
        next_us = self._delayed[0][0] if self._delayed else None
        while self._rated:
            at_us, key = self._rated[0]
            kept = self._keys.get(key)
            if kept is not None and kept.wake_us == at_us:
                return at_us if next_us is None else min(next_us, at_us)
            heappop(self._rated)
        return next_us

    def _foremost(self, left: Mapping[str, int] | None) -> _Ready | None:
        """The queue whose first run goes before those of all others that may be claimed from."""
        best = None
        if left is None and len(self._ready) == 1:  # as it is in most programs
            (best,) = self._ready.values()
            while best and best[0][3].status is not _PENDING:
                heappop(best)
            return best or None
        empty = None
        for queue, ready in self._ready.items():
            while ready and ready[0][3].status is not _PENDING:
                heappop(ready)
            if not ready:
                empty = queue
            elif (left is None or left.get(queue, 0) > 0) and (best is None or ready[0] < best[0]):
                best = ready
        if empty is not None:  # one at a time is as many as can come meanwhile
            del self._ready[empty]
        return best

    def _pass_on(self, key: str, kept: _Key, now_us: int) -> None:
        """Let those that wait for the key be ready, in their order, until the first that must go on waiting."""
        waiting = kept.waiting
        was_us, kept.wake_us = kept.wake_us, None
        while waiting:
            run = waiting[0][3]
            if run.status is _PENDING:
                if not self._has_room(kept, run, now_us):
                    if kept.wake_us is not None and kept.wake_us != was_us:
                        heappush(self._rated, (kept.wake_us, key))
                    return
                terms = run.terms
                self._written += 1
                ready = self._ready.setdefault(terms.queue, [])
                heappush(ready, (-terms.priority, run.due_us, self._written, run))
            heappop(waiting)
        if kept.idle(now_us):
            del self._keys[key]

    def _has_room(self, kept: _Key, run: Run[Any], now_us: int) -> bool:
        """Whether the run may be ready by its key, and then has its place there."""
        terms = run.terms
        bounded = terms.limit is not None and run.id not in kept.holders  # one that is tried again has kept its place
        if bounded and terms.limit is not None and len(kept.holders) >= terms.limit:
            return False
        if terms.rate is not None:
            next_us = kept.next_us(terms.rate, now_us)
            if next_us is None or next_us > now_us:
                kept.wake_us = next_us
                return False
            kept.promised.add(run.id)
        if bounded:
            kept.holders.add(run.id)
        return True

    def _count(self, run: Run[Any], now_us: int) -> None:
        """Count the start of a run that was ready by its rate."""
        key = run.terms.limit_key
        assert key is not None
        kept = self._keys[key]
        kept.promised.discard(run.id)
        kept.starts.append(now_us)
        if kept.fade_us is None:
            kept.fade_us = now_us + kept.period_us
            heappush(self._fading, (kept.fade_us, key))
        if kept.waiting:
            self._pass_on(key, kept, now_us)

    def _look_at_rates(self, now_us: int) -> None:
        """Let runs be ready whose rates allow it by now, and forget the keys of which nothing is left to know."""
        if now_us < self._seen_us:
            self._turn_back(now_us)
        while self._rated and self._rated[0][0] <= now_us:
            at_us, key = heappop(self._rated)
            kept = self._keys.get(key)
            if kept is not None and kept.wake_us == at_us:
                kept.wake_us = None
                self._pass_on(key, kept, now_us)
        while self._fading and self._fading[0][0] <= now_us:
            at_us, key = heappop(self._fading)
            kept = self._keys.get(key)
            if kept is None or kept.fade_us != at_us:
                continue
            kept.fade_us = None
            if kept.idle(now_us):
                del self._keys[key]
            elif kept.starts and kept.starts[-1] + kept.period_us > now_us:
                kept.fade_us = kept.starts[-1] + kept.period_us
                heappush(self._fading, (kept.fade_us, key))

    def _turn_back(self, now_us: int) -> None:
        """Let no start lie in the future of a clock that was set back: nobody is to wait for that."""
        self._rated, self._fading = [], []
        for key, kept in list(self._keys.items()):
            kept.starts = deque((min(at_us, now_us) for at_us in kept.starts), kept.starts.maxlen)
            kept.wake_us = kept.fade_us = None
            if kept.starts:
                kept.fade_us = now_us
                heappush(self._fading, (now_us, key))
            self._pass_on(key, kept, now_us)

    def set_back(self, by_us: int) -> None:
        """The clock was set back by so much: let nobody wait longer for his next attempt than he would have."""
        for place, (due_us, written, run) in enumerate(self._delayed):
            if run.started_us is None or not _waits(self._delayed[place]):
                continue  # what has not begun waits for an instant, not for a while
            run.due_us -= by_us
            if run.first_us is not None:
                run.first_us -= by_us
                self._bounded.add(run)
            self._delayed[place] = due_us - by_us, written, run
        heapify(self._delayed)

    def left_behind(self) -> None:
        """One more entry is that of a run that ended here, or moved. Once they are many, they are swept out."""
        self._gone += 1
        if self._gone < self._sweep_at:
            return
        self._gone = 0
        self._delayed = [entry for entry in self._delayed if _waits(entry)]
        lines: list[list[Any]] = [self._delayed]
        others: list[list[Any]] = [*self._ready.values(), *self._held.values()]
        for line in chain(others, (kept.waiting for kept in self._keys.values())):
            line[:] = [entry for entry in line if entry[-1].status is _PENDING]
            lines.append(line)
        for line in lines:
            heapify(line)
        waking = ((kept.wake_us, key) for key, kept in self._keys.items())
        self._rated = sorted((at_us, key) for at_us, key in waking if at_us is not None)
        self._sweep_at = max(_SWEEP_FROM, sum(map(len, lines)))


class BoundedRuns:
    """The waiting runs that may not wait for ever, in the order in which they will have waited too long."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, str, Run[Any]]] = []
        self._sweep_at = _SWEEP_FROM

    def add(self, run: Run[Any]) -> None:
        """Watch a run that begins to wait, or waits for something else from now on."""
        at_us = lapses_us(run)
        if at_us is None:
            return
        if len(self.waiting) >= self._sweep_at:
            self.waiting = [entry for entry in self.waiting if entry[2].status is _PENDING]
            heapify(self.waiting)
            self._sweep_at = max(_SWEEP_FROM, 2 * len(self.waiting))
        heappush(self.waiting, (at_us, run.id, run))

    def due(self, now_us: int) -> Iterator[Run[Any]]:
        """Take out the runs that may have waited too long; what turns out to wait longer is watched on."""
        while self.waiting and self.waiting[0][0] <= now_us:
            run = heappop(self.waiting)[2]
            if run.status is _PENDING:
                yield run
                if run.status is _PENDING:
                    self.add(run)

    def next_us(self) -> int | None:
        """When the next one will have waited too long."""
        while self.waiting and self.waiting[0][2].status is not _PENDING:
            heappop(self.waiting)
        return self.waiting[0][0] if self.waiting else None


def _waits(entry: tuple[int, int, Run[Any]]) -> bool:
    """Whether a delayed entry is that of a run as it stands."""
    due_us, _written, run = entry
    return run.status is _PENDING and run.due_us == due_us
