"""The rows of features about what surrounds a run, and how its function is called."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, cast

import pytest
from tests.errands import dies, square

from asyncsched import CallNext, Depends, Registry, Run, Scheduler, Shell, Task
from asyncsched.errors import ConfigError, DuplicateTask, ProcessDied

T0 = datetime(2026, 1, 1, tzinfo=UTC)


# --- PE15


def mails() -> Registry:
    """As a module ``mails.py`` would hold."""
    registry = Registry()

    @registry.every("1m", id="mails.send", tags=["hourly"])
    async def send() -> str:
        return "sent"

    return registry


def reports() -> Registry:
    """As a module ``reports.py`` would hold."""
    registry = Registry()

    @registry.at("00:01", id="reports.write")
    def write() -> str:
        return "written"

    return registry


@pytest.mark.feature("PE15")
async def test_pe15_the_tasks_of_several_files_fire_with_their_tags_added(virtual: Any) -> None:
    scheduler, late = Scheduler(registry=Registry(), tz="UTC"), Registry()
    scheduler.include(mails(), tags=["mail", "production"])
    scheduler.include(reports())
    scheduler.include(late, tags=["late"])

    @late.task(id="late")
    async def declared_after_it_was_included() -> str:
        return "late"

    async with virtual(scheduler, at=T0) as sched:
        assert await (await declared_after_it_was_included.submit()) == "late"
        await sched.advance("61s")
        assert [run.result for run in sched.runs()] == ["late", "sent", "written"]
    assert {task.id: set(task.tags) for task in scheduler.served()} == {
        "mails.send": {"hourly", "mail", "production"},
        "reports.write": set(),
        "late": {"late"},
    }


@pytest.mark.feature("PE15")
def test_pe15_one_id_in_two_files_is_an_error_that_names_it() -> None:
    scheduler, late = Scheduler(registry=Registry(), tz="UTC"), Registry()
    scheduler.include(reports())
    scheduler.include(late)
    with pytest.raises(
        DuplicateTask, match=r"two tasks have the id 'reports.write', the other stands at test_context_"
    ):
        scheduler.include(reports())
    with pytest.raises(DuplicateTask, match=r"'reports.write'"):
        late.every("1m", id="reports.write")(mails)
    assert [task.id for task in scheduler.served()] == ["reports.write"]
    assert list(late) == []


# --- PE17

lines: list[str] = []


class Db:
    """A connection to a database."""

    name = "real"


class FakeDb(Db):
    """What stands in for it in a test."""

    name = "fake"


async def open_pool() -> AsyncIterator[str]:
    lines.append("open pool")
    yield "pool"
    lines.append("close pool")


async def open_db(pool: Annotated[str, Depends(open_pool, scope="scheduler")]) -> AsyncIterator[Db]:
    lines.append(f"open db of {pool}")
    try:
        yield Db()
    finally:
        lines.append("close db")


async def open_file(db: Annotated[Db, Depends(open_db)]) -> AsyncIterator[str]:
    lines.append("open file")
    try:
        yield "file"
    finally:
        lines.append("close file")


@pytest.mark.feature("PE17")
async def test_pe17_resources_of_a_run_and_of_a_node_are_opened_once_and_closed_in_reverse(virtual: Any) -> None:
    lines.clear()
    registry = Registry()

    @registry.task
    async def work(
        fails: bool, file: Annotated[str, Depends(open_file)], db: Annotated[Db, Depends(open_db)]
    ) -> str:  # fmt: skip
        if fails:
            raise ValueError(file)
        return db.name

    async with virtual(registry, at=T0) as sched:
        assert await (await work.submit(False)) == "real"
        with pytest.raises(ValueError, match="file"):
            await (await work.submit(True))
        once = ["open db of pool", "open file", "close file", "close db"]
        assert lines == ["open pool", *once, *once]
        lines.clear()
        with sched.scheduler.override(open_db, FakeDb):
            assert await (await work.submit(False)) == "fake"
        assert lines == ["open file", "close file"]
        await sched.scheduler.stop()
    assert lines == ["open file", "close file", "close pool"]


# --- PE18


@pytest.mark.feature("PE18")
async def test_pe18_middleware_goes_around_each_attempt_in_order(virtual: Any) -> None:
    registry = Registry()
    order: list[str] = []

    def numbered(number: int) -> Any:
        async def middleware(run: Run[Any], call_next: CallNext) -> Any:
            order.append(f"in {number} attempt {run.attempt}")
            try:
                return await call_next()
            finally:
                order.append(f"out {number}")

        return middleware

    registry.middleware(numbered(1))
    registry.middleware(numbered(2))

    @registry.task(retry=1)
    def work() -> None:
        order.append("work")
        if order.count("work") == 1:
            raise ConnectionError

    async with virtual(registry, at=T0):
        await (await work.submit())
    assert order == [
        *("in 1 attempt 1", "in 2 attempt 1", "work", "out 2", "out 1"),
        *("in 1 attempt 2", "in 2 attempt 2", "work", "out 2", "out 1"),
    ]


@pytest.mark.feature("PE18")
@pytest.mark.parametrize("when", ["before", "after"])
async def test_pe18_one_that_raises_fails_the_attempt_and_the_scheduler_goes_on(virtual: Any, when: str) -> None:
    registry = Registry()

    @registry.middleware
    async def raises(run: Run[Any], call_next: CallNext) -> None:
        if when == "after":
            await call_next()
        if run.task == "bad":
            raise RuntimeError("middleware")

    @registry.every("1m", id="bad", retry=1)
    async def bad() -> None: ...

    @registry.every("1m", id="good")
    async def good() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("3m")
        assert [(run.status, run.attempt) for run in sched.runs("bad")] == [("FAILED", 2)] * 3
        assert {repr(run.error) for run in sched.runs("bad")} == {"RuntimeError('middleware')"}
        assert [run.status for run in sched.runs("good")] == ["SUCCESS"] * 3


# --- PE25


async def square_on_the_loop(number: int) -> int:
    return square(number)


@pytest.mark.feature("PE25")
async def test_pe25_one_function_has_the_same_result_wherever_it_is_called() -> None:
    registry = Registry()
    seen: list[str] = []

    @registry.middleware
    async def watches(run: Run[Any], call_next: CallNext) -> None:
        await call_next()
        seen.append(run.task)

    tasks: list[Task[..., Any]] = [
        Task(square_on_the_loop, id="loop", executor="loop"),
        Task(square, id="thread", executor="thread"),
        Task(square, id="process", executor="process"),
    ]
    for task in tasks:
        registry.register(task)
    program = registry.register(Task(Shell("echo $((12 * 12))"), id="subprocess"))
    async with Scheduler(registry=registry, tz="UTC", processes=1):
        runs = [await task.submit(12) for task in tasks]
        results = [await run for run in runs]
        results.append(int((await (await program.submit())).stdout))
    assert results == [144] * 4
    assert sorted(seen) == ["loop", "process", "subprocess", "thread"]


@pytest.mark.feature("PE25")
async def test_pe25_a_process_that_dies_fails_its_run_and_the_node_lives() -> None:
    registry = Registry()
    dying = registry.register(Task(dies, id="dying", executor="process"))
    living = registry.register(Task(square, id="living", executor="process"))
    async with Scheduler(registry=registry, tz="UTC", processes=1):
        run = await dying.submit(7)
        with pytest.raises(ProcessDied, match="died with exit status 7"):
            await run
        assert run.status == "FAILED"
        assert await (await living.submit(3)) == 9


@pytest.mark.feature("PE25")
def test_pe25_an_executor_that_there_is_not_is_an_error_when_the_task_is_declared() -> None:
    registry = Registry()
    with pytest.raises(ConfigError, match=r"executor='dask': 'loop' for coroutine functions.*errands.py:\d+"):
        registry.every("1m", executor=cast("Any", "dask"))(square)
    assert list(registry) == []
