"""One node at a Redis store: it comes, is told what others do, comes anew if they took it for dead, and goes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice
from typing import TypeVar
from uuid import uuid4

from asyncsched.clock import SECOND_US, Clock, SystemClock
from asyncsched.errors import MisuseError
from asyncsched.stores._durable.answers import Answers
from asyncsched.stores._durable.arrivals import Arrivals
from asyncsched.stores._durable.lease import FORGOTTEN, LeaseHolder, trusted_us
from asyncsched.stores._redis.address import Address
from asyncsched.stores._redis.audit import Walk
from asyncsched.stores._redis.beside import Beside
from asyncsched.stores._redis.link import Link, number_of
from asyncsched.stores._redis.lookups import AT_ONCE, Abroad, look_abroad
from asyncsched.stores._redis.pulse import Pulse
from asyncsched.stores._redis.rescue import enter, leave, rescue, take_strays
from asyncsched.stores._redis.roster import enrol_again, unpark
from asyncsched.stores._redis.schema import take_up
from asyncsched.stores._redis.stages import Builder, sweep

T = TypeVar("T")
log = logging.getLogger("asyncsched.stores")


class Presence(Answers, LeaseHolder):
    """What a store does from ``open`` to ``close`` beside its verbs."""

    forgot: Callable[[], None]

    def __init__(self, address: Address, lease_us: int, stall_limit_us: int) -> None:
        super().__init__()
        self._address = address
        self._lease_us, self._stall_limit_us = lease_us, stall_limit_us
        self._node = self._id = ""
        self._link: Link | None = None
        self._pulse: Pulse | None = None
        self._beside: Beside | None = None
        self._begin()

    def _begin(self) -> None:
        """Know nothing of what was before."""
        self._meet_nobody()
        self._entering = self._leaving = self._entered = self._in_doubt = False
        self._arrivals = Arrivals()
        self._since = 0
        self._walk = Walk()
        self._building: set[str] = set()
        self._looking = self._again = False
        self._unasked = 0

    @property
    def _server(self) -> Link:
        if self._link is None:
            raise MisuseError(f"{self._address} is not open: enter the scheduler first")
        return self._link

    @property
    def _builder(self) -> Builder:
        return Builder(self._id, self._building)

    async def open(self, node: str, clock: Clock) -> None:  # noqa: ARG002 - the server has a clock
        self._node = node
        self._id = self._known.node_id = uuid4().hex
        self._begin()
        link = self._link = Link(self._address)
        try:
            await link.check()
            await take_up(link)
            beside = self._beside = Beside(self._address, self._heard)
            await beside.start()
            self._trust(beside, SystemClock().steady_us())  # it becomes a node only after this
            await self._enter(link)
        except BaseException:
            await self._stop()
            raise
        pulse = self._pulse = Pulse(
            *(self._address, self._lease_us, lambda: self._id, self._tick, self._sweep, self._given_up),
            *(lambda asked_us: self._trust(beside, asked_us), self._stall_limit_us),
        )
        pulse.start()
        pulse.hint()

    async def _enter(self, link: Link) -> None:
        """Become one of the nodes at the store."""
        await rescue(link, self._id)
        await sweep(link, self._id, self._building)
        await enter(link, self._id, self._node, self._lease_us)
        await unpark(link, None)
        seq, edits = await link.ask(("GET", "seq"), ("GET", "edits"))
        self._since, self._edits = number_of(seq) or 0, number_of(edits) or 0
        self._entered = True

    async def close(self) -> None:
        link = self._link
        if link is None:
            return
        self._leaving = True  # from here on it is no wonder if it is not found among the nodes
        try:
            await self._take_leave(lambda: leave(link, self._id))
            self._changed()
        finally:
            await self._stop()
            self._part()

    async def _stop(self) -> None:
        """Let the thread end, what is under way, and the connections."""
        pulse, self._pulse = self._pulse, None
        if pulse is not None:
            await pulse.stop()
        beside, self._beside = self._beside, None
        if beside is not None:
            await beside.stop()
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    # -- what goes on beside

    def _heard(self, node_id: str) -> None:
        if node_id != self._id:
            self._look_elsewhere()

    def _tick(self) -> None:
        if self._beside is not None:
            self._beside.listen()
        self._look_elsewhere()

    def _sweep(self) -> None:
        if self._beside is not None and not self._leaving:
            node_id, building = self._id, self._building
            self._beside.ask(lambda link: rescue(link, node_id), self._swept)
            self._beside.ask(lambda link: sweep(link, node_id, building), self._cleared)
            self._beside.ask(self._walk.go_on, self._walked)

    def _swept(self, gone: list[str] | None, error: BaseException | None) -> None:
        if error is not None:
            log.debug("what other nodes left cannot be handed back: %s", error)
        elif gone:
            self._changed()
            self._look_elsewhere()

    def _cleared(self, _count: int | None, error: BaseException | None) -> None:
        if error is not None:
            log.debug("what was begun of flows, and not ended, cannot be forgotten: %s", error)

    def _walked(self, count: int | None, error: BaseException | None) -> None:
        if error is not None:
            log.debug("what is not where it is looked for cannot be put right: %s", error)
        elif count:
            self._changed()
            self._look_elsewhere()

    def _changed(self) -> None:
        """Let other nodes look what this one has done."""
        if self._pulse is not None:
            self._pulse.hint()

    def _trust(self, beside: Beside, asked_us: int) -> None:
        """Rely on the lease that was asked for then, until it may be over."""
        wait_us = asked_us + trusted_us(self._lease_us) - SystemClock().steady_us()
        beside.trust(wait_us / SECOND_US, self._doubted, self._trusted)

    def _look_at_lease(self) -> None:
        if self._pulse is not None:
            self._pulse.renew()

    def _given_up(self) -> None:
        """Come anew, as another node: others have taken this one for dead, and what it ran is theirs by now."""
        if self._entering or self._leaving or self._beside is None:
            return
        self._entering = True
        self._id = self._known.node_id = uuid4().hex
        self._lost = [*(self._lost or ()), *self._known.lose()]
        node_id, rosters = self._id, set(self._rosters)

        async def come(link: Link) -> None:
            await take_strays(link)  # before any attempt that is lost has ended: none of them is to count
            await enter(link, node_id, self._node, self._lease_us)
            await enrol_again(link, node_id, rosters)

        self._beside.ask(come, self._come)

    def _come(self, _answer: None, error: BaseException | None) -> None:
        self._entering = False  # if it has not worked, the next renewal finds that
        if error is not None:
            log.warning("this node cannot come anew, it tries again: %s", error)
        self._look_elsewhere()

    # -- what others do

    def _look_elsewhere(self) -> None:
        """Ask what others have done, of every run that has not ended here, then let the engine look."""
        self._unasked = len(self._known.counted)
        self._again = self._looking
        if not self._looking:
            self._ask()

    def _ask(self) -> None:
        beside = self._beside
        if beside is None or self._leaving or not self._entered:
            return
        self._looking = True
        counted, since, node_id, edits = self._known.counted, self._since, self._id, self._edits
        asked = list(islice(counted, AT_ONCE))
        self._unasked -= len(asked)
        for run_id in asked:  # those come last the next time
            counted[run_id] = counted.pop(run_id)
        asked += self._watching()
        seen = {} if self._link is None else self._link.seen.known()

        def looked(abroad: Abroad | None, error: BaseException | None) -> None:
            if abroad is not None and self._link is not None:
                self._link.seen.compared(seen)
            self._looked(abroad, error)

        beside.ask(lambda link: look_abroad(link, asked, since, node_id, edits, seen), looked)

    def _looked(self, abroad: Abroad | None, error: BaseException | None) -> None:
        self._looking = False
        if self._leaving:
            return
        if abroad is not None:
            if abroad.rolled_back or (self._link is not None and self._link.seen.less):
                self._rolled_back()
            self._hear_of_ends(abroad.ended, abroad.now_us)
            self._hear_of_runs(abroad.made)
            self._since = max(self._since, abroad.last)
            self._hear_of_orders(abroad.stops, abroad.edited, abroad.edits)
            self.hint()
        else:
            log.debug("what other nodes did cannot be read: %s", error)  # the lease tells of the trouble
        if self._again or (self._unasked > 0 and error is None):  # what is not asked now may never be
            self._again = False
            self._ask()

    def _rolled_back(self) -> None:
        """Begin again where the server has forgotten what it had acknowledged: nothing known here is sure any more."""
        log.error(FORGOTTEN, self._address)
        if self._link is not None:
            self._link.seen.forget()
        self._since = self._edits = 0
        self._given_up()
        self._known.doubt()
        self.forgot()
