"""Several Sentinels, and users at them and at the server: who is asked, and what is said where a password is wrong."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from asyncsched import Registry, Scheduler
from asyncsched.errors import StoreError
from asyncsched.run import Run

from .replicas import Sentinel, free_port, listening

# Both have signs that a URL has other uses for.
SECRET, OTHER = "it's@s/r?t&", "p:w#d%+"
RIGHTS = "~{asyncsched}:* &{asyncsched}:* +@all -@dangerous +info"
AT_SENTINELS = (
    "user default on nopass ~* &* -@all +ping",
    f"user asker on >{OTHER} -@all +@connection +sentinel|get-master-addr-by-name",
    f"user poor on >{OTHER} -@all +@connection",
)


@dataclass
class Locked:
    """A server with a user ``shop``, and two Sentinels with a user ``asker``; before them in the URL, nobody."""

    sentinels: list[Sentinel]

    def url(self, user: str = "shop", secret: str = SECRET, asker: str | None = "asker", other: str = OTHER) -> str:
        hosts = ",".join(["127.0.0.1:1", *(f"127.0.0.1:{one.port}" for one in self.sentinels)])
        told = "" if asker is None else f"&sentinel_username={asker}&sentinel_password={quote(other, safe='')}"
        where = f"{user}:{quote(secret, safe='')}@{hosts}/shop/0"
        return f"redis+sentinel://{where}?volatile=allow{told}"


@pytest.fixture(scope="module")
def locked() -> Iterator[Locked]:
    with ExitStack() as stack:
        server = stack.enter_context(listening(port := free_port(), "--requirepass", "for all else"))
        with redis.Redis(port=port, password="for all else") as client:
            client.execute_command("ACL", "SETUSER", "shop", "on", f">{SECRET}", *RIGHTS.split())
        sentinels = []
        for _ in range(2):
            folder = Path(tempfile.mkdtemp(prefix="asyncsched-vk-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            said = (str(port), str(free_port()), *AT_SENTINELS)
            sentinel = Sentinel(folder, server.binary, said)
            sentinel.start()
            stack.callback(sentinel.stop, signal.SIGKILL)
            sentinels.append(sentinel)
        yield Locked(sentinels)


async def works(url: str) -> bool:
    registry = Registry()

    @registry.task(id="add")
    async def add(number: int) -> int:
        return number + 1

    async with Scheduler(url, registry=registry):
        run: Run[int] = await add.submit(1)
        return await run == 2


async def refused(url: str) -> str:
    with pytest.raises(StoreError) as error:
        async with Scheduler(url, registry=Registry()):
            pass
    return str(error.value)


async def test_sentinels_and_the_server_are_asked_each_with_their_own_credentials(locked: Locked) -> None:
    assert await works(locked.url())


@pytest.mark.parametrize("asker", ["asker", "stranger", None])
async def test_credentials_that_no_sentinel_takes_are_told_as_those(locked: Locked, asker: str | None) -> None:
    said = await refused(locked.url(asker=asker, other="wrong"))
    assert "check ?sentinel_username= and ?sentinel_password= in the URL" in said or asker is None
    assert all(f"127.0.0.1:{one.port}" in said for one in locked.sentinels)
    assert "wrong" not in said
    assert SECRET not in said


async def test_a_user_who_may_not_ask_the_sentinels_is_told_of_with_the_right_that_is_needed(locked: Locked) -> None:
    said = await refused(locked.url(asker="poor"))
    assert "let him have '+sentinel|get-master-addr-by-name'" in said


@pytest.mark.parametrize(("user", "secret"), [("shop", "wrong"), ("stranger", SECRET)])
async def test_credentials_that_the_server_does_not_take_are_told_as_those(
    locked: Locked, user: str, secret: str
) -> None:
    said = await refused(locked.url(user, secret))
    assert "check user and password of the server in the URL, as in redis+sentinel://user:password@host" in said
    assert OTHER not in said


async def test_a_node_goes_on_when_the_sentinel_that_it_asked_is_gone(locked: Locked) -> None:
    locked.sentinels[0].stop(signal.SIGKILL)
    try:
        assert await works(locked.url())
    finally:
        locked.sentinels[0].start()
