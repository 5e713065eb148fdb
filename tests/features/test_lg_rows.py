"""The rows of features about logging: quiet by itself, and each line with the run that it belongs to."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from asyncsched import Registry
from asyncsched.telemetry import RunFields

T0 = datetime(2025, 1, 1, tzinfo=UTC)

FAILS = """
import asyncio, logging
from asyncsched import Registry, Scheduler

scheduler = Scheduler(registry=Registry(), tz="UTC")

@scheduler.task
async def fails():
    raise RuntimeError("on purpose")

async def main():
    async with scheduler:
        run = await fails.submit()
        await scheduler.idle()
        print(run.status)

asyncio.run(main())
print([type(handler).__name__ for handler in logging.getLogger("asyncsched").handlers], logging.getLogger().handlers)
"""


@pytest.mark.feature("LG1")
def test_lg1_the_library_configures_no_logging() -> None:
    done = subprocess.run([sys.executable, "-c", FAILS], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == ("FAILED\n['NullHandler'] []\n", "", 0)


@pytest.mark.feature("LG6")
async def test_lg6_caplog_has_the_start_and_the_end_of_a_run(virtual: Any, caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()

    @registry.task(id="work")
    async def work() -> None:
        await asyncio.sleep(1)

    with caplog.at_level(logging.DEBUG, "asyncsched"):
        async with virtual(registry, at=T0):
            run = await work.submit()
            await run
    about = [line for line in caplog.messages if run.id in line]
    assert ["started" in line for line in about] == [True, False]
    assert "SUCCESS after 1.000 s" in about[1]


class Kept(logging.Handler):
    """Keeps what it is given, with the fields of the run."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(RunFields())
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[Kept]:
    """A handler on the root logger."""
    handler, root = Kept(), logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


@pytest.mark.feature("LG11")
async def test_lg11_lines_carry_their_own_run_however_runs_interleave(virtual: Any, kept: Kept) -> None:
    registry = Registry()

    @registry.task(id="on-loop")
    async def on_the_loop(number: int) -> None:
        for _ in range(3):
            await asyncio.sleep(number / 7)
            logging.getLogger("elsewhere").warning("%d", number)

    @registry.task(id="in-thread")
    def in_a_thread(number: int) -> None:
        logging.getLogger("elsewhere").warning("%d", number)

    async with virtual(registry, at=T0) as sched:
        runs = await on_the_loop.submit_many((number,) for number in range(80))
        runs += await in_a_thread.submit_many((number,) for number in range(80, 100))
        await sched.drain()
    logging.getLogger("elsewhere").warning("outside")
    lines = [record for record in kept.records if record.name == "elsewhere"]
    assert len(lines) == 3 * 80 + 20 + 1
    outside = lines.pop()
    assert (outside.run, outside.task) == (None, None)
    for line in lines:
        run = runs[int(line.getMessage())]
        fields = line.task, line.run, line.attempt, line.scheduled_for, line.node
        assert fields == (run.task, run.id, 1, None, run.node)
