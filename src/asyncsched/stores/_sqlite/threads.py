"""The threads that talk to SQLite: one that writes, many requests in one transaction, and one that reads."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from asyncsched.clock import SystemClock
from asyncsched.stores._sqlite.connection import store_error

# So much is written in one transaction, at most: one wait for the disk is then shared by many who wait.
_MOST, _MOST_US = 500, 2_000

Work = Callable[[sqlite3.Connection], Any]
Take = Callable[[Any], Any]


class _Request(NamedTuple):
    """One thing to be done.

    work: does it, on the thread of the connection; may be called again if a transaction has to be repeated.
    take: makes the answer of what that gave, on the loop's thread, in the order of the transactions.
    future: gets the answer.
    """

    work: Work
    take: Take
    future: asyncio.Future[Any]


class DatabaseThread:
    """A thread with a connection of its own; ``ask`` hands it work.

    begin: how its transactions begin.
    after: called on the thread after each transaction, and when nobody has asked for as many seconds as it said last.
    """

    def __init__(
        self, path: str, name: str, begin: str, after: Callable[[sqlite3.Connection], float | None] = lambda _db: None
    ) -> None:
        self._path = path
        self._begin = begin
        self._after = after
        self._steady_us = SystemClock().steady_us
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._live, name=f"asyncsched-{name}", daemon=True)
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    async def start(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """Begin to live, on the connection that ``connect`` makes, on the thread. What that raises is raised."""
        self._connect = connect
        self._thread.start()
        await asyncio.shield(self._opened)

    async def stop(self) -> None:
        """Do what is left to be done, and end. It must have been started."""
        self._requests.put(None)
        await asyncio.shield(self._ended)

    async def ask(self, work: Work, take: Take = lambda answer: answer) -> Any:
        """Let ``work`` be done; what ``take`` makes of its answer, once it is safe.

        If the caller is cancelled it is done all the same, and ``take`` is called.

        Raises:
            StoreError: SQLite refuses; nothing of it was written.
        """
        return await self.post(work, take)

    def post(self, work: Work, take: Take) -> asyncio.Future[Any]:
        """The same, without waiting for it."""
        future = self._loop.create_future()
        self._requests.put(_Request(work, take, future))
        return future

    def _live(self) -> None:
        try:
            db = self._connect()
        except BaseException as error:
            self._call(_fail, self._opened, _told(self._path, error))
            self._call(_answer, self._ended, None)
            return
        self._call(_answer, self._opened, None)
        try:
            going, wait_s = True, self._look(db)
            while going:
                try:
                    request = self._requests.get(timeout=wait_s)
                except Empty:
                    request = None
                else:
                    if request is None:
                        return
                if request is not None:
                    batch, going = self._gather(request)
                    self._call(_resolve, self._carry_out(db, batch))
                wait_s = self._look(db)
        finally:
            db.close()
            self._call(_answer, self._ended, None)

    def _look(self, db: sqlite3.Connection) -> float | None:
        try:
            return self._after(db)
        except sqlite3.Error:  # whoever asks for something next is told
            return 1.0

    def _gather(self, first: _Request) -> tuple[list[_Request], bool]:
        """What waits to be done; and whether more may come."""
        batch = [first]
        until_us = self._steady_us() + _MOST_US
        with suppress(Empty):
            while len(batch) < _MOST and self._steady_us() < until_us:
                request = self._requests.get_nowait()
                if request is None:
                    return batch, False
                batch.append(request)
        return batch, True

    def _carry_out(self, db: sqlite3.Connection, batch: list[_Request]) -> list[tuple[_Request, Any, Any]]:
        """Do all in one transaction; if one of them fails, each in one of its own, so that it fails alone."""
        try:
            return self._transact(db, batch)
        except BaseException as error:
            if len(batch) == 1:
                return [(batch[0], None, _told(self._path, error))]
        return [done for request in batch for done in self._carry_out(db, [request])]

    def _transact(self, db: sqlite3.Connection, batch: list[_Request]) -> list[tuple[_Request, Any, Any]]:
        try:
            db.execute(self._begin)
            done = [(request, request.work(db), None) for request in batch]
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            raise
        return done

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError):  # the loop was closed: nobody waits there any more
            self._loop.call_soon_threadsafe(function, *args)


def _told(path: str, error: BaseException) -> BaseException:
    if isinstance(error, sqlite3.Error):
        told = store_error(path, error)
        told.__cause__ = error
        return told
    return error


def _resolve(done: list[tuple[_Request, Any, BaseException | None]]) -> None:
    for (_work, take, future), answer, error in done:
        if error is None:
            try:
                taken = take(answer)
            except Exception as broken:
                _fail(future, broken)
            else:
                _answer(future, taken)
        else:
            _fail(future, error)


def _answer(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():
        future.set_result(answer)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
