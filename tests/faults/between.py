"""Who stands between clients and the Unix socket of a server, on a thread with a loop of his own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

CHUNK = 65_536
T = TypeVar("T", bound="Between")


class Between:
    """Listens at ``port`` of this machine, from ``start`` to ``stop``; ``meet`` is called for each connection there.

    context: by which TLS is spoken from the first byte on; ``None``: it is not.
    """

    def __init__(self, target: Path, context: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self._context = context
        self._ended = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._live, name=type(self).__name__, daemon=True)

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do with a connection what is to be done."""
        raise NotImplementedError

    def leave(self) -> None:
        """Called on the thread, when nobody is met any more."""

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        assert self._started.wait(30)

    def stop(self) -> None:
        """Listen no more, and end all connections."""
        self.loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(30)

    def _live(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        tls: dict[str, Any] = {} if self._context is None else {"ssl": self._context}
        server = await asyncio.start_server(self.meet, "127.0.0.1", 0, limit=CHUNK, **tls)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._ended.wait()
        server.close()
        self.leave()
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:
                task.cancel()
            await asyncio.wait(left)


@contextmanager
def standing(between: T) -> Iterator[T]:
    """It stands there meanwhile."""
    between.start()
    try:
        yield between
    finally:
        between.stop()
