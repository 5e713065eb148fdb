"""The connections to the server: scripts that are called, answers, and troubles told in our words."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from asyncsched.clock import SECOND_US
from asyncsched.errors import ConfigError, MissingExtra, StoreError
from asyncsched.stores._redis.address import Address
from asyncsched.stores._redis.primary import (
    Seen,
    async_pool,
    forgotten,
    seat_script,
    seated,
    seated_in_thread,
    sync_pool,
)
from asyncsched.stores._redis.troubles import cure_of, unfit
from asyncsched.stores._redis.wire import LOOK, STROKE, UNIT, Done, Script, Unit, Wire, unit_text

try:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import MovedError, NoScriptError, ReadOnlyError, RedisError, ResponseError
    from redis.retry import Retry as SyncRetry
except ImportError as missing:
    raise MissingExtra("RedisStore needs redis: pip install 'asyncsched[redis]'", name=missing.name) from missing

log = logging.getLogger("asyncsched.stores")

T = TypeVar("T")

TROUBLES = (RedisError, OSError, TimeoutError)
ASTRAY = (ReadOnlyError, MovedError)
"""By these a server says that another one is the primary, or has the keys."""
_TIMEOUT_S = 10.0
_SCRIPTS = (UNIT, LOOK, "read", "again", "audit")
_CAREFUL = "call = careful\n"
_STROKE = """local function carry(ARGV)
{unit}
end
local function look(ARGV)
{look}
end
local carried = carry({{ ARGV[1] }})
local fine, seen = pcall(look, {{ unpack(ARGV, 2) }})
return {{ carried, fine and seen or false }}
"""
PAGE = 16
"""So many of those that wait for a key are read at a time."""


@cache
def scripts() -> Mapping[str, Script]:
    """The scripts, by their names; with ``!`` one that sets aside what is of another kind than it should be."""
    folder = files("asyncsched.stores._redis")
    base, *texts = (folder.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in ("base", *_SCRIPTS))
    found = {name: base + text for name, text in zip(_SCRIPTS, texts, strict=True)}
    named = dict(zip(_SCRIPTS, texts, strict=True))
    found[STROKE] = base + _STROKE.format(unit=named[UNIT], look=named[LOOK])
    found |= {f"{name}!": base + _CAREFUL + text for name, text in zip(_SCRIPTS, texts, strict=True)}
    return {name: Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest()) for name, text in found.items()}


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
            pool = async_pool(
                address,
                decode_responses=True,
                encoding_errors="replace",  # what is no text was not written by us, and must hold up nobody
                retry=Retry(NoBackoff(), 0),  # what may have been done is not done again without a look
                socket_connect_timeout=_TIMEOUT_S,
                socket_timeout=None,  # the wire sees that an exchange ends, for less than one timer for each answer
                redis_connect_func=seated(self.prefix, self._seated),
            )
            connection = pool.make_connection()
        except ValueError as error:
            raise ConfigError(f"url of {address}: {error}") from error
        except TypeError as error:  # the client makes its connections of what is behind the ?
            raise ConfigError(f"url of {address}: an option behind the ? is none of redis-py: {error}") from error
        self.seen = Seen()
        self._wire = Wire(connection, self.prefix, scripts(), ResponseError, NoScriptError, ASTRAY, self.seen.counted)
        self._channels = async_pool(address, decode_responses=True, socket_connect_timeout=_TIMEOUT_S)
        self._listener: Any = AsyncRedis.from_pool(self._channels)
        self._epoch = ""

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
            try:
                return await self._wire.call(name, given)
            except ResponseError as error:
                if not of_wrong_kind(error):
                    raise
                return await self._wire.call(f"{name}!", given)
        except TROUBLES as error:
            raise store_error(self.address, error) from error

    async def carry_out(self, units: Sequence[Unit]) -> Done:
        """Carry out units, one after another, nothing of others between them.

        Raises:
            StoreError: the server cannot be reached, or refuses.
        """
        return await self.end(self.begin(units))

    async def stroke(self, unit: Unit, looking: Sequence[Any]) -> tuple[Done, list[Any] | None]:
        """Carry out a unit, then look: what became of it, and what the look has answered; ``None`` if that failed.

        Raises:
            StoreError: the server cannot be reached, or refuses.
        """
        return await self.end(self._wire.stroke(unit, looking))

    def begin(self, units: Sequence[Unit], weight: int | None = None) -> asyncio.Future[Done]:
        """What is going to become of units; what is asked next goes to the server with them, and is done after them.

        weight: of how many runs they tell; as many as changes unless it is said.
        """
        return self._wire.carry_out(units, weight)

    async def end(self, begun: Awaitable[T]) -> T:
        """What became of units.

        Raises:
            StoreError: the server cannot be reached, or refuses.
        """
        try:
            return await begun
        except TROUBLES as error:
            raise store_error(self.address, error) from error

    async def read(
        self,
        runs: Sequence[str],
        keys: Sequence[str] = (),
        texts: Sequence[str] = (),
        *,
        tied: bool = True,
        staged: bool = False,
    ) -> Read:
        """How these stand, at one instant.

        tied: and what ties the runs to others. staged: runs of flows, too, that are not written as a whole yet.
        """
        names = [json.dumps(list(given), ensure_ascii=False) for given in (runs, keys, texts)]
        now, said = await self.call("read", *names, PAGE, int(tied), int(staged))
        return Read(int(now), *json.loads(said))

    async def ask(self, *commands: Sequence[Any]) -> list[Any]:
        """What commands answer whose first argument is a key of ours; they are sent together.

        Raises:
            StoreError: the server cannot be reached, or refuses.
        """
        if not commands:
            return []
        asked = [(command, f"{self.prefix}{key}", *rest) for command, key, *rest in commands]
        try:
            answers = await self._wire.ask(asked)
        except ResponseError as error:
            if not of_wrong_kind(error):
                raise store_error(self.address, error) from error
            answers = await self.call("again", json.dumps(asked, default=str))
        except TROUBLES as error:
            raise store_error(self.address, error) from error
        return [_paired(command[0], answer) for command, answer in zip(commands, answers, strict=True)]

    async def some_keys(self, cursor: int, pattern: str, count: int) -> tuple[int, list[str]]:
        """Names of some of our keys of this pattern, and where to go on; 0 at the end.

        count: so many keys the server looks at, about.

        Raises:
            StoreError: the server cannot be reached, or refuses.
        """
        asked = ("SCAN", cursor, "MATCH", f"{self.prefix}{pattern}", "COUNT", count)
        try:
            ((cursor_said, keys),) = await self._wire.ask([asked])
        except TROUBLES as error:
            raise store_error(self.address, error) from error
        return int(cursor_said), [key.removeprefix(self.prefix) for key in keys]

    async def some_members(self, zset: str, cursor: int, pattern: str, count: int) -> tuple[int, list[str]]:
        """Some members of a sorted set of ours that the pattern matches, and where to go on; 0 at the end.

        Raises:
            StoreError: the server cannot be reached, or refuses.
        """
        ((cursor_said, found),) = await self.ask(("ZSCAN", zset, cursor, "MATCH", pattern, "COUNT", count))
        members = found[::2] if found and isinstance(found[0], str) else [member for member, _score in found]
        return int(cursor_said), list(members)

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
        try:
            await self._wire.ask([("EVAL", seat_script(), 1, self.prefix, self.seen.seat)])
        except TROUBLES as error:
            raise store_error(self.address, error) from error
        self._epoch = epoch
        self.seen.forget(number_of(count) or 0)

    async def same_epoch(self, others: Mapping[str, int]) -> bool:
        """Whether the server is the one that was checked, and still knows what has happened, as far as is known here.

        others: what else is known to have happened, by the primaries at which that was seen.
        """
        known = self.seen.known()
        epoch, count, seats = await self.ask(("GET", "epoch"), ("GET", "count"), ("LRANGE", "seats", 0, -1))
        number = number_of(count)  # if it is none, who counts next sees to that
        lost = number is not None and (forgotten(seats, number, known) or forgotten(seats, number, others))
        if epoch == self._epoch and not lost and not self.seen.less:
            self.seen.compared(known)
            self.seen.counted(max(self.seen.count, number or 0))
            return True
        await self.remember()
        return False

    async def _seated(self, seat: str, count: int) -> None:
        if self.seen.seated(seat, count):  # who listens at the primary before may hear nothing more, and not even that
            await self._channels.disconnect()


def number_of(text: str | None) -> int | None:
    """The number that was written, 0 if none was; ``None`` if it is none."""
    try:
        return int(text or 0) if text != "" else None
    except ValueError:
        return None


def of_wrong_kind(error: BaseException) -> bool:
    """Whether the server has refused as a key holds something of another kind than it should."""
    return "WRONGTYPE" in str(error)


def channel_of(address: Address) -> str:
    """Where nodes say that they have changed something."""
    return f"{address.prefix}hints"


def sync_client(address: Address, timeout_s: float = _TIMEOUT_S) -> Any:
    """A client for a thread of its own, which waits so long for an answer, and never asks again by itself."""
    pool = sync_pool(
        address,
        decode_responses=True,
        retry=SyncRetry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        redis_connect_func=seated_in_thread(address.prefix),
    )
    return Redis.from_pool(pool)


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
