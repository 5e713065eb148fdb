"""Several nodes at one store: what one of them does the others take into account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from addresses import Place
from asyncsched import Registry, Task
from asyncsched.events import Event, RunEnded, RunStarted

SOON = 20.0


def tasks(*given: Task[..., Any]) -> Registry:
    registry = Registry()
    for task in given:
        registry.register(task)
    return registry


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_fire_does_not_overlap_a_run_that_is_under_way_at_another_node(shared: Place) -> None:
    began, over = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        await over.wait()

    fires, runs = (tasks(Task(work, id="work", every="150ms", keep=1_000)) for _ in range(2))
    async with shared.scheduler(fires, queues=[]) as here, shared.scheduler(runs, roles={"run"}), asyncio.timeout(60):
        await began.wait()
        await soon(lambda: any(run.reason == "overlap" for run in fires["work"].history))
        assert await here.runs.list(task="work", status="SUCCESS") == []
        over.set()
        await soon(lambda: sum(run.status == "SUCCESS" for run in fires["work"].history) >= 2)


async def test_a_newer_fire_cancels_the_run_of_the_one_before_at_another_node(shared: Place) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    fires, runs = (tasks(Task(work, id="work", every="300ms", overlap="cancel_previous", keep=1_000)) for _ in range(2))
    async with (
        shared.scheduler(runs, roles={"run"}, shutdown_timeout="0s"),
        shared.scheduler(fires, queues=[]) as here,
    ):
        await soon(lambda: len(ended) >= 2)
        found = await here.runs.list(task="work", status="CANCELLED")
        assert all(run.reason is not None and "cancel_previous" in run.reason for run in found)
        await here.tasks.pause("work")


async def test_an_end_is_told_where_it_ran_and_where_the_task_counts_its_runs(shared: Place) -> None:
    async def work() -> None: ...

    heard: dict[str, list[tuple[type[Event], str]]] = {"submits": [], "looks": [], "runs": []}

    def listening(name: str, event: Any) -> None:
        heard[name].append((type(event), event.task))

    registries = {name: tasks(Task(work, id="timed", every="1h"), Task(work, id="job")) for name in heard}
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        for name, registry in registries.items():
            queues = None if name == "runs" else []
            node = shared.scheduler(registry, queues=queues, node=name)
            node.events.on([RunStarted, RunEnded], lambda event, name=name: listening(name, event))
            await stack.enter_async_context(node)
        made = registries["submits"]
        await asyncio.gather(await made["timed"].submit(), await made["job"].submit())
        await soon(lambda: heard["submits"] and len(heard["runs"]) == 4)
    there = [(RunStarted, "timed"), (RunStarted, "job"), (RunEnded, "timed"), (RunEnded, "job")]
    assert sorted(map(str, heard["runs"])) == sorted(map(str, there))
    assert heard["submits"] == [(RunEnded, "timed")]
    assert set(heard["looks"]) <= {(RunEnded, "timed")}


async def test_a_run_by_hand_is_left_to_the_node_that_serves_its_queue(shared: Place) -> None:
    async def work() -> str:
        return "done"

    asks, serves = (tasks(Task(work, id="work", every="1h", queue="far")) for _ in range(2))
    async with (
        shared.scheduler(asks, queues=["near"]) as here,
        shared.scheduler(serves, queues=["far"], node="far"),
        asyncio.timeout(60),
    ):
        run = await here.tasks.run_now("work")
        assert await run == "done"
        assert run.node == "far"


async def test_what_one_node_puts_in_place_or_removes_the_others_fire_no_more(shared: Place) -> None:
    async def work() -> None: ...

    one, other = (tasks(Task(work, id="work", every="100ms", keep=1_000)) for _ in range(2))
    async with shared.scheduler(one) as here, shared.scheduler(other) as there, asyncio.timeout(60):
        await soon(lambda: len(one["work"].history) >= 1)
        await there.tasks.override("work", every="2h")
        await soon(lambda: one["work"].next_fire == other["work"].next_fire)
        known = len(await here.runs.list(task="work", limit=1_000))
        await asyncio.sleep(0.3)
        assert len(await here.runs.list(task="work", limit=1_000)) == known
        await there.tasks.override("work", every="100ms")
        await soon(lambda: len(one["work"].history) > known)
        await there.tasks.remove("work")
        await asyncio.sleep(0.1)  # what was on its way ends
        known = len(await here.runs.list(task="work", limit=1_000))
        await asyncio.sleep(0.3)
        assert len(await here.runs.list(task="work", limit=1_000)) == known


async def test_a_task_that_two_nodes_add_at_run_time_has_one_grid_and_keeps_its_pause(shared: Place) -> None:
    async def work() -> None: ...

    def another() -> Task[..., Any]:
        return Task(work, id="work", every="1h")

    async with shared.scheduler(Registry()) as here, shared.scheduler(Registry()) as there:
        first = (await here.tasks.add(another())).next_fire
        assert first is not None
        assert (await there.tasks.add(another())).next_fire == first
        await here.tasks.pause("work", note="stocktaking")
    async with shared.scheduler(Registry()) as later:
        await later.tasks.add(another())
        assert await later.tasks.next_fires() == []
        await later.tasks.resume("work")
        assert (await later.tasks.get("work")).next_fire == first
        assert await later.tasks.remove("work")
        again = (await later.tasks.add(another())).next_fire
        assert again is not None
        assert again > first
