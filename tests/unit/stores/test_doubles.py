"""A run that was lost is two objects: what the attempt knows that goes on here, and what becomes of the run."""

from __future__ import annotations

import asyncio
from typing import Any

from asyncsched.retry import NO_RETRY
from asyncsched.run import Run, RunStatus, Succeeded, settle
from asyncsched.stores._doubles import Doubles


def running() -> Run[Any]:
    run: Run[Any] = Run("r", "t", 1, 1)
    run.start("n1", 2)
    return run


def test_a_run_is_not_lost_unless_it_is_said() -> None:
    run = running()
    assert (run.lost, run.fence) == (False, 1)
    double = Doubles().lose(run)
    assert (run.lost, double.lost) == (True, False)


async def test_who_holds_the_lost_one_hears_how_the_run_ended_and_its_fence_stays() -> None:
    doubles, run = Doubles(), running()
    waiting = asyncio.ensure_future(_value(run))
    await asyncio.sleep(0)
    double = doubles.lose(run)
    assert double.waiters is None
    double.apply(settle(Succeeded(7), 1, NO_RETRY, 3))
    doubles.end(double)
    assert await waiting == 7
    assert (run.status, run.finished_us, run.fence) == (RunStatus.SUCCESS, 3, 1)
    assert not doubles


async def test_a_run_may_be_lost_twice_by_one_process() -> None:
    doubles, first = Doubles(), running()
    second = doubles.lose(first)
    second.token = 3
    third = doubles.lose(second)
    third.token, third.result = 5, 7
    third.apply(settle(Succeeded(7), 1, NO_RETRY, 3))
    doubles.end(third)
    assert [await first, await second] == [7, 7]
    assert [run.fence for run in (first, second, third)] == [1, 3, 6]


async def _value(run: Run[Any]) -> Any:
    return await run
