"""What may happen to the file while it is in use: one clear error each, and it goes on by itself where it can."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler
from asyncsched.clock import SystemClock
from asyncsched.errors import StoreError
from asyncsched.events import Event, RunEnded, StoreBack, StoreLost
from asyncsched.stores.sqlite import SQLiteStore

NOBODY = 65_534


def tasks() -> Registry:
    registry = Registry()

    @registry.every("50ms", id="tick", history_limit=1_000)
    async def tick() -> None: ...

    @registry.task(id="add")
    async def add(number: int) -> int:
        return number + 1

    return registry


class Scene:
    def __init__(self, path: Path) -> None:
        self.registry = tasks()
        self.scheduler = Scheduler(f"sqlite:///{path}", registry=self.registry, shutdown_timeout="1s")
        self.heard: list[Any] = []
        self._listening = self.scheduler.events.on({StoreLost, StoreBack, RunEnded}, self.heard.append)

    def all(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]

    async def hear(self, kind: type[Event]) -> Any:
        """The next event of this kind."""
        known = len(self.all(kind))
        async with asyncio.timeout(30):
            while len(self.all(kind)) == known:
                await asyncio.sleep(0.01)
        return self.all(kind)[known]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@contextlib.asynccontextmanager
async def ticking(path: Path) -> AsyncIterator[Scene]:
    """A scheduler that has begun to tick, and may be left in whatever state."""
    scene = Scene(path)
    await scene.scheduler.start()
    await scene.hear(RunEnded)
    try:
        yield scene
    finally:
        with contextlib.suppress(StoreError):
            await scene.scheduler.stop()


async def refused(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        await Scheduler(SQLiteStore(path), registry=tasks()).start()
    return str(caught.value)


# --- deleted, moved, replaced


@pytest.mark.parametrize(
    ("happens", "what"),
    [
        (lambda path: path.rename(f"{path}.away"), "was deleted"),
        (lambda path: (path.rename(f"{path}.away"), path.write_bytes(b"")), "was replaced by another one"),
    ],
)
async def test_a_file_that_is_gone_is_told_once_and_when_it_is_back_everything_goes_on(
    path: Path, happens: Callable[[Path], object], what: str
) -> None:
    async with ticking(path) as scene:
        happens(path)
        lost = await scene.hear(StoreLost)
        assert what in str(lost.error)
        assert "Put it back where it was, or stop this process" in str(lost.error)
        before = len(scene.all(RunEnded))
        with pytest.raises(StoreError, match=what):
            await scene.registry["add"].submit(1)
        await asyncio.sleep(0.2)
        assert len(scene.all(RunEnded)) == before
        Path(f"{path}.away").replace(path)
        await scene.hear(StoreBack)
        run = await scene.registry["add"].submit(1)
        assert await run == 2
        assert len(scene.all(StoreLost)) == 1


# --- damaged


def overwrite(path: Path, start: int, count: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * count)


async def test_a_header_that_was_destroyed_is_told_at_the_start(path: Path) -> None:
    async with Scheduler(SQLiteStore(path), registry=tasks()):
        pass
    overwrite(path, 0, 100)
    assert "not an SQLite database: name another file, or move this one away" in await refused(path)


async def test_a_page_that_was_overwritten_is_told_at_the_start_or_when_it_is_needed(path: Path) -> None:
    async with Scheduler(SQLiteStore(path), registry=tasks()):
        pass
    for page in range(1, path.stat().st_size // 4096):
        overwrite(path, page * 4096, 4096)
    assert "it is damaged: restore a copy" in await refused(path)


async def test_a_file_that_is_damaged_while_it_is_in_use_ends_nothing(path: Path) -> None:
    async with ticking(path) as scene:
        await scene.scheduler.stop()
        size = path.stat().st_size
        await scene.scheduler.start()
        overwrite(path, 0, size)
        with contextlib.closing(sqlite3.connect(path)) as db, contextlib.suppress(sqlite3.Error):
            db.execute("CREATE TABLE other (x)")  # what was read before is now read again
        with contextlib.suppress(StoreError):  # what it still has in memory is as good as it was
            for number in range(20):
                await scene.registry["add"].submit(number)
        assert scene.scheduler.running


# --- locked


async def test_a_lock_that_others_hold_for_longer_than_sqlite_waits_is_waited_out(path: Path) -> None:
    async with ticking(path) as scene:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asked = [asyncio.ensure_future(scene.registry["add"].submit(number)) for number in range(5)]
            began = asyncio.get_running_loop().time()
            answers = await asyncio.gather(*asked, return_exceptions=True)
            waited = asyncio.get_running_loop().time() - began
            assert {type(answer) for answer in answers} == {StoreError}
            assert "another process has been writing for too long" in str(answers[0])
            assert waited < 12  # all of them together, and not one after the other
            other.execute("ROLLBACK")
        run = await scene.registry["add"].submit(1)
        assert await run == 2
        await scene.hear(RunEnded)
        instants = sorted(
            (run.scheduled_us or 0, run.stands_for) for run in await scene.scheduler.runs.list(task="tick", limit=1_000)
        )
        for (before_us, _), (at_us, stands_for) in itertools.pairwise(instants):
            assert at_us == before_us + stands_for * 50_000


# --- not allowed to write


@pytest.fixture
def anybody() -> Iterator[Path]:
    """A directory that every user may enter, used by one who is not root."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "place"
        place.mkdir()
        if root:
            Path(name).chmod(0o755)
            os.chown(place, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield place
        finally:
            if root:
                os.seteuid(0)
            place.chmod(0o700)


async def opened(path: Path) -> str:
    """What is said when a store is opened there."""
    store = SQLiteStore(path)
    try:
        await store.open("n", SystemClock())
    except StoreError as error:
        return str(error)
    await store.close()
    return ""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users are told apart in another way here")
async def test_a_file_or_directory_that_cannot_be_written_is_told(anybody: Path) -> None:
    path = anybody / "jobs.db"
    assert await opened(path) == ""
    path.chmod(0o400)
    assert "give this user the right to write the file and its directory" in await opened(path)
    path.chmod(0o600)
    anybody.chmod(0o500)
    assert "give this user the right to write the file and its directory" in await opened(path)
    new = await opened(anybody / "new.db")
    assert "Permission denied: give this user the right to write the file and its directory" in new
    anybody.chmod(0o700)
    assert await opened(path) == ""


# --- where it lies


NETWORK = """
import asyncio, sys
from pathlib import Path
from asyncsched.errors import StoreError
from asyncsched.stores._sqlite import connection
from asyncsched.stores.sqlite import store_at
from asyncsched.clock import SystemClock

connection._mounts = lambda: f"server:/jobs {Path(sys.argv[1]).parent.resolve()} nfs4 rw 0 0\\n"

async def main() -> None:
    store = store_at("sqlite:///" + sys.argv[1] + sys.argv[2])
    try:
        await store.open("n", SystemClock())
    except StoreError as error:
        print(error)
    else:
        print("open")
        await store.close()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("option", "told"), [("", "it lies on a network file system (nfs4)"), ("?network=allow", "open")]
)
def test_a_network_file_system_is_refused_unless_it_is_allowed(path: Path, option: str, told: str) -> None:
    command = [sys.executable, "-c", NETWORK, str(path), option]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert told in done.stdout
    assert path.exists() == bool(option)
