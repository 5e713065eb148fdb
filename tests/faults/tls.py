"""TLS as users have it: certificates that a CA of the test has signed, and a proxy that speaks TLS before a server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 65_536
_WANTS_TLS = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""What a client of PostgreSQL says first, in plain text; the answer is one letter."""


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=60)


@dataclass
class Authority:
    """A CA, in a folder; ``path`` is its certificate."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Authority:
        folder.mkdir()
        made = cls(folder)
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
        _openssl("req", "-x509", *key, "-subj", "/CN=a CA of a test", "-keyout", folder / "ca.key", "-out", made.path)
        return made

    @property
    def path(self) -> Path:
        return self.folder / "ca.pem"

    def context(self, host: str) -> ssl.SSLContext:
        """What a server says that is ``host``."""
        key, request, signed = (self.folder / f"{host}.{kind}" for kind in ("key", "csr", "pem"))
        said = ("-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}")
        kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        _openssl("req", *kind, *said, "-keyout", key, "-out", request)
        signer = ("-CA", self.path, "-CAkey", self.folder / "ca.key", "-CAcreateserial", "-days", "2")
        _openssl("x509", "-req", "-in", request, *signer, "-copy_extensions", "copy", "-out", signed)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(signed, key)
        return context


class _Terminator:
    """Speaks TLS at ``port`` of this machine, and forwards to a Unix socket; on a thread with a loop of its own."""

    def __init__(self, target: Path, context: ssl.SSLContext, *, asked: bool) -> None:
        self._target, self._context, self._asked = target, context, asked
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._live, name="tls", daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(30)

    def _live(self) -> None:
        self._loop.set_exception_handler(lambda _loop, _said: None)  # whoever does not like the certificate hangs up
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        context = None if self._asked else self._context
        server = await asyncio.start_server(self._meet, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._ended.wait()
        server.close()
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:
                task.cancel()
            await asyncio.wait(left)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if self._asked:
                assert await reader.readexactly(len(_WANTS_TLS)) == _WANTS_TLS, "it is spoken to without TLS"
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(self._context)
            there, out = await asyncio.open_unix_connection(str(self._target))
            pumps = [asyncio.create_task(_pump(reader, out)), asyncio.create_task(_pump(there, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                out.transport.abort()
        writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while said := await reader.read(_CHUNK):
            writer.write(said)
            await writer.drain()


@contextmanager
def terminated(target: Path, context: ssl.SSLContext, *, asked: bool = False) -> Iterator[int]:
    """The port at which a server can be reached by TLS; ``asked``: as clients of PostgreSQL ask for it."""
    started = _Terminator(target, context, asked=asked)
    started.start()
    try:
        yield started.port
    finally:
        started.stop()
