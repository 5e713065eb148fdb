"""All nodes are away from a server for minutes: each fire is a run or a recorded skip, once, as its policy says.

Minutes pass at the server alone: there is another clock in its schema, which is set forward.
"""

from __future__ import annotations

import asyncio
from itertools import product
from pathlib import Path
from typing import Any

import asyncpg

from addresses import new_url
from asyncsched import Registry, Scheduler, Task
from asyncsched.run import RunStatus
from asyncsched.stores.postgres import PostgresStore, store_at
from asyncsched.triggers import Trigger

from .crew import seeded
from .test_outages import POLICIES, TRIGGERS, check_accounted, instants, nothing

SECOND = 1_000_000
BEFORE_US, AFTER_US = SECOND, 4 * SECOND
"""So long before and after their return nothing is due: what is due then might be missed, and might not."""
PATIENCE_S = 60


def all_tasks() -> dict[str, Task[..., Any]]:
    cells = {f"{policy}:{kind}".replace(" ", "-"): (policy, kind) for policy, kind in product(POLICIES, TRIGGERS)}
    return {
        cell: Task(nothing, id=cell, trigger=TRIGGERS[kind], history_limit=10_000, **POLICIES[policy])
        for cell, (policy, kind) in cells.items()
    }


def away_us(triggers: list[Trigger], left_us: int) -> int:
    """For how long they are away: up to half an hour, and back when nothing is due just then."""
    away_us = seeded("outages").randrange(6 * SECOND, 1_500 * SECOND)
    while any(
        (next_us := trigger.next_us(left_us + away_us - BEFORE_US)) is not None
        and next_us <= left_us + away_us + AFTER_US
        for trigger in triggers
    ):
        away_us += SECOND // 4
    return away_us


async def standings(store: PostgresStore, tasks: dict[str, Any]) -> dict[str, Any]:
    return {stands.task: stands for stands in await store.standings(list(tasks))}


async def be_there(url: str) -> tuple[dict[str, Any], int]:
    """Where the tasks stood when a node came, which leaves at once; and when that was at the server."""
    tasks = all_tasks()
    registry = Registry()
    for task in tasks.values():
        registry.register(task)
    store = store_at(url)
    async with Scheduler(store, registry=registry, tz="UTC"):
        return await standings(store, tasks), await store.now_us()


async def come_back(url: str) -> tuple[int, dict[str, Any], dict[str, list[Any]]]:
    """When they came back at the server, where the tasks stand when all is made up for, and their records."""
    tasks = all_tasks()
    registry = Registry()
    for task in tasks.values():
        registry.register(task)
    store = store_at(url)
    async with Scheduler(store, registry=registry, tz="UTC") as scheduler:
        back_us = await store.now_us()
        async with asyncio.timeout(PATIENCE_S):
            while any(one.next_us <= back_us for one in (await standings(store, tasks)).values()) or (
                await scheduler.runs.list(status=["PENDING", "RUNNING"])
            ):
                await asyncio.sleep(0.05)
    async with Scheduler(store, registry=Registry(), roles=()) as looking:
        stand = await standings(store, tasks)
        records = {task: await looking.runs.list(task=task, limit=10_000) for task in tasks}
    return back_us, stand, records


async def test_after_an_outage_of_all_nodes_each_fire_is_accounted_for_as_its_policy_says(tmp_path: Path) -> None:
    url = new_url("postgres", tmp_path)
    schema = store_at(url)._address.schema
    stood, left_us = await be_there(url)
    triggers = [one.trigger for one in stood.values()]
    away = away_us(triggers, left_us)
    admin = await asyncpg.connect(url.partition("&")[0])
    try:
        await admin.execute(
            f"CREATE OR REPLACE FUNCTION {schema}.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS "
            f"'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + {away}'"
        )
    finally:
        await admin.close()
    back_us, stand, records = await come_back(url)
    for task, before in stood.items():
        due = instants(before.trigger, before.next_us, stand[task].next_us - 1) if before.next_us <= back_us else []
        assert not due or due[-1] < stand[task].next_us
        check_accounted(records[task], due)
        policy = task.partition(":")[0].replace("-", " ")
        missed = [at_us for at_us in due if at_us <= back_us]
        ran = sorted(run.scheduled_us for run in records[task] if run.status is RunStatus.SUCCESS)
        recent = [at_us for at_us in missed if back_us - at_us <= 120 * SECOND]
        expected = {
            "latest": missed[-1:],
            "skip": [],
            "all": missed[-100:],
            "all, at most 3": missed[-3:],
            "latest, of 2 minutes": recent[-1:],
            "all, of 2 minutes": recent,
        }[policy]
        assert [at_us for at_us in ran if at_us <= back_us] == expected, task
