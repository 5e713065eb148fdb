"""The rows of features about intervals that follow their runs, and about tasks that never fire."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Scheduler
from asyncsched.errors import DuplicateTask, MisuseError
from asyncsched.triggers import Never

T0 = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.mark.feature("LS4")
@pytest.mark.parametrize(("immediate", "starts"), [(True, [0, 8, 16]), (False, [5, 13, 21])])
async def test_ls4_an_interval_may_run_from_the_end_of_the_last_run(
    virtual: Any, immediate: bool, starts: list[int]
) -> None:
    registry = Registry()

    @registry.every("5s", anchor="completion", immediate=immediate)
    async def three_seconds() -> None:
        await asyncio.sleep(3)

    async with virtual(registry, at=T0) as sched:
        await sched.advance("23s")
        assert [run.started_at for run in sched.runs()] == [T0 + timedelta(seconds=start) for start in starts]


@pytest.mark.feature("LS4")
async def test_ls4_also_when_the_run_fails_or_is_tried_again(virtual: Any) -> None:
    registry = Registry()

    @registry.every("5s", anchor="completion", retry=1)
    async def fails() -> None:
        await asyncio.sleep(1)
        raise OSError

    async with virtual(registry, at=T0) as sched:
        await sched.advance("20s")  # two attempts of a second each, five seconds between
        assert [run.started_at for run in sched.runs()] == [T0 + timedelta(seconds=start) for start in (6, 13, 20)]


@pytest.mark.feature("LS6")
async def test_ls6_a_task_that_never_fires_runs_when_asked(virtual: Any) -> None:
    registry = Registry()

    @registry.when(Never())
    async def by_hand() -> str:
        return "done"

    async with virtual(registry, at=T0) as sched:
        assert by_hand.next_fire is None
        await sched.advance("366 days")
        assert sched.runs() == []
        run = await sched.scheduler.tasks.run_now(by_hand.id)
        assert await run == "done"
        assert sched.runs() == [run]
        assert by_hand.next_fire is None


@pytest.mark.feature("LS12")
@pytest.mark.feature("TC9")
async def test_ls12_tc9_entering_twice_is_an_error_and_leaving_and_entering_again_works(virtual: Any) -> None:
    registry = Registry()

    @registry.every("5s")
    async def often() -> None: ...

    async with virtual(registry, at=T0) as sched:
        with pytest.raises(RuntimeError, match="running already: enter it once, or make another Scheduler"):
            await sched.scheduler.start()
        await sched.advance("5s")
        await sched.scheduler.stop()
        with pytest.raises(MisuseError, match="not running"):
            await sched.scheduler.stop()
        await sched.scheduler.start()
        await sched.advance("5s")
        assert [run.started_at for run in sched.runs()] == [T0 + timedelta(seconds=second) for second in (5, 10)]


@pytest.mark.feature("LS13")
@pytest.mark.feature("LS27")
@pytest.mark.feature("TC15")
@pytest.mark.parametrize(("timeout", "status"), [("30s", "SUCCESS"), ("0s", "CANCELLED")])
async def test_ls13_ls27_tc15_leaving_lets_runs_finish_up_to_its_timeout_then_cancels(
    virtual: Any, timeout: str, status: str
) -> None:
    seen: list[str] = []
    registry = Registry()

    async def ten_seconds() -> None:
        try:
            await asyncio.sleep(10)
            seen.append("SUCCESS")
        except asyncio.CancelledError:
            seen.append("CANCELLED")
            raise

    for number in range(3):
        registry.task(id=f"work-{number}")(ten_seconds)
    async with virtual(Scheduler(registry=registry, shutdown_timeout=timeout), at=T0) as sched:
        runs = [await task.submit() for task in registry]
        await sched.advance("1s")
        await sched.scheduler.stop()
        assert [run.status for run in runs] == [status] * 3
        assert seen == [status] * 3


@pytest.mark.feature("LS16")
async def test_ls16_start_and_end_are_logged_with_task_run_and_duration(
    virtual: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "asyncsched")
    registry = Registry()

    @registry.task(id="work")
    async def work() -> None:
        await asyncio.sleep(2.5)

    async with virtual(registry, at=T0):
        run = await work.submit()
        await run
        lines = [(record.levelname, record.getMessage()) for record in caplog.records if run.id in record.getMessage()]
    assert lines == [
        ("DEBUG", f"task work: run {run.id} started, attempt 1"),
        ("INFO", f"task work: run {run.id} SUCCESS after 2.500 s"),
    ]


@pytest.mark.feature("LS26")
@pytest.mark.feature("LS11")
async def test_ls26_ls11_the_engine_never_awaits_a_run(virtual: Any) -> None:
    registry = Registry()

    @registry.every("10s", immediate=True)
    async def long() -> None:
        await asyncio.sleep(10)

    @registry.every("1s")
    async def beat() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("10s")
        first = sched.runs("long")[0]
        meanwhile = [run for run in sched.runs("beat") if first.started_at < run.started_at <= first.finished_at]
        assert [run.started_at for run in meanwhile] == [T0 + timedelta(seconds=second) for second in range(1, 11)]


@pytest.mark.feature("LS1")
def test_ls1_a_group_and_a_name_are_an_id() -> None:
    registry = Registry()

    async def work() -> None: ...

    assert registry.task(group="kernel", name="x")(work).id == "kernel.x"
    with pytest.raises(DuplicateTask, match=r"'kernel\.x'"):
        registry.task(group="kernel", name="x")(work)
    registry.task(group="mail", name="x")(work)
    assert [task.id for task in registry] == ["kernel.x", "mail.x"]


@pytest.mark.feature("LS17")
async def test_ls17_fires_of_a_paused_task_are_skips_and_it_goes_on_along_its_grid(virtual: Any) -> None:
    registry = Registry()

    @registry.every("10s", id="work")
    async def work() -> None: ...

    async with virtual(registry, at=T0) as sched:
        tasks = sched.scheduler.tasks
        await sched.advance("10s")
        await tasks.pause("work")
        await sched.advance("105s")
        assert len(sched.runs()) == 1
        await tasks.resume("work")
        assert work.next_fire == T0 + timedelta(seconds=120)
        await sched.advance("5s")
        assert [run.scheduled_for for run in sched.skips()] == [
            T0 + timedelta(seconds=10 * number) for number in range(2, 12)
        ]
        assert {(run.status, run.reason, run.stands_for) for run in sched.skips()} == {("SKIPPED", "paused", 1)}
        assert [run.started_at for run in sched.runs()] == [T0 + timedelta(seconds=second) for second in (10, 120)]
