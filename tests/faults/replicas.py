"""Servers that others take over from: PostgreSQL with a standby, Valkey with a replica and a Sentinel, and clusters.

What the second of two hears from the first goes through a proxy, so that it may be held: then it lags behind.
"""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

import servers

from .proxy import Proxy, proxy
from .tls import terminated

PATIENCE_S = 60


def wait_for(holds: Callable[[], object], what: str) -> None:
    """Wait until something holds at servers that may not be there yet.

    Raises:
        AssertionError: it does not.
    """
    until, trouble = time.monotonic() + PATIENCE_S, None
    while time.monotonic() < until:
        try:
            if holds():
                return
        except (redis.RedisError, OSError, RuntimeError) as error:
            trouble = error
        time.sleep(0.05)
    raise AssertionError(f"not after {PATIENCE_S} s: {what} ({trouble})")


# -- PostgreSQL


@dataclass
class Pair:
    """A PostgreSQL primary and its standby, which hears of it through a proxy."""

    primary: servers.Postgres
    standby: servers.Postgres
    between: Proxy

    def url(self, **options: str) -> str:
        """The URL of a store at whichever is the primary."""
        hosts = f"host={self.primary.folder},{self.standby.folder}&target_session_attrs=primary"
        return (
            f"postgresql://postgres@/postgres?{hosts}{''.join(f'&{name}={value}' for name, value in options.items())}"
        )

    def promote(self) -> None:
        """End the primary as a crash does, and let the standby take over with what it has heard."""
        self.primary.stop(signal.SIGQUIT)
        self.between.cut()
        self.standby.sql("SELECT pg_promote()")


@contextmanager
def standby(*, synchronous: bool) -> Iterator[Pair]:
    """A new primary, and a standby that follows it; where it is synchronous nothing is answered that it has not."""
    with ExitStack() as stack:
        primary = stack.enter_context(servers.postgres(synchronous_commit="on"))
        between = stack.enter_context(proxy(primary.folder / ".s.PGSQL.5432"))
        folder = Path(tempfile.mkdtemp(prefix="asyncsched-pg-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        nobody = servers.Nobody.here()
        nobody.own(folder)
        second = servers.Postgres(folder, primary.binaries, primary.settings)
        copy = [primary.binaries / "pg_basebackup", "-h", "127.0.0.1", "-p", str(between.port), "-U", "postgres"]
        subprocess.run(
            [*copy, "-D", folder / "data", "-R", "-c", "fast", "--no-sync"],
            check=True,
            cwd="/",
            timeout=PATIENCE_S,
            capture_output=True,
            **nobody.options,
        )
        second.start()
        stack.callback(second.stop, signal.SIGQUIT)
        wait_for(lambda: primary.sql("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"), "it follows")
        if synchronous:
            primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.sql("SELECT pg_reload_conf()")
            wait_for(lambda: "sync" in primary.sql("SELECT sync_state FROM pg_stat_replication"), "it is synchronous")
        yield Pair(primary, second, between)


# -- Valkey


def free_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        port: int = plug.getsockname()[1]
        return port


class Sentinel(servers.Valkey):
    """A Valkey Sentinel: its settings are the port of the primary that it watches as ``shop``, its own, more lines."""

    def start(self) -> None:
        said = (
            f"port {self.port}",
            f"dir {self.folder}",
            f"unixsocket {self.folder / 'socket'}",
            f"sentinel monitor shop 127.0.0.1 {self.settings[0]} 1",
            "sentinel down-after-milliseconds shop 1000",
            "sentinel failover-timeout shop 3000",
            *self.settings[2:],
        )
        config = self.folder / "sentinel.conf"
        config.write_text("\n".join(said) + "\n")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.binary, config, "--sentinel"], stdout=log, stderr=log, preexec_fn=servers._end_with_parent
            )
        wait_for(lambda: self.client().ping(), "a Sentinel listens")

    @property
    def port(self) -> int:
        return int(self.settings[1])

    def client(self) -> Any:
        return redis.Redis(port=self.port, decode_responses=True)

    def primary(self) -> int:
        """The port of the server that is the primary now."""
        found: tuple[str, int] = self.client().sentinel_get_master_addr_by_name("shop")
        return int(found[1])


