"""Nodes that are stopped, blocked, or killed by what they run: real processes, real signals, at every shared store.

What is waited for is mostly the end of a lease: so all stores, and several tales of each, have their turn at once. The
long forms run with ``ASYNCSCHED_FAULTS=long``.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from .crew import LONG
from .grounds import LEASE_S, SHARED, SWEEP_S, Ground, ground_of
from .nodes import node

# What a busy machine may take beside the lease.
LATE_S = 3.0
NOTICE_S = 1.0 if LONG else 3.0
POISONS, OTHERS = (20, 5_000) if LONG else (2, 200)
PAUSES = 36 if LONG else 3
AT_ONCE = 3
"""So many pauses at a time at each store: three times as many in all."""

Tale = Callable[[Ground], Awaitable[None]]


def taken_over_s(ground: Ground) -> float:
    """So long after the last sign of life of a node, at most, another one has taken over what it ran."""
    return LEASE_S + LATE_S + (0 if ground.kind == "sqlite" else SWEEP_S)


async def side_by_side(folder: Path, *tales: Tale) -> None:
    """Let each of them happen at each shared store, all at once, each in a place of its own."""
    async with asyncio.TaskGroup() as group:
        for number, tale in enumerate(tales):
            for kind in SHARED:
                place = folder / f"{kind}-{number}"
                place.mkdir(parents=True)
                group.create_task(tale(ground_of(kind, place)))  # type: ignore[arg-type]


def ended_once(ground: Ground) -> bool:
    ids = [row["id"] for row in ground.rows("id")]
    return len(ids) == len(set(ids))


def stop_and_go_on(task: str) -> Tale:
    """F9, once: who runs it is stopped for longer than the lease, another one takes over, then the first goes on."""

    async def happen(ground: Ground) -> None:
        longest_s = taken_over_s(ground)
        async with node(ground.url) as first:
            run_id = await (first.submit(task) if task == "stubborn" else first.submit(task, 60.0))
            stale = await first.said("began", run_id)
            async with node(ground.url) as second:
                stopped = time.monotonic()
                first.signal(signal.SIGSTOP)
                fresh = await second.said("began", run_id)
                assert LEASE_S * 0.6 < fresh["at"] - stopped < longest_s
                assert fresh["fence"] > stale["fence"]
                assert fresh["key"] == stale["key"] == run_id
                resumed = time.monotonic()
                first.signal(signal.SIGCONT)
                await first.said("RunLost", run_id)
                told = await first.said("cancelled" if task == "work" else "lost", run_id)
                assert told["lost"] is True
                assert told["fence"] == stale["fence"], "the fence of an attempt does not change with its run"
                assert told["at"] - resumed < NOTICE_S
                if task == "stubborn":
                    assert (await second.said("ended", run_id))["fence"] == fresh["fence"]
                    assert (await first.said("ended", run_id))["fence"] == stale["fence"]
                    over = await first.over(run_id)
                    assert (over["status"], over["value"]) == ("SUCCESS", second.pid)
            # The second is killed here; the first is a node again, which runs what there is to run.
            after = await first.submit("quick", 7)
            assert (await first.over(after))["value"] == 7
        assert ended_once(ground)

    return happen


async def keep_a_lease(ground: Ground) -> None:
    """F10: the loop of a node is blocked for three leases, and it stays a node."""
    async with node(ground.url) as blocked, node(ground.url, serves=False) as asking:
        run_id = await asking.submit("block", 3 * LEASE_S)
        assert (await blocked.said("began"))["run"] == run_id
        async with node(ground.url) as other:
            over = await other.over(run_id)
            assert (over["status"], over["value"]) == ("SUCCESS", blocked.pid)
    assert [(row["attempt"], row["token"]) for row in ground.rows("attempt", "token")] == [(1, 2)]


async def be_given_up(ground: Ground) -> None:
    """F12: some runs end the process in which they begin; they are given up, and all others succeed."""
    began: list[str] = []

    async def serve() -> None:
        """Serve, in a new process whenever one has died."""
        while True:
            with contextlib.suppress(AssertionError):
                async with node(ground.url) as serving:
                    while True:
                        began.append((await serving.said("began"))["run"])

    async with node(ground.url, serves=False) as asking:
        deadly = (await asking.do("many", "die", POISONS, answer="submitted"))["runs"]
        good = (await asking.do("many", "quick", OTHERS, 1, answer="submitted"))["runs"]
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


async def stop_though_its_node_dies(ground: Ground) -> None:
    """A run that is told to stop ends as that, though its node dies before it has heard of it."""
    async with node(ground.url, serves=False) as asking, node(ground.url) as serving:
        run_id = await asking.submit("block", 60.0)
        await serving.said("began", run_id)
        assert (await asking.do("cancel", run_id, answer="told"))["stopped"] is True
        serving.signal(signal.SIGKILL)
        over = await asking.over(run_id)
        assert (over["status"], over["reason"], over["value"]) == ("CANCELLED", "not wanted", "RunCancelled")


async def lose_all_nodes(ground: Ground) -> None:
    """Somebody takes away all that tells of nodes: what they ran is handed back, and they come anew."""
    async with node(ground.url) as serving:
        run_id = await serving.submit("work", 60.0)
        began = await serving.said("began", run_id)
        ground.forget_nodes()
        deleted = time.monotonic()
        again = await serving.said("began", run_id)
        assert again["fence"] > began["fence"]
        assert again["at"] - deleted < SWEEP_S + LATE_S


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped here")
@pytest.mark.timeout(1800 if LONG else 180)
async def test_a_node_that_was_taken_for_dead_cannot_write_and_knows_it(tmp_path: Path) -> None:
    tasks = ("work", "stubborn", "work")
    tales = [stop_and_go_on(tasks[number % AT_ONCE]) for number in range(PAUSES)]
    for start in range(0, PAUSES, AT_ONCE):
        others = () if start else (stop_though_its_node_dies, lose_all_nodes)
        await side_by_side(tmp_path / str(start), *tales[start : start + AT_ONCE], *others)


@pytest.mark.timeout(1800 if LONG else 180)
async def test_a_blocked_loop_keeps_its_lease_and_a_task_that_kills_is_given_up(tmp_path: Path) -> None:
    await side_by_side(tmp_path, keep_a_lease, be_given_up)
