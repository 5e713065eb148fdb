"""A one-off job in the background: submit it, and await its run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from asyncsched import Registry, Run
from asyncsched.errors import ArgumentsError, RunCancelled, RunError, RunSkipped, UnknownRun, UnknownTask

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class Order(BaseModel):
    number: int
    lines: list[str] = []


@dataclass
class Point:
    x: float
    y: float


async def test_await_run_gives_the_result(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def add(left: int, right: int = 1) -> int:
        await asyncio.sleep(3600)
        return left + right

    async with virtual(registry, at=T0) as sched:
        run = await add.submit(1, right=2)
        assert isinstance(run, Run)
        assert (run.status, run.scheduled_for, run.args, run.kwargs) == ("PENDING", None, (1, 2), {})
        assert await run == 3
        assert await run == 3  # once it has ended it can be awaited again
        assert (run.duration, sched.now()) == (timedelta(hours=1), T0 + timedelta(hours=1))
        assert await asyncio.gather(*[await add.submit(number) for number in range(5)]) == [1, 2, 3, 4, 5]


async def test_await_run_raises_what_the_function_raised(virtual: Any) -> None:
    registry = Registry()
    error = KeyError("gone")

    @registry.task
    def fails() -> None:
        raise error

    async with virtual(registry, at=T0):
        run = await fails.submit()
        for _ in range(2):
            with pytest.raises(KeyError) as caught:
                await run
            assert caught.value is error


async def test_await_a_skip_or_a_cancelled_run_raises_a_typed_error(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1m")
    async def slow() -> None:
        await asyncio.sleep(1000)

    async with virtual(registry, at=T0) as sched:
        await sched.advance("2m")
        (run,), (skip,) = sched.runs(), sched.skips()
        with pytest.raises(RunSkipped, match="overlap") as skipped:
            await skip
        assert (skipped.value.run_id, skipped.value.reason) == (skip.id, "overlap")
        waiting = asyncio.ensure_future(asyncio.wait_for(_of(run), 1e6))
        await asyncio.sleep(0)
        await sched.scheduler.stop()
        with pytest.raises(RunCancelled, match="the scheduler stopped") as cancelled:
            await waiting
        assert isinstance(cancelled.value, RunError)


async def _of(run: Run[Any]) -> Any:
    return await run


async def test_giving_up_the_wait_does_not_end_the_run(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def slow() -> str:
        await asyncio.sleep(10)
        return "done"

    async with virtual(registry, at=T0):
        run = await slow.submit()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_of(run), 1)
        assert run.status == "RUNNING"
        assert await run == "done"


async def test_arguments_become_what_the_annotations_say(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def echo(
        number: int, day: date, order: Order, point: Point, *more: UUID, key: str | None = None, **rest: float
    ) -> tuple[Any, ...]:
        return number, day, order, point, more, key, rest

    text = "018f3b9a-0000-7000-8000-000000000000"
    async with virtual(registry, at=T0):
        run = await echo.submit("3", "2026-01-02", {"number": "7"}, {"x": 1, "y": "2"}, text, key="k", a="0.5")
        assert await run == (3, date(2026, 1, 2), Order(number=7), Point(1, 2), (UUID(text),), "k", {"a": 0.5})


def takes() -> Registry:
    registry = Registry()

    @registry.task(id="takes")
    async def takes(number: int, order: Order | None = None, *more: int, key: str = "", **rest: float) -> None: ...

    return registry


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((), {}, "missing a required argument: 'number'"),
        (("three",), {}, "argument number: .*integer.*'three'"),
        ((1.5,), {}, "argument number: .*1.5"),
        ((None,), {}, "argument number: .*None"),
        ((1, {"number": "x"}), {}, r"argument order.*\['number'\]: .*'x'"),
        ((1, {"number": 1, "lines": [1]}), {}, r"argument order.*\['lines'\]\[0\]: .*string"),
        ((1, None, 2, "x"), {}, "argument more: .*'x'"),
        ((1,), {"key": 5}, "argument key: .*string.*5"),
        ((1,), {"other": "much"}, r"argument rest: .*'much'"),
        ((1,), {"number": 2}, "multiple values for argument 'number'"),
        (("y" * 10_000,), {}, r"argument number: .*yyy\.\.\."),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_before_there_is_a_run(
    virtual: Any, args: tuple[Any, ...], kwargs: dict[str, Any], says: str
) -> None:
    registry = takes()
    async with virtual(registry, at=T0) as sched:
        with pytest.raises(ArgumentsError, match=says) as caught:
            await registry["takes"].submit(*args, **kwargs)
        assert isinstance(caught.value, TypeError)
        assert len(str(caught.value)) < 300
        assert await sched.scheduler.runs.list() == []


async def test_a_tasks_own_arguments_are_the_default(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1h", args=(1,), kwargs={"right": 2})
    def add(left: int, right: int) -> int:
        return left + right

    async with virtual(registry, at=T0) as sched:
        assert await (await add.submit()) == 3
        assert await (await add.submit(10, 20)) == 30
        assert await (await sched.scheduler.tasks.run_now(add.id)) == 3


async def test_a_task_without_the_arguments_that_it_needs_cannot_be_run_by_its_name(virtual: Any) -> None:
    async with virtual(takes(), at=T0) as sched:
        with pytest.raises(ArgumentsError, match="missing a required argument: 'number'"):
            await sched.scheduler.tasks.run_now("takes")
        assert await sched.scheduler.runs.list() == []


async def test_a_greater_priority_starts_first(virtual: Any) -> None:
    started: list[str] = []
    registry = Registry()

    def declare(name: str, priority: int) -> None:
        @registry.every("1s", id=name, priority=priority)
        async def note() -> None:
            started.append(name)

    for name, priority in (("low", -1), ("high", 5), ("normal", 0), ("also-normal", 0)):
        declare(name, priority)
    async with virtual(registry, at=T0) as sched:
        await sched.advance("1s")
    assert started == ["high", "normal", "also-normal", "low"]


async def test_a_task_may_submit_others(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def double(number: int) -> int:
        return 2 * number

    @registry.every("1m")
    async def parent() -> int:
        runs = [await double.submit(number) for number in range(4)]
        return sum([await run for run in runs])

    async with virtual(registry, at=T0) as sched:
        await sched.advance("1m")
        assert [run.result for run in sched.runs("parent")] == [12]


async def test_unknown_ids_are_errors_that_help(virtual: Any) -> None:
    registry = takes()
    async with virtual(registry, at=T0) as sched:
        with pytest.raises(UnknownTask, match=r"no task 'take'.*takes"):
            await sched.scheduler.tasks.run_now("take")
        with pytest.raises(UnknownRun, match="no run 'x'"):
            await sched.scheduler.runs.get("x")


async def test_drain_waits_for_everything_that_was_submitted(virtual: Any) -> None:
    registry = Registry()
    ended: list[int] = []

    @registry.task
    async def countdown(number: int) -> None:
        await asyncio.sleep(1)
        ended.append(number)
        if number:
            await countdown.submit(number - 1)

    async with virtual(registry, at=T0) as sched:
        await countdown.submit(3)
        await sched.drain()
        assert ended == [3, 2, 1, 0]
