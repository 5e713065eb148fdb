"""When to wake an event loop for what other threads have done."""

from __future__ import annotations

FETCH_S = 0.001
"""So often outcomes are fetched at the latest once they come thick and fast: loops sleep in whole milliseconds."""

# Below this rate a fetch would find one or two: a wake for each costs no more.
_THICK_PER_S = 2_000


class Pace:
    """Whether outcomes are fetched every ``FETCH_S``, or wake the loop.

    They are fetched when they come thick and fast, unless fewer come so: then somebody waits for an outcome before
    he asks for the next call, and to let it lie slows him down. After each trial that fails the next one comes
    twice as late.
    """

    _WAKES = 64
    """Looks after which to decide whether to fetch."""
    _TRIAL_S = 0.02
    """Twenty fetches, after which to decide whether to go on: fewer come by chance too often."""
    _KEPT = 0.85
    """Of the outcomes that came before, so many must still come: more than by chance, less than 1 ms more costs."""
    _LONGEST_REST = 256
    """Times ``_WAKES``: to one who makes one call of 0.1 ms after the other, trials cost 20 ms in 1.6 s."""

    def __init__(self, now_s: float) -> None:
        self.fetching = False
        self._since_s = now_s
        self._came = self._looks = 0
        self._rest = 0
        self._next_rest = 1
        self._least_per_s = 0.0

    def look(self, now_s: float, came: int) -> None:
        """So many outcomes are there now."""
        self._came += came
        self._looks += 1
        passed_s = now_s - self._since_s
        if passed_s < self._TRIAL_S if self.fetching else self._looks < self._WAKES:
            return
        per_s = self._came / max(passed_s, 1e-6)
        self._since_s = now_s
        self._came = self._looks = 0
        if self.fetching:
            self._judge(per_s)
        elif per_s < _THICK_PER_S:
            self._rest, self._next_rest = 0, 1
        elif self._rest:
            self._rest -= 1
        else:
            self.fetching = True
            self._least_per_s = self._KEPT * per_s

    def _judge(self, per_s: float) -> None:
        if per_s >= self._least_per_s:
            self._next_rest = 1
        else:
            self.fetching = False
            self._rest = self._next_rest
            self._next_rest = min(2 * self._next_rest, self._LONGEST_REST)
