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

from .between import CHUNK, Between, standing

_RST = struct.pack("ii", 1, 0)  # to close a socket that lingers for no time is to reset its connection


class Proxy(Between):
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
        super().__init__(target)
        self.up = self.down = True
        self.refusing = False
        self.rate: float | None = None
        self.loses: Callable[[bytes], bool] = lambda _said: False
        self.lost = self.made = 0
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Reset all connections that there are."""
        done = threading.Event()

        def reset() -> None:
            for writer in list(self._writers):
                _reset(writer)
            done.set()

        self.loop.call_soon_threadsafe(reset)
        assert done.wait(30)

    def hold(self, *, up: bool = True, down: bool = True) -> None:
        """Let nothing through any more that goes to the server, or comes from it."""
        self.up, self.down = not up, not down

    def release(self) -> None:
        """Let everything through, first what was held."""
        self.up = self.down = True
        self.refusing = False
        self.rate = None

    def leave(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            _reset(writer)
            return
        try:
            there, out = await asyncio.open_unix_connection(str(self.target), limit=CHUNK)
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
            while said := await reader.read(CHUNK):
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
    with standing(Proxy(target)) as started:
        yield started
