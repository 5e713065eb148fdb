"""The chore of looking again: what a node that died was about to do is found by the others, a few seconds later."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from asyncsched._engine.living import Reminder
from asyncsched._engine.timer import Timer
from asyncsched.clock import SECOND_US
from asyncsched.stores import Store

_PERIOD_US = 5 * SECOND_US
# Nodes that have started together do not all do it at once.
_SPREAD = 0.2


class Sweep:
    """Calls ``look`` at once and then every 5 s, from ``begin`` to ``end``; at a store of one node only at once."""

    def __init__(
        self, store: Store, timer: Timer, now_us: Callable[[], int], random: Random, look: Callable[[], None]
    ) -> None:
        self._shared = store.shared
        self._timer = timer
        self._now_us = now_us
        self._random = random
        self._look = look
        self._reminder = Reminder(self.begin)

    def begin(self) -> None:
        """Look, and see to it that it is looked again."""
        self._look()
        if self._shared:
            spread = 1 + _SPREAD * (2 * self._random.random() - 1)
            self._timer.set(self._reminder, self._now_us() + int(_PERIOD_US * spread))

    def end(self) -> None:
        """Look no more."""
        self._timer.drop(self._reminder)
