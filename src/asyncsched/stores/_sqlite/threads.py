"""The threads that talk to SQLite: one that writes, many requests in one transaction, and one that reads."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, cast

from asyncsched import crash_points
from asyncsched.clock import SystemClock
from asyncsched.errors import StoreError
from asyncsched.stores._sqlite.connection import holds_up_all, os_error, read_anything, store_error

# So much is written in one transaction, at most: one wait for the disk is then shared by many who wait.
_MOST = 500
# What was in the way of a request may be mended so often: how texts are read, and then a row or two.
_TRIES = 4

Work = Callable[[sqlite3.Connection], Any]
Take = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Insertion:
    """Work that is a statement for each of these rows; what is asked for one after another is written at once."""

    statement: str
    rows: Sequence[tuple[Any, ...]]

    def __call__(self, db: sqlite3.Connection) -> None:
        """Write the rows."""
        insert(db, self.statement, self.rows)


@crash_points.unit("submit")
def insert(db: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Carry out the statement for each of the rows."""
    db.executemany(statement, rows)


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
    look: called on the thread between transactions, at first and then as often as it says: in so many seconds.
    after: called on the thread after each transaction, or where several were made of one.
    check: called on the thread before each commit; what it raises undoes the transaction.
    mend: called on the thread, outside transactions, with what a request raised; whether it is worth another try.
    """

    def __init__(
        self,
        path: str,
        name: str,
        begin: str,
        look: Callable[[sqlite3.Connection], float | None] = lambda _db: None,
        *,
        after: Callable[[sqlite3.Connection], None] = lambda _db: None,
        check: Callable[[], None] = lambda: None,
        mend: Callable[[sqlite3.Connection, BaseException], bool] = read_anything,
    ) -> None:
        self._path = path
        self._begin = begin
        self._steady_us = SystemClock().steady_us
        self._around = look
        self._after = after
        self._check = check
        self._mend = mend
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
            going, look_us = True, self._look(db)
            while going:
                try:
                    request = self._next(look_us)
                except Empty:
                    look_us = self._look(db)
                    continue
                if request is None:
                    return
                going = self._serve(db, request)
                del request  # it would be held until the next one comes, with the runs that it is about
        finally:
            db.close()
            self._call(_answer, self._ended, None)
            with suppress(Empty):
                while True:  # whoever asked too late, or was overtaken by what ended this thread
                    if (late := self._requests.get_nowait()) is not None:
                        self._call(_fail, late.future, StoreError(f"SQLite store {self._path}: it has been closed"))

    def _serve(self, db: sqlite3.Connection, first: _Request) -> bool:
        """Do this and what waits behind it; whether more may come."""
        batch, going = self._gather(first)
        self._call(_resolve, self._carry_out(db, batch))
        self._tidy(db)
        return going

    def _next(self, look_us: int | None) -> _Request | None:
        """What is to be done next; ``None``: nothing any more. Raises ``Empty`` when it is time to look around."""
        if look_us is None:
            return self._requests.get()
        wait_us = look_us - self._steady_us()
        if wait_us < 0:
            raise Empty
        return self._requests.get(timeout=wait_us / 1e6)

    def _tidy(self, db: sqlite3.Connection) -> None:
        try:
            self._after(db)
        except sqlite3.Error as error:  # no room for the checkpoint, perhaps: the log grows on
            self._mend(db, error)

    def _look(self, db: sqlite3.Connection) -> int | None:
        """Look around; when to do so again, in microseconds of the steady clock."""
        try:
            wait_s = self._around(db)
        except Exception as error:  # whoever asks for something next is told
            self._mend(db, error)
            wait_s = 1.0
        return None if wait_s is None else self._steady_us() + int(wait_s * 1e6)

    def _gather(self, first: _Request) -> tuple[list[_Request], bool]:
        """What waits to be done; and whether more may come."""
        batch = [first]
        more = self._requests.get_nowait
        with suppress(Empty):
            while len(batch) < _MOST:
                request = more()
                if request is None:
                    return batch, False
                batch.append(request)
        return batch, True

    def _carry_out(
        self, db: sqlite3.Connection, batch: list[_Request], tries: int = _TRIES
    ) -> list[tuple[_Request, Any, Any]]:
        """Do all in one transaction; if one of them fails, each in one of its own, so that it fails alone."""
        try:
            return self._transact(db, batch)
        except BaseException as error:
            if len(batch) == 1:
                if tries > 1 and self._mend(db, error):
                    return self._carry_out(db, batch, tries - 1)
                return [(batch[0], None, _told(self._path, error))]
            if holds_up_all(error):
                return [(request, None, _told(self._path, error)) for request in batch]
        return [done for request in batch for done in self._carry_out(db, [request])]

    @crash_points.transaction
    def _transact(self, db: sqlite3.Connection, batch: list[_Request]) -> list[tuple[_Request, Any, Any]]:
        try:
            db.execute(self._begin)
            done = _done(db, batch)
            self._check()
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


def _done(db: sqlite3.Connection, batch: list[_Request]) -> list[tuple[_Request, Any, Any]]:
    """Do what is asked for, in its order."""
    done: list[tuple[_Request, Any, Any]] = []
    for statement, asked in groupby(batch, _statement):
        if statement is None:
            done += [(request, request.work(db), None) for request in asked]
        else:
            among = list(asked)
            insert(db, statement, [row for request in among for row in cast("Insertion", request.work).rows])
            done += [(request, None, None) for request in among]
    return done


def _statement(request: _Request) -> str | None:
    work = request.work
    return work.statement if isinstance(work, Insertion) else None


def _told(path: str, error: BaseException) -> BaseException:
    if isinstance(error, sqlite3.Error):
        told = store_error(path, error)
        told.__cause__ = error
        return told
    return os_error(path, error) if isinstance(error, OSError) else error


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
