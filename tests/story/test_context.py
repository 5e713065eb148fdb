"""What surrounds a run: middleware around it, resources that it asks for, callbacks when everything stops."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pytest

from asyncsched import CallNext, Depends, Registry, Retry, Run, RunContext, Scheduler, Task
from asyncsched.cli._dry import dry_run
from asyncsched.errors import ArgumentsError, ConfigError, MisuseError
from asyncsched.events import ResourceNotClosed, RunEnded, RunRetrying, SchedulerStopped, SchedulerStopping
from asyncsched.stores import MemoryStore

T0 = datetime(2026, 1, 1, tzinfo=UTC)

# --- a pool for all, and a connection of it for each run

lines: list[str] = []


@pytest.fixture(autouse=True)
def fresh_lines() -> None:
    lines.clear()


class Pool:
    """What a database driver would give."""

    def __init__(self, name: str = "pool") -> None:
        self.name = name
        self.connections = 0


class Db:
    """A connection."""

    def __init__(self, pool: Pool) -> None:
        pool.connections += 1
        self.number = pool.connections
        self.rows: list[str] = []


async def open_pool() -> AsyncIterator[Pool]:
    lines.append("pool opens")
    await asyncio.sleep(1)
    yield Pool()
    lines.append("pool closes")


async def open_db(pool: Annotated[Pool, Depends(open_pool, scope="scheduler")], run: RunContext) -> AsyncIterator[Db]:
    db = Db(pool)
    lines.append(f"{run.task} opens {db.number}")
    try:
        yield db
    except BaseException as error:
        lines.append(f"{run.task} rolls {db.number} back: {error!r}")
        raise
    else:
        lines.append(f"{run.task} commits {db.number}")


@contextmanager
def work_folder() -> Iterator[str]:
    lines.append("folder opens")
    try:
        yield "/work"
    finally:
        lines.append("folder closes")


WorkFolder = Annotated[str, Depends(work_folder)]


async def test_a_run_is_given_what_it_asks_for(virtual: Any) -> None:
    registry = Registry()

    @registry.task(id="store")
    async def store(row: str, db: Annotated[Db, Depends(open_db)], folder: WorkFolder, times: int = 1) -> int:
        assert folder == "/work"
        db.rows += [row] * times
        lines.append("store runs")
        return db.number

    async with virtual(registry, at=T0) as sched:
        assert await (await store.submit("a")) == 1
        assert await (await store.submit("b", times=2)) == 2
        assert sched.now() == T0 + timedelta(seconds=1)  # the pool was opened once
        with pytest.raises(ArgumentsError, match="unexpected keyword argument 'db'"):
            await store.submit("c", db=3)  # type: ignore[call-arg]
        await sched.scheduler.stop()
    one = ["store opens 1", "folder opens", "store runs", "folder closes", "store commits 1"]
    assert lines == ["pool opens", *one, *(line.replace("1", "2") for line in one), "pool closes"]
    # Without a scheduler it is the function that it was.
    mine = Db(Pool())
    assert await store("d", mine, "/work") == 1
    assert mine.rows == ["d"]


async def test_threads_are_given_them_too_and_fires_as_well(virtual: Any) -> None:
    registry = Registry()
    threads: set[str] = set()

    @registry.every("1m", id="plain")
    def plain(db: Annotated[Db, Depends(open_db)]) -> int:
        threads.add(threading.current_thread().name)
        return db.number

    async with virtual(registry, at=T0) as sched:
        await sched.advance("3m1s")
        assert [run.result for run in sched.runs()] == [1, 2, 3]
    assert threads.isdisjoint({threading.main_thread().name})


async def test_it_is_closed_after_a_failure_and_opened_anew_for_the_next_attempt(virtual: Any) -> None:
    registry = Registry()

    @registry.task(id="work", retry=Retry(attempts=3, wait="10s"))
    async def work(db: Annotated[Db, Depends(open_db)]) -> int:
        if db.number < 3:
            raise ValueError(db.number)
        return db.number

    async with virtual(registry, at=T0) as sched:
        assert await (await work.submit()) == 3
        await sched.scheduler.stop()
    assert lines == [
        "pool opens",
        "work opens 1",
        "work rolls 1 back: ValueError(1)",
        "work opens 2",
        "work rolls 2 back: ValueError(2)",
        "work opens 3",
        "work commits 3",
        "pool closes",
    ]


@pytest.mark.parametrize("how", ["cancel", "timeout", "stop", "crash"])
async def test_it_is_closed_however_the_run_ends(virtual: Any, how: str) -> None:
    registry = Registry()

    @registry.task(id="work", timeout="1h" if how != "timeout" else "5s")
    async def work(db: Annotated[Db, Depends(open_db)]) -> None:
        await asyncio.Event().wait()

    async with virtual(Scheduler(registry=registry, shutdown_timeout="5s"), at=T0) as sched:
        run = await work.submit()
        await sched.advance("2s")
        if how == "cancel":
            assert await sched.scheduler.runs.cancel(run.id)
        elif how == "timeout":
            await sched.until(task="work", status="FAILED")
        elif how == "crash":
            await sched.crash()
        if sched.scheduler.running:
            await sched.scheduler.stop()
    assert lines == ["pool opens", "work opens 1", "work rolls 1 back: CancelledError()", "pool closes"]


async def test_a_factory_that_raises_fails_the_attempt(virtual: Any) -> None:
    registry = Registry()
    refused = [True, True, False]

    def connect() -> str:
        if refused.pop(0):
            raise ConnectionError("refused")
        return "connected"

    @registry.task(id="own", retry=1)
    async def own(db: Annotated[str, Depends(connect)], folder: WorkFolder) -> str:
        return db

    @registry.task(id="shared", retry=1)
    async def shared(folder: WorkFolder, db: Annotated[str, Depends(connect, scope="scheduler")]) -> str:
        return db

    async with virtual(registry, at=T0) as sched:
        run = await own.submit()
        with pytest.raises(ConnectionError, match="refused"):
            await run
        assert (run.status, run.attempt, lines) == ("FAILED", 2, [])
        assert run.traceback is not None
        assert "in connect" in run.traceback
        refused[:] = [True, False]
        assert await (await shared.submit()) == "connected"
        assert lines == ["folder opens", "folder closes"] * 2
        assert len([event for event in sched.events if isinstance(event, RunRetrying)]) == 2


async def test_one_that_cannot_be_closed_is_recorded_and_hides_nothing(
    virtual: Any, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry()

    async def stubborn() -> AsyncIterator[str]:
        yield "value"
        raise OSError("disk full")

    registry.resource("stubborn", stubborn)

    @registry.task(id="work")
    async def work(own: Annotated[str, Depends(stubborn)], shared: Annotated[str, Depends("stubborn")]) -> str:
        return own + shared

    async with virtual(registry, at=T0) as sched:
        run = await work.submit()
        assert await run == "valuevalue"
        await sched.scheduler.stop()
        told = [event for event in sched.events if isinstance(event, ResourceNotClosed)]
        assert [(event.run, str(event.error)) for event in told] == [(run, "disk full"), (None, "disk full")]
        assert "stubborn" in told[0].resource
    assert f"stubborn could not be closed after run {run.id} of task work" in caplog.text


async def test_results_of_upstreams_and_resources_come_together(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1h", id="extract")
    async def extract() -> int:
        return 5

    @registry.after(extract, id="transform")
    def transform(folder: WorkFolder, dep_extract: int, run: RunContext) -> tuple[Any, ...]:
        return folder, dep_extract, run.id

    async with virtual(registry, at=T0) as sched:
        run = await sched.until(task="transform")
        assert run.result == ("/work", 5, run.id)
    assert lines == ["folder opens", "folder closes"]


async def test_what_is_shared_is_opened_again_after_a_restart(virtual: Any) -> None:
    registry = Registry()
    registry.resource("pool", open_pool)

    @registry.every("1m", id="work")
    async def work(pool: Annotated[Pool, Depends("pool")]) -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("61s")
        await sched.restart()
        await sched.advance("61s")
    assert lines == ["pool opens", "pool closes"] * 2


async def test_what_is_shared_outlives_the_runs_that_use_it(virtual: Any) -> None:
    registry = Registry()

    @registry.task(id="slow")
    async def slow(pool: Annotated[Pool, Depends(open_pool, scope="scheduler")]) -> None:
        await asyncio.sleep(10)
        lines.append("slow ends")

    async with virtual(registry, at=T0) as sched:
        await slow.submit()
        await sched.advance("2s")
        await sched.scheduler.stop()
        assert lines == ["pool opens", "slow ends", "pool closes"]
        assert isinstance(sched.events[-1], SchedulerStopped)


async def test_another_one_stands_in_for_it_in_a_test(virtual: Any) -> None:
    registry = Registry()
    registry.resource("name", lambda: "real")

    @registry.task
    async def work(db: Annotated[Db, Depends(open_db)], name: Annotated[str, Depends("name")]) -> tuple[int, str]:
        return db.number, name

    def fake_db(name: Annotated[str, Depends("name")]) -> Db:
        pool = Pool()
        pool.connections = 41
        return Db(pool)

    async with virtual(registry, at=T0) as sched:
        with sched.scheduler.override(open_db, fake_db), registry.override("name", lambda: "fake"):
            assert await (await work.submit()) == (42, "fake")
            assert lines == []
        assert await (await work.submit()) == (1, "real")


async def test_a_dry_run_opens_and_wraps_nothing(virtual: Any) -> None:
    scheduler = Scheduler(registry=Registry(), tz="UTC")
    scheduler.resource("pool", open_pool)
    called: list[str] = []

    @scheduler.middleware
    async def watches(run: Run[Any], call_next: CallNext) -> None:
        called.append(run.id)

    @scheduler.every("1m")
    async def work(pool: Annotated[Pool, Depends("pool")], db: Annotated[Db, Depends(open_db)]) -> None: ...

    async with virtual(Registry(), at=T0), dry_run(scheduler, T0, "UTC") as dry:
        await dry.clock.reach(T0 + timedelta(minutes=3))
        assert [run.status for run in await dry.scheduler.runs.list()] == ["SUCCESS"] * 3
    assert called == lines == []


# --- what is wrong is said when it is declared


def first(x: Annotated[int, Depends("second")]) -> None: ...


def second(x: Annotated[int, Depends(first, scope="scheduler")]) -> None: ...


def hungry(url: str) -> None: ...


async def test_mistakes_are_found_where_they_are_made() -> None:
    store = MemoryStore()
    scheduler = Scheduler(store, registry=Registry(), tz="UTC")
    with pytest.raises(ConfigError, match="resources need each other: second -> first -> second"):
        scheduler.resource("second", second)

    with pytest.raises(ConfigError, match=r"nobody gives hungry its parameter 'url'.*test_context.py:\d+"):

        @scheduler.task
        async def wrong(x: Annotated[int, Depends(hungry)]) -> None: ...

    with pytest.raises(ConfigError, match=r"executor='process': parameter 'x' asks for a resource"):
        Task(second, id="second", executor="process")

    with pytest.raises(ConfigError, match="give an `async def` function"):
        scheduler.middleware(hungry)  # type: ignore[type-var]

    @scheduler.task(id="early")
    async def early(pool: Annotated[Pool, Depends("pool")]) -> None: ...

    with pytest.raises(ConfigError, match=r"task 'early': parameter 'pool': no resource is named 'pool'"):
        await scheduler.start()
    assert not scheduler.running
    scheduler.resource("pool", open_pool)
    async with scheduler:
        for declare in (
            lambda: scheduler.resource("other", open_pool),
            lambda: scheduler.middleware(_timed),
            lambda: scheduler.include(Registry()),
        ):
            with pytest.raises(MisuseError, match="the scheduler is running"):
                declare()
        late = Task(early.__wrapped__, id="late")
        await scheduler.tasks.add(late)
        assert await (await late.submit()) is None
        with pytest.raises(ConfigError, match="task 'lost': parameter 'x': no resource is named 'second'"):
            await scheduler.tasks.add(Task(first, id="lost"))
        assert [standing.task for standing in await store.standings({"lost", "late"})] == ["late"]


# --- middleware


async def _timed(_run: Run[Any], call_next: CallNext) -> Any:
    return await call_next()


async def test_middleware_sees_the_run_and_what_came_out(virtual: Any) -> None:
    registry = Registry()
    seen: list[object] = []

    @registry.middleware
    async def timed(run: Run[Any], call_next: CallNext) -> Any:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            return await call_next()
        except Exception as error:
            seen.append(repr(error))
            raise
        finally:
            seen.append((run.task, run.attempt, loop.time() - began))

    @registry.task(id="naps", retry=1)
    async def naps(seconds: int) -> int:
        await asyncio.sleep(seconds)
        return 10 // (seconds - 2)

    async with virtual(registry, at=T0):
        assert await (await naps.submit(3)) == 10
        with pytest.raises(ZeroDivisionError):
            await (await naps.submit(2))
    error = "ZeroDivisionError('integer division or modulo by zero')"
    assert seen == [("naps", 1, 3), error, ("naps", 1, 2), error, ("naps", 2, 2)]


async def test_it_may_answer_in_place_of_the_function(virtual: Any) -> None:
    registry = Registry()
    known: dict[tuple[Any, ...], int] = {}

    @registry.middleware
    async def remembers(run: Run[Any], call_next: CallNext) -> Any:
        if run.args not in known:
            known[run.args] = await call_next()
        return known[run.args]

    @registry.task
    def square(number: int) -> int:
        lines.append(f"square {number}")
        return number**2

    async with virtual(registry, at=T0):
        assert [await (await square.submit(number)) for number in (2, 3, 2)] == [4, 9, 4]
    assert lines == ["square 2", "square 3"]


async def test_who_forgets_to_return_or_to_raise_hides_nothing(virtual: Any) -> None:
    registry = Registry()

    @registry.middleware
    async def forgets(_run: Run[Any], call_next: CallNext) -> None:
        try:
            await call_next()
        except Exception:
            lines.append("caught")

    @registry.task
    async def work(number: int) -> float:
        return 1 / number

    async with virtual(registry, at=T0):
        assert await (await work.submit(1)) == 1
        with pytest.raises(ZeroDivisionError):
            await (await work.submit(0))
    assert lines == ["caught"]


async def test_a_timeout_counts_for_the_middleware_too(virtual: Any) -> None:
    registry = Registry()

    @registry.middleware
    async def slow(_run: Run[Any], call_next: CallNext) -> Any:
        await asyncio.sleep(10)
        return await call_next()

    @registry.task(timeout="5s")
    async def work() -> None: ...

    async with virtual(registry, at=T0) as sched:
        run = await work.submit()
        with pytest.raises(TimeoutError):
            await run
        assert sched.now() == T0 + timedelta(seconds=5)


async def test_each_registry_has_its_own_inside_what_is_around_all(virtual: Any) -> None:
    def noting(name: str) -> Callable[[Run[Any], CallNext], Awaitable[Any]]:
        async def middleware(run: Run[Any], call_next: CallNext) -> Any:
            lines.append(f"{name} {run.task}")
            return await call_next()

        return middleware

    mails, whole = Registry(), Registry()
    scheduler = Scheduler(registry=whole, tz="UTC")
    mails.middleware(noting("mails"))
    whole.middleware(noting("whole"))
    scheduler.middleware(noting("scheduler"))
    mails.resource("server", lambda: "mail server")
    scheduler.resource("server", lambda: "server")

    @mails.task(id="send")
    async def send(server: Annotated[str, Depends("server")]) -> str:
        return server

    @whole.task(id="work")
    async def work(server: Annotated[str, Depends("server")]) -> str:
        return server

    scheduler.include(mails)
    async with virtual(scheduler, at=T0):
        assert await (await send.submit()) == "mail server"
        assert await (await work.submit()) == "server"
    assert lines == ["scheduler send", "whole send", "mails send", "scheduler work", "whole work"]


# --- when everything stops


@pytest.mark.parametrize("how", ["leave", "serve"])
async def test_callbacks_on_the_stop_come_before_anything_is_closed(virtual: Any, how: str) -> None:
    scheduler = Scheduler(registry=Registry(), tz="UTC")

    @scheduler.task(id="slow")
    async def slow(pool: Annotated[Pool, Depends(open_pool, scope="scheduler")]) -> None:
        await asyncio.sleep(10)
        lines.append("slow ends")

    async def goodbye(event: SchedulerStopping) -> None:
        await asyncio.sleep(1)
        lines.append(f"goodbye, {event.left} left")

    def farewell(_event: SchedulerStopping) -> None:
        lines.append("farewell")

    scheduler.events.on({SchedulerStopping}, goodbye)
    scheduler.events.on({SchedulerStopping}, farewell)
    async with virtual(scheduler, at=T0) as sched:
        if how == "serve":
            await sched.scheduler.stop()
            started = asyncio.ensure_future(scheduler.serve())
            await asyncio.sleep(1)
            lines.clear()
        await slow.submit()
        await sched.advance("2s")
        if how == "leave":
            await sched.scheduler.stop()
        else:
            started.cancel()
            await asyncio.gather(started, return_exceptions=True)
        ended = [event.run.status for event in sched.events if isinstance(event, RunEnded)]
        assert ended == ["SUCCESS"]
    assert lines == ["pool opens", "farewell", "goodbye, 1 left", "slow ends", "pool closes"]
