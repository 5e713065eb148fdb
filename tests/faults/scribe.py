"""A worker that keeps a diary: what it ran, for which fire, under which token, from when to when.

Started as ``python scribe.py '{"url": ..., "folder": ..., "name": ...}'``; see ``Orders`` for the rest. It runs until
SIGTERM, as services do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from asyncsched import Registry, Scheduler, current_run
from asyncsched.triggers import Between, Cron, Daily, Every, Trigger

IN_FLIGHT = 20


@dataclass(frozen=True)
class Orders:
    """What a worker is to do.

    url: of the store. folder: where it notes what happens. name: of the worker, another one for each.
    start, end: the fires from the one (included) to the other (not included), as ISO 8601.
    slow: also the tasks whose runs take longer than what is between their fires.
    """

    url: str
    folder: str
    name: str
    start: str
    end: str
    slow: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Part:
    """A task: when it fires, under which options, and how long its runs take, in seconds.

    trigger: ``None`` for one that runs after the tasks in ``needs``.
    """

    task: str
    trigger: Trigger | None
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    takes_s: tuple[float, float] = (0.002, 0.06)


def parts_of(orders: Orders) -> list[Part]:
    """All the tasks of these orders."""
    start, end = (datetime.fromisoformat(text).astimezone(UTC) for text in (orders.start, orders.end))

    def every(period_ms: int, offset_ms: int = 0) -> Trigger:
        grid = Every(timedelta(milliseconds=period_ms), start + timedelta(milliseconds=offset_ms))
        return Between(grid, start, end)

    def some_times_a_day() -> Trigger:
        count = int((end - start) / timedelta(seconds=5)) + 1
        times = [(start + timedelta(seconds=5 * number + 1)).strftime("%H:%M:%S") for number in range(count)]
        return Between(Daily(times, tz="UTC"), start, end)

    parts = [
        Part("each", every(1000), {"missed": "all", "overlap": "queue_all"}),
        Part("cron", Between(Cron("*/2 * * * * *", tz="UTC"), start, end), {"overlap": "allow"}),
        Part("daily", some_times_a_day(), {"jitter": "700ms", "overlap": "allow"}),
        Part("latest", every(1000, 250), {"missed": "latest"}),
        Part("skip", every(500, 100), {"missed": "skip", "overlap": "allow"}),
        Part("grace", every(700, 50), {"missed": "all", "grace": "4s", "overlap": "allow"}),
        Part("gather", every(2000, 400), {"overlap": "allow"}),
        Part("left", None, {"overlap": "allow"}, ("gather",)),
        Part("right", None, {"overlap": "allow"}, ("gather",)),
        Part("join", None, {"overlap": "allow"}, ("left", "right")),
    ]
    if orders.slow:
        parts += [
            Part("slow", every(1000, 600), {"missed": "latest"}, takes_s=(0.5, 1.4)),
            Part("one_more", every(1000, 700), {"overlap": "queue_one", "missed": "skip"}, takes_s=(0.5, 1.4)),
        ]
    return parts


class Diary:
    """The file of a worker. Each line is one write, so that a kill cuts off nothing but the last one."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = os.open(folder / f"diary-{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def began(self) -> int:
        run = current_run()
        scheduled = "-" if run.scheduled_us is None else run.scheduled_us
        self._write(f"began {run.id} {run.token} {time.time_ns() // 1000} {run.task} {scheduled}")
        return run.token

    def ended(self, token: int) -> int:
        self._write(f"ended {current_run().id} {token} {time.time_ns() // 1000}")
        return token

    def _write(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())


def declared(orders: Orders, diary: Diary) -> Registry:
    """The tasks, each of which returns the token that it was started with."""
    registry, random = Registry(), Random(f"{orders.seed} {orders.name}")

    def declare(part: Part) -> None:
        async def body() -> int:
            token = diary.began()
            await asyncio.sleep(random.uniform(*part.takes_s))
            return diary.ended(token)

        options: Any = {"id": part.task, "history_limit": 1_000_000, "missed_limit": 1_000_000, **part.options}
        if part.trigger is None:
            registry.after(*part.needs, **options)(body)
        else:
            registry.when(part.trigger, **options)(body)

    for part in parts_of(orders):
        declare(part)
    return registry


async def main(orders: Orders) -> None:
    folder = Path(orders.folder)
    scheduler = Scheduler(
        orders.url,
        registry=declared(orders, Diary(folder, orders.name)),
        tz="UTC",
        max_running=IN_FLIGHT,
        shutdown_timeout="2s",
    )

    @contextlib.asynccontextmanager
    async def announced(_scheduler: Scheduler) -> AsyncIterator[None]:
        (folder / f"ready-{orders.name}").touch()
        yield

    await scheduler.serve(announced)


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s.%(msecs)03d %(name)s %(message)s", datefmt="%H:%M:%S")
    asyncio.run(main(Orders(**json.loads(sys.argv[1]))))
