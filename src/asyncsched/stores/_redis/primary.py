"""Connections to the server that is the primary now, which after a failover is another one.

Each connection looks, as it is made, at which primary it has come to. A primary is known by its run id, another one for
each process. (Its replication id changes with a promotion, too, but also under living connections, when it has had no
replica for an hour.) The first who comes to a new one notes how much had happened when it took over, before anything
more happens there: so whoever knows of more, from the one before, knows that it was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache, partial
from importlib.resources import files
from typing import Any

from asyncsched.errors import MissingExtra
from asyncsched.stores._redis.address import Address

try:
    from redis import Redis
    from redis.asyncio import Connection as AsyncConnection
    from redis.asyncio import ConnectionPool as AsyncPool
    from redis.asyncio import SSLConnection as AsyncTlsConnection
    from redis.backoff import NoBackoff
    from redis.connection import Connection, ConnectionPool, SSLConnection
    from redis.crc import key_slot
    from redis.exceptions import ConnectionError as Unreachable
    from redis.exceptions import ReadOnlyError, RedisError
    from redis.retry import Retry
except ImportError as missing:
    raise MissingExtra("RedisStore needs redis: pip install 'asyncsched[redis]'", name=missing.name) from missing

# One of several that are asked for the primary may be gone: the next one is asked while the caller still waits.
_ASKED_S = 1.5


@cache
def seat_script() -> str:
    """The script that notes a new primary, which takes what tells it from others."""
    return files("asyncsched.stores._redis").joinpath("seat.lua").read_text(encoding="utf-8")


def forgotten(seats: Sequence[str], count: int, known: Mapping[str, int]) -> bool:
    """Whether something that was acknowledged is not there any more.

    seats: the primaries that there were, oldest first, each with how much had happened when it became one.
    count: how much has happened by now. known: how much had happened for certain at some of these primaries.
    """
    said = [seat.partition(" ") for seat in seats]
    most = [*(at for _seat, _, at in said[1:]), str(count)]
    kept = {seat: int(at) if at.isdigit() else None for (seat, _, _at), at in zip(said, most, strict=False)}
    return any(seat not in kept or ((at := kept[seat]) is not None and at < least) for seat, least in known.items())


class Seen:
    """How much has happened for certain, by the primaries at which this process saw it.

    count: how much at the primary of now. less: whether that has ever become less.
    """

    def __init__(self) -> None:
        self.seat = ""
        self.count = 0
        self.less = False
        self._before: dict[str, int] = {}

    def counted(self, count: int) -> None:
        """Know how much has happened, as the server says."""
        if count < self.count:
            self.less = True
        else:
            self.count = count

    def seated(self, seat: str, count: int) -> bool:
        """Know to which primary a connection has come, and how much has happened there; whether it is another one."""
        if seat == self.seat:
            return False
        if self.count:
            self._before[self.seat] = self.count
        self.seat, self.count = seat, count
        return True

    def known(self) -> dict[str, int]:
        """All of it that nobody has compared yet with what is there."""
        return {**self._before, **({self.seat: self.count} if self.count else {})}

    def compared(self, known: Mapping[str, int]) -> None:
        """Of this it is known now that it is there."""
        for seat, count in known.items():
            if self._before.get(seat) == count:
                del self._before[seat]

    def forget(self, count: int = 0) -> None:
        """Know of so much only: the rest is not there, and that was told."""
        self._before.clear()
        self.less, self.count = False, count


def async_pool(address: Address, **options: Any) -> Any:
    """Connections for a loop; ``options`` are those of redis-py.

    Raises:
        ValueError, TypeError: an option of the URL cannot be that.
    """
    return _finding(AsyncPool.from_url(address.url, **options), address)


def sync_pool(address: Address, **options: Any) -> Any:
    """Connections for a thread; ``options`` are those of redis-py.

    Raises:
        ValueError, TypeError: an option of the URL cannot be that.
    """
    return _finding(ConnectionPool.from_url(address.url, **options), address)


def _finding(pool: Any, address: Address) -> Any:
    if address.asked:
        pool.connection_class = _FINDING[pool.connection_class]
        options = {name: value for name, value in pool.connection_kwargs.items() if name.startswith("ssl_")}
        tls = issubclass(pool.connection_class, SSLConnection | AsyncTlsConnection)
        own = {name: pool.connection_kwargs.get(name) for name in ("username", "password")}
        if address.service:
            own = dict(zip(own, address.secrets, strict=True))
        pool.connection_kwargs["find"] = partial(_find, address, {**options, **own, "ssl": tls})
    return pool


class _AsyncFinding:
    """Looks where the primary is each time before it connects."""

    def __init__(self, *, find: Callable[[], tuple[str, int]], **options: Any) -> None:
        super().__init__(**options)
        self._find = find

    async def _connect(self) -> None:
        self.host, self.port = await asyncio.to_thread(self._find)
        await super()._connect()  # type: ignore[misc]


class _Finding:
    """The same for a thread."""

    def __init__(self, *, find: Callable[[], tuple[str, int]], **options: Any) -> None:
        super().__init__(**options)
        self._find = find

    def _connect(self) -> Any:
        self.host, self.port = self._find()
        return super()._connect()  # type: ignore[misc]


class _AsyncFindingConnection(_AsyncFinding, AsyncConnection): ...


class _AsyncFindingTlsConnection(_AsyncFinding, AsyncTlsConnection): ...


class _FindingConnection(_Finding, Connection): ...


class _FindingTlsConnection(_Finding, SSLConnection): ...


_FINDING: Mapping[Any, Any] = {
    AsyncConnection: _AsyncFindingConnection,
    AsyncTlsConnection: _AsyncFindingTlsConnection,
    Connection: _FindingConnection,
    SSLConnection: _FindingTlsConnection,
}


def _find(address: Address, options: Mapping[str, Any]) -> tuple[str, int]:
    """Where the primary is, as the first says that knows; of a cluster, the one that has the keys.

    Raises:
        ConnectionError: nobody says so.
    """
    ask = partial(_primary_at_sentinel, address.service) if address.service else partial(_owner_in_cluster, address)
    said = []
    for host, port in address.asked:
        given = {"socket_timeout": _ASKED_S, "socket_connect_timeout": _ASKED_S, "decode_responses": True, **options}
        client = Redis(host=host, port=port, retry=Retry(NoBackoff(), 0), **given)
        try:
            found = ask(client)
        except (RedisError, OSError) as error:
            said.append(f"{host}:{port}: {error}")
        else:
            if found is not None:
                return found[0] or host, int(found[1])
            said.append(f"{host}:{port} knows of none")
        finally:
            client.close()
    what = f"where the primary of {address.service!r} is" if address.service else f"who has the keys {address.prefix}*"
    raise Unreachable(f"nobody says {what}: {'; '.join(said)}")


def _primary_at_sentinel(service: str, sentinel: Any) -> tuple[str, int] | None:
    found: tuple[str, int] | None = sentinel.sentinel_get_master_addr_by_name(service)
    return found


def _owner_in_cluster(address: Address, node: Any) -> tuple[str, int] | None:
    slot = key_slot(address.prefix.encode())
    spans = node.execute_command("CLUSTER SLOTS")
    return next(((owner[0], owner[1]) for first, last, owner, *_others in spans if first <= slot <= last), None)


def seated(prefix: str, told: Callable[[str, int], Awaitable[None]]) -> Callable[[Any], Any]:
    """What a connection of a loop does once it is made: it looks at which primary it has come to.

    told: gets what tells that from other primaries, and how much has happened there.
    """

    async def sit(connection: Any) -> None:
        await connection.on_connect()
        await connection.send_command("INFO")
        seat = _seat_of(await connection.read_response())
        await connection.send_command("EVAL", seat_script(), 1, prefix, seat)
        await told(seat, int(await connection.read_response()))

    return sit


def seated_in_thread(prefix: str) -> Callable[[Any], None]:
    """The same for a thread, which tells nobody."""

    def sit(connection: Any) -> None:
        connection.on_connect()
        connection.send_command("INFO")
        seat = _seat_of(connection.read_response())
        connection.send_command("EVAL", seat_script(), 1, prefix, seat)
        connection.read_response()

    return sit


def _seat_of(about: Any) -> str:
    text = about.decode() if isinstance(about, bytes) else str(about)
    said = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if said.get("role", "master") != "master":
        raise ReadOnlyError("it is a read only replica")
    return said.get("run_id", "-")
