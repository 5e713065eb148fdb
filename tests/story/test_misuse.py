"""A call at the wrong moment or from the wrong place: the error says what to do instead."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched.errors import MisuseError, UnknownTask


async def work() -> int:
    return 1


def served() -> tuple[Scheduler, Task[[], Any]]:
    registry = Registry()
    task = registry.register(Task(work, id="work"))
    return Scheduler(registry=registry, tz="UTC", shutdown_timeout="100ms"), task


async def test_entering_twice() -> None:
    scheduler, _task = served()
    async with scheduler:
        with pytest.raises(MisuseError, match="running already: enter it once, or make another Scheduler"):
            async with scheduler:
                pass
        assert scheduler.running


async def test_entering_twice_at_once() -> None:
    scheduler, _task = served()
    results = await asyncio.gather(scheduler.start(), scheduler.start(), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["MisuseError", "NoneType"]
    await scheduler.stop()


async def test_leaving_twice() -> None:
    scheduler, _task = served()
    await scheduler.start()

    async def endless() -> None:
        await asyncio.Event().wait()

    await (await scheduler.tasks.add(Task(endless))).submit()
    await asyncio.sleep(0.01)
    leaving = asyncio.create_task(scheduler.stop())
    await asyncio.sleep(0)
    with pytest.raises(MisuseError, match="being stopped already: whoever began that gets the report"):
        await scheduler.stop()
    assert len((await leaving).cancelled) == 1
    with pytest.raises(MisuseError, match=r"not running: `async with scheduler:` or"):
        await scheduler.stop()


async def test_submitting_before_the_start() -> None:
    scheduler, task = served()
    with pytest.raises(MisuseError, match=r"no scheduler is running task 'work': .*async with scheduler:"):
        await task.submit()
    with pytest.raises(MisuseError, match="not running: `async with scheduler:`"):
        await scheduler.tasks.run_now("work")


async def test_a_task_of_another_registry() -> None:
    scheduler, _task = served()
    stranger = Registry().register(Task(work, id="stranger"))
    async with scheduler:
        with pytest.raises(MisuseError, match=r"'stranger'.*await scheduler.tasks.add\(task\)"):
            await stranger.submit()
        with pytest.raises(UnknownTask, match="no task 'stranger'; there are: work"):
            await scheduler.tasks.run_now("stranger")
        await scheduler.tasks.add(stranger)
        assert await (await stranger.submit()) == 1


async def test_a_task_that_was_replaced() -> None:
    scheduler, task = served()
    async with scheduler:
        await scheduler.tasks.replace(Task(work, id="work"))
        with pytest.raises(MisuseError, match="'work'"):
            await task.submit()


def test_awaiting_on_another_loop() -> None:
    scheduler, task = served()
    with scheduler.start_in_thread() as handle:
        for call in (task.submit, scheduler.tasks.list, scheduler.runs.list, scheduler.idle, scheduler.stop):
            with pytest.raises(MisuseError, match=r"on another event loop: handle.call\(task.submit, ...\)"):
                asyncio.run(call())
        assert handle.wait(handle.call(task.submit)) == 1


def test_a_run_can_be_awaited_on_any_loop() -> None:
    scheduler, _task = served()
    release = threading.Event()

    @scheduler.task
    def waits() -> str:
        release.wait(10)
        return "done"

    async def result(run: Any) -> str:
        waiting = asyncio.ensure_future(until_done(run))
        await asyncio.sleep(0.01)
        release.set()
        return await waiting

    async def until_done(run: Any) -> str:
        return await run

    with scheduler.start_in_thread() as handle:
        run = handle.call(waits.submit)
        assert asyncio.run(result(run)) == "done"


def test_blocking_calls_on_the_schedulers_own_loop() -> None:
    scheduler, task = served()
    with scheduler.start_in_thread() as handle:

        async def inside() -> None:
            with pytest.raises(MisuseError, match=r"the scheduler's own thread, .* await it"):
                handle.call(task.submit)
            with pytest.raises(MisuseError, match="the scheduler's own thread"):
                handle.stop()

        handle.call(inside)


async def test_running_where_a_loop_runs() -> None:
    scheduler, _task = served()
    with pytest.raises(MisuseError, match=r"an event loop is running here: await scheduler.serve\(\)"):
        scheduler.run()


def test_starting_twice_in_threads() -> None:
    scheduler, _task = served()
    with scheduler.start_in_thread(), pytest.raises(MisuseError, match="running already"):
        scheduler.start_in_thread()
    assert "asyncsched loop" not in {thread.name for thread in threading.enumerate()}


def test_calling_what_was_stopped() -> None:
    scheduler, task = served()
    handle = scheduler.start_in_thread()
    assert handle.stop() == handle.stop()
    with pytest.raises(MisuseError, match=r"was stopped: start_in_thread\(\) starts it again"):
        handle.call(task.submit)
