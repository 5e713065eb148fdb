"""The rows of features about pains: whatever loop runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from asyncsched import Registry, Scheduler

# Made where no loop runs, as at the import of a program.
registry = Registry()
scheduler = Scheduler(registry=registry, tz="UTC")
fired: list[str] = []


@registry.every("20ms", immediate=True)
async def beat() -> None:
    fired.append(type(asyncio.get_running_loop()).__module__)


@registry.task
def plain(number: int) -> int:
    return number + 1


async def live() -> int:
    async with scheduler:
        while len(fired) < 3:
            await asyncio.sleep(0.01)
        return await (await plain.submit(1))


def by_asyncio(main: Callable[[], Any]) -> Any:
    return asyncio.run(main())


def by_debug(main: Callable[[], Any]) -> Any:
    return asyncio.run(main(), debug=True)


def by_eager(main: Callable[[], Any]) -> Any:
    def eager_loop() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        return loop

    with asyncio.Runner(loop_factory=eager_loop) as runner:
        return runner.run(main())


def by_uvloop(main: Callable[[], Any]) -> Any:
    return pytest.importorskip("uvloop").run(main())


EAGER = pytest.param(by_eager, marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are 3.12's"))


@pytest.mark.feature("PA19")
@pytest.mark.parametrize("run", [by_asyncio, by_debug, EAGER, by_uvloop])
def test_pa19_a_scheduler_made_at_import_lives_in_whatever_loop_runs(run: Callable[[Callable[[], Any]], Any]) -> None:
    fired.clear()
    assert run(live) == 2
    kinds = {"uvloop"} if run is by_uvloop else {"asyncio.unix_events", "asyncio.windows_events"}
    assert set(fired) <= kinds
    assert not scheduler.running
