"""Graphs whose tasks run at different nodes: what is below goes on though the node above was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack

from addresses import Place
from asyncsched import Registry, Task

ABOVE = """
import asyncio, sys
from asyncsched import Registry, Scheduler, Task

registry = Registry()

async def extract() -> list[int]:
    return [3, 4]

async def transform(dep_extract: list[int]) -> int: ...

async def load(dep_transform: int) -> int: ...

registry.register(Task(extract, id="extract", every="300ms", max_runs=1, queue="above"))
registry.register(Task(transform, id="transform", depends_on=["extract"], queue="below"))
registry.register(Task(load, id="load", depends_on=["transform"], queue="below"))

async def main() -> None:
    async with Scheduler(sys.argv[1], registry=registry, queues=["above"]):
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_what_is_below_runs_at_another_node_though_the_one_above_was_killed_between(shared: Place) -> None:
    registry = Registry()

    async def extract() -> list[int]: ...  # type: ignore[empty-body]

    async def transform(dep_extract: list[int]) -> int:
        return sum(dep_extract)

    async def load(dep_transform: int) -> int:
        return dep_transform

    registry.register(Task(extract, id="extract", every="300ms", max_runs=1, queue="above"))
    registry.register(Task(transform, id="transform", depends_on=["extract"], queue="below"))
    last = registry.register(Task(load, id="load", depends_on=["transform"], queue="below"))
    async with shared.scheduler(registry, queues=["below"], roles={"run"}) as below, asyncio.timeout(60):
        command = [sys.executable, "-c", ABOVE, shared.url]
        with subprocess.Popen(command, env=os.environ | {"ASYNCSCHED_CRASH_AT": "followers"}) as above:
            try:
                while not last.history:
                    await asyncio.sleep(0.02)
                ended = await asyncio.to_thread(above.wait, 30)
            finally:
                above.kill()
        assert ended == -signal.SIGKILL
        assert [(run.status, run.result) for run in last.history] == [("SUCCESS", 7)]
        runs = await below.runs.list()
        assert sorted((run.task, str(run.status)) for run in runs) == [
            ("extract", "SUCCESS"), ("load", "SUCCESS"), ("transform", "SUCCESS"),
        ]  # fmt: skip


def diamond(inside: set[int]) -> Registry:
    """Two sides below one, at different nodes, the right one of them one at a time; and what needs both."""
    registry = Registry()

    @registry.task(id="top", keep=100, queue="A")
    async def top(number: int) -> int:
        return number

    @registry.after(top, id="left", keep=100, overlap="allow", queue="B")
    async def left(dep_top: int) -> int:
        return 10 * dep_top

    @registry.after(top, id="right", keep=100, overlap="queue_all", queue="A")
    async def right(dep_top: int) -> int:
        assert not inside
        inside.add(dep_top)
        await asyncio.sleep(0.005)
        inside.remove(dep_top)
        return dep_top

    @registry.after(left, right, id="bottom", keep=100, overlap="allow", queue="B")
    async def bottom(dep_left: int, dep_right: int) -> int:
        return dep_left + dep_right

    return registry


async def test_each_of_many_flows_has_its_own_results_whichever_nodes_run_it(shared: Place) -> None:
    inside = set[int]()
    registries = [diamond(inside) for _ in range(3)]
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        for registry, queues in zip(registries, (["A"], ["B"], ["A", "B"]), strict=True):
            looks = await stack.enter_async_context(shared.scheduler(registry, queues=queues))
        for number in range(12):
            await registries[number % 3]["top"].submit(number)
        while len(found := await looks.runs.list(task="bottom", status="SUCCESS", limit=1_000)) < 12:
            assert await looks.runs.list(status=["FAILED", "SKIPPED"]) == []
            await asyncio.sleep(0.05)
        assert sorted(run.result for run in found) == [11 * number for number in range(12)]