@contextmanager
def listening(port: int, *settings: str) -> Iterator[servers.Valkey]:
    """A new Valkey server that listens at this port, too, and keeps nothing on disk unless ``settings`` say so."""
    plain = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    with servers.valkey(*plain, "--repl-diskless-sync-delay", "0", *settings) as server:
        yield server


@dataclass
class Watched:
    """A Valkey primary, its replica, and a Sentinel that lets that take over; ``ports`` has those of the servers."""

    sentinel: Sentinel
    ports: tuple[int, int]
    pair: tuple[servers.Valkey, servers.Valkey]
    between: Proxy

    def url(self, **options: str) -> str:
        """The URL of a store at whichever is the primary."""
        said = {"volatile": "allow", "lease": "3s", **options}
        told = "&".join(f"{name}={value}" for name, value in said.items())
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/shop/0?{told}"

    def client(self, number: int) -> Any:
        """A client of the first server, or the second."""
        return redis.Redis(port=self.ports[number], decode_responses=True)


@contextmanager
def watched() -> Iterator[Watched]:
    """A new primary, a replica that has heard of all, and a Sentinel that knows both."""
    with ExitStack() as stack:
        ports = free_port(), free_port()
        first = stack.enter_context(listening(ports[0]))
        between = stack.enter_context(proxy(first.folder / "socket"))
        follows = ("--replicaof", f"127.0.0.1 {between.port}", "--replica-announce-ip", "127.0.0.1")
        second = stack.enter_context(listening(ports[1], *follows))
        there = redis.Redis(port=ports[1], decode_responses=True)
        wait_for(lambda: there.info("replication")["master_link_status"] == "up", "the replica follows")
        folder = Path(tempfile.mkdtemp(prefix="asyncsched-vk-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sentinel = Sentinel(folder, first.binary, (str(ports[0]), str(free_port())))
        sentinel.start()
        stack.callback(sentinel.stop, signal.SIGKILL)
        wait_for(lambda: len(sentinel.client().sentinel_slaves("shop")) == 1, "the Sentinel knows the replica")
        there.close()
        yield Watched(sentinel, ports, (first, second), between)


@contextmanager
def alone_in_a_cluster(context: ssl.SSLContext) -> Iterator[int]:
    """The port of a cluster of one server, that is reached by TLS as localhost, and says so."""
    port, bus = free_port(), free_port()
    clustered = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-announce-hostname", "localhost")
    named = ("--cluster-preferred-endpoint-type", "hostname")
    with listening(port, *clustered, *named) as server, terminated(server.folder / "socket", context) as outside:
        with redis.Redis(port=port, decode_responses=True) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16_383)
            client.config_set("cluster-announce-port", outside)
            wait_for(lambda: client.cluster("info")["cluster_state"] == "ok", "the cluster is whole")
        yield outside


@dataclass
class Cluster:
    """A Valkey cluster; the last of its servers is the replica of the one before."""

    ports: list[int]
    servers: list[servers.Valkey]

    def client(self, number: int) -> Any:
        """A client of one of the servers."""
        return redis.Redis(port=self.ports[number], decode_responses=True)


@contextmanager
def cluster(count: int) -> Iterator[Cluster]:
    """A new cluster of so many primaries, and a replica of the last."""
    with ExitStack() as stack:
        ports = [free_port() for _ in range(count + 1)]
        clustered = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
        bus = [free_port() for _ in ports]
        started = [
            stack.enter_context(listening(port, *clustered, "--cluster-port", str(other)))
            for port, other in zip(ports, bus, strict=True)
        ]
        clients = [stack.enter_context(redis.Redis(port=port, decode_responses=True)) for port in ports]
        for place, one in enumerate(clients[:-1]):
            first, last = place * 16_384 // count, (place + 1) * 16_384 // count - 1
            one.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            one.execute_command("CLUSTER SET-CONFIG-EPOCH", place + 1)
        for port, other in zip(ports[1:], bus[1:], strict=True):
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port, other)
        whole = {"cluster_state": "ok", "cluster_known_nodes": str(len(ports))}
        for one in clients:
            wait_for(lambda one=one: whole.items() <= one.cluster("info").items(), "the cluster is whole")
        clients[-1].execute_command("CLUSTER REPLICATE", clients[-2].execute_command("CLUSTER MYID"))
        wait_for(lambda: clients[-1].info("replication")["master_link_status"] == "up", "the replica follows")
        yield Cluster(ports, started)
