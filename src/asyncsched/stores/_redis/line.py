"""A connection on which commands are sent at any time, and answers told as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from asyncsched.errors import MissingExtra

try:
    import hiredis
except ImportError as missing:
    raise MissingExtra("RedisStore needs hiredis: pip install 'asyncsched[redis]'", name=missing.name) from missing

_MORE = object()
_PUSH: Any = getattr(hiredis, "PushNotification", ())  # older ones do not tell it from an answer


class Line:
    """A connection of redis-py, which knows how to come to a server, and what to say first there.

    answered: called with each answer, in the order in which commands were sent; refusals are answers.
    lost: called with the reason when the connection is lost: what was not answered until then will not be.
    """

    def __init__(self, connection: Any, answered: Callable[[Any], None], lost: Callable[[Exception], None]) -> None:
        self._connection = connection
        self._answered, self._lost = answered, lost
        self._ear: _Ear | None = None

    @property
    def is_open(self) -> bool:
        """Whether something can be sent, as far as is known."""
        return self._ear is not None and not self._ear.transport.is_closing()

    async def open(self) -> None:
        """Connect, anew if need be. Raises what the client raises."""
        self.drop()
        connection = self._connection
        try:
            await connection.disconnect(nowait=True)
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        ear = self._ear = _Ear(connection, self._answered, self._gone)
        ear.transport.set_protocol(ear)  # its own waits for somebody to read: a turn of the loop, and a task, each time

    def send(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """Send these together."""
        assert self._ear is not None
        self._ear.transport.write(b"".join(map(self._packed, commands)))

    def _packed(self, words: tuple[Any, ...]) -> bytes:
        try:
            packed: bytes = hiredis.pack_command(words)
        except (TypeError, UnicodeError):  # the client writes something in its place
            return b"".join(self._connection.pack_command(*words))
        return packed

    def drop(self) -> None:
        """Let go of the connection at once; nobody is told."""
        ear, self._ear = self._ear, None
        if ear is not None:
            ear.transport.abort()

    async def close(self) -> None:
        """Let go of the connection; nobody is told."""
        self._ear = None
        await self._connection.disconnect()

    def _gone(self, ear: _Ear, error: Exception) -> None:
        if ear is self._ear:
            self.drop()
            self._lost(error)


class _Ear(asyncio.Protocol):
    """Hears what comes on a connection that has been opened."""

    def __init__(
        self, connection: Any, answered: Callable[[Any], None], gone: Callable[[_Ear, Exception], None]
    ) -> None:
        self.transport: Any = connection._writer.transport
        self._before: Any = self.transport.get_protocol()  # whoever closes the connection waits for it to know
        coding = connection.encoder
        self._reader = hiredis.Reader(
            replyError=connection._parser.parse_error,
            encoding=coding.encoding,
            errors=coding.encoding_errors,
            notEnoughData=_MORE,
        )
        self._answered, self._gone = answered, gone

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        try:
            reader.feed(data)
            while not self.transport.is_closing() and (answer := reader.gets()) is not _MORE:
                if not isinstance(answer, _PUSH):
                    self._answered(answer)
        except Exception as error:  # what came is no answer: nobody knows any more which is whose
            self._gone(self, error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._before.connection_lost(exc)
        self._gone(self, exc or ConnectionError("the server has closed the connection"))
