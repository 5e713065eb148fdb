"""Graphs on a store that fails now and then, and over crashes: no run of a flow is lost, none is doubled."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task, current_run

from .stores import FlakyStore, SlowFlakyStore, SlowStore

# What is asked for when the scheduler is entered, or by the test itself: there a failure is told to who asks.
CALM = (
    *("open", "reconcile", "unfinished", "park_unserved", "close"),
    *("submit", "run", "runs", "standings", "lookback"),
)


def flow_of_five(counted: Counter[str]) -> Registry:
    registry = Registry()

    async def node() -> str:
        counted[f"{current_run().flow} {current_run().task}"] += 1
        await asyncio.sleep(0.1)
        return current_run().flow

    async def checked(dep_left: str, dep_right: str) -> str:
        assert dep_left == dep_right == current_run().flow
        return await node()

    registry.register(Task(node, id="top"))
    for name in ("left", "right"):
        registry.register(Task(node, id=name, depends_on=["top"], overlap="allow"))
    registry.register(Task(checked, id="bottom", depends_on=["left", "right"], overlap="allow"))
    registry.register(Task(node, id="never", depends_on=["bottom"], rule="any_failed"))
    return registry


@pytest.mark.parametrize("make", [FlakyStore, SlowFlakyStore, lambda *_: SlowStore()], ids=["flaky", "both", "slow"])
@pytest.mark.parametrize("seed", range(4))
async def test_every_run_of_every_flow_runs_once(virtual: Any, make: Any, seed: int) -> None:
    counted: Counter[str] = Counter()
    registry = flow_of_five(counted)
    store = make(seed, 0.4, CALM)
    async with virtual(Registry()) as stage:
        async with Scheduler(store, registry=registry, clock=stage.clock, tz="UTC") as scheduler:
            top = await scheduler.tasks.get("top")
            for _ in range(10):
                await top.submit()
                await stage.advance("50ms")
            await stage.advance("2m")
            runs = await scheduler.runs.list(limit=1000)
            assert Counter(str(run.status) for run in runs) == {"SUCCESS": 40, "SKIPPED": 10}
            assert {run.reason for run in runs if run.status == "SKIPPED"} == {"rule"}
        assert set(counted.values()) == {1}
        assert len(counted) == 40
        if isinstance(store, FlakyStore):
            assert {"cycle", "followers"} <= set(store.failed)


@pytest.mark.parametrize("after_ms", [50, 150, 250, 350])
async def test_a_flow_goes_on_after_a_crash(virtual: Any, after_ms: int) -> None:
    counted: Counter[str] = Counter()
    async with virtual(flow_of_five(counted)) as stage:
        await (await stage.scheduler.tasks.get("top")).submit()
        await stage.advance(f"{after_ms}ms")
        before = dict(counted)
        await stage.crash()
        await stage.advance("1m")
        await stage.restart()
        await stage.advance("1m")
        runs = await stage.scheduler.runs.list()
        assert Counter(str(run.status) for run in runs) == {"SUCCESS": 4, "SKIPPED": 1}
        # What had ended is not repeated; what was under way is tried again.
        assert sum(counted.values()) - sum(before.values()) <= 4
        assert max(counted.values()) <= 2


async def test_a_fire_that_waits_for_an_upstream_still_does_after_a_crash(virtual: Any) -> None:
    registry = Registry()

    async def load() -> str:
        await asyncio.sleep(10)
        return "rows"

    async def report(dep_load: str) -> str:
        return dep_load

    registry.register(Task(load, id="load"))
    registry.register(Task(report, id="report", every="5s", depends_on=["load"], overlap="queue_all"))
    registry.register(Task(report, id="hasty", every="5s", depends_on=["load"], dependency_timeout="4s"))
    async with virtual(registry) as stage:
        await (await stage.scheduler.tasks.get("load")).submit()
        await stage.advance("6s")
        assert [run.blocked for run in await stage.scheduler.runs.list(status="PENDING")] == [True, True]
        await stage.crash()
        await stage.restart()
        await stage.advance("3500ms")
        assert [(run.task, run.reason) for run in stage.skips()] == [("hasty", "dependency")]
        await stage.advance("10s")
        assert stage.runs("report")[0].result == "rows"
