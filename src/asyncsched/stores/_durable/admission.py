"""Which of those that wait for a key may start: the rules of ``limits``, on values, for every store that keeps rows."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable

from asyncsched.limits import Rate
from asyncsched.run import Terms

# Flags of a run: it has one of the places of its key; a start has been promised to it by the rate.
PLACE, PROMISE = 1, 2


class Starts:
    """What is known of the starts under one key: as many of the latest as its rates look back at.

    known: whether anything is kept of them. wake_us: when those that wait for the rate are to be looked at again.
    """

    def __init__(self) -> None:
        self.known = False
        self.count = self.period_us = 0
        self.wake_us: int | None = None
        self.starts: deque[int] = deque(maxlen=0)

    def know(self, starts: Iterable[int], count: int, period_us: int, wake_us: int | None) -> None:
        """Know what is kept."""
        self.known = True
        self.count, self.period_us, self.wake_us = count, period_us, wake_us
        self.starts = deque(starts, count)

    @property
    def text(self) -> str:
        """The instants as JSON."""
        return json.dumps(list(self.starts))

    @property
    def last_us(self) -> int | None:
        """The latest of them; ``None`` if there is none."""
        return self.starts[-1] if self.starts else None

    def next_us(self, rate: Rate, now_us: int, promised: int) -> int | None:
        """When one more may start; ``None``: not before one that was promised a start has had it."""
        if self.count < rate.count:
            self.count = rate.count
            self.starts = deque(self.starts, rate.count)
        self.period_us = max(self.period_us, rate.period_us)
        return rate.next_us(self.starts, now_us, promised)

    def add_start(self, rate: Rate, now_us: int) -> None:
        """Count the start of a run that was ready by its rate."""
        self.next_us(rate, now_us, 0)  # it looks back as far as the rate does
        self.starts.append(now_us)


class Admission:
    """Lets those that wait for one key pass, one after the other, until the first that must go on waiting.

    places: how many have a place under it. promised: to how many a start is promised.
    """

    def __init__(self, places: int, promised: int, now_us: int) -> None:
        self._places = places
        self._promised = promised
        self._now_us = now_us

    def full(self, terms: Terms, holds: int) -> bool:
        """Whether a run with these flags has to wait for a place."""
        return terms.limit is not None and not holds & PLACE and self._places >= terms.limit

    def early(self, rate: Rate, starts: Starts) -> bool:
        """Whether one more has to wait for the rate; ``starts.wake_us`` is then until when."""
        next_us = starts.next_us(rate, self._now_us, self._promised)
        early = next_us is None or next_us > self._now_us
        starts.wake_us = next_us if early else None
        return early

    def admit(self, terms: Terms, holds: int) -> int:
        """Let a run pass that has neither to wait for; the flags that it has from then on."""
        self._places += terms.limit is not None and not holds & PLACE
        self._promised += terms.rate is not None
        return holds | (PLACE if terms.limit is not None else 0) | (PROMISE if terms.rate is not None else 0)
