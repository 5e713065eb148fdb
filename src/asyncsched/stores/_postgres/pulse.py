"""The thread of a node with a loop and a connection of its own: what it does goes on while the program's loop hangs.

It renews the lease, hands back the runs of nodes whose leases are over, tells others that something has changed, and
hears of what they have changed.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

from asyncsched import crash_points
from asyncsched.clock import SECOND_US, SystemClock
from asyncsched.stores._durable.lease import StallWatch, answer_us, trusted_us
from asyncsched.stores._postgres.address import Address
from asyncsched.stores._postgres.connection import Database, connect, store_error
from asyncsched.stores._postgres.pile import LOOK_S, Pile, look, lowest
from asyncsched.stores._postgres.rescue import renew, rescue
from asyncsched.stores._postgres.transaction import transact
from asyncsched.stores._postgres.upkeep import tidy, to_do

log = logging.getLogger("asyncsched.stores")

POLL_US = SECOND_US
"""So often a node looks what others have done, whether or not it was told."""
_APART_US = 20_000  # between two hints: more would not be heard sooner, and each costs those who listen a look
# Each time that much later or earlier, so that nodes which have begun together do not sweep together.
_SWEEP_US, _SWEEP_SPREAD = 5 * SECOND_US, 0.2
# Of the time so much is not spent with looking where claims are to begin.
_LOW_PART = 20
_REST_US, _MOST_REST_US = 250_000, 2 * SECOND_US
_NEVER = 2**62
_RUNS = " runs"
"""What a hint ends with that tells of runs that were written, and of nothing else."""
# Nothing is lost with a hint that a crash of the server takes away: it does not wait for the disk.
_NOTIFY = "SELECT pg_notify($1, $2) FROM set_config('synchronous_commit', 'off', true)"

Work = Callable[[Database], Awaitable[Any]]
Take = Callable[[Any, BaseException | None], None]


class Ears(NamedTuple):
    """Who hears of what a pulse finds, each called on the program's loop.

    tick: once in a while, and when other nodes may have changed something.
    stir: when they have written runs, and as far as is told nothing else.
    given_up: when others have taken this node for dead.
    doubted: when they may have, as the lease could not be renewed. trusted: when it was, after that.
    piled: how many rows cannot be cleared away and who holds on to them, and when that is over.
    """

    tick: Callable[[], None]
    stir: Callable[[], None]
    given_up: Callable[[], None]
    doubted: Callable[[], None]
    trusted: Callable[[], None]
    piled: Callable[[int, Sequence[str]], None]


class Pulse:
    """Beats from ``start`` to ``stop``.

    node_id: which node this is, at any time.
    ears: who is told.
    unmoved: called on the thread, says whether there is nothing for which the tick of a poll is to be called.
    stall_limit_us: where the program's loop hangs for so long, the lease is not renewed any more.
    """

    def __init__(
        self,
        address: Address,
        lease_us: int,
        node_id: Callable[[], str],
        ears: Ears,
        unmoved: Callable[[Database], Awaitable[bool]],
        stall_limit_us: int,
    ) -> None:
        self._address = address
        self._lease_us = lease_us
        self._node_id = node_id
        self._ears = ears
        self._unmoved = unmoved
        self._stall_limit_us = stall_limit_us
        self._pile = Pile()
        self._steady_us = SystemClock().steady_us
        self._random = Random()
        self._asked: deque[tuple[Work, Take]] = deque()
        self._later: list[tuple[int, Work, Take]] = []
        self._program = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._program.create_future()
        self._ended: asyncio.Future[None] = self._program.create_future()
        self._thread = threading.Thread(target=self._live, name="asyncsched-postgres", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Any = None
        self._due = asyncio.Event()
        now_us = self._steady_us()
        self._tick_us, self._renew_us = now_us + POLL_US, now_us + lease_us // 4
        self._sweep_us = now_us + _SWEEP_US
        self._look_us = now_us + LOOK_S * SECOND_US
        self.low_us: int | None = None
        """Nothing is ready that is due before: claims need not pass over what was; ``None``: there is not much."""
        self._low_us = 0
        self._hint_us, self._hinted_us = _NEVER, 0
        self._hinting = False
        """Whether a hint is to be sent yet: what is done until then is part of it."""
        self._plainly = True
        """Whether all of that is that runs were written."""
        self._rest_us = 0
        self._doubt: asyncio.TimerHandle | None = None
        self._in_doubt = False
        self._stall = StallWatch(stall_limit_us, self._call, self.renew)
        self._over = False

    async def start(self) -> None:
        """Begin to beat, once there is a connection.

        Raises:
            StoreError: there is none to be had.
        """
        self._thread.start()
        await asyncio.shield(self._opened)

    def hint(self, *, plainly: bool = False) -> None:
        """Let other nodes look what this one has done; ``plainly``: it has written runs."""
        if self._address.notify:
            self._plainly &= plainly
            if not self._hinting:
                self._hinting = True
                self._wake(self._hint)

    def speaks(self) -> tuple[str, str] | None:
        """Channel and text of a hint that runs were written, which whoever writes them is to send with them.

        ``None`` if one has been sent just now, or is to be sent: then ``hint`` is to be called afterwards.
        """
        now_us = self._steady_us()
        if not self._address.notify or self._hinting or now_us < self._hinted_us + _APART_US:
            return None
        self._hinted_us = now_us
        return channel_of(self._address), f"{self._node_id()}{_RUNS}"

    def renew(self) -> None:
        """Look at once whether this is a node."""
        self._wake(self._renew)

    def ask(self, work: Work, take: Take, after_us: int = 0) -> None:
        """Let ``work`` be done beside what the program asks; ``take`` gets its answer or its error, on the loop.

        after_us: not before so long from now.
        """
        if after_us:
            self._wake(lambda: self._later.append((self._steady_us() + after_us, work, take)))
            return
        self._asked.append((work, take))
        self._wake(lambda: None)

    async def stop(self) -> None:
        """Beat no more."""
        if self._thread.is_alive():
            self._wake(self._end)
            await asyncio.shield(self._ended)

    # -- on the thread

    def _hint(self) -> None:
        self._hint_us = min(self._hint_us, self._hinted_us + _APART_US)

    def _renew(self) -> None:
        self._renew_us = 0

    def _end(self) -> None:
        self._over = True

    def _live(self) -> None:
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                runner.run(self._beat_on())
        finally:
            self._loop = None
            self._call(_done, self._ended)

    async def _beat_on(self) -> None:
        self._due = asyncio.Event()
        self._trust(self._steady_us())  # it becomes a node only after this
        try:
            await self._database()
        except Exception as error:
            self._call(_failed, self._opened, store_error(self._address, error))
            return
        self._call(_done, self._opened)
        while not self._over:
            await self._beat()
            if not self._over:
                await self._rest()
        if self._hint_us != _NEVER:  # that this node leaves is told, too
            with suppress(Exception):
                await self._send(self._steady_us())
        await self._close()

    async def _rest(self) -> None:
        """Wait for what is due next, or asked for."""
        if self._asked:
            return
        due_us = min(self._tick_us, self._renew_us, self._sweep_us, self._hint_us, *(one[0] for one in self._later))
        wait_s = max(0, due_us - self._steady_us()) / 1e6
        timer = asyncio.get_running_loop().call_later(wait_s, self._due.set)
        await self._due.wait()
        self._due.clear()
        timer.cancel()

    async def _beat(self) -> None:
        now_us = self._steady_us()
        soon_us = now_us
        if now_us >= self._tick_us:
            # To wake costs more than what is then done: what would be due before the next poll is done with this one.
            soon_us += min(POLL_US, self._lease_us // 16)
            self._tick_us = now_us + POLL_US
            await self._poll()
        try:
            if soon_us >= self._renew_us:
                await self._renew_lease(now_us)
            if now_us >= self._hint_us:
                await self._send(now_us)
            if soon_us >= self._sweep_us:
                await self._sweep(now_us)
        except Exception as error:  # whatever it is: without this thread the node would soon be taken for dead
            await self._trouble(error)
        if self._later:
            self._asked.extend((work, take) for at_us, work, take in self._later if at_us <= now_us)
            self._later = [one for one in self._later if one[0] > now_us]
        if self._asked:
            await self._answer(*self._asked.popleft())

    async def _poll(self) -> None:
        """Let the program look what others have done, if there is anything to be seen: to wake it costs more."""
        try:
            if self._connection is not None:
                await self._look_low()
                if await self._unmoved(await self._database()):
                    return
        except Exception:  # it finds that for itself, and tells of it
            pass
        self._call(self._ears.tick)

    async def _look_low(self) -> None:
        """While somebody keeps the server from clearing away, see where claims are to begin."""
        began_us = self._steady_us()
        if not self._pile.held:
            self.low_us = None
        elif began_us >= self._low_us:
            self.low_us = await lowest(await self._database())
            now_us = self._steady_us()
            self._low_us = now_us + _LOW_PART * (now_us - began_us)

    async def _renew_lease(self, now_us: int) -> None:
        if self._stall.stalls(now_us):
            self._renew_us = now_us + min(self._lease_us // 4, self._stall_limit_us)
            return
        node_id, asked_us = self._node_id(), now_us
        if self._connection is None or self._connection.is_closed():
            await self._database()
            asked_us = self._steady_us()
        if await renew(await self._database(), node_id, self._lease_us):
            self._trust(asked_us)
        else:
            self._call(self._ears.given_up)
        self._renew_us = now_us + self._lease_us // 4
        self._rest_us = 0

    def _trust(self, asked_us: int) -> None:
        """Rely on the lease that was asked for then, until it may be over."""
        if self._doubt is not None:
            self._doubt.cancel()
        wait_s = (asked_us + trusted_us(self._lease_us) - self._steady_us()) / SECOND_US
        self._doubt = asyncio.get_running_loop().call_later(wait_s, self._call_in_doubt)
        if self._in_doubt:
            self._in_doubt = False
            self._call(self._ears.trusted)

    def _call_in_doubt(self) -> None:
        self._in_doubt = True
        self._call(self._ears.doubted)

    @crash_points.before("hint")
    async def _send(self, now_us: int) -> None:
        self._hint_us, self._hinting = _NEVER, False
        plainly, self._plainly = self._plainly, True
        database = await self._database()
        text = f"{self._node_id()}{_RUNS if plainly else ''}"
        await database.rows(_NOTIFY, channel_of(self._address), text)
        self._hinted_us = now_us

    async def _sweep(self, now_us: int) -> None:
        """Hand back what dead nodes have left, so much at a time that the own lease does not run out meanwhile."""
        node_id = self._node_id()
        database = await self._database()
        dead, over = await to_do(database, node_id, self._lease_us)
        if dead:
            gone, more = await transact(database, lambda db: rescue(db, node_id, self._lease_us))
            if gone:
                log.warning("%s: %d nodes are gone, their runs are handed back", self._address, gone)
                self._call(self._ears.tick)
                self._hint()
            if more:
                return
        if over:
            await transact(database, tidy)
        if now_us >= self._look_us:
            self._look_us = now_us + LOOK_S * SECOND_US
            if (piled := self._pile.judge(await look(database))) is not None:
                self._call(self._ears.piled, *piled)
        spread = self._random.uniform(1 - _SWEEP_SPREAD, 1 + _SWEEP_SPREAD)
        self._sweep_us = now_us + int(_SWEEP_US * spread)

    async def _answer(self, work: Work, take: Take) -> None:
        try:
            answer = await work(await self._database())
        except Exception as error:
            self._call(take, None, store_error(self._address, error))
        else:
            self._call(take, answer, None)

    async def _database(self) -> Database:
        """The thread's connection, made anew if it was lost; on it is heard what others tell."""
        if self._connection is None or self._connection.is_closed():
            connection = await connect(self._address, "node", answer_us(self._lease_us) / SECOND_US)
            try:
                if self._address.notify:
                    await connection.add_listener(channel_of(self._address), self._heard)
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
            self._call(self._ears.tick)
        return Database(self._connection, self._address.schema)

    def _heard(self, _connection: Any, _process: int, _channel: str, payload: object) -> None:
        text = str(payload)
        if text.removesuffix(_RUNS) != self._node_id():
            self._call(self._ears.stir if text.endswith(_RUNS) else self._ears.tick)

    async def _trouble(self, error: BaseException) -> None:
        """Rest before the next try: whoever asks for something meanwhile is told."""
        if not self._rest_us:
            told = store_error(self._address, error)
            log.warning("the lease at %s cannot be renewed, it is tried again: %s", self._address, told)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()  # to close it in order would wait for an answer that may never come
        self._rest_us = min(max(2 * self._rest_us, _REST_US), _MOST_REST_US)
        then_us = self._steady_us() + self._rest_us
        self._renew_us, self._sweep_us = then_us, max(self._sweep_us, then_us)
        self._hint_us, self._hinting = _NEVER, False

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                await connection.close(timeout=1)

    # -- from one thread to the other

    def _wake(self, function: Callable[[], None]) -> None:
        def woken() -> None:
            function()
            self._due.set()

        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(woken)

    def _call(self, function: Callable[..., Any], *args: Any) -> None:
        with suppress(RuntimeError):  # the loop was closed
            self._program.call_soon_threadsafe(function, *args)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _failed(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def channel_of(address: Address) -> str:
    """Where the nodes of a store hear of one another."""
    return f"asyncsched_{address.schema}"
