"""The rows of features about clocks that differ: real processes at real servers."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from addresses import Place
from asyncsched import Registry, Scheduler
from asyncsched.clock import SystemClock
from asyncsched.run import RunStatus
from asyncsched.stores.postgres import PostgresStore
from contract.postgres_bench import server

PATIENCE_S = 60
FIRES = 10
PROGRAM = f"""
import asyncio, json, sys, time
from asyncsched import Registry, Scheduler, current_run
from asyncsched.clock import SystemClock

class Off(SystemClock):
    def now_us(self):
        return super().now_us() + int(float(sys.argv[2]) * 1_000_000)

registry = Registry()

@registry.every("300ms", id="tick", max_runs={FIRES}, history_limit=1_000)
async def tick():
    at = current_run().scheduled_for.timestamp()
    print(json.dumps({{"at": at, "began": time.time()}}), flush=True)

async def main():
    async with Scheduler(sys.argv[1], registry=registry, clock=Off(), stall_warning=None):
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@asynccontextmanager
async def process(url: str, off_s: float) -> AsyncIterator[asyncio.subprocess.Process]:
    """A node whose machine's clock is so far off; it is left when the block is."""
    pipe = asyncio.subprocess.PIPE
    node = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, url, str(off_s)), stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert node.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            assert await node.stdout.readline() == b"ready\n"
        yield node
    finally:
        if node.returncode is None:
            node.kill()
        await node.wait()
        node._transport.close()  # type: ignore[attr-defined]


async def leave(node: asyncio.subprocess.Process) -> list[dict[str, Any]]:
    """What it ran, until it was left."""
    async with asyncio.timeout(PATIENCE_S):
        out, _err = await node.communicate(b"")
    return [json.loads(line) for line in out.splitlines()]


async def ten_fires(place: Place) -> list[Any]:
    """The fires, once all have ended."""
    async with place.scheduler(Registry(), roles=()) as looking, asyncio.timeout(PATIENCE_S):
        while True:
            runs = await looking.runs.list(task="tick", limit=1_000)
            if len(runs) >= FIRES and all(run.status is RunStatus.SUCCESS for run in runs):
                return runs
            await asyncio.sleep(0.1)


@pytest.mark.feature("LS21")
@pytest.mark.feature("NB13")
@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_ls21_nb13_of_nodes_five_minutes_apart_each_fire_is_once_and_at_store_time(
    kind: str, tmp_path: Path
) -> None:
    place = Place(kind, tmp_path)
    began = time.time()
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(process(place.url, off_s)) for off_s in (150, -150)]
        runs = await ten_fires(place)
        ran = [line for node in nodes for line in await leave(node)]
    ended = time.time()
    assert len(runs) == len(ran) == FIRES
    assert len({run.scheduled_us for run in runs}) == FIRES
    assert sorted(line["at"] for line in ran) == sorted((run.scheduled_us or 0) / 1_000_000 for run in runs)
    for line in ran:  # the server has the clock of this machine
        assert began <= line["at"] <= line["began"] <= ended


async def test_a_server_whose_clock_is_far_off_decides_all_the_same() -> None:
    """Fires, delays and retries are by the clock of the schema, which is five minutes behind that of this machine."""
    schema, behind_us = "five_minutes_behind", 300_000_000
    store = PostgresStore(server().url(), schema=schema)
    await store.migrate()
    admin = await asyncpg.connect(server().url())
    await admin.execute(
        f"CREATE OR REPLACE FUNCTION {schema}.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS "
        f"'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - {behind_us}'"
    )
    await admin.close()
    registry = Registry()

    @registry.every("200ms", id="tick", max_runs=3)
    async def tick() -> None: ...

    @registry.task(id="later")
    async def later() -> None: ...

    async with Scheduler(store, registry=registry, stall_warning=None) as node, asyncio.timeout(PATIENCE_S):
        delayed = await later.using(delay="200ms").submit()
        await delayed
        await (await later.submit())
        while len(runs := await node.runs.list(task="tick", status="SUCCESS")) < 3:
            await asyncio.sleep(0.05)
    ended_us = SystemClock().now_us() - behind_us
    for run in [*runs, delayed]:
        assert run.started_us is not None
        assert ended_us - PATIENCE_S * 1_000_000 < run.due_us <= run.started_us <= ended_us
