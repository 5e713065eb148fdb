"""Nodes at one SQLite file that are stopped, blocked, or killed by what they run: real processes, real signals.

The long forms run with ``ASYNCSCHED_FAULTS=long``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from .nodes import DEAF, Node, node

LONG = os.environ.get("ASYNCSCHED_FAULTS") == "long"
LEASE_S = 3.0
# What a look at the neighbours may come late, and a busy machine take, beside the lease.
LATE_S = 3.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}?synchronous=normal&lease=3s"


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


async def stop_and_go_on(url: str, path: Path, task: str) -> None:
    """F9, once: who runs it is stopped for longer than the lease, another one takes over, then the first goes on."""
    async with node(url) as first:
        run_id = await first.submit(task, 60.0 if task == "work" else LEASE_S + 8)
        stale = await first.said("began", run_id)
        async with node(url) as second:
            stopped = time.monotonic()
            first.signal(signal.SIGSTOP)
            fresh = await second.said("began", run_id)
            assert LEASE_S * 0.6 < fresh["at"] - stopped < LEASE_S + LATE_S
            assert fresh["fence"] > stale["fence"]
            assert fresh["key"] == stale["key"] == run_id
            resumed = time.monotonic()
            first.signal(signal.SIGCONT)
            await first.said("RunLost", run_id)
            told = await first.said("cancelled" if task == "work" else "lost", run_id)
            assert told["lost"] is True
            assert told["fence"] == stale["fence"], "the fence of an attempt does not change with its run"
            assert told["at"] - resumed < 1
            if task == "stubborn":
                assert (await first.said("ended", run_id))["fence"] == stale["fence"]
                assert (await second.said("ended", run_id))["fence"] == fresh["fence"]
                over = await first.over(run_id)
                assert (over["status"], over["value"]) == ("SUCCESS", second.pid)
        # The second is killed here; the first is a node again, which runs what there is to run.
        after = await first.submit("quick", 7)
        assert (await first.over(after))["value"] == 7
    assert rows(path, "SELECT count(*) - count(DISTINCT id) FROM asyncsched_history") == [(0,)]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped here")
@pytest.mark.parametrize("seed", range(100 if LONG else 1))
@pytest.mark.parametrize("tasks", [("work", "stubborn", "work")])
async def test_a_node_that_was_stopped_for_longer_than_its_lease_cannot_write_and_knows_it(
    tmp_path: Path, tasks: tuple[str, ...], seed: int
) -> None:
    paths = [tmp_path / f"{number}.db" for number in range(len(tasks))]
    await asyncio.gather(
        *(
            stop_and_go_on(f"sqlite:///{path}?synchronous=normal&lease=3s", path, task)
            for path, task in zip(paths, tasks, strict=True)
        )
    )


async def test_a_blocked_loop_keeps_its_lease(url: str, path: Path) -> None:
    async with node(url) as blocked, node(url, serves=False) as asking:
        run_ids = [await asking.submit("block", 3 * LEASE_S)]
        assert (await blocked.said("began"))["run"] == run_ids[0]
        async with node(url) as other:
            over = await other.over(run_ids[0])
            assert (over["status"], over["value"]) == ("SUCCESS", blocked.pid)
    assert rows(path, "SELECT attempt, token FROM asyncsched_history") == [(1, 2)]


async def test_a_task_that_kills_its_process_is_given_up_and_the_others_succeed(url: str, path: Path) -> None:
    poisons, others = (20, 5_000) if LONG else (2, 200)
    began: list[str] = []

    async def serve() -> None:
        """Serve, in a new process whenever one has died."""
        while True:
            with contextlib.suppress(AssertionError):
                async with node(url) as serving:
                    while True:
                        began.append((await serving.said("began"))["run"])

    async with node(url, serves=False) as asking:
        deadly = (await asking.do("many", "die", poisons, answer="submitted"))["runs"]
        good = (await asking.do("many", "quick", others, 1, answer="submitted"))["runs"]
        serving = [asyncio.create_task(serve()) for _ in range(2)]
        try:
            for run_id in deadly:
                over = await asking.over(run_id)
                assert (over["status"], over["reason"], over["value"]) == ("FAILED", "lost", "RunFailed")
            for run_id in good:
                assert (await asking.over(run_id))["status"] == "SUCCESS"
        finally:
            for one in serving:
                one.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
    assert max(began.count(run_id) for run_id in deadly) <= 3


async def starts(asking: Node, serving: Node, count: int) -> list[float]:
    """How long runs that were submitted at one node waited for their start at the other, in seconds."""
    waited = []
    for _ in range(count):
        asked = time.monotonic()
        run_id = await asking.submit("work", 0.0)
        waited.append((await serving.said("began", run_id))["at"] - asked)
    return sorted(waited)


async def test_without_hints_nothing_waits_for_longer_than_a_poll(url: str) -> None:
    async with node(url, DEAF, serves=False) as asking, node(url, DEAF) as serving:
        await starts(asking, serving, 1)
        waited = await starts(asking, serving, 200 if LONG else 5)
        assert waited[-1] < 1.0 + 0.1 + 0.2, "and what the submit itself took, on a busy machine"
        assert waited[-1] > 0.05, "it was told after all"


async def test_a_run_that_is_told_to_stop_elsewhere_ends_though_its_node_dies_first(url: str) -> None:
    async with node(url, serves=False) as asking, node(url) as serving:
        run_id = await asking.submit("block", 60.0)
        await serving.said("began", run_id)
        assert (await asking.do("cancel", run_id, answer="told"))["stopped"] is True
        serving.signal(signal.SIGKILL)
        over = await asking.over(run_id)
        assert (over["status"], over["reason"], over["value"]) == ("CANCELLED", "not wanted", "RunCancelled")


async def test_runs_whose_owner_is_no_node_are_handed_back(url: str, path: Path) -> None:
    async with node(url) as serving:
        run_id = await serving.submit("work", 60.0)
        began = await serving.said("began", run_id)
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("DELETE FROM asyncsched_nodes")
            db.commit()
        deleted = time.monotonic()
        again = await serving.said("began", run_id)
        assert again["fence"] > began["fence"]
        assert again["at"] - deleted < 6 + LATE_S
