"""The connections to the server: scripts that are called, answers, and troubles told in our words."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple
from uuid import uuid4

from asyncsched.errors import ConfigError, MissingExtra, StoreError
from asyncsched.stores._redis.address import Address

try:
    from redis import Redis
    from redis.asyncio import BlockingConnectionPool
    from redis.asyncio import Redis as AsyncRedis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import (
        AuthenticationError,
        NoPermissionError,
        NoScriptError,
        RedisError,
        ResponseError,
    )
    from redis.exceptions import (
        ConnectionError as LostConnection,
    )
except ImportError as missing:
    raise MissingExtra("RedisStore needs redis: pip install 'asyncsched[redis]'", name=missing.name) from missing

log = logging.getLogger("asyncsched.stores")

TROUBLES = (RedisError, OSError, TimeoutError)
_TIMEOUT_S = 10.0
_CONNECTIONS = 8
PAGE = 16
"""So many of those that wait for a key are read at a time."""
# Scripts that ask for the time and then write need 5.0; nothing before 6.2 is maintained by anybody.
_OLDEST = (6, 2)


class Unit(NamedTuple):
    """Changes that are made together, if all checks hold. Each is the name of one and what it is given."""

    checks: Sequence[Sequence[Any]]
    changes: Sequence[Sequence[Any]]


class Done(NamedTuple):
    """What became of units: for each what its changes gave, ``None`` if a check did not hold."""

    now_us: int
    answers: list[list[Any] | None]


@cache
def script(name: str) -> tuple[str, str]:
    """A script and what the server knows it by."""
    folder = files("asyncsched.stores._redis")
    text = "".join(folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in ("base", name))
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()


def flat(value: Any) -> Any:
    """A value as scripts take it: there is no ``None``, and instants are texts, which lose nothing."""
    if value is None:
        return False
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return str(value)
    return [flat(item) for item in value]


def units_text(units: Sequence[Unit]) -> str:
    """Units as the script takes them."""
    return json.dumps(flat(units), ensure_ascii=False, separators=(",", ":"))


class Read(NamedTuple):
    """How runs, keys and texts stand, in the order in which they were asked for."""

    now_us: int
    runs: list[Any]
    keys: list[Any]
    texts: list[Any]
    ties: list[Any]


class Link:
    """A server, as one node is connected to it on its loop."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.prefix = address.prefix
        try:
            pool = BlockingConnectionPool.from_url(
                address.url,
                decode_responses=True,
                max_connections=_CONNECTIONS,
                timeout=None,
                retry=Retry(NoBackoff(), 0),  # what may have been done is not done again without a look
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
            )
        except ValueError as error:
            raise ConfigError(f"url of {address}: {error}") from error
        self.client: Any = AsyncRedis.from_pool(pool)
        self._listener: Any = AsyncRedis.from_url(address.url, decode_responses=True, socket_connect_timeout=_TIMEOUT_S)
        self._epoch = ""
        self._count = 0
        self.rolled_back = False
        """Whether the server has forgotten what it had acknowledged."""

    async def close(self) -> None:
        """Let go of all connections."""
        await self.client.aclose()
        await self._listener.aclose()

    async def listen(self, heard: Callable[[str], None]) -> None:
        """Call this with who has changed something, each time somebody says so; until the connection is lost."""
        async with self._listener.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(channel_of(self.address))
            async for message in channel.listen():
                heard(message["data"])

    async def call(self, name: str, *given: Any) -> Any:
        """What a script answers.

        Raises:
            StoreError: the server cannot be reached, or refuses.
        """
        text, digest = script(name)
        try:
            try:
                return await self.client.evalsha(digest, 1, self.prefix, *given)
            except NoScriptError:
                return await self.client.eval(text, 1, self.prefix, *given)
        except TROUBLES as error:
            raise store_error(self.address, error) from error

    async def carry_out(self, units: Sequence[Unit]) -> Done:
        """Carry out units, one after another, nothing of others between them."""
        before = self._count
        now, count, answers = await self.call("unit", units_text(units))
        if count < before:
            self.rolled_back = True
        self._count = max(count, self._count)
        return Done(int(now), [None if answer == 0 else answer for answer in json.loads(answers)])

    async def read(self, runs: Sequence[str], keys: Sequence[str] = (), texts: Sequence[str] = ()) -> Read:
        """How these stand, at one instant."""
        names = [json.dumps(list(given), ensure_ascii=False) for given in (runs, keys, texts)]
        now, said = await self.call("read", *names, PAGE)
        return Read(int(now), *json.loads(said))

    async def ask(self, *commands: Sequence[Any]) -> list[Any]:
        """What commands answer whose first argument is a key of ours; they are sent together.

        Raises:
            StoreError: the server cannot be reached, or refuses.
        """
        if not commands:
            return []
        pipeline = self.client.pipeline(transaction=False)
        for command, key, *rest in commands:
            pipeline.execute_command(command, f"{self.prefix}{key}", *rest)
        try:
            answers: list[Any] = await pipeline.execute()
        except TROUBLES as error:
            raise store_error(self.address, error) from error
        return answers

    async def check(self) -> None:
        """Remember which server this is, if it keeps what it is told.

        Raises:
            StoreError: it does not, or it cannot be used.
        """
        try:
            about = await self._about()
            self._check_server(about)
        except TROUBLES as error:
            raise store_error(self.address, error) from error
        await self.remember()

    async def _about(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = await self.client.info()
        except TypeError as error:  # the client makes its connections of what is behind the ?
            raise ConfigError(f"url of {self.address}: an option behind the ? is none of redis-py: {error}") from error
        return found

    async def remember(self) -> None:
        """Remember which server this is, and how much has happened there.

        Raises:
            StoreError: it cannot be reached.
        """
        try:
            mark = f"{self.prefix}epoch"
            await self.client.set(mark, uuid4().hex, nx=True)
            self._epoch = await self.client.get(mark)
            self._count = int(await self.client.get(f"{self.prefix}count") or 0)
        except TROUBLES as error:
            raise store_error(self.address, error) from error
        self.rolled_back = False

    async def same_epoch(self) -> bool:
        """Whether the server is the one that was checked, with what it knew then."""
        before = self._count
        epoch, count = await self.ask(("GET", "epoch"), ("GET", "count"))
        if not self.rolled_back and epoch == self._epoch and int(count or 0) >= before:
            return True
        await self.remember()
        return False

    def _check_server(self, about: dict[str, Any]) -> None:
        version = tuple(int(part) for part in str(about.get("redis_version", "0")).split(".")[:2])
        if version < _OLDEST:
            needed = ".".join(map(str, _OLDEST))
            raise StoreError(f"{self.address}: the server is {about.get('redis_version')}, {needed} or later is needed")
        if self.address.volatile:
            return
        cure = "or say allow_volatile=True (?volatile=allow) if all of it may be lost"
        if not about.get("aof_enabled"):
            raise StoreError(
                f"{self.address}: the server forgets what it is told when it ends: set 'appendonly yes', {cure}"
            )
        policy = about.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise StoreError(
                f"{self.address}: the server throws keys away when its memory is full (maxmemory-policy {policy}): "
                f"set 'maxmemory-policy noeviction', {cure}"
            )


def channel_of(address: Address) -> str:
    """Where nodes say that they have changed something."""
    return f"{address.prefix}hints"


def sync_client(address: Address) -> Any:
    """A client for a thread of its own."""
    return Redis.from_url(
        address.url, decode_responses=True, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
    )


def call_sync(client: Any, address: Address, name: str, *given: Any) -> Any:
    """What a script answers, in a thread."""
    text, digest = script(name)
    try:
        return client.evalsha(digest, 1, address.prefix, *given)
    except NoScriptError:
        return client.eval(text, 1, address.prefix, *given)


def store_error(address: Address, error: BaseException) -> StoreError:
    """A trouble in our words, with what to do."""
    if isinstance(error, StoreError):
        return error
    said = str(error).strip() or type(error).__name__
    cure = "see whether the server runs there and may be reached; it is tried again"
    if isinstance(error, AuthenticationError) or "NOAUTH" in said or "WRONGPASS" in said:
        cure = "give user and password in the URL: redis://user:password@host:6379/0"
    elif isinstance(error, NoPermissionError):
        cure = f"let the user run scripts on all keys that begin with {address.prefix}"
    elif isinstance(error, ResponseError) and not isinstance(error, LostConnection):
        cure = "the server refuses; see its log"
    return StoreError(f"{address}: {said}: {cure}")
