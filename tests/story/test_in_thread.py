"""A program without an event loop: the scheduler lives in a thread, and is called from outside."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, current_run
from asyncsched.errors import MisuseError
from faults.stores import FlakyStore


class OwnEnd(BaseException):
    """Not even an Exception."""


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(registry=Registry(), tz="UTC", shutdown_timeout="100ms")


def test_runs_are_submitted_and_waited_for(scheduler: Scheduler) -> None:
    @scheduler.task(id="add")
    async def add(left: int, right: int = 1) -> int:
        await asyncio.sleep(0)
        return left + right

    with scheduler.start_in_thread() as handle:
        assert scheduler.running
        run = handle.call(add.submit, 1, right=2)
        assert handle.wait(run) == 3
        assert [task.id for task in handle.call(scheduler.tasks.list)] == ["add"]
        assert handle.call(scheduler.runs.wait, run.id) == 3
    assert not scheduler.running


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), OwnEnd()])
def test_errors_come_back_and_the_loop_goes_on(scheduler: Scheduler, error: BaseException) -> None:
    @scheduler.task
    async def fails() -> None:
        raise error

    async def direct() -> None:
        raise error

    with scheduler.start_in_thread() as handle:
        for _ in range(2):
            with pytest.raises(type(error)):
                handle.wait(handle.call(fails.submit))
            with pytest.raises(type(error)):
                handle.call(direct)


def test_many_threads_may_call(scheduler: Scheduler) -> None:
    @scheduler.task
    async def which() -> str:
        return current_run().id

    with scheduler.start_in_thread() as handle, ThreadPoolExecutor(8) as pool:

        def one(_number: int) -> bool:
            run = handle.call(which.submit)
            return handle.wait(run) == run.id

        assert all(pool.map(one, range(200)))


def test_stopping_cancels_what_takes_too_long_and_reports_it(scheduler: Scheduler) -> None:
    @scheduler.task
    async def endless() -> None:
        await asyncio.Event().wait()

    handle = scheduler.start_in_thread()
    run = handle.call(endless.submit)
    waiting: list[Any] = []

    def wait() -> None:
        try:
            handle.wait(run)
        except Exception as error:
            waiting.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    drained = handle.stop()
    waiter.join()
    assert [one.id for one in drained.cancelled] == [run.id]
    assert [type(error).__name__ for error in waiting] == ["RunCancelled"]


def test_a_call_that_does_not_end_is_told_that_the_scheduler_stopped(scheduler: Scheduler) -> None:
    handle = scheduler.start_in_thread()
    begun = threading.Event()
    errors: list[BaseException] = []

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    def call() -> None:
        try:
            handle.call(endless)
        except MisuseError as error:
            errors.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    begun.wait()
    handle.stop()
    caller.join()
    assert [str(error) for error in errors] == ["the scheduler was stopped before this call ended"]


def test_a_scheduler_that_cannot_start_raises_here_and_leaves_no_thread() -> None:
    scheduler = Scheduler(FlakyStore(0, 1, ()), registry=Registry(), tz="UTC")
    with pytest.raises(Exception, match="blipped at open"):
        scheduler.start_in_thread()
    assert "asyncsched loop" not in {thread.name for thread in threading.enumerate()}
    assert not scheduler.running


def test_it_can_be_started_again(scheduler: Scheduler) -> None:
    @scheduler.task
    async def work() -> int:
        return 1

    for _ in range(3):
        with scheduler.start_in_thread() as handle:
            assert handle.wait(handle.call(work.submit)) == 1
