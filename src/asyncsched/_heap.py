"""What must happen next: one binary heap of wakeups.

Removal is lazy: an entry carries the number under which it was pushed, a wakeup the number of its latest
entry, and entries whose numbers differ are passed over. They are swept out when they outnumber the live ones,
so memory stays bounded however often wakeups move.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

# Below this many stale entries a sweep costs more than it frees.
_SWEEP_FROM = 64


class Wakeup:
    """Something that is due at an instant. It stands in at most one heap, at most once."""

    __slots__ = ("due_us", "entry")

    def __init__(self) -> None:
        self.due_us: int | None = None
        self.entry = 0

    def ring(self) -> None:
        """Called when the wakeup is due, after it has left the heap."""
        raise NotImplementedError


class Wakeups:
    """Wakeups ordered by instant, then rank (smaller first), then by when they were set: first in, first out."""

    __slots__ = ("_heap", "_live", "_pushed")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int, Wakeup]] = []
        self._pushed = 0
        self._live = 0

    def __len__(self) -> int:
        return self._live

    def set(self, wakeup: Wakeup, due_us: int, rank: int = 0) -> None:
        """Let ``wakeup`` be due at ``due_us`` (microseconds since the epoch) and at no other instant."""
        if not wakeup.entry:
            self._live += 1
        self._pushed += 1
        wakeup.due_us = due_us
        wakeup.entry = self._pushed
        heappush(self._heap, (due_us, rank, self._pushed, wakeup))
        if len(self._heap) - self._live > max(self._live, _SWEEP_FROM):
            self._heap = [entry for entry in self._heap if entry[2] == entry[3].entry]
            heapify(self._heap)

    def drop(self, wakeup: Wakeup) -> None:
        """Let ``wakeup`` be due never."""
        if wakeup.entry:
            self._live -= 1
            wakeup.entry = 0
            wakeup.due_us = None

    def head_us(self) -> int | None:
        """The earliest instant at which something is due; ``None`` if nothing is."""
        heap = self._heap
        while heap:
            due_us, _rank, pushed, wakeup = heap[0]
            if pushed == wakeup.entry:
                return due_us
            heappop(heap)
        return None

    def pop_due(self, now_us: int, limit: int) -> list[Wakeup]:
        """Take out up to ``limit`` wakeups that are due at ``now_us``, in order."""
        heap = self._heap
        taken: list[Wakeup] = []
        while heap and heap[0][0] <= now_us and len(taken) < limit:
            _due_us, _rank, pushed, wakeup = heappop(heap)
            if pushed == wakeup.entry:
                wakeup.entry = 0
                taken.append(wakeup)
        self._live -= len(taken)
        return taken
