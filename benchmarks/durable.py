"""What the SQLite store costs, beside bare ``sqlite3`` that commits in groups, huey and APScheduler 3 on SQLite.

The same PRAGMAs for all: a write-ahead log, and ``synchronous`` as the figure says. All subjects take turns in one
process; each trial has a file of its own in a folder that goes when it ends.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from asyncsched import Registry, Scheduler, Task
from asyncsched.events import RunStarted
from asyncsched.triggers import Once
from benchmarks import durable_peers
from benchmarks.measures import Found
from benchmarks.sizes import Sizes
from benchmarks.stall import beats

_numbers = count()
_PRAGMAS = ("journal_mode = WAL", "cache_size = -65536", "temp_store = MEMORY")


def measure(sizes: Sizes) -> dict[str, Found]:
    """All figures, by subject; a peer that is not installed is left out."""
    found: dict[str, Found] = {"sqlite3": {}, "asyncsched": {}}
    with tempfile.TemporaryDirectory(prefix="asyncsched-bench-") as folder:
        files = (str(Path(folder) / f"{number}.db") for number in _numbers)
        _limits(found, sizes, files)
        _peers(found, sizes, files)
        ours = found["asyncsched"]
        ours["execute_us"] = asyncio.run(_execute(next(files), sizes.durable))
        ours["load_ms"] = _load(next(files), sizes.loaded)
        ours["stall_ms"] = asyncio.run(_stall(next(files), sizes.due))
        ours |= _first_fire(next(files), sizes.bulk, sizes.history)
    return found


def _limits(found: dict[str, Found], sizes: Sizes, files: Iterator[str]) -> None:
    for figure, synchronous, coroutines in (
        ("submit_full_us", "full", 100),
        ("submit_normal_us", "normal", 100),
        ("submit_alone_us", "normal", 1),
    ):
        number = sizes.durable if coroutines > 1 else sizes.durable // 4
        found["sqlite3"][figure] = asyncio.run(_raw(next(files), synchronous, coroutines, number))
        found["asyncsched"][figure] = asyncio.run(_submit(next(files), synchronous, coroutines, number))


def _peers(found: dict[str, Found], sizes: Sizes, files: Iterator[str]) -> None:
    for name, measured in durable_peers.PEERS.items():
        try:
            found[name] = measured(sizes, files)
        except ImportError:
            continue


def connect(path: str, synchronous: str) -> sqlite3.Connection:
    """A connection as every subject has it."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in (*_PRAGMAS, f"synchronous = {synchronous}"):
        db.execute(f"PRAGMA {pragma}")
    return db


async def timed(coroutines: int, number: int, one: Callable[[], Awaitable[object]]) -> float:
    """Microseconds for each of so many calls, made by so many coroutines that await theirs."""
    left = number

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await one()

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(coroutines)))
    return (time.perf_counter() - begun) / number * 1e6


