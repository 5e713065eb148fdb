"""When the engine takes its turns: one after the other, each in a step of the loop of its own.

With a store that answers at once a turn is taken on the spot; with any other it is an asyncio task.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

from asyncsched._engine.bus import complain
from asyncsched._engine.outage import Outage
from asyncsched._engine.timer import Timer
from asyncsched.clock import SECOND_US, Clock
from asyncsched.errors import StoreError
from asyncsched.stores import Store

# After a failed turn the next one comes this much later, after each one more twice as late, up to a second: what
# was due meanwhile is then late, but not yet missed.
_FIRST_REST_US, _LONGEST_REST_US = 25_000, SECOND_US
# What ends the program, or the task that a turn is part of: it is not the turn's to deal with.
_ENDINGS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)


class Turns:
    """Takes turns when it is called and when the alarm rings, from ``begin`` to ``end``; two never overlap.

    turn: what a turn is. It may set ``again`` for another one right after it.
    rested: called after a turn that nothing follows at once.
    failed: called when no turn can be taken any more, with the reason.
    outage: is told of turns that fail, and of the first one after them that does not.
    """

    timer: Timer

    def __init__(
        self,
        store: Store,
        clock: Clock,
        turn: Callable[[], Coroutine[Any, Any, None]],
        rested: Callable[[], None],
        failed: Callable[[BaseException], None],
        outage: Outage,
    ) -> None:
        self.again = False
        self._store = store
        self._clock = clock
        self._turn = turn
        self._rested = rested
        self._failed = failed
        self._outage = outage
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self.open = False
        self._called = False
        self._inside = False
        self._under_way: asyncio.Task[None] | None = None
        self._rest_us = 0
        self._rest_until_us = 0

    def begin(self) -> None:
        """Take turns from now on."""
        self.open = True

    async def end(self) -> None:
        """Take no more; the one under way is cancelled."""
        self.open = False
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)

    def call(self) -> None:
        """There is something to do: take a turn, always in a later step of the loop, so that others come in between."""
        if self._inside:
            self.again = True
        elif not self._called:
            self._called = True
            self._loop.call_soon(self._answer, context=self._context)

    def alarm_rang(self) -> None:
        """Something may be due: take a turn now."""
        # Whoever set the alarm last did so in a context of his own, which must not reach the runs of others.
        self._context.run(self._take)

    def _answer(self) -> None:
        self._called = False
        self._take()

    def _take(self) -> None:
        under_way = self._under_way  # it may not have begun
        if not self.open:
            return
        if self._inside or (under_way is not None and not under_way.done()):
            self.again = True
        elif self._store.answers_at_once:
            turn = self._guarded()
            try:
                turn.send(None)
            except StopIteration:
                return
            turn.close()
            self._fail(StoreError(f"{type(self._store).__name__} says that it answers at once, but it waited"))
        else:
            self._under_way = self._loop.create_task(self._guarded(), name="asyncsched turn")

    async def _guarded(self) -> None:
        if not self.open:
            return
        self._inside = True
        try:
            if not self._rest_us or self._rest_until_us <= self._clock.steady_us():
                await self._turn()
                if self._rest_us:
                    self._rest_us = 0
                    self._outage.over()
        except _ENDINGS:
            self.again = True  # leaving takes turns, too
            raise
        except BaseException as error:
            # Nothing that happens in a turn may end the engine; what was not done is done after a rest.
            self._rest_us = min(max(_FIRST_REST_US, 2 * self._rest_us), _LONGEST_REST_US)
            self._rest_until_us = self._clock.steady_us() + self._rest_us
            self._outage.failed(error, self._rest_us)
        finally:
            self._inside = False
            if self.open:
                self._look_ahead()

    def _look_ahead(self) -> None:
        """Set the alarm, or go on at once if there is more to do."""
        rest_us = self._rest_until_us - self._clock.steady_us() if self._rest_us else 0
        if rest_us <= 0 and self.again:
            # The next turn sets the alarm; a ring before it would be a second turn in one step of the loop.
            self.again = False
            self.call()
            return
        try:
            if rest_us > 0:
                self.timer.rest(self._clock.now_us() + rest_us)
            else:
                self.timer.rearm(self._clock.now_us())
        except Exception as error:
            self._fail(error)
        self._rested()

    def _fail(self, error: BaseException) -> None:
        """Be dead, and say so: a scheduler that looks alive and fires nothing is the worst of all."""
        self.open = False
        complain("the scheduler fires no more: its engine has failed", error=error)
        self._failed(error)
