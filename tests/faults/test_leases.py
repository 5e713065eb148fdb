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
BLOCKED = (("block", 20), ("block", 20), ("spin", 10)) if LONG else (("block", 1),)
"""How one of a pair of nodes is blocked, and how many times: for each pair at each store."""
POISONS, OTHERS = (20, 5_000) if LONG else (2, 200)
DEATHS = ("exit", "segfault", "killed")
PAUSES = 36 if LONG else 3
AT_ONCE = 3
"""So many pauses at a time at each store, and one of a node that holds a key: three times as many in all."""

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


async def hold_a_key(ground: Ground) -> None:
    """F9, once: who holds a key is stopped; nobody else has it while the lease is not over, and then one at a time."""
    async with node(ground.url) as first:
        run_id = await first.submit("one", "Ann", 60.0)
        await first.said("began", run_id)
        async with node(ground.url) as second:
            more = (await second.do("many", "one", 5, "Ann", answer="submitted"))["runs"]
            stopped = time.monotonic()
            first.signal(signal.SIGSTOP)
            for one in (run_id, *more):
                assert (await second.over(one))["status"] == "SUCCESS"
            first.signal(signal.SIGCONT)
            await first.said("RunLost", run_id)
            told = [said for said in second.heard if said["word"] in ("began", "ended")]
    assert told[0]["at"] - stopped > LEASE_S * 0.6
    assert [said["word"] for said in told] == ["began", "ended"] * 6
    assert all(one["run"] == other["run"] for one, other in zip(told[::2], told[1::2], strict=True))
    assert {said["run"] for said in told} == {run_id, *more}


def keep_a_lease(how: str, times: int) -> Tale:
    """F10: the loop of a node is blocked for three leases beside a free one, and it stays a node."""

    async def happen(ground: Ground) -> None:
        async with node(ground.url) as one, node(ground.url) as other, node(ground.url, serves=False) as asking:
            for _ in range(times):
                over = await asking.over(await asking.submit(how, 3 * LEASE_S))
                assert over["status"] == "SUCCESS"
                assert over["value"] in (one.pid, other.pid)
        assert [(row["attempt"], row["token"]) for row in ground.rows("attempt", "token")] == [(1, 2)] * times

    return happen


async def be_given_up(ground: Ground) -> None:
    """F12: some runs end the process in which they begin; they are given up, and all others succeed."""
    began: list[str] = []

    async def serve() -> None:
        """Serve, in a new process whenever one has died."""
        while True:
            with contextlib.suppress(AssertionError):
                async with node(ground.url) as serving:
                    while True:
                        with contextlib.suppress(TimeoutError):  # then it lives, and none of these is there
                            began.append((await serving.said("began"))["run"])

    deadly: list[str] = []
    good: list[str] = []
    async with node(ground.url, serves=False) as asking:

        async def submit(first: int, last: int, pause_s: float) -> None:
            for number in range(first, last):
                deadly.append(await asking.submit("die", DEATHS[number % len(DEATHS)]))
                more = await asking.do("many", "quick", OTHERS // POISONS, 1, answer="submitted")
                good.extend(more["runs"])
                await asyncio.sleep(pause_s)

        await submit(0, POISONS // 2, 0)  # what is good is taken together with what is deadly
        serving = [asyncio.create_task(serve()) for _ in range(2)]
        try:
            await submit(POISONS // 2, POISONS, 1)
            # Each process that dies takes as long to come again as any program takes to start.
            async with asyncio.timeout(1200 if LONG else 240):
                while any(row["live"] for row in await asyncio.to_thread(ground.rows, "id")):
                    await asyncio.sleep(1)
            for run_id in deadly:
                over = await asking.over(run_id)
                assert (over["status"], over["reason"], over["value"]) == ("FAILED", "lost", "RunFailed")
            assert (await asking.over(good[-1]))["status"] == "SUCCESS"
        finally:
            for one in serving:
                one.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
    rows = [row for row in ground.rows("id", "task", "status", "created_at", "finished_at") if row["task"] == "quick"]
    assert sorted(row["id"] for row in rows if row["status"] == "SUCCESS") == sorted(good)
    slowest_s = max(row["finished_at"] - row["created_at"] for row in rows) / 1e6
    print(f"{ground.kind}: {POISONS} died {len(began)} times, none of {OTHERS} others took more than {slowest_s:.1f} s")
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
@pytest.mark.timeout(1800 if LONG else 360)
async def test_a_node_that_was_taken_for_dead_cannot_write_and_knows_it(tmp_path: Path) -> None:
    tasks = ("work", "stubborn", "work")
    tales = [stop_and_go_on(tasks[number % AT_ONCE]) for number in range(PAUSES)]
    for start in range(0, PAUSES, AT_ONCE):
        others = () if start else (stop_though_its_node_dies, lose_all_nodes)
        await side_by_side(tmp_path / str(start), *tales[start : start + AT_ONCE], hold_a_key, *others)


@pytest.mark.timeout(1800 if LONG else 360)
async def test_a_blocked_loop_keeps_its_lease_and_a_task_that_kills_is_given_up(tmp_path: Path) -> None:
    blocked = [keep_a_lease(how, times) for how, times in BLOCKED]
    if not LONG:
        await side_by_side(tmp_path, *blocked, be_given_up)
        return
    await side_by_side(tmp_path / "blocked", *blocked)
    await side_by_side(tmp_path / "poisoned", be_given_up)
