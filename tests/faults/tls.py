"""TLS as users have it: certificates that a CA of the test has signed, and a proxy that speaks TLS before a server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .between import CHUNK, Between, standing

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


class _Terminator(Between):
    """Speaks TLS with clients; ``asked``: once they have asked for it, as those of PostgreSQL do."""

    def __init__(self, target: Path, context: ssl.SSLContext, *, asked: bool) -> None:
        super().__init__(target, None if asked else context)
        self._later = context if asked else None
        self.loop.set_exception_handler(lambda _loop, _said: None)  # whoever does not like the certificate hangs up

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if self._later is not None:
                assert await reader.readexactly(len(_WANTS_TLS)) == _WANTS_TLS, "it is spoken to without TLS"
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(self._later)
            there, out = await asyncio.open_unix_connection(str(self.target))
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
        while said := await reader.read(CHUNK):
            writer.write(said)
            await writer.drain()


@contextmanager
def terminated(target: Path, context: ssl.SSLContext, *, asked: bool = False) -> Iterator[int]:
    """The port at which a server can be reached by TLS; ``asked``: as clients of PostgreSQL ask for it."""
    with standing(_Terminator(target, context, asked=asked)) as started:
        yield started.port
