"""This node among the others at its store: by what clock it lives, what it says of itself, whether it is to drain."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta

from asyncsched._engine.bus import Events, warn
from asyncsched._engine.capacity import Capacity
from asyncsched._engine.timer import Timer
from asyncsched.clock import SECOND_US, Clock, DistantClock
from asyncsched.events import CleanupHeld, ClockSkewed, NodeDrains, NodesDiffer
from asyncsched.nodes import SKEW_US, NodeReport, differences
from asyncsched.stores import Store
from asyncsched.version import VERSION
from asyncsched.zone import tzdata_version

# Of a store's clock the first look may have waited for a connection; the shortest of a few has not.
_FIRST_LOOKS = 3
# What a machine's clock is off is told again once it has changed by more: others read it, nobody reckons with it.
_SAME_SKEW_US = SECOND_US // 20
_WHY = {
    "tzdata": "zones whose rules were changed between the two have other instants there, and a fire is at the instant "
    "of the node that was first: give all nodes the same",
    "version": "they work together where the store's schema lets them, as while a new version is rolled out",
}


async def opened(store: Store, node: str, clock: Clock) -> Clock:
    """The clock by which a node lives at a store, which is open then: the store's, or ``clock`` if it has none.

    Time that is simulated is the node's own affair.
    """
    await store.open(node, clock)
    if not store.own_clock:
        return clock
    if (alarm := clock.alarm(lambda: None)) is not None:
        alarm.close()
        return clock
    distant = DistantClock(clock)
    try:
        for _ in range(_FIRST_LOOKS):
            await look_at_clock(store, distant)
    except BaseException:
        await store.close()
        raise
    return distant


async def look_at_clock(store: Store, clock: DistantClock) -> int:
    """Ask the store what time it is; by how many microseconds ``clock`` has moved for it."""
    asked_us = clock.steady_us()
    said_us = await store.now_us()
    return clock.heard(asked_us, said_us, clock.steady_us())


class Presence:
    """Tells the others of this node, and follows what they ask of it; in turns, when it was ``stirred``.

    drain: called once, when somebody has asked this node to drain.
    """

    def __init__(
        self,
        store: Store,
        bus: Events,
        clock: Clock,
        timer: Timer,
        capacity: Capacity,
        fires: bool,
        drain: Callable[[], None],
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._timer = timer
        self._capacity = capacity
        self._fires = fires
        self._drain = drain
        self.stirred = False
        self._doubted = False
        self._said: NodeReport | None = None
        self._skewed = self._draining = False
        self._met = False
        """Whether the others were looked at."""
        store.piled = self.piled

    def stir(self) -> None:
        """See in the next turn what there is to tell and to follow."""
        self.stirred = True

    def doubt(self) -> None:
        """The store did not find due what was due by the clock here: look at its clock in the next turn."""
        self._doubted = self.stirred = isinstance(self._clock, DistantClock)

    def piled(self, rows: int, holders: Sequence[str]) -> None:
        """The store cannot clear away rows that nobody needs, or can again."""
        if rows:
            who = "; ".join(holders) or "it does not try: is autovacuum on?"
            warn("%s becomes slower: %d rows that nobody needs are not cleared away; %s", self._store, rows, who)
        else:
            warn("%s: rows that nobody needs are cleared away again", self._store)
        at_us = self._clock.now_us()
        self._bus.tell(CleanupHeld(at_us=at_us, rows=rows, holders=tuple(holders), over=not rows))

    async def follow(self) -> None:
        """Set the clock by the store's, tell the others what is new, and hear whether this node is to drain."""
        doubted, self._doubted, self.stirred = self._doubted, False, False
        try:
            if isinstance(self._clock, DistantClock):
                await look_at_clock(self._store, self._clock)
                self._timer.doubt()
                self._look_at_skew(self._clock.skew_us())
            if not doubted:
                await self._tell()
        except BaseException:
            self.stirred = True
            raise

    def _look_at_skew(self, skew_us: int) -> None:
        if abs(skew_us) <= SKEW_US:
            self._skewed = self._skewed and abs(skew_us) > SKEW_US // 2
        elif not self._skewed:
            self._skewed = True
            how = "ahead of" if skew_us > 0 else "behind"
            warn(
                "the clock of this machine is %.1f s %s that of %s, by which everything fires here: set it by NTP",
                *(abs(skew_us) / SECOND_US, how, self._store),
            )
            self._bus.tell(ClockSkewed(at_us=self._clock.now_us(), by=timedelta(microseconds=skew_us)))

    async def _tell(self) -> None:
        said = self._report()
        asked = await self._store.report(None if said == self._said else said)
        if asked is None:  # it has come anew
            asked = await self._store.report(said)
        self._said = said
        if not self._met:
            self._met = True
            await self._compare(said)
        if asked and not self._draining:
            self._draining = True
            warn("this node was asked to drain: it claims no more runs, and goes on with those under way")
            self._drain()
            self._bus.tell(NodeDrains(at_us=self._clock.now_us()))
            await self._tell()

    def _report(self) -> NodeReport:
        skew_us = self._clock.skew_us() if isinstance(self._clock, DistantClock) else 0
        if self._said is not None and abs(skew_us - self._said.skew_us) <= _SAME_SKEW_US:
            skew_us = self._said.skew_us
        queues = self._capacity.queues
        runs = queues is None or bool(queues)
        return NodeReport(
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
            tzdata=tzdata_version(),
            roles=(*(("fire",) if self._fires else ()), *(("run",) if runs else ())),
            queues=None if queues is None else tuple(queues),
            skew_us=skew_us,
            draining=self._draining,
        )

    async def _compare(self, said: NodeReport) -> None:
        """Tell, once, in what nodes that are there already differ from this one."""
        for what, here, there, node in differences(said, await self._store.nodes()):
            names = "time zones (tzdata)" if what == "tzdata" else "asyncsched"
            warn("this node has %s %s, and the node %s has %s: %s", names, here, node, there, _WHY[what])
            self._bus.tell(NodesDiffer(at_us=self._clock.now_us(), what=what, here=here, there=there, node=node))
