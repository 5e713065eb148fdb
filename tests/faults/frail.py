"""Servers that fail: one of each kind that may be killed and started again, or cut off by a proxy in front of it."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

import servers
from addresses import valkey_server
from asyncsched import Registry, Scheduler
from asyncsched.errors import StoreError
from asyncsched.events import Event, NodeLost, RunEnded, RunLost, StoreBack, StoreLost
from asyncsched.run import RunStatus
from contract.postgres_bench import server as postgres_server

from .proxy import Proxy, proxy

KINDS = ("postgres", "redis")
PATIENCE_S = 60
_numbers = itertools.count(1)


class Frail:
    """A server, and a place there that nobody else uses.

    kind: one of ``KINDS``. through: what its clients go through, if it is not the server itself.
    """

    def __init__(self, kind: str, server: Any, through: Proxy | None = None) -> None:
        self.kind = kind
        self.server = server
        self.through = through
        self.name = f"frail{next(_numbers)}"

    def url(self, lease: str = "20s", **options: Any) -> str:
        """The URL of a store there."""
        said = {"lease": lease, **options}
        if self.kind == "postgres":
            where = self.server.url()
            if self.through is not None:
                where = f"postgresql://postgres@127.0.0.1:{self.through.port}/postgres?sslmode=disable"
            said["schema"] = self.name
            return f"{where}&{'&'.join(f'{name}={value}' for name, value in said.items())}"
        where = self.server.url().partition("?")[0]
        if self.through is not None:
            where = f"redis://127.0.0.1:{self.through.port}/0"
        said |= {"namespace": self.name, "volatile": "allow"}
        return f"{where}?{'&'.join(f'{name}={value}' for name, value in said.items())}"

    @property
    def socket(self) -> Path:
        """Where the server listens."""
        return Path(self.server.folder) / (".s.PGSQL.5432" if self.kind == "postgres" else "socket")

    def crash(self) -> None:
        """End the server as a crash does."""
        self.server.stop(signal.SIGQUIT if self.kind == "postgres" else signal.SIGKILL)

    def start(self) -> None:
        """Let it run again; returns when it answers."""
        self.server.start()

    def ended(self) -> dict[str, int]:
        """How many records of ended runs there are of each run."""
        if self.kind == "postgres":
            found = self.server.sql(f"SELECT id, count(*) FROM {self.name}.history GROUP BY id").split()
            return {run_id: int(count) for run_id, _, count in (line.partition("|") for line in found)}
        with self._client() as client:
            keys = client.scan_iter(f"{{{self.name}}}:e:*", count=1_000)
            return {run_id: 1 for key in keys for run_id in client.zrange(key, 0, -1)}

    def drop_connections(self, *, listeners: bool = False) -> int:
        """Let the server end its connections, or those only that are told of changes; how many they were."""
        if self.kind == "postgres":
            which = "asyncsched node" if listeners else "asyncsched%"
            return int(
                self.server.sql(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    f"WHERE application_name LIKE '{which}'"
                )
            )
        with self._client() as client:
            return int(
                client.execute_command("CLIENT", "KILL", "TYPE", "pubsub" if listeners else "normal", "SKIPME", "yes")
            )

    def _client(self) -> Any:
        url = self.server.url()
        return redis.Redis.from_url(url, decode_responses=True)


@contextmanager
def crashing(kind: str) -> Iterator[Frail]:
    """A server of its own, which keeps what it has acknowledged when it crashes."""
    if kind == "postgres":
        with servers.postgres(fsync="on", full_page_writes="on", synchronous_commit="on") as server:
            yield Frail(kind, server)
    else:
        with servers.valkey("--appendonly", "yes", "--appendfsync", "always", "--save", "") as vk:
            yield Frail(kind, vk)


@contextmanager
def cut(kind: str) -> Iterator[Frail]:
    """The server of this test process, behind a proxy of its own."""
    server: Any = postgres_server() if kind == "postgres" else valkey_server()
    whole = Frail(kind, server)
    with proxy(whole.socket) as through:
        yield Frail(kind, server, through)


class Scene:
    """A scheduler at such a server, with what it is told."""

    def __init__(self, url: str, registry: Registry, **options: Any) -> None:
        self.registry = registry
        self.scheduler = Scheduler(url, registry=registry, shutdown_timeout="1s", **options)
        self.heard: list[Any] = []
        kinds = {StoreLost, StoreBack, RunEnded, RunLost, NodeLost}
        self._listening = self.scheduler.events.on(kinds, self.heard.append)

    def all(self, kind: type[Event]) -> list[Any]:
        """The events of this kind so far."""
        return [event for event in self.heard if isinstance(event, kind)]

    def succeeded(self, task: str) -> list[Any]:
        """The runs of the task that have succeeded so far, as the scheduler was told."""
        return [one.run for one in self.all(RunEnded) if one.task == task and one.run.status is RunStatus.SUCCESS]


async def until(holds: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Return once it is so."""
    async with asyncio.timeout(patience_s):
        while not holds():
            await asyncio.sleep(0.01)


async def persist(task: Any, *args: Any, key: str, patience_s: float = PATIENCE_S) -> Any:
    """Submit under an idempotency key, again and again until that is acknowledged; the run."""
    async with asyncio.timeout(patience_s):
        while True:
            try:
                return await task.using(idempotency_key=key).submit(*args)
            except StoreError:
                await asyncio.sleep(0.02)
