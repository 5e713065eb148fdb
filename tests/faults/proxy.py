"""A real TCP proxy in front of a server's Unix socket, which cuts, holds up, slows and loses what goes through it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHUNK = 65_536
_RST = struct.pack("ii", 1, 0)  # to close a socket that lingers for no time is to reset its connection


class Proxy:
    """Forwards from ``port`` of this machine to a Unix socket, on a thread with a loop of its own.

    up, down: whether what clients say, and what the server says, goes through; what does not is held, and new
        connections are made all the same.
    refusing: whether new connections are reset at once.
    rate: so many bytes per second at most in each direction of each connection; ``None``: as fast as may be.
    loses: told all that clients say. If it holds, that is forwarded; when the server has answered it, the connections
        are reset and the answer is lost.
    lost: how many answers were. made: how many connections.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self.up = self.down = True
        self.refusing = False
        self.rate: float | None = None
        self.loses: Callable[[bytes], bool] = lambda _said: False
        self.lost = self.made = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._live, name="proxy", daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(30)

    def cut(self) -> None:
        """Reset all connections that there are."""
        done = threading.Event()

        def reset() -> None:
            for writer in list(self._writers):
                _reset(writer)
            done.set()

        self._loop.call_soon_threadsafe(reset)
        assert done.wait(30)

    def hold(self, *, up: bool = True, down: bool = True) -> None:
        """Let nothing through any more that goes to the server, or comes from it."""
        self.up, self.down = not up, not down

    def release(self) -> None:
        """Let everything through, first what was held."""
        self.up = self.down = True
        self.refusing = False
        self.rate = None

    def _live(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._meet, "127.0.0.1", 0, limit=_CHUNK)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._ended.wait()
        server.close()
        for writer in list(self._writers):
            _reset(writer)
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:
                task.cancel()
            await asyncio.wait(left)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            _reset(writer)
            return
        try:
            there, out = await asyncio.open_unix_connection(str(self._target), limit=_CHUNK)
        except OSError:
            _reset(writer)
            return
        both = (writer, out)
        self._writers.update(both)
        self.made += 1
        losing = asyncio.Event()
        pumps = [
            asyncio.create_task(self._pump(reader, out, lambda: self.up, losing, asks=True)),
            asyncio.create_task(self._pump(there, writer, lambda: self.down, losing, asks=False)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # it is told to end
            pass
        finally:
            for pump in pumps:
                pump.cancel()
            for one in both:
                _reset(one)
            self._writers.difference_update(both)

    async def _pump(
        self, reader: Any, writer: Any, passes: Callable[[], bool], losing: asyncio.Event, *, asks: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while said := await reader.read(_CHUNK):
                while not passes():
                    await asyncio.sleep(0.01)
                if asks and self.loses(said):
                    losing.set()
                elif not asks and losing.is_set():
                    self.lost += 1
                    return
                for piece in self._pieces(said):
                    writer.write(piece)
                    await writer.drain()
                    if self.rate is not None:
                        await asyncio.sleep(len(piece) / self.rate)

    def _pieces(self, said: bytes) -> Iterator[bytes]:
        size = len(said) if self.rate is None else max(1, int(self.rate / 20))
        return (said[start : start + size] for start in range(0, len(said), size))


def _reset(writer: asyncio.StreamWriter) -> None:
    plug: Any = writer.get_extra_info("socket")
    if plug is not None and plug.family == socket.AF_INET and plug.fileno() >= 0:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
    writer.transport.abort()


@contextmanager
def proxy(target: Path) -> Iterator[Proxy]:
    """A proxy in front of this socket, which is gone when the block is left."""
    started = Proxy(target)
    started.start()
    try:
        yield started
    finally:
        started.stop()
