"""A thread with a loop and connections of its own: what a node asks there goes on while the program's loop is busy."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from asyncsched.stores._redis.address import Address
from asyncsched.stores._redis.link import TROUBLES, Link

T = TypeVar("T")
log = logging.getLogger("asyncsched.stores")


class Beside:
    """Does what it is asked, from ``start`` to ``stop``.

    heard: called on the program's loop with each node that says that it has changed something.
    """

    def __init__(self, address: Address, heard: Callable[[str], None]) -> None:
        self._address = address
        self._heard = heard
        self._program = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = self._program.create_future()
        self._thread = threading.Thread(target=self._live, name="asyncsched-redis-beside", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._doubt: asyncio.TimerHandle | None = None
        self._in_doubt = False

    async def start(self) -> None:
        """Begin.

        Raises:
            StoreError: the server cannot be reached.
        """
        self._thread.start()
        await asyncio.shield(self._started)

    def ask(
        self, work: Callable[[Link], Awaitable[T]], done: Callable[[T | None, BaseException | None], object]
    ) -> None:
        """Let ``work`` be done there, then tell ``done`` on the program's loop what it gave, or why it failed."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(self._begin, work, done)

    def trust(self, wait_s: float, doubted: Callable[[], None], trusted: Callable[[], None]) -> None:
        """Call ``doubted`` on the program's loop in so long, unless this is called again before; then ``trusted``."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._trust, wait_s, doubted, trusted)

    def listen(self) -> None:
        """Listen again, if that has ended."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._listen)

    async def stop(self) -> None:
        """Leave what is under way, and end."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._end.set)
        if self._thread.is_alive():
            await asyncio.shield(self._program.run_in_executor(None, self._thread.join))

    def _live(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # whoever waits for the start is told
            self._tell(error)

    async def _serve(self) -> None:
        link = self._link = Link(self._address)
        try:
            await link.remember()
            self._loop = asyncio.get_running_loop()
            self._listen()
            self._tell(None)
            await self._end.wait()
            self._loop = None
        finally:
            left = [*self._tasks, *([] if self._listening is None else [self._listening])]
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)
            await link.close()

    def _tell(self, error: BaseException | None) -> None:
        def tell() -> None:
            if not self._started.done():
                if error is None:
                    self._started.set_result(None)
                else:
                    self._started.set_exception(error)

        with suppress(RuntimeError):  # the program's loop was closed
            self._program.call_soon_threadsafe(tell)

    def _begin(
        self, work: Callable[[Link], Awaitable[Any]], done: Callable[[Any, BaseException | None], object]
    ) -> None:
        self._keep(self._carry_out(work, done))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(
        self, work: Callable[[Link], Awaitable[Any]], done: Callable[[Any, BaseException | None], object]
    ) -> None:
        assert self._link is not None
        answer, trouble = None, None
        try:
            answer = await work(self._link)
        except Exception as error:  # whoever asked is told
            trouble = error
        with suppress(RuntimeError):  # the program's loop was closed
            self._program.call_soon_threadsafe(done, answer, trouble)

    def _trust(self, wait_s: float, doubted: Callable[[], None], trusted: Callable[[], None]) -> None:
        def doubt() -> None:
            self._in_doubt = True
            with suppress(RuntimeError):
                self._program.call_soon_threadsafe(doubted)

        if self._doubt is not None:
            self._doubt.cancel()
        self._doubt = asyncio.get_running_loop().call_later(wait_s, doubt)
        if self._in_doubt:
            self._in_doubt = False
            with suppress(RuntimeError):
                self._program.call_soon_threadsafe(trusted)

    def _listen(self) -> None:
        if self._listening is None or self._listening.done():
            assert self._link is not None
            self._listening = asyncio.get_running_loop().create_task(self._hear(self._link))

    async def _hear(self, link: Link) -> None:
        def heard(node_id: str) -> None:
            self._program.call_soon_threadsafe(self._heard, node_id)

        try:
            await link.listen(heard)
        except (*TROUBLES, RuntimeError) as error:
            log.debug("hints at %s are not heard for now: %s", self._address, error)
