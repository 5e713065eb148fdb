"""The rows of features about policies: what becomes of a fire, when a run starts and ends, how often it is tried."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Blackout, Registry, Retry, RetryAfter, Scheduler, Task, current_run
from asyncsched.triggers import Daily, Except

T0 = datetime(2025, 1, 1, tzinfo=UTC)


def seconds(instants: list[Any]) -> list[float]:
    return [(instant - T0).total_seconds() for instant in instants]


def task_of(seconds_: float, **options: Any) -> tuple[Registry, list[int]]:
    """A task ``work`` whose runs take that long, and how many were inside after each start."""
    registry, inside = Registry(), []
    now = 0

    async def work() -> None:
        nonlocal now
        now += 1
        inside.append(now)
        try:
            await asyncio.sleep(seconds_)
        finally:
            now -= 1

    registry.register(Task(work, id="work", **options))
    return registry, inside


# --- missed fires


@pytest.mark.feature("JS7")
@pytest.mark.parametrize(
    ("options", "runs", "skips"),
    [
        ({}, [(60, 6)], 0),
        ({"missed": "skip"}, [], 6),
        ({"missed": "all"}, [(at, 1) for at in range(10, 61, 10)], 0),
        ({"missed": "all", "missed_limit": 3}, [(at, 1) for at in (40, 50, 60)], 3),
    ],
)
async def test_js7_missed_fires_become_one_run_none_or_all(
    virtual: Any, options: dict[str, Any], runs: list[tuple[int, int]], skips: int
) -> None:
    registry, inside = task_of(1, every="10s", **options)
    async with virtual(registry, at=T0) as sched:
        await sched.jump("65s")
        await sched.advance("4s")
        await sched.advance("900ms")
        assert [(*seconds([run.scheduled_for]), run.stands_for) for run in sched.runs()] == runs[:5]
        await sched.scheduler.idle()
        assert [(*seconds([run.scheduled_for]), run.stands_for) for run in sched.runs()][: len(runs)] == runs
        assert [skip.reason for skip in sched.skips() if skip.reason == "missed"] == ["missed"] * skips
        assert max(inside, default=1) == 1


@pytest.mark.feature("PE6")
async def test_pe6_grace_is_how_late_a_run_still_makes_sense(virtual: Any) -> None:
    for late, ran, skipped in (("4m", 1, 0), ("6m", 0, 1)):
        registry, _inside = task_of(0, at="12:00", tz="UTC", grace="5m")
        async with virtual(registry, at=T0 + timedelta(hours=12, seconds=-1)) as sched:
            await sched.jump(late)
            assert (len(sched.runs()), len(sched.skips())) == (ran, skipped)
            for skip in sched.skips():
                assert skip.reason == "missed"
                assert skip.finished_at - skip.scheduled_for == timedelta(minutes=6, seconds=-1)


@pytest.mark.feature("PA28")
@pytest.mark.parametrize(("options", "ran"), [({}, [1_440]), ({"missed": "all", "missed_limit": 10}, [1] * 10)])
async def test_pa28_a_day_of_outage_is_no_flood(virtual: Any, options: dict[str, Any], ran: list[int]) -> None:
    registry, _inside = task_of(0, every="1m", **options)
    async with virtual(registry, at=T0) as sched:
        await sched.crash()
        await sched.advance("1d")
        await sched.advance("30s")
        await sched.restart()
        await sched.advance("1s")
        assert [run.stands_for for run in sched.runs()] == ran
        assert sum(skip.stands_for for skip in sched.skips()) == 1_440 - sum(ran)


# --- overlap


@pytest.mark.feature("LS9")
@pytest.mark.feature("TC28")
async def test_ls9_tc28_a_fire_during_its_own_run_is_a_recorded_skip(virtual: Any) -> None:
    registry, inside = task_of(2.5, every="1s")
    async with virtual(registry, at=T0) as sched:
        await sched.advance("10s")
        assert seconds([run.started_at for run in sched.runs()]) == [1, 4, 7, 10]
        assert [skip.reason for skip in sched.skips()] == ["overlap"] * 6
        assert max(inside) == 1


@pytest.mark.feature("LS10")
async def test_ls10_an_interval_shorter_than_its_run_keeps_its_grid(virtual: Any) -> None:
    registry, _inside = task_of(12 * 60, every="5m")
    async with virtual(registry, at=T0) as sched:
        await sched.advance("20m")
        assert seconds([run.started_at for run in sched.runs()]) == [5 * 60, 20 * 60]
        assert seconds([skip.scheduled_for for skip in sched.skips()]) == [10 * 60, 15 * 60]


@pytest.mark.feature("NB4")
@pytest.mark.parametrize(
    ("overlap", "statuses", "most"),
    [
        ("skip", {"SUCCESS": 4}, 1),
        ("allow", {"SUCCESS": 10}, 3),
        ("queue_all", {"SUCCESS": 10}, 1),
        ("cancel_previous", {"CANCELLED": 9, "SUCCESS": 1}, 1),
        ("queue_one", {"SUCCESS": 5}, 1),
    ],
)
async def test_nb4_five_things_that_a_fire_may_do_beside_an_earlier_run(
    virtual: Any, overlap: str, statuses: dict[str, int], most: int
) -> None:
    registry, inside = task_of(2.5, every="1s", overlap=overlap, ends=T0 + timedelta(seconds=10.5))
    async with virtual(registry, at=T0) as sched:
        waiting = 0
        for _second in range(40):
            await sched.advance("1s")
            pending = await sched.scheduler.runs.list(status="PENDING")
            waiting = max(waiting, len(pending))
        runs = await sched.scheduler.runs.list(task="work")
        assert Counter(run.status for run in runs if run.status != "SKIPPED") == statuses
        assert sum(run.stands_for for run in runs) == 10
        assert max(inside) == most
        assert waiting <= 1 or overlap == "queue_all"


@pytest.mark.feature("PA8")
async def test_pa8_a_fire_that_must_wait_starts_when_the_run_before_it_ends(virtual: Any) -> None:
    registry, _inside = task_of(7, every="5s", overlap="queue_one")
    async with virtual(registry, at=T0) as sched:
        await sched.advance("29s")
        assert seconds([run.started_at for run in sched.runs()]) == [5, 12, 19, 26]
        assert [(*seconds([skip.scheduled_for]), skip.reason) for skip in sched.skips()] == [(25, "overlap")]


@pytest.mark.feature("PA9")
@pytest.mark.parametrize("heeds", [True, False])
async def test_pa9_a_stuck_run_does_not_hold_its_task(virtual: Any, heeds: bool) -> None:
    registry, leave = Registry(), asyncio.Event()

    @registry.every("1m", timeout="10s", max_running=1, id="hangs")
    async def hangs() -> None:
        while not leave.is_set():
            try:
                await leave.wait()
            except asyncio.CancelledError:
                if heeds:
                    raise

    async with virtual(registry, at=T0) as sched:
        await sched.advance("121s")
        first, second = sched.runs()
        assert seconds([first.started_at, second.started_at]) == [60, 120]
        assert (first.status, type(first.error)) == ("FAILED", TimeoutError)
        assert seconds([first.finished_at]) == [70 if heeds else 100]
        assert len(sched.scheduler.runs.abandoned) == (0 if heeds else 1)
        leave.set()
        await sched.advance("1s")
        assert sched.scheduler.runs.abandoned == ()


# --- retries


@pytest.mark.feature("EA23")
@pytest.mark.feature("PA22")
async def test_ea23_pa22_retries_wait_as_they_say_and_outlive_the_process(virtual: Any) -> None:
    registry, tries = Registry(), []

    @registry.task(retry=Retry(attempts=4, wait="1s", factor=2, cap="60s"))
    async def fails() -> None:
        tries.append((sched.now() - T0).total_seconds())
        raise OSError

    async with virtual(registry, at=T0) as sched:
        run = await fails.submit()
        await sched.advance("1m")
        assert (tries, run.status, run.attempt) == ([0, 1, 3, 7], "FAILED", 4)
        tries.clear()
        run = await fails.submit()
        await sched.advance("2s")
        await sched.crash()
        await sched.advance("10s")
        await sched.restart()
        await sched.advance("1m")
        assert (tries, run.status, run.attempt) == ([60, 61, 72, 76], "FAILED", 4)


@pytest.mark.feature("LS2")
@pytest.mark.parametrize(("fine_at", "calls", "status"), [(99, 4, "FAILED"), (3, 3, "SUCCESS")])
async def test_ls2_a_number_of_retries_are_made_at_once(virtual: Any, fine_at: int, calls: int, status: str) -> None:
    registry = Registry()

    @registry.task(retry=3)
    async def fails() -> None:
        if current_run().attempt < fine_at:
            raise OSError

    async with virtual(registry, at=T0) as sched:
        run = await fails.submit()
        await sched.drain()
        assert (run.attempt, run.status, sched.now()) == (calls, status, T0)


@pytest.mark.feature("PE22")
async def test_pe22_what_is_tried_again_and_after_how_long(virtual: Any) -> None:
    registry, tries = Registry(), {}

    def task(name: str, error: BaseException, retry: Retry) -> None:
        async def fails() -> None:
            tries.setdefault(name, []).append((sched.now() - T0).total_seconds())
            raise error

        registry.register(Task(fails, id=name, retry=retry))

    task("value", ValueError(), Retry(attempts=2, on=ValueError))
    task("key", KeyError(), Retry(attempts=2, on=ValueError))
    task("constant", OSError(), Retry(attempts=3, wait="5s"))
    task("linear", OSError(), Retry(attempts=4, wait="1s", step="1s"))
    task("exponential", OSError(), Retry(attempts=4, wait="1s", factor=2))
    task("asks", RetryAfter("10s"), Retry(attempts=2, wait="1h"))
    task("jitter", OSError(), Retry(attempts=2, wait="10s", jitter="10s"))
    async with virtual(registry, at=T0) as sched:
        for one in registry:
            await one.submit()
        await (await sched.scheduler.tasks.get("jitter")).submit()
        await sched.advance("1m")
    first, other = sorted(tries.pop("jitter"))[2:]
    assert 10 <= first < other < 20
    assert tries == {
        "value": [0, 0],
        "key": [0],
        "constant": [0, 5, 10],
        "linear": [0, 1, 3, 6],
        "exponential": [0, 1, 3, 7],
        "asks": [0, 10],
    }


@pytest.mark.feature("NB20")
async def test_nb20_one_key_for_all_attempts_also_after_the_process_was_killed(virtual: Any) -> None:
    registry, seen = Registry(), []

    @registry.task(retry=Retry(attempts=3, wait="1s"))
    async def pays() -> None:
        run = current_run()
        seen.append((run.idempotency_key, run.attempt))
        if run.attempt == 1:
            raise OSError
        await asyncio.sleep(10)

    async with virtual(registry, at=T0) as sched:
        run = await pays.submit()
        await sched.advance("5s")
        await sched.crash()
        await sched.restart()
        await sched.advance("1m")
        assert run.status == "SUCCESS"
        # What a killed process began counts for nothing: the attempt is begun anew, under the same key.
        assert seen == [(run.id, 1), (run.id, 2), (run.id, 2)]


# --- by when it must start, and end


@pytest.mark.feature("PE14")
async def test_pe14_a_run_that_has_not_started_in_time_is_a_recorded_skip(virtual: Any) -> None:
    registry, _inside = task_of(20, expires="10s", max_running=1)
    async with virtual(registry, at=T0) as sched:
        task = await sched.scheduler.tasks.get("work")
        first, second = await task.submit_many([(), ()])
        await sched.advance("30s")
        assert (first.status, second.status, second.reason) == ("SUCCESS", "SKIPPED", "expired")
        assert (seconds([second.finished_at]), second.started_at) == ([10], None)


@pytest.mark.feature("PE26")
async def test_pe26_a_run_may_ask_for_more_time(virtual: Any) -> None:
    registry = Registry()

    @registry.task(timeout="1s")
    async def slow(more: bool) -> None:
        if more:
            current_run().extend("1m")
        await asyncio.sleep(2)

    async with virtual(registry, at=T0) as sched:
        extended, other = await slow.submit(True), await slow.submit(False)
        await sched.advance("5s")
        assert (extended.status, seconds([extended.finished_at])) == ("SUCCESS", [2])
        assert (other.status, seconds([other.finished_at])) == ("FAILED", [1])


# --- when it fires


@pytest.mark.feature("PE4")
async def test_pe4_jitter_moves_each_start_by_a_part_that_is_the_same_everywhere(virtual: Any) -> None:
    found = []
    for _node in range(2):
        registry, _inside = task_of(0, cron="0 * * * *", tz="UTC", jitter="30s")
        async with virtual(registry, at=T0 - timedelta(seconds=1), seed=len(found)) as sched:
            await sched.advance("1000h")
            runs = sched.runs()
            assert len(runs) == 1000
            assert [run.scheduled_for for run in runs] == [T0 + timedelta(hours=hour) for hour in range(1000)]
            found.append([run.started_at - run.scheduled_for for run in runs])
    assert found[0] == found[1]
    assert all(timedelta(0) <= late < timedelta(seconds=30) for late in found[0])
    assert len(set(found[0])) > 900


@pytest.mark.feature("NB7")
async def test_nb7_h_in_a_cron_line_spreads_tasks_and_stays(virtual: Any) -> None:
    minutes = []
    for _node in range(2):
        registry = Registry()
        for number in range(1000):
            registry.cron("H * * * *", id=f"task-{number}", tz="UTC")(lambda: None)
        async with virtual(registry, at=T0) as sched:
            for _start in range(2):
                minutes.append([task.next_fire.minute for task in sched.scheduler.served()])
                await sched.restart()
    assert len(set(minutes[0])) >= 55
    assert all(other == minutes[0] for other in minutes)


@pytest.mark.feature("NB8")
async def test_nb8_holidays_are_excepted_and_fires_of_a_blackout_are_recorded_skips(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(_nothing, trigger=Except(Daily("12:00"), "2025-12-25"), id="holiday"))
    registry.register(Task(_nothing, at="03:00", id="dark", blackout=Blackout("02:00", "04:00")))
    async with virtual(registry, at=datetime(2025, 12, 24, tzinfo=UTC), tz="UTC") as sched:
        await sched.advance("3d")
        assert [run.scheduled_for.day for run in sched.runs("holiday")] == [24, 26]
        assert sched.skips("holiday") == []
        assert sched.runs("dark") == []
        assert [(skip.scheduled_for.hour, skip.reason) for skip in sched.skips("dark")] == [(3, "blackout")] * 3


async def _nothing() -> None: ...


@pytest.mark.feature("PA7")
async def test_pa7_neither_a_restart_nor_a_run_by_hand_moves_the_rhythm(virtual: Any) -> None:
    registry, _inside = task_of(0, every="1h")
    async with virtual(registry, at=T0) as sched:
        await sched.advance("20m")
        await sched.restart()
        await sched.advance("10m")
        await sched.scheduler.tasks.run_now("work")
        task = await sched.scheduler.tasks.get("work")
        assert task.next_fire == T0 + timedelta(hours=1)
        await sched.advance("40m")
        assert [run.scheduled_for for run in sched.runs()] == [None, T0 + timedelta(hours=1)]


# --- how many of a group


async def test_a_group_of_tasks_has_its_limit_on_each_node(virtual: Any) -> None:
    registry, inside = Registry(), Counter()
    most = Counter()

    async def work() -> None:
        group = current_run().task.partition(".")[0]
        inside[group] += 1
        most[group] = max(most[group], inside[group])
        await asyncio.sleep(1)
        inside[group] -= 1

    for group in ("kernel", "mail"):
        for number in range(6):
            registry.register(Task(work, group=group, name=f"work-{number}", every="10s"))
    async with virtual(Scheduler(registry=registry, groups={"kernel": 2}), at=T0) as sched:
        await sched.advance("19s")
        assert Counter(run.task.partition(".")[0] for run in sched.runs()) == {"kernel": 6, "mail": 6}
        assert most == {"kernel": 2, "mail": 6}
