"""Servers that are reached by TLS, whose CONFIG and INFO are not everybody's, that keep less than they should."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis

from asyncsched import Registry, Scheduler
from asyncsched.errors import StoreError
from asyncsched.stores.redis import store_at
from servers import Valkey, valkey

PATIENCE_S = 60


@asynccontextmanager
async def by_tls(server: Valkey, folder: Path) -> AsyncIterator[int]:
    """A port at which the server is reached by TLS, with a certificate for localhost that it has made itself."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([*command, *names], check=True, capture_output=True, timeout=PATIENCE_S)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    writers: set[asyncio.StreamWriter] = set()
    serving: set[asyncio.Task[None]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        there, here = await asyncio.open_unix_connection(server.folder / "socket")
        writers.update((writer, here))
        await asyncio.gather(forward(reader, here), forward(there, writer))

    proxy = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    try:
        yield proxy.sockets[0].getsockname()[1]
    finally:
        proxy.close()
        for writer in writers:
            writer.close()
        if serving:
            await asyncio.wait(serving)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here to make a certificate")
async def test_a_server_is_reached_by_tls_and_its_certificate_is_looked_at(tmp_path: Path) -> None:
    registry = Registry()

    @registry.task(id="work")
    async def work(number: int) -> int:
        return number

    with valkey() as server:
        async with by_tls(server, tmp_path) as port:
            url = f"rediss://localhost:{port}/0?volatile=allow"
            async with (
                asyncio.timeout(PATIENCE_S),
                Scheduler(f"{url}&ssl_ca_certs={tmp_path / 'cert.pem'}", registry=registry),
            ):
                assert await (await work.submit(1)) == 1
            with pytest.raises(StoreError, match="certificate verify failed"):
                await store_at(url).open("n", None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        (("--appendonly", "no", "--save", ""), "set 'appendonly yes'"),
        (("--appendonly", "no", "--save", "60 1"), "set 'appendonly yes'"),
        (("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"), "maxmemory-policy allkeys-lru"),
        (("--appendonly", "yes", "--maxmemory-policy", "volatile-ttl"), "maxmemory-policy volatile-ttl"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_server_that_may_forget_is_refused_unless_that_is_allowed(setting: tuple[str, ...], why: str) -> None:
    with valkey(*setting) as server:
        with pytest.raises(StoreError, match=why) as refused:
            await store_at(server.url()).open("n", None)  # type: ignore[arg-type]
        assert "allow_volatile=True" in str(refused.value)
        async with Scheduler(f"{server.url()}&volatile=allow", registry=Registry()):
            pass


async def test_a_server_whose_config_is_forbidden_is_taken_and_one_that_tells_nothing_of_itself_is_not() -> None:
    with valkey("--appendonly", "yes", "--save", "") as server:
        with redis.Redis.from_url(server.url()) as client:
            client.execute_command("ACL", "SETUSER", "hosted", "on", ">secret", "~*", "&*", "+@all", "-config")
            client.execute_command("ACL", "SETUSER", "mute", "on", ">secret", "~*", "&*", "+@all", "-config", "-info")
        hosted, mute = (f"{server.url()}&username={name}&password=secret" for name in ("hosted", "mute"))
        async with Scheduler(hosted, registry=Registry()):
            pass
        with pytest.raises(StoreError, match=r"lacks a right: .*\+info"):
            await store_at(mute).open("n", None)  # type: ignore[arg-type]
