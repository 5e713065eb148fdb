"""What type checkers see of the public names. Never run: mypy and pyright read it, and must agree.

A line with ``type: ignore`` is a mistake that both must find; an ignore that is not needed is an error itself.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime, timedelta
from typing import Annotated, Any, assert_type

from asyncsched import (
    Blackout,
    CallNext,
    Depends,
    Registry,
    Retry,
    RetryAfter,
    Run,
    RunContext,
    RunStatus,
    Scheduler,
    Shell,
    Task,
    Transaction,
    UpstreamFailed,
    after,
    at,
    cron,
    current_run,
    every,
    from_thread,
    injected,
    result_of,
    task,
    when,
)
from asyncsched.backfill import Backfill
from asyncsched.events import Event, RunEnded, RunStarted, SchedulerStopping
from asyncsched.explanation import Explanation
from asyncsched.nodes import StoredNode
from asyncsched.triggers import Cron, Daily, Every


@every("5s", retry=3, timeout="1m", missed="all", overlap="allow", tz="Europe/Berlin")
async def extract(limit: int = 10) -> list[int]:
    return [limit]


@at("14:30", "18:00", days="mon-fri", grace=timedelta(minutes=5))
def report() -> str:
    return ""


@cron("0 4 * * *", retry=Retry(attempts=3, wait="10s", on=(OSError, ValueError)))
async def nightly() -> None: ...


@every("1h", jitter="30s", blackout=["02:00-04:00", Blackout("22:00", "06:00")], expires="1m", overlap="queue_one",
       starts=datetime(2026, 1, 1), ends=None, max_runs=9, run_timeout="1h", warn_failures=3)  # fmt: skip
def bounded() -> None:
    raise RetryAfter("10s")


@when([Cron("0 4 * * *"), Daily("12:00"), "every 5 minutes", timedelta(hours=1)])
def often() -> None: ...


@task
async def send_mail(to: str, code: str, *, urgent: bool = False) -> bool:
    return urgent


@task(priority=5, tags=["mail"])
def plain(number: int) -> float:
    return number / 2


class Service:
    @every("1m", kwargs={"self": None})
    async def poll(self, count: int = 1) -> bytes:
        return b"" * count


async def decorated_names_stay_functions() -> None:
    assert_type(await extract(3), list[int])
    assert_type(report(), str)
    assert_type(plain(3), float)
    assert_type(await Service().poll(2), bytes)
    plain("3")  # type: ignore[arg-type]
    report(1)  # type: ignore[call-arg]
    await Service().poll("2")  # type: ignore[arg-type]


async def submit_takes_what_the_function_takes() -> None:
    rows = await extract.submit()
    assert_type(rows, Run[list[int]])
    assert_type(await rows, list[int])
    half = await plain.submit(3)
    assert_type(half, Run[float])
    assert_type(await half, float)
    assert_type(await (await send_mail.submit("a@b.c", code="1", urgent=True)), bool)
    await send_mail.submit("a@b.c")  # type: ignore[call-overload]
    await send_mail.submit("a@b.c", kode="1")  # type: ignore[call-overload]
    await send_mail.submit("a@b.c", 1)  # type: ignore[call-overload]
    await plain.submit(rows)  # type: ignore[arg-type]


async def runs_are_stopped_and_given_more_time() -> None:
    run = await plain.submit(3)
    assert_type(await run.cancel("why"), bool)
    current_run().extend("1m")
    run.extend(5)  # type: ignore[arg-type]
    Scheduler(groups={"kernel": 3})
    Scheduler(groups=["kernel"])  # type: ignore[arg-type]


async def using_keeps_the_signature() -> None:
    later = await plain.using(delay="5m", priority=3).submit(3)
    assert_type(later, Run[float])
    assert_type(await (await extract.using(at=datetime(2026, 1, 1)).submit(limit=1)), list[int])
    await plain.using(delay="5m").submit("3")  # type: ignore[arg-type]
    plain.using(delay=5)  # type: ignore[arg-type]
    assert_type(await (await extract.using(unique="a", unique_for="1d", queue="mail").submit()), list[int])
    plain.using(unique=3)  # type: ignore[arg-type]
    plain.using(soon=True)  # type: ignore[call-arg]


async def submit_many_takes_tuples() -> None:
    runs = await plain.submit_many([(1,), (2,)])
    assert_type(runs, list[Run[float]])
    assert_type([await run for run in await extract.submit_many((n,) for n in range(3))], list[list[int]])
    assert_type(await extract.using(delay="1s").submit_many([()]), list[Run[list[int]]])
    await plain.submit_many([1, 2])  # type: ignore[list-item]


@every("1m", kwargs={"number": 1}, max_running=3, queue="mail", history_limit=10)
async def asks(context: RunContext, number: int) -> str:
    assert_type(context, Run[Any])
    return context.id


@task
async def asks_if_it_runs(number: int, context: RunContext | None = None) -> int:
    return number if context is None else context.attempt


async def a_context_with_a_default_needs_no_argument() -> None:
    assert_type(await (await asks_if_it_runs.submit(1)), int)
    assert_type(await asks_if_it_runs(1), int)
    await asks.submit(number=1)  # type: ignore[call-overload]


async def open_db() -> AsyncIterator[float]:
    yield 1.5


@task
async def has_a_resource(number: int, db: Annotated[float, Depends(open_db, scope="scheduler")] = injected) -> float:
    return assert_type(db, float) + number


async def a_resource_with_a_default_needs_no_argument() -> None:
    assert_type(await (await has_a_resource.submit(1)), float)
    assert_type(await has_a_resource(1, 2.5), float)
    Depends(open_db, scope="node")  # type: ignore[arg-type]


@task
async def has_a_transaction(number: int, tx: Transaction = injected) -> int:
    await tx.execute("INSERT INTO numbers VALUES ($1)", number)
    return number


async def a_transaction_with_a_default_needs_no_argument(connection: object) -> None:
    assert_type(await (await has_a_transaction.using(connection=connection).submit(1)), int)


def registries_and_schedulers_are_told_what_is_around_runs(scheduler: Scheduler, registry: Registry) -> None:
    @registry.middleware
    async def timed(run: Run[Any], call_next: CallNext) -> str:
        return str(await call_next())

    registry.middleware(timed)

    @scheduler.middleware  # type: ignore[type-var]
    def plain(run: Run[Any], call_next: CallNext) -> str:
        return run.id

    scheduler.include(registry, tags=["mail"])
    scheduler.resource("db", open_db)
    with scheduler.override("db", lambda: 2.5), registry.override(open_db, float):
        pass


async def goodbye(event: SchedulerStopping) -> None:
    assert_type(event.left, int)


def callbacks_take_the_events_that_they_are_for(scheduler: Scheduler) -> None:
    scheduler.events.on({SchedulerStopping}, goodbye)
    scheduler.events.on([RunStarted, RunEnded], lambda event: event.run)
    scheduler.events.on({Event}, goodbye)  # type: ignore[arg-type]


async def a_task_knows_its_runs() -> None:
    assert_type(asks.status, RunStatus | None)
    assert_type(asks.last_run_at, datetime | None)
    assert_type(asks.last_success_at, datetime | None)
    assert_type(asks.error, BaseException | None)
    assert_type([run.status for run in asks.history], list[RunStatus])


def options_are_checked() -> None:
    every("5s", retrys=3)  # type: ignore[call-arg]
    every("5s", missed="never")  # type: ignore[arg-type]
    every(5)  # type: ignore[arg-type]
    cron(["* * * * *"])  # type: ignore[arg-type]
    when(5)  # type: ignore[arg-type]
    every("5s", timeout=5)  # type: ignore[arg-type]
    Retry(attempts="3")  # type: ignore[arg-type]
    Task(report, colour="red")  # type: ignore[call-arg]
    Scheduler(shutdown_timeout=5)  # type: ignore[arg-type]


def tasks_are_values() -> None:
    assert_type(Task(report, every={"minutes": 5}), Task[[], str])
    assert_type(Task(plain.__wrapped__, run_at=datetime(2026, 1, 1), args=(1,))(2), float)
    once: Task[[int], Coroutine[Any, Any, list[int]]] = Task(func=extract.__wrapped__, trigger=Every("5s"))
    del once
    registry = Registry()
    assert_type(registry.register(Task(report, at="09:00")), Task[[], str])
    assert_type(registry["report"], Task[..., Any])
    wide: Task[..., object] = Task(report)  # covariant in its result
    assert_type(wide.next_fire, datetime | None)
    narrow: Task[[], int] = Task(report)  # type: ignore[arg-type]
    del narrow


def a_registry_and_a_scheduler_decorate_alike() -> None:
    registry = Registry()
    scheduler = Scheduler(registry=registry, tz="UTC", threads=4)

    @registry.every(minutes=5)
    def one(number: int = 1) -> str:
        return str(number)

    @scheduler.task
    async def two() -> int:
        return 2

    assert_type(one(2), str)
    running: Coroutine[Any, Any, int] = two()
    running.close()
    taken: Callable[[int], str] = one
    del taken


@task(executor="process")
def crunch(number: int) -> int:
    return number


async def programs_and_threads() -> None:
    listing = Task(Shell(["ls", "-l"], cwd="/", env={"A": "b"}, grace="2s"), every="1m", id="listing")
    assert_type((await (await listing.submit())).stdout, str)
    every("1m", id="shell")(Shell("ls"))
    Shell("ls", stdin=5)  # type: ignore[arg-type]
    assert_type(await (await crunch.submit(1)), int)
    run = from_thread(send_mail.submit, "a@b.c", code="1")
    assert_type(await run, bool)
    from_thread(extract, "3")  # type: ignore[arg-type]


@after(extract, "app:other", rule="all_done", retry=3)
async def follows(rows: list[int] = result_of(extract), dep_other: str = "") -> float:
    return len(rows) / 2


@every("1h", depends_on=[extract, "app:other"], dependency="fresh", dependency_timeout="10m")
def depends(rows: list[int] = result_of(extract)) -> int:
    return len(rows)


after(extract, rule="most")  # type: ignore[arg-type]
after(5)  # type: ignore[arg-type]
every("1h", dependency="always")  # type: ignore[arg-type]


@after(extract)
async def mistaken(rows: str = result_of(extract)) -> None: ...  # type: ignore[assignment]


async def graphs_keep_their_types() -> None:
    rows = await extract.submit()
    half = await follows.submit(result_of(rows))
    assert_type(half, Run[float])
    assert_type(half.flow, str)
    assert_type(half.needs, tuple[str, ...])
    await follows.submit(result_of(half))  # type: ignore[call-overload]
    assert_type(await follows.next_run(), Run[float])
    assert_type(await depends.next_run(), Run[int])
    async for run in follows.runs():
        assert_type(run, Run[float])
    async for other in depends.runs():
        assert_type(await other, int)
    try:
        await half
    except UpstreamFailed as error:
        assert_type(error.upstreams, tuple[str, ...])


async def a_scheduler_is_entered() -> AsyncIterator[Event]:
    async with Scheduler() as scheduler:
        assert_type(scheduler, Scheduler)
        assert_type(await scheduler.tasks.list(), list[Task[..., Any]])
        assert_type(await scheduler.tasks.next_fires(3), list[tuple[str, datetime]])
        assert_type(await scheduler.nodes.list(), list[StoredNode])
        assert_type(await scheduler.nodes.drain("x"), StoredNode)
        assert_type(await scheduler.runs.get("x"), Run[Any])
        (run,) = await scheduler.runs.list(status=["FAILED", RunStatus.CANCELLED])
        assert_type(run.status, RunStatus)
        assert_type(run.started_at, datetime | None)
        assert_type(run.error, BaseException | None)
        assert_type(current_run(), Run[Any])
        assert_type(await scheduler.tasks.run_now("x"), Run[Any])
        assert_type(await scheduler.tasks.skip_next("x"), datetime | None)
        assert_type(await scheduler.tasks.explain("x", last=5), Explanation)
        assert_type(await scheduler.tasks.backfill("x", datetime(2026, 1, 1), datetime(2026, 1, 2)), Backfill)
        assert_type(await scheduler.runs.list(since=datetime(2026, 1, 1), reason="overlap"), list[Run[Any]])
        assert_type(await scheduler.tasks.remove("x"), bool)
        await scheduler.tasks.pause("x", "y", until=datetime(2026, 1, 1), note="why")
        await scheduler.tasks.resume(tag="mail")
        assert_type(await scheduler.runs.cancel(run.id), bool)
        assert_type(await scheduler.runs.cancel_flow(run.id), int)
        assert_type(await scheduler.runs.retry(run.id), Run[Any])
        assert_type(await scheduler.runs.cancel(queue="mail", status="PENDING"), int)
        assert_type(await scheduler.runs.retry(task="bill", since=datetime(2026, 1, 1)), list[Run[Any]])
        assert_type(await extract.using(idempotency_key="k", keep_key="7d").submit(), Run[list[int]])
        await scheduler.runs.retry(run.id, task="bill")  # type: ignore[call-overload]
        await scheduler.runs.wait(run.id, within=5)  # type: ignore[arg-type]
        Scheduler(queues={"mail": 3}, max_running=10)
        scheduler.events.on({RunEnded}, print)
        async for event in scheduler.events.stream({RunEnded}):
            yield event
