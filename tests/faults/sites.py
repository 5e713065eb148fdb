"""Where a nemesis comes: a store whose server may crash, ways there that may be cut, and how fast the machine is."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

import servers

from .frail import Frail, crashing
from .grounds import LEASE_S, File, Ground, Namespace, Schema
from .proxy import Proxy, proxy

SLOTS = 3
"""So many workers there are at once."""


class OwnSchema(Schema):
    """A schema at a server of its own."""

    def __init__(self, frail: Frail) -> None:
        self.name = frail.name
        self._server = frail.server

    def _ask(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self._server.sql(f"SELECT coalesce(json_agg(t), '[]') FROM ({query}) t")
        )
        return found

    def clear(self) -> None:
        self._server.sql(f"DROP SCHEMA IF EXISTS {self.name} CASCADE")


class OwnNamespace(Namespace):
    """A namespace at a server of its own."""

    def __init__(self, frail: Frail) -> None:
        self.prefix = f"{{{frail.name}}}:"
        self._server = frail.server

    def _client(self) -> contextlib.closing[Any]:
        return contextlib.closing(redis.Redis.from_url(self._server.url(), decode_responses=True))


class Site:
    """A store where all this happens, its server if it has one, and a way there for each worker.

    urls: what each slot's worker is given.
    """

    def __init__(self, kind: str, folder: Path, stack: ExitStack) -> None:
        self.kind = kind
        self.frail: Frail | None = None
        self.ways: list[Proxy] = []
        self.ground: Ground
        if kind == "sqlite":
            self.ground = file = File(folder)
            self.urls = [file.url] * SLOTS
            return
        self.frail = frail = stack.enter_context(crashing(kind) if kind == "postgres" else everysec())
        self.ways = [stack.enter_context(proxy(frail.socket)) for _ in range(SLOTS)]
        self.ground = OwnSchema(frail) if kind == "postgres" else OwnNamespace(frail)
        self.urls = []
        for way in self.ways:
            through = Frail(kind, frail.server, way)
            through.name = frail.name
            self.urls.append(through.url(f"{LEASE_S:.0f}s"))


@contextlib.contextmanager
def everysec() -> Iterator[Frail]:
    """A Redis server as it is when it is told to keep a log, and no more."""
    with servers.valkey("--appendonly", "yes", "--appendfsync", "everysec", "--save", "") as server:
        yield Frail("redis", server)


class Metronome:
    """Notes when the machine itself was slow.

    That is when a process of its own, which does what a fire takes, some work and a byte on the disk, waited for it.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "strained"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Metronome:
        with self._file.open("wb") as out:
            self._process = subprocess.Popen([sys.executable, "-c", _BEATS], stdin=subprocess.PIPE, stdout=out)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.communicate()  # it ends with its input
        print(f"the machine was slow for {sum(end - start for start, end in self.strained) / 1e6:.1f} s")

    @property
    def strained(self) -> list[tuple[int, int]]:
        """From when to when, in microseconds since the epoch."""
        lines = self._file.read_text().split("\n")[:-1]
        return [(int(start), int(end)) for start, _, end in (line.partition(" ") for line in lines)]


_BEATS = """
import os, select, sys, tempfile, time
with tempfile.TemporaryFile() as disk:
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        before, cpu = time.time_ns() // 1000, time.process_time_ns() // 1000
        while time.process_time_ns() // 1000 - cpu < 3000:
            pass
        disk.write(b".")
        disk.flush()
        os.fdatasync(disk.fileno())
        if (now := time.time_ns() // 1000) - before > 30_000:
            print(before, now, flush=True)
"""
