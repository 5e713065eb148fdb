"""Servers that are reached by TLS: the certificate is looked at, and one that is not the right one is told of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from addresses import valkey_server
from asyncsched import Registry, Scheduler
from asyncsched.errors import StoreError
from contract.postgres_bench import server as postgres_server

from .replicas import alone_in_a_cluster
from .tls import Authority, terminated

KINDS = ("postgres", "redis")
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """Two that know nothing of one another."""
    folder = tmp_path_factory.mktemp("tls")
    return Authority.at(folder / "one"), Authority.at(folder / "other")


@pytest.fixture(scope="module")
def ports(authorities: tuple[Authority, Authority]) -> Iterator[dict[tuple[str, str], int]]:
    """Where each kind of server can be reached, by the name that its certificate has."""
    sockets = {"postgres": Path(postgres_server().folder) / ".s.PGSQL.5432"}
    sockets["redis"] = Path(valkey_server().folder) / "socket"
    contexts = {host: authorities[0].context(host) for host in ("localhost", "elsewhere.test")}
    with ExitStack() as stack:
        yield {
            (kind, host): stack.enter_context(terminated(sockets[kind], context, asked=kind == "postgres"))
            for kind in KINDS
            for host, context in contexts.items()
        }


def url_of(kind: str, port: int, authority: Path) -> str:
    name = f"tls{next(_numbers)}"
    if kind == "postgres":
        checks = f"sslmode=verify-full&sslrootcert={authority}"
        return f"postgresql://postgres@localhost:{port}/postgres?{checks}&schema={name}"
    return f"rediss://localhost:{port}/0?ssl_ca_certs={authority}&namespace={name}&volatile=allow"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_whose_certificate_is_right_is_used(
    kind: str, authorities: tuple[Authority, Authority], ports: dict[tuple[str, str], int]
) -> None:
    registry = Registry()

    @registry.task
    async def double(number: int) -> int:
        return 2 * number

    async with Scheduler(url_of(kind, ports[kind, "localhost"], authorities[0].path), registry=registry):
        assert await (await double.submit(21)) == 42


async def test_a_cluster_is_asked_by_tls_too(authorities: tuple[Authority, Authority]) -> None:
    with alone_in_a_cluster(authorities[0].context("localhost")) as port:
        url = f"rediss+cluster://localhost:{port}/?ssl_ca_certs={authorities[0].path}&volatile=allow"
        async with Scheduler(url, registry=Registry()) as scheduler:
            assert len(await scheduler.nodes.list()) == 1
        with pytest.raises(StoreError, match=r"nobody says who has the keys .*certificate"):
            async with Scheduler(url.replace("/one/", "/other/"), registry=Registry()):
                pass


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("host", "signer"), [("localhost", 1), ("elsewhere.test", 0)])
async def test_a_server_whose_certificate_is_not_right_is_refused_with_what_to_do(
    kind: str, host: str, signer: int, authorities: tuple[Authority, Authority], ports: dict[tuple[str, str], int]
) -> None:
    with pytest.raises(StoreError, match="certificate") as told:
        async with Scheduler(url_of(kind, ports[kind, host], authorities[signer].path), registry=Registry()):
            pass
    assert ("sslrootcert=" if kind == "postgres" else "ssl_ca_certs=") in str(told.value)
    assert len(str(told.value).splitlines()) == 1