async def _raw(path: str, synchronous: str, coroutines: int, number: int) -> float:
    """The limit: one narrow row each, by a thread that commits together what waits together."""
    db = connect(path, synchronous)
    db.execute(
        "CREATE TABLE runs (id INTEGER PRIMARY KEY, due_at INTEGER NOT NULL, state INTEGER, task TEXT, args TEXT)"
    )
    db.execute("CREATE INDEX ready ON runs (due_at) WHERE state = 0")
    loop = asyncio.get_running_loop()
    waiting: queue.SimpleQueue[asyncio.Future[None] | None] = queue.SimpleQueue()

    def resolve(batch: list[asyncio.Future[None]]) -> None:
        for future in batch:
            future.set_result(None)

    def write() -> None:
        while (first := waiting.get()) is not None:
            batch = [first]
            try:
                while len(batch) < 1_000:
                    more = waiting.get_nowait()
                    assert more is not None
                    batch.append(more)
            except queue.Empty:
                pass
            db.execute("BEGIN IMMEDIATE")
            rows = [(time.time_ns() // 1_000, "module:function", "[[1]]") for _ in batch]
            db.executemany("INSERT INTO runs (due_at, state, task, args) VALUES (?, 0, ?, ?)", rows)
            db.execute("COMMIT")
            loop.call_soon_threadsafe(resolve, batch)

    writer = threading.Thread(target=write)
    writer.start()

    def one() -> asyncio.Future[None]:
        future: asyncio.Future[None] = loop.create_future()
        waiting.put(future)
        return future

    try:
        return await timed(coroutines, number, one)
    finally:
        waiting.put(None)
        writer.join()
        db.close()


def _scheduler(path: str, registry: Registry, *, synchronous: str = "normal", runs: bool = True) -> Scheduler:
    url = f"sqlite:///{path}?synchronous={synchronous}"
    return Scheduler(url, registry=registry, tz="UTC", stall_warning=None, queues=None if runs else [])


async def _submit(path: str, synchronous: str, coroutines: int, number: int) -> float:
    registry = Registry()

    @registry.task(id="work")
    async def work(number: int) -> int:
        return number

    async with _scheduler(path, registry, synchronous=synchronous, runs=False):
        return await timed(coroutines, number, lambda: work.submit(1))


async def _execute(path: str, number: int) -> float:
    """From entering a scheduler at a file with a backlog until all of it has run and been recorded."""
    registry = Registry()

    @registry.task(id="work", history_limit=number)
    async def work(number: int) -> int:
        return number

    async with _scheduler(path, registry, runs=False):
        await work.submit_many([(one,) for one in range(number)])
    begun = time.perf_counter()
    async with _scheduler(path, registry) as scheduler:
        await scheduler.idle()
        took = time.perf_counter() - begun
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM asyncsched_history WHERE status = 'SUCCESS'").fetchone() == (number,)
    return took / number * 1e6


async def nothing() -> None:
    """What tasks call that are only loaded."""


def _registry(number: int) -> Registry:
    """So many tasks, each once an hour from a moment on that is far away."""
    registry = Registry()
    for one in range(number):
        registry.register(Task(nothing, every="1h", id=f"task-{one}"))
    return registry


async def _enter(path: str, registry: Registry) -> float:
    scheduler = _scheduler(path, registry)
    begun = time.perf_counter()
    async with scheduler:
        return (time.perf_counter() - begun) * 1e3


def _load(path: str, number: int) -> float:
    """Milliseconds to enter a scheduler whose tasks are all in the file."""
    asyncio.run(_enter(path, _registry(number)))
    return asyncio.run(_enter(path, _registry(number)))


async def _stall(path: str, number: int) -> float:
    """The longest time between two beats of the loop while so many tasks come due at once, and run."""
    ran = 0

    async def work() -> None:
        nonlocal ran
        ran += 1

    registry = Registry()
    moment = datetime.now(UTC) + timedelta(seconds=1 + number / 2_000)
    for one in range(number):
        registry.register(Task(work, trigger=Once(moment), id=f"task-{one}"))
    async with _scheduler(path, registry) as scheduler:
        await asyncio.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds() - 0.1))
        gaps, _pauses = await beats(lambda: ran < number)
        await scheduler.idle()
    return max(gaps)


def _first_fire(path: str, tasks: int, history: int) -> Found:
    """From entering a scheduler until a task has begun whose instant came while nobody ran, in a file with much in it.

    Beside it: how long it takes until all tasks are served, and by how much the process grew.
    """
    asyncio.run(_enter(path, _registry(tasks)))
    _fill(path, tasks, history)
    registry = _registry(tasks)
    scheduler = _scheduler(path, registry)

    async def go() -> Found:
        begun = time.perf_counter()
        fired: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        def started(_event: object) -> None:
            if not fired.done():
                fired.set_result((time.perf_counter() - begun) * 1e3)

        scheduler.events.on({RunStarted}, started)
        async with scheduler:
            served_ms = (time.perf_counter() - begun) * 1e3
            return {"first_fire_ms": await fired, "served_ms": served_ms}

    return asyncio.run(go())


def _fill(path: str, tasks: int, history: int) -> None:
    """Let the last of the tasks be overdue by a second, and all have a history."""
    with closing(connect(path, "off")) as db:
        now_us = time.time_ns() // 1_000
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO asyncsched_history (id, task, created_at, due_at, scheduled_at, stands_for, status, attempt, "
            "token, first_at, started_at, finished_at) VALUES (?, ?, ?, ?, ?, 1, 'SUCCESS', 1, 2, ?, ?, ?)",
            (
                (f"old-{number:09d}", f"task-{number % tasks}", *[now_us - (history - number) * 1_000] * 6)
                for number in range(history)
            ),
        )
        db.execute("UPDATE asyncsched_tasks SET next_at = ? WHERE id = ?", (now_us - 1_000_000, f"task-{tasks - 1}"))
        db.execute("COMMIT")
