"""The thread of a node with a connection of its own: what it does goes on while the program's loop hangs.

It renews the lease, tells other nodes that something has changed, and lets this one look once in a while.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from random import Random
from typing import Any, Literal

from asyncsched import crash_points
from asyncsched.clock import SECOND_US, SystemClock
from asyncsched.stores._durable.lease import StallWatch, answer_us
from asyncsched.stores._redis.address import Address
from asyncsched.stores._redis.link import TROUBLES, call_sync, channel_of, store_error, sync_client, units_text
from asyncsched.stores._redis.wire import Unit

log = logging.getLogger("asyncsched.stores")

POLL_US = SECOND_US
"""So often a node looks what others have done, whether or not it was told."""
_APART_US = 20_000  # between two hints: more would not be heard sooner, and each costs those who listen a look
# Each time that much later or earlier, so that nodes which have begun together do not sweep together.
_SWEEP_US, _SWEEP_SPREAD = 5 * SECOND_US, 0.2
_REST_US, _MOST_REST_US = 250_000, 2 * SECOND_US
_NEVER = 2**62

Asked = Literal["hint", "renew", "end"]


class Pulse:
    """Beats from ``start`` to ``stop``.

    node_id: which node this is, at any time.
    tick: called on the loop once in a while; sweep: now and then, to look after others.
    given_up: called there when others have taken this node for dead.
    renewed: called in the thread with when it asked for the lease that it has, by the steady clock.
    stall_limit_us: where the program's loop hangs for so long, the lease is not renewed any more.
    """

    def __init__(
        self,
        address: Address,
        lease_us: int,
        node_id: Callable[[], str],
        tick: Callable[[], None],
        sweep: Callable[[], None],
        given_up: Callable[[], None],
        renewed: Callable[[int], None],
        stall_limit_us: int,
    ) -> None:
        self._address = address
        self._lease_us = lease_us
        self._node_id = node_id
        self._tick, self._sweep, self._given_up = tick, sweep, given_up
        self._renewed, self._stall_limit_us = renewed, stall_limit_us
        self._steady_us = SystemClock().steady_us
        self._random = Random()
        self._asked: SimpleQueue[Asked] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._live, name="asyncsched-redis", daemon=True)
        self._client: Any = sync_client(address, answer_us(lease_us) / SECOND_US)
        now_us = self._steady_us()
        self._tick_us, self._renew_us, self._sweep_us = now_us + POLL_US, now_us + lease_us // 4, now_us + _SWEEP_US
        self._hint_us, self._hinted_us = _NEVER, 0
        self._rest_us = 0
        self._hinting = False
        self._stall = StallWatch(stall_limit_us, self._call, self.renew)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def hint(self) -> None:
        """Let other nodes look what this one has done."""
        if not self._hinting:  # to wake the thread costs more than what is asked of it
            self._hinting = True
            self._asked.put("hint")

    def renew(self) -> None:
        """Look at once whether this is a node."""
        self._asked.put("renew")

    async def stop(self) -> None:
        """Beat no more; what is to be told is told before."""
        self._asked.put("end")
        await asyncio.shield(self._ended)
        self._thread.join()

    def _live(self) -> None:
        try:
            while self._wait():
                self._beat()
            if self._hint_us != _NEVER:
                with suppress(*TROUBLES):
                    self._send(self._steady_us())
        finally:
            self._client.close()
            self._call(self._over)

    def _over(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _wait(self) -> bool:
        """Wait for what is due next or asked for; whether to go on."""
        due_us = min(self._tick_us, self._renew_us, self._sweep_us, self._hint_us)
        try:
            asked = self._asked.get(timeout=max(0, due_us - self._steady_us()) / 1e6)
        except Empty:
            return True
        if asked == "renew":
            self._renew_us = 0
        elif asked == "hint":
            self._hint_us = min(self._hint_us, self._hinted_us + _APART_US)
        return asked != "end"

    def _beat(self) -> None:
        now_us = self._steady_us()
        if now_us >= self._tick_us:
            self._tick_us = now_us + POLL_US
            self._call(self._tick)
        if now_us >= self._sweep_us:
            self._sweep_us = now_us + int(_SWEEP_US * self._random.uniform(1 - _SWEEP_SPREAD, 1 + _SWEEP_SPREAD))
            self._call(self._sweep)
        try:
            if now_us >= self._renew_us:
                self._renew_lease(now_us)
            if now_us >= self._hint_us:
                self._send(now_us)
        except Exception as error:  # whatever it is: without this thread the node would soon be taken for dead
            if not self._rest_us:
                told = store_error(self._address, error)
                log.warning("the lease at %s cannot be renewed, it is tried again: %s", self._address, told)
            self._client.connection_pool.disconnect()  # another server may be the one to be asked by now
            self._rest_us = min(2 * self._rest_us or _REST_US, _MOST_REST_US)
            self._renew_us = now_us + self._rest_us
            self._hint_us = _NEVER if self._hint_us == _NEVER else self._renew_us

    def _renew_lease(self, now_us: int) -> None:
        if self._stall.stalls(now_us):
            self._renew_us = now_us + min(self._lease_us // 4, self._stall_limit_us)
            return
        node_id = self._node_id()
        asked = json.dumps([["ZSCORE", f"{self._address.prefix}nodes", node_id]])
        if call_sync(self._client, self._address, "again", asked)[0] is None:
            self._call(self._given_up)
        else:
            asked = units_text([Unit([], [("renew", node_id, self._lease_us)])])
            call_sync(self._client, self._address, "unit", asked)
            self._renewed(now_us)
        self._renew_us = now_us + self._lease_us // 4
        self._rest_us = 0

    @crash_points.before("hint")
    def _send(self, now_us: int) -> None:
        self._hint_us, self._hinting = _NEVER, False
        self._client.publish(channel_of(self._address), self._node_id())
        self._hinted_us = now_us

    def _call(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(function)
