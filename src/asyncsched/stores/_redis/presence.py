"""One node at a Redis store: it comes, is told what others do, comes anew if they took it for dead, and goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from itertools import islice
from typing import Any, TypeVar
from uuid import uuid4
from weakref import WeakValueDictionary

from asyncsched.clock import Clock
from asyncsched.errors import MisuseError
from asyncsched.run import FINAL, Run
from asyncsched.stores._base import Notice
from asyncsched.stores._durable.known import KnownRuns, lose
from asyncsched.stores._redis.address import Address
from asyncsched.stores._redis.beside import Beside
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.lookups import AT_ONCE, Abroad, look_abroad
from asyncsched.stores._redis.pulse import Pulse
from asyncsched.stores._redis.rescue import enter, leave, rescue, take_strays
from asyncsched.stores._redis.roster import enrol_again, unpark

T = TypeVar("T")
log = logging.getLogger("asyncsched.stores")


class Presence:
    """What a store does from ``open`` to ``close`` beside its verbs."""

    hint: Callable[[], None]
    serves: Callable[[str], bool]
    counts: Callable[[str], bool]
    edited: Callable[[Collection[str]], None]

    def __init__(self, address: Address, lease_us: int) -> None:
        self._address = address
        self._lease_us = lease_us
        self._known = KnownRuns()
        self._node = self._id = ""
        self._link: Link | None = None
        self._pulse: Pulse | None = None
        self._beside: Beside | None = None
        self._begin()

    def _begin(self) -> None:
        """Know nothing of what was before."""
        self._entering = self._leaving = self._entered = False
        self._lost: list[Run[Any]] | None = None
        """The runs that it had under way when others took it for dead, until the engine is told."""
        self._stops: dict[str, str] = {}
        """Why runs under way here are to stop, until the engine is told."""
        self._stopping: dict[str, str] = {}
        """The same, of all that the store has said of that have not ended."""
        self._elsewhere: list[Run[Any]] = []
        """Runs that ended at other nodes, until the engine is told."""
        self._found: list[Run[Any]] = []
        """Runs that other nodes have made, until the engine is told."""
        self._rosters: set[str] = set()
        """The digests of the lists of tasks that this node declares."""
        self._declares: set[str] = set()
        """These tasks, but for those that were dropped."""
        self._watched: WeakValueDictionary[str, Run[Any]] = WeakValueDictionary()
        """Runs that somebody here holds, that may end elsewhere, and that the engine does not count."""
        self._arriving: dict[str, asyncio.Future[Any]] = {}
        """Runs that are being written, by their ids: nobody here may be told that they run before whoever made them."""
        self._since = self._edits = 0
        self._looking = self._again = False
        self._unasked = 0

    @property
    def _server(self) -> Link:
        if self._link is None:
            raise MisuseError(f"{self._address} is not open: enter the scheduler first")
        return self._link

    async def open(self, node: str, clock: Clock) -> None:  # noqa: ARG002 - the server has a clock
        known = self._known
        self._node, self._id = node, uuid4().hex
        known.counted.clear()
        known.here.clear()
        known.doubles.clear()
        known.node_id = self._id
        self._begin()
        link = self._link = Link(self._address)
        try:
            await link.check()
            beside = self._beside = Beside(self._address, self._heard)
            await beside.start()
            await self._enter(link)
        except BaseException:
            await self._stop()
            raise
        pulse = self._pulse = Pulse(
            self._address, self._lease_us, lambda: self._id, self._tick, self._sweep, self._given_up
        )
        pulse.start()
        pulse.hint()

    async def _enter(self, link: Link) -> None:
        """Become one of the nodes at the store."""
        await rescue(link, self._id)
        await enter(link, self._id, self._node, self._lease_us)
        await unpark(link, None)
        seq, edits = await link.ask(("GET", "seq"), ("GET", "edits"))
        self._since, self._edits = int(seq or 0), int(edits or 0)
        self._entered = True

    async def close(self) -> None:
        link = self._link
        if link is None:
            return
        self._leaving = True  # from here on it is no wonder if it is not found among the nodes
        try:
            await leave(link, self._id)
            self._changed()
        finally:
            await self._stop()
            for run in list(self._watched.values()):
                if not run.status.final:
                    run.wake_waiters(MisuseError("the scheduler stopped before this run ended"))
            self._watched.clear()

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
            node_id = self._id
            self._beside.ask(lambda link: rescue(link, node_id), self._swept)

    def _swept(self, gone: list[str] | None, error: BaseException | None) -> None:
        if error is not None:
            log.debug("what other nodes left cannot be handed back: %s", error)
        elif gone:
            self._changed()
            self._look_elsewhere()

    def _changed(self) -> None:
        """Let other nodes look what this one has done."""
        if self._pulse is not None:
            self._pulse.hint()

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

    def _notice(self) -> Notice | None:
        """What the engine has not been told yet of the runs under way here."""
        if self._lost is None and not self._stops:
            return None
        notice = Notice(self._stops, self._lost)
        self._stops, self._lost = {}, None
        return notice

    # -- runs that are being written

    async def _arrive(self, run_ids: Iterable[str], written: Awaitable[T]) -> T:
        """What ``written`` gives; these runs arrive until then."""
        future = asyncio.ensure_future(written)
        ids = list(run_ids)
        for run_id in ids:
            self._arriving[run_id] = future
        try:
            return await future
        finally:
            for run_id in ids:
                self._arriving.pop(run_id, None)

    async def _arrived(self, run_ids: Iterable[str]) -> None:
        """Return once those that make these runs have been told that they are written."""
        arriving = {self._arriving[run_id] for run_id in run_ids if run_id in self._arriving}
        if arriving:
            await asyncio.wait(arriving)

    # -- what others do

    def _watch(self, run: Run[Any]) -> None:
        """Know of the end of a run that waits or runs elsewhere, or that there may be one day."""
        if not run.status.final and self._known.get(run.id) is run:
            self._watched[run.id] = run

    def _know(self, run: Run[Any]) -> None:
        """Know a run that was written here: the engine counts it, or else whoever holds it is told how it ends."""
        if run.edges is not None or self.counts(run.task):
            self._known.keep(run)
        else:
            self._known.hold(run)
            self._watch(run)

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
        asked += [run_id for run_id, run in self._watched.items() if not run.status.final]
        beside.ask(lambda link: look_abroad(link, asked, since, node_id, edits), self._looked)

    def _looked(self, abroad: Abroad | None, error: BaseException | None) -> None:
        self._looking = False
        if self._leaving:
            return
        if abroad is not None:
            if abroad.rolled_back or (self._link is not None and self._link.rolled_back):
                self._rolled_back()
            self._take_abroad(abroad)
            self.hint()
        else:
            log.debug("what other nodes did cannot be read: %s", error)  # the lease tells of the trouble
        if self._again or (self._unasked > 0 and error is None):  # what is not asked now may never be
            self._again = False
            self._ask()

    def _rolled_back(self) -> None:
        """Begin again where the server has forgotten what it had acknowledged: nothing known here is sure any more."""
        log.error(
            "%s: the server has forgotten what it had acknowledged, as after a failover or a restart from an older "
            "file: fires and runs of the last moments may be done again, or be lost",
            self._address,
        )
        if self._link is not None:
            self._link.rolled_back = False
        self._since = self._edits = 0
        self._given_up()

    def _take_abroad(self, abroad: Abroad) -> None:
        """Take account of what others have done."""
        known = self._known
        for run_id, row in abroad.ended.items():
            run = known.counted.get(run_id)
            if run is None:  # it was claimed here meanwhile, or is one that is only watched
                if row is not None and run_id not in known.here and self._watched.pop(run_id, None) is not None:
                    known.take(row, {})
                continue
            if row is None:
                lose(run, abroad.now_us)
                run.wake_waiters()
            else:
                known.take(row, {})
            known.ended(run)
            self._elsewhere.append(run)
        for row in abroad.made:
            if self.serves(row.task) and not known.counts(row.id):
                for run in known.take_all([row], {}):
                    if run.status not in FINAL:  # it did not end here meanwhile
                        known.keep(run)
                        self._found.append(run)
        self._stops |= {run_id: why for run_id, why in abroad.stops.items() if run_id not in self._stopping}
        self._stopping = abroad.stops
        self._since = max(self._since, abroad.last)
        if abroad.edits != self._edits:
            self._edits = abroad.edits
            self.edited(abroad.edited)
