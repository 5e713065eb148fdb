"""The connections to the server: scripts that are called, answers, and troubles told in our words."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple
from uuid import uuid4

from asyncsched.clock import SECOND_US
from asyncsched.errors import ConfigError, MissingExtra, StoreError
from asyncsched.stores._redis.address import Address
from asyncsched.stores._redis.troubles import cure_of, unfit
from asyncsched.stores._redis.wire import UNIT, Done, Script, Unit, Wire, unit_text

try:
    from redis import Redis
    from redis.asyncio import ConnectionPool
    from redis.asyncio import Redis as AsyncRedis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import (
        NoScriptError,
        RedisError,
        ResponseError,
    )
    from redis.retry import Retry as SyncRetry
except ImportError as missing:
    raise MissingExtra("RedisStore needs redis: pip install 'asyncsched[redis]'", name=missing.name) from missing

log = logging.getLogger("asyncsched.stores")

TROUBLES = (RedisError, OSError, TimeoutError)
_TIMEOUT_S = 10.0
_SCRIPTS = (UNIT, "look", "read")
PAGE = 16
"""So many of those that wait for a key are read at a time."""


@cache
def scripts() -> Mapping[str, Script]:
    """The scripts, by their names."""
    folder = files("asyncsched.stores._redis")
    base, *texts = (folder.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in ("base", *_SCRIPTS))
    return {
        name: Script(base + text, sha1((base + text).encode(), usedforsecurity=False).hexdigest())
        for name, text in zip(_SCRIPTS, texts, strict=True)
    }


def units_text(units: Sequence[Unit]) -> str:
    """Units as the script takes them."""
    return f"[{','.join(map(unit_text, units))}]"


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
            pool = ConnectionPool.from_url(
                address.url,
                decode_responses=True,
                encoding_errors="replace",  # what is no text was not written by us, and must hold up nobody
                retry=Retry(NoBackoff(), 0),  # what may have been done is not done again without a look
                socket_connect_timeout=_TIMEOUT_S,
                socket_timeout=None,  # the wire sees that an exchange ends, for less than one timer for each answer
            )
            connection = pool.make_connection()  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise ConfigError(f"url of {address}: {error}") from error
        except TypeError as error:  # the client makes its connections of what is behind the ?
            raise ConfigError(f"url of {address}: an option behind the ? is none of redis-py: {error}") from error
        self._wire = Wire(connection, self.prefix, scripts(), ResponseError, NoScriptError, self.counted)
        self._listener: Any = AsyncRedis.from_url(address.url, decode_responses=True, socket_connect_timeout=_TIMEOUT_S)
        self._epoch = ""
        self.count = 0
        """How much has happened at the server, as far as is known here."""
        self.rolled_back = False
        """Whether the server has forgotten what it had acknowledged."""

    async def close(self) -> None:
        """Let go of all connections."""
        await self._wire.close()
        await self._listener.aclose()

    async def listen(self, heard: Callable[[str], None]) -> None:
        """Call this with who has changed something, each time somebody says so; until the connection is lost."""
        async with self._listener.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(channel_of(self.address))
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the client swallows a cancellation now and then as it connects
                raise asyncio.CancelledError
            async for message in channel.listen():
                heard(message["data"])

    async def call(self, name: str, *given: Any) -> Any:
        """What a script answers.

        Raises:
            StoreError: the server cannot be reached, or refuses.
        """
        try:
            return await self._wire.call(name, given)
        except TROUBLES as error:
            raise store_error(self.address, error) from error

    async def carry_out(self, units: Sequence[Unit]) -> Done:
        """Carry out units, one after another, nothing of others between them.

        Raises:
            StoreError: the server cannot be reached, or refuses.
        """
        return await self.end(self.begin(units))

    def begin(self, units: Sequence[Unit]) -> asyncio.Future[Done]:
        """What is going to become of units; what is asked next goes to the server with them, and is done after them."""
        return self._wire.carry_out(units)

    async def end(self, begun: asyncio.Future[Done]) -> Done:
        """What became of units.

        Raises:
            StoreError: the server cannot be reached, or refuses.
        """
        try:
            return await begun
        except TROUBLES as error:
            raise store_error(self.address, error) from error

    def counted(self, count: int) -> None:
        """Know how much has happened at the server, as it says."""
        if count < self.count:
            self.rolled_back = True
        else:
            self.count = count

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
        try:
            answers = await self._wire.ask(
                [(command, f"{self.prefix}{key}", *rest) for command, key, *rest in commands]
            )
        except TROUBLES as error:
            raise store_error(self.address, error) from error
        return [_paired(command[0], answer) for command, answer in zip(commands, answers, strict=True)]

    async def now_us(self) -> int:
        """The clock of the server.

        Raises:
            StoreError: the server cannot be reached, or refuses.
        """
        try:
            hand, (seconds, micros) = await self._wire.ask([("GET", f"{self.prefix}clock"), ("TIME",)])
        except TROUBLES as error:
            raise store_error(self.address, error) from error
        return int(hand) if hand else int(seconds) * SECOND_US + int(micros)

    async def check(self) -> None:
        """Remember which server this is, if it keeps what it is told.

        Raises:
            StoreError: it does not, or it cannot be used.
        """
        try:
            # Hints that nobody may give or hear would be missed by everybody, and without a word.
            about, _heard = await self._wire.ask([("INFO",), ("PUBLISH", channel_of(self.address), "")])
        except TROUBLES as error:
            raise store_error(self.address, error) from error
        wrong = unfit(
            dict(line.split(":", 1) for line in about.splitlines() if ":" in line), volatile=self.address.volatile
        )
        if wrong is not None:
            raise StoreError(f"{self.address}: {wrong}")
        await self.remember()

    async def remember(self) -> None:
        """Remember which server this is, and how much has happened there.

        Raises:
            StoreError: it cannot be reached.
        """
        _set, epoch, count = await self.ask(("SET", "epoch", uuid4().hex, "NX"), ("GET", "epoch"), ("GET", "count"))
        self._epoch, self.count = epoch, int(count or 0)
        self.rolled_back = False

    async def same_epoch(self, least: int) -> bool:
        """Whether the server is the one that was checked, and knows of what has happened: so much at least."""
        before = max(self.count, least)
        epoch, count = await self.ask(("GET", "epoch"), ("GET", "count"))
        if epoch == self._epoch and int(count or 0) >= before:
            self.count = max(self.count, int(count or 0))
            return True
        await self.remember()
        return False


def channel_of(address: Address) -> str:
    """Where nodes say that they have changed something."""
    return f"{address.prefix}hints"


def sync_client(address: Address, timeout_s: float = _TIMEOUT_S) -> Any:
    """A client for a thread of its own, which waits so long for an answer, and never asks again by itself."""
    return Redis.from_url(
        address.url,
        decode_responses=True,
        retry=SyncRetry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
    )


def call_sync(client: Any, address: Address, name: str, *given: Any) -> Any:
    """What a script answers, in a thread."""
    text, digest = scripts()[name]
    try:
        return client.evalsha(digest, 1, address.prefix, *given)
    except NoScriptError:
        return client.eval(text, 1, address.prefix, *given)


def _paired(command: str, answer: Any) -> Any:
    """What a command answers that tells of a hash, or a set, the same by every protocol."""
    if command == "HGETALL" and not isinstance(answer, dict):
        return dict(zip(answer[::2], answer[1::2], strict=True))
    return set(answer) if command == "SMEMBERS" else answer


def store_error(address: Address, error: BaseException) -> StoreError:
    """A trouble in our words, with what to do."""
    if isinstance(error, StoreError):
        return error
    return StoreError(f"{address}: {str(error).strip() or type(error).__name__}: {cure_of(error, address)}")
