"""A process at a store, for tests that kill it: it submits, runs, and notes what really happened in files of its own.

Started as ``python worker.py '{"url": ..., "folder": ..., "name": ...}'``; see ``Orders`` for the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from asyncsched import Registry, Retry, Scheduler, current_run, result_of
from asyncsched.arguments import store_for
from asyncsched.errors import RunFailed, StoreError
from asyncsched.stores import Store
from asyncsched.triggers import Between, Every, Trigger

FLOW = ("extract", "load", "report")
FENCED = ("tick", "work", "flaky", "serial", "order", *FLOW)
"""The tasks that return the token that they were started with."""
IN_FLIGHT = 20
_LAST = "2100-01-01T00:00+00:00"


@dataclass(frozen=True)
class Orders:
    """What a worker is to do.

    url: of the store. folder: where it notes what happens. name: of the worker, another one for each.
    start: where the grids of the fires begin, as ISO 8601.
    act: ``"produce"``: submit until the file ``enough`` is there; ``"persist"``: so, whatever fails; ``"orders"``:
        submit orders, each under its number, from ``first`` on; ``"fire"``; all of them run what there is until the
        file ``stop`` is there, and leave.
        ``"declare"``: leave at once. ``"drain"``: run what there is, then leave.
    tasks, every_ms, fires: instead of the usual ones so many tasks that do nothing, how often each fires, and how many
        times.
    """

    url: str
    folder: str
    name: str
    act: str
    start: str = _LAST
    seed: int = 0
    first: int = 0
    tasks: int = 0
    every_ms: int = 50
    fires: int = 0


def grid_of(orders: Orders) -> Trigger:
    """The trigger of each task that fires."""
    start, period = datetime.fromisoformat(orders.start).astimezone(UTC), timedelta(milliseconds=orders.every_ms)
    every = Every(period, start)
    return Between(every, end=start + orders.fires * period) if orders.fires else every


def stale(store: Store, random: Random) -> Store:
    """The store, whose fires are now decided on a view that may be old: others may have fired meanwhile."""
    fire = store.fire

    async def late(orders: Any) -> Any:
        if random.random() < 0.2:
            await asyncio.sleep(random.uniform(0, 0.03))
        return await fire(orders)

    store.fire = late  # type: ignore[method-assign]
    return store


class Notes:
    """The files of a worker. Each line is one write, so that a kill cuts off nothing but the last one."""

    def __init__(self, folder: Path, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._effects = os.open(folder / f"effects-{name}", flags)
        self._acknowledged = os.open(folder / f"acknowledged-{name}", flags)

    def acknowledged(self, *run_ids: str) -> None:
        os.write(self._acknowledged, "".join(f"{run_id}\n" for run_id in run_ids).encode())

    def began(self, key: str = "-") -> int:
        run = current_run()
        self._effect(f"began {run.id} {run.token} {_now_us()} {key}")
        return run.token

    def ended(self, token: int) -> int:
        self._effect(f"ended {current_run().id} {token} {_now_us()}")
        return token

    def _effect(self, line: str) -> None:
        os.write(self._effects, f"{line}\n".encode())


def _now_us() -> int:
    return time.time_ns() // 1000


def declared(notes: Notes, random: Random, orders: Orders) -> Registry:
    """The tasks of a worker: fires, submitted runs, runs that are tried again, flows, and runs one at a time."""
    registry = Registry()
    kept: Any = {"history_limit": 1_000_000, "overlap": "allow"}

    async def carry_out(key: str = "-") -> int:
        token = notes.began(key)
        await asyncio.sleep(random.uniform(0.002, 0.1))
        return notes.ended(token)

    @registry.when(grid_of(orders), id="tick", missed="all", missed_limit=1_000_000, **kept)
    async def tick() -> int:
        return await carry_out()

    @registry.task(id="work", **kept)
    async def work(number: int) -> int:
        return await carry_out()

    @registry.task(id="flaky", retry=Retry(attempts=3, wait="10ms"), **kept)
    async def flaky(number: int) -> int:
        token = await carry_out()
        if current_run().attempt == 1:
            raise ValueError("the first attempt fails")
        return token

    @registry.task(id="serial", key="name", max_running=1, **kept)
    async def serial(name: str) -> int:
        return await carry_out(name)

    @registry.task(id="order", **kept)
    async def order(number: int) -> int:
        return await carry_out()

    @registry.task(id="extract", **kept)
    async def extract(number: int) -> int:
        return await carry_out()

    @registry.after(extract, id="load", **kept)
    async def load(rows: int = result_of(extract)) -> int:
        return await carry_out()

    @registry.after(load, id="report", **kept)
    async def report(rows: int = result_of(load)) -> int:
        return await carry_out()

    return registry


def racing(notes: Notes, random: Random, orders: Orders) -> Registry:
    """Tasks that fire often, in another order for each worker, and do nothing but note that.

    The runs of the first one come one at a time.
    """
    registry, grid = Registry(), grid_of(orders)

    def declare(name: str, most: int | None, key: str) -> None:
        @registry.when(
            grid,
            id=name,
            max_running=most,
            overlap="allow",
            missed="all",
            missed_limit=1_000_000,
            history_limit=1_000_000,
        )
        async def race() -> int:
            return notes.ended(notes.began(key))

    for number in random.sample(range(orders.tasks), orders.tasks):
        name = f"race-{number}"
        declare(name, *((1, name) if number == 0 else (None, "-")))
    return registry


async def submit(registry: Registry, random: Random, number: int) -> Any:
    """Submit a run of one kind or another."""
    kind = random.random()
    if kind < 0.5:
        return await registry["work"].submit(number)
    if kind < 0.6:
        return await registry["work"].using(delay="20ms").submit(number)
    if kind < 0.75:
        return await registry["flaky"].submit(number)
    if kind < 0.85:
        return await registry["extract"].submit(number)
    serial = registry["serial"] if kind < 0.95 else registry["serial"].using(delay="20ms")
    return await serial.submit(f"key-{random.randrange(8)}")


async def produce(registry: Registry, notes: Notes, random: Random, enough: Path) -> None:
    """Submit until there are enough, and mostly wait for the run, or more would be submitted than is run."""
    number = 0
    while not enough.exists():
        number += 1
        if random.random() < 0.1:
            runs = await registry["work"].submit_many([(number + more,) for more in range(10)])
            notes.acknowledged(*(run.id for run in runs))
            await over(runs[-1])
            continue
        run = await submit(registry, random, number)
        notes.acknowledged(run.id)
        if random.random() < 0.8:
            await over(run)


async def over(run: Any) -> None:
    """Wait until a run is over; one with which three processes were killed has failed."""
    try:
        await run
    except RunFailed as error:
        if error.reason != "lost":
            raise


async def produce_orders(registry: Registry, notes: Notes, first: int) -> None:
    """Submit orders from the number ``first`` on, without end, each so that it is one however often it is submitted."""
    order = registry["order"]
    for number in count(first):
        text = str(number)
        once = order.using(idempotency_key=text) if number % 2 else order.using(unique=text, unique_for="1d")
        run = await once.submit(number)
        notes.acknowledged(run.id)


async def come_to_be(file: Path) -> None:
    while not file.exists():
        await asyncio.sleep(0.02)


async def main(orders: Orders) -> None:
    folder, random = Path(orders.folder), Random(f"{orders.seed} {orders.name}")
    notes = Notes(folder, orders.name)
    registry = declared(notes, random, orders)
    store = store_for(orders.url)
    if orders.tasks:
        registry, store = racing(notes, random, orders), stale(store, random)
    async with Scheduler(store, registry=registry, tz="UTC", max_running=IN_FLIGHT) as scheduler:
        (folder / f"ready-{orders.name}").touch()
        if orders.act == "declare":
            return
        if orders.act == "drain":
            await scheduler.tasks.pause("tick")  # or it might fire between the last look and the end
            while waiting := await scheduler.runs.list(status=("PENDING", "RUNNING"), limit=1000):
                await asyncio.gather(*waiting, return_exceptions=True)
            return
        if orders.act == "persist":
            while not (folder / "enough").exists():
                with contextlib.suppress(StoreError):
                    await produce(registry, notes, random, folder / "enough")
        if orders.act == "produce":
            await asyncio.gather(*(produce(registry, notes, random, folder / "enough") for _ in range(5)))
        elif orders.act == "orders":
            await produce_orders(registry, notes, orders.first)
        await come_to_be(folder / "stop")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main(Orders(**json.loads(sys.argv[1]))))
