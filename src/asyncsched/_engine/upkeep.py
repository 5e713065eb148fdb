"""The chore of forgetting: ended runs that are past their keeping go, a few at a time, each time that it is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from asyncsched._engine.bus import warn
from asyncsched._engine.living import Living, Reminder
from asyncsched._engine.timer import Timer
from asyncsched.clock import SECOND_US
from asyncsched.stores import Store

# A tenth of what is kept longer than it should be is seen by nobody; and more often than once a second serves nobody.
_PART, _SHORTEST_US, _LONGEST_US = 10, SECOND_US, 3_600 * SECOND_US
# Between two batches, so that others have their turn with the store.
_BREATH_US = SECOND_US // 10
# Nodes that have started together do not all do it at once.
_SPREAD = 0.2


class Upkeep:
    """Asks the store to forget, from ``begin`` to ``end``; nothing as long as no task says how long it keeps its runs.

    keep_us: for how long ended runs of tasks are kept that do not say so themselves; ``None``: without end.
    """

    def __init__(
        self,
        living: Living,
        store: Store,
        timer: Timer,
        now_us: Callable[[], int],
        random: Random,
        keep_us: int | None,
    ) -> None:
        self._living = living
        self._store = store
        self._timer = timer
        self._now_us = now_us
        self._random = random
        self._keep_us = keep_us
        self._reminder = Reminder(self._start)
        self._under_way: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    def begin(self) -> None:
        """See to it from now on, if there is anything to see to. To be called again when tasks have come."""
        period_us = self._period_us()
        if period_us is not None and self._under_way is None and not self._reminder.entry:
            self._wait(period_us)

    def end(self) -> None:
        """Leave it to others."""
        self._timer.drop(self._reminder)
        if self._under_way is not None:
            self._under_way.cancel()

    def _ages(self) -> dict[str, int | None]:
        policies = ((armed.task.id, armed.policy) for armed in self._living.tasks.values())
        return {task: policy.keep_us for task, policy in policies if policy.keep is not None}

    def _period_us(self) -> int | None:
        given = [age for age in (*self._ages().values(), self._keep_us) if age is not None]
        return min(_LONGEST_US, max(_SHORTEST_US, min(given) // _PART)) if given else None

    def _wait(self, us: int) -> None:
        spread = 1 + _SPREAD * (2 * self._random.random() - 1)
        self._timer.set(self._reminder, self._now_us() + int(us * spread))

    def _start(self) -> None:
        self._under_way = self._loop.create_task(self._prune(), name="asyncsched upkeep")

    async def _prune(self) -> None:
        more = False
        try:
            more = (await self._store.prune(self._ages(), self._keep_us)).more
        except Exception as error:  # the store is asked again; until then it is larger than it should be
            warn("what is past its keeping could not be forgotten, it is tried again: %s", error)
        self._under_way = None
        period_us = self._period_us()
        if period_us is not None:
            self._wait(_BREATH_US if more else period_us)
