"""Tasks that are added, replaced and removed while they run."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from asyncsched import Registry, Retry, Scheduler, Task
from asyncsched.errors import DuplicateTask, RunCancelled, UnknownTask
from asyncsched.run import Run
from asyncsched.testing import Stage, run, virtual


def on_stage(test: Callable[[Stage], Awaitable[None]]) -> None:
    async def main() -> None:
        async with virtual(Scheduler(registry=Registry(), tz="UTC")) as stage:
            await test(stage)

    run(main)


async def slow() -> None:
    await asyncio.sleep(5)


async def fails() -> None:
    raise ValueError("no")


async def result_of(run: Run[None]) -> None:
    return await run


def a_task(every: str = "10s") -> Task[[], object]:
    return Task(slow, id="t", every=every)


def test_a_task_that_is_replaced_while_it_runs_goes_on_to_fire() -> None:
    async def test(stage: Stage) -> None:
        tasks = stage.scheduler.tasks
        await tasks.add(a_task())
        await stage.advance("12s")
        await tasks.replace(a_task("2s"))
        await stage.advance("13s")
        # From 12 s on every 2 s, while the run from before the replacement lasts until 15 s, and each other one 5 s.
        assert stage.fires("t") == [f"2026-01-01T00:00:{second}+00:00" for second in (10, 16, 22)]
        assert [skip.scheduled_for.second for skip in stage.skips("t") if skip.scheduled_for] == [14, 18, 20, 24]

    on_stage(test)


def test_a_task_that_is_removed_and_comes_back_does_not_overlap_what_it_had_begun() -> None:
    async def test(stage: Stage) -> None:
        tasks = stage.scheduler.tasks
        await tasks.add(a_task())
        await stage.advance("10s")
        assert await tasks.remove("t")
        await tasks.add(a_task("4s"))
        await stage.advance("13s")
        assert stage.fires("t") == [f"2026-01-01T00:00:{second}+00:00" for second in (10, 18)]
        assert [skip.scheduled_for.second for skip in stage.skips("t") if skip.scheduled_for] == [14, 22]

    on_stage(test)


def test_who_awaits_a_waiting_run_of_a_task_is_told_when_the_task_is_removed() -> None:
    async def test(stage: Stage) -> None:
        task = await stage.scheduler.tasks.add(Task(fails, id="t", retry=Retry(wait="1h")))
        awaiting = asyncio.ensure_future(result_of(await task.submit()))
        await stage.advance("1m")
        assert not awaiting.done()
        assert await stage.scheduler.tasks.remove("t")
        with pytest.raises(RunCancelled, match="its task was removed"):
            await awaiting
        assert [line.split()[1] for line in stage.log(2).splitlines()] == ["RunEnded", "TaskRemoved"]

    on_stage(test)


def test_a_run_under_way_ends_by_itself_when_its_task_is_removed() -> None:
    async def test(stage: Stage) -> None:
        tasks = stage.scheduler.tasks
        await tasks.add(a_task())
        await stage.advance("12s")
        assert await tasks.remove("t")
        assert not await tasks.remove("t")
        await stage.advance("60s")
        assert [event.status for event in await stage.scheduler.runs.list(task="t")] == ["SUCCESS"]

    on_stage(test)


def test_what_is_unknown_or_there_already_is_refused() -> None:
    async def test(stage: Stage) -> None:
        tasks = stage.scheduler.tasks
        task = await tasks.add(a_task())
        with pytest.raises(DuplicateTask, match=r"use tasks\.replace"):
            await tasks.add(a_task())
        assert await tasks.get("t") is task
        assert await tasks.list() == [task]
        for call in (tasks.get("x"), tasks.run_now("x"), tasks.replace(Task(slow, id="x"))):
            with pytest.raises(UnknownTask, match="no task 'x'; there are: t"):
                await call

    on_stage(test)
