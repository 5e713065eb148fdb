"""What a task may say about its runs: when it fires at all, by when they start and end, and who is warned."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.errands import alive, sleeps

from asyncsched import Blackout, Registry, Retry, Scheduler, Task, current_run
from asyncsched.errors import ConfigError, MisuseError, RunSkipped
from asyncsched.events import RunAbandoned, RunLate, RunLong, RunWarning, TaskFailing

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def starts(runs: list[Any]) -> list[float]:
    return [(run.started_at - T0).total_seconds() for run in runs]


def taking(seconds: float, **options: Any) -> tuple[Registry, Task[..., Any]]:
    """A task ``work`` whose runs take so long."""

    async def work() -> None:
        await asyncio.sleep(seconds)

    registry, named = Registry(), {"id": "work"} if "group" not in options else {}
    return registry, registry.register(Task(work, **{**named, **options}))


# --- when it fires at all


async def test_a_task_may_begin_and_end(virtual: Any) -> None:
    registry, task = taking(0, every="10s", starts=at(25), ends=at(60))
    async with virtual(registry, at=T0) as sched:
        assert task.next_fire == at(30)
        await sched.advance("5m")
        assert starts(sched.runs()) == [30, 40, 50]
        assert task.next_fire is None


async def test_an_interval_after_each_completion_has_its_bounds_too(virtual: Any) -> None:
    registry, _task = taking(3, every="10s", anchor="completion", starts=at(25), ends=at(60))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("5m")
        assert starts(sched.runs()) == [30, 43, 56]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"starts": T0}, "give it a trigger"),
        ({"every": "5s", "ends": "tomorrow"}, "ends='tomorrow': give a datetime"),
        ({"every": "5s", "starts": at(1), "ends": at(0)}, "a start before an end"),
    ],
)
def test_bounds_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        taking(0, **options)


async def test_a_task_may_run_so_often_and_no_more_also_over_a_restart(virtual: Any) -> None:
    registry, task = taking(15, every="10s", max_runs=3)
    async with virtual(registry, at=T0) as sched:
        assert task.next_fires(9) == [at(10), at(20), at(30)]
        await sched.advance("25s")  # a run, and a fire that was skipped, which does not count
        await sched.restart()
        await task.submit()  # nor does what was submitted
        await sched.advance("5m")
        assert starts([run for run in sched.runs() if run.scheduled_for]) == [10, 50, 70]
        assert task.next_fire is None


async def test_of_fires_that_come_together_no_more_run_than_may(virtual: Any) -> None:
    registry, task = taking(0, every="10s", max_runs=4, missed="all")
    async with virtual(registry, at=T0) as sched:
        await sched.advance("10s")
        await sched.jump("65s")
        await sched.advance("5m")
        assert [run.scheduled_for for run in sched.runs()] == [at(10), at(20), at(30), at(40)]
        assert task.next_fire is None


async def test_nothing_starts_in_a_blackout(virtual: Any) -> None:
    night = Blackout("22:00", "06:00", days="fri,sat")
    registry, _task = taking(0, every="4h", blackout=[night, "12:00-13:00"], tz="Europe/Berlin")
    async with virtual(registry, at="2026-01-02 00:00", tz="Europe/Berlin") as sched:  # a Friday
        await sched.advance("2d")
        dark = [skip.scheduled_for.astimezone(ZoneInfo("Europe/Berlin")) for skip in sched.skips()]
        assert [(moment.day, moment.hour) for moment in dark] == [(2, 12), (3, 0), (3, 4), (3, 12), (4, 0)]
        assert {skip.reason for skip in sched.skips()} == {"blackout"}
        assert len(sched.runs()) == 12 - 5


async def test_of_missed_fires_the_dark_ones_are_told_from_the_others(virtual: Any) -> None:
    registry, _task = taking(0, every="1h", blackout="02:00-04:00")
    async with virtual(registry, at=T0, tz="UTC") as sched:
        await sched.jump("5h")
        (run,) = sched.runs()
        assert run.stands_for == 3
        assert [(skip.scheduled_for.hour, skip.reason) for skip in sched.skips()] == [(2, "blackout"), (3, "blackout")]


@pytest.mark.parametrize("wrong", [["kernel"], {"kernel": 0}, {"kernel": None}, {"kernel": True}, "kernel"])
def test_a_limit_of_a_group_is_a_number(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"groups=|kernel="):
        Scheduler(registry=Registry(), groups=wrong)


# --- jitter


async def test_a_jittered_fire_is_not_late_before_its_own_instant(virtual: Any) -> None:
    registry, task = taking(0, every="1h", jitter="10m", missed="skip")
    async with virtual(registry, at=T0) as sched:
        await sched.advance("24h")
        assert len(sched.runs()) >= 23  # all of them minutes after their instant, and none of them missed
        assert sched.skips() == []
        assert [run.scheduled_for for run in sched.runs()] == [
            at(3600 * hour) for hour in range(1, len(sched.runs()) + 1)
        ]
        await sched.advance("10m")
        assert len(sched.runs()) == 24
        await sched.jump("2h")
        assert task.next_fire > sched.now() - timedelta(minutes=10)
        assert {skip.reason for skip in sched.skips()} == {"missed"}


async def test_a_fire_that_is_to_be_skipped_or_paused_goes_by_its_own_instant(virtual: Any) -> None:
    registry, _task = taking(0, every="1h", jitter="30m")
    async with virtual(registry, at=T0) as sched:
        assert await sched.scheduler.tasks.skip_next("work") == at(3600)
        await sched.advance("100m")
        assert [(skip.scheduled_for, skip.reason) for skip in sched.skips()] == [(at(3600), "skipped")]
        await sched.scheduler.tasks.pause("work")
        await sched.advance("20m")
        await sched.scheduler.tasks.resume("work")
        await sched.advance("2h")
        assert [skip.reason for skip in sched.skips()] == ["skipped", "paused"]
        assert sched.skips()[1].scheduled_for == at(7200)


# --- overlap


async def test_a_submitted_run_that_waits_for_its_time_is_in_nobodys_way(virtual: Any) -> None:
    registry, task = taking(14, every="10s")
    async with virtual(registry, at=T0) as sched:
        await task.using(delay="25s").submit()
        await sched.advance("41s")
        assert starts(sched.runs()) == [10, 25, 40]
        # At 20 the first run was under way, at 30 the submitted one.
        assert [skip.scheduled_for for skip in sched.skips()] == [at(20), at(30)]


async def test_the_next_fire_cancels_what_runs_what_waits_and_what_is_to_be_tried_again(virtual: Any) -> None:
    registry = Registry()

    @registry.every("10s", overlap="cancel_previous", retry=Retry(attempts=2, wait="1h"), id="work")
    async def work() -> None:
        run = current_run()
        if run.scheduled_for == at(10):
            raise OSError
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(3)  # cleaning up: the next one waits for that

    async with virtual(registry, at=T0) as sched:
        await sched.advance("34s")
        first, second, third = sched.runs()
        assert (first.status, first.attempt, second.status) == ("CANCELLED", 1, "CANCELLED")
        assert starts([first, second, third]) == [10, 20, 33]
        assert "fired again" in second.reason
        assert first.finished_at == at(20)


@pytest.mark.parametrize(
    ("overlap", "ran", "skipped", "cancelled"),
    [
        ("skip", 1, 4, 0),
        ("queue_one", 2, 3, 0),
        ("queue_all", 5, 0, 0),
        ("cancel_previous", 1, 0, 4),
        ("allow", 5, 0, 0),
    ],
)
async def test_fires_that_are_handled_together_are_beside_one_another(
    virtual: Any, overlap: str, ran: int, skipped: int, cancelled: int
) -> None:
    registry, task = taking(0.05, every="100ms", overlap=overlap, max_runs=None)
    async with virtual(registry, at=T0) as sched:
        await sched.jump("500ms")  # within a second, so none of them is missed
        await sched.scheduler.tasks.pause("work")
        await sched.advance("1m")
        found = [run.status for run in task.history]
        assert [found.count(status) for status in ("SUCCESS", "SKIPPED", "CANCELLED")] == [ran, skipped, cancelled]


async def test_at_most_a_thousand_runs_queue(virtual: Any) -> None:
    registry, _task = taking(10_000, every="1s", overlap="queue_all")
    async with virtual(registry, at=T0) as sched:
        await sched.advance("1010s")
        assert len(await sched.scheduler.runs.list(status="PENDING", limit=9_999)) == 1_000
        assert [skip.reason for skip in sched.skips()] == ["overlap"] * 9


async def test_a_task_that_is_replaced_knows_what_is_on_its_way(virtual: Any) -> None:
    registry, _task = taking(24, every="10s", overlap="queue_all")
    _other, again = taking(24, every="10s", overlap="queue_one")
    async with virtual(registry, at=T0) as sched:
        await sched.advance("15s")
        await sched.scheduler.tasks.replace(again)
        await sched.advance("100s")
        assert starts(sched.runs())[:3] == [10, 34, 58]


# --- by when it starts, and ends


@pytest.mark.parametrize("full", [{"max_running": 1}, {"queues": {"default": 1}}, {"groups": {"g": 1}}])
async def test_a_run_that_has_waited_too_long_never_starts(virtual: Any, full: dict[str, Any]) -> None:
    registry, task = taking(60, expires="10s", group="g", name="x")
    async with virtual(Scheduler(registry=registry, **full), at=T0) as sched:
        first, second = await task.submit_many([(), ()])
        await sched.advance("10s")
        assert (first.status, second.status, second.reason) == ("RUNNING", "SKIPPED", "expired")
        with pytest.raises(RunSkipped, match="expired"):
            await second
        later = await task.using(delay="1m").submit()
        await sched.advance("2m")
        assert later.status == "SUCCESS"  # it counts from when it was due


async def test_a_task_whose_waiting_run_expired_or_was_cancelled_fires_on(virtual: Any) -> None:
    registry, task = taking(0, every="10s", anchor="completion", expires="5s", id="rhythm")

    @registry.task
    async def blocks(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async with virtual(Scheduler(registry=registry, max_running=1), at=T0) as sched:
        await blocks.submit(25)
        await sched.advance("26s")
        await sched.advance("5s")
        assert starts(sched.runs("rhythm")) == [25]  # the first expired at 15, the next was due then, 10 s later
        await blocks.submit(25)
        await sched.advance("5s")
        (waiting,) = await sched.scheduler.runs.list(task="rhythm", status="PENDING")
        assert await waiting.cancel()
        await sched.advance("60s")
        assert len(sched.runs("rhythm")) > 1
        assert task.next_fire is not None


@pytest.mark.parametrize(
    ("wait", "attempts", "ends"),
    [
        ("1s", 9, 30),  # in the middle of an attempt
        ("1h", 1, 30),  # and while it waits for the next
    ],
)
async def test_all_attempts_together_have_their_time(virtual: Any, wait: str, attempts: int, ends: float) -> None:
    registry = Registry()

    @registry.task(retry=Retry(attempts=99, wait=wait), run_timeout="30s")
    async def fails() -> None:
        await asyncio.sleep(2.5)
        raise OSError("again")

    async with virtual(registry, at=T0) as sched:
        run = await fails.submit()
        await sched.advance("1h")
        assert (run.status, run.attempt, run.finished_at) == ("FAILED", attempts, at(ends))
        with pytest.raises(TimeoutError, match="took longer than run_timeout='30s'"):
            await run


async def test_the_machine_may_sleep_without_costing_a_run_its_time(virtual: Any) -> None:
    registry = Registry()

    @registry.task(run_timeout="50s", retry=1)
    async def fails_once() -> None:
        await asyncio.sleep(20)
        if current_run().attempt == 1:
            raise OSError

    async with virtual(registry, at=T0) as sched:
        run = await fails_once.submit()
        await sched.advance("10s")
        await sched.jump("1h")
        await sched.advance("31s")
        assert (run.status, run.attempt) == ("SUCCESS", 2)


async def test_a_run_asks_for_more_time_from_a_thread_too_but_never_beyond_that_of_all_attempts() -> None:
    registry = Registry()

    @registry.task(timeout="300ms", run_timeout="1s")
    def slow(seconds: float) -> str:
        current_run().extend("10s")
        time.sleep(seconds)
        return "done"

    async with Scheduler(registry=registry, tz="UTC") as scheduler:
        assert await (await slow.submit(0.5)) == "done"
        run = await slow.submit(1.3)
        with pytest.raises(TimeoutError, match="run_timeout"):
            await run
        with pytest.raises(MisuseError, match="no attempt under way in this process"):
            run.extend("1s")
        assert len(scheduler.runs.abandoned) == 1
        await asyncio.sleep(0.5)


# --- stopped


async def test_a_run_is_cancelled_by_whoever_holds_it(virtual: Any) -> None:
    registry, task = taking(60)
    async with virtual(Scheduler(registry=registry, max_running=1), at=T0) as sched:
        running, waiting = await task.submit_many([(), ()])
        await sched.advance("1s")
        assert await waiting.cancel("not needed")
        assert (waiting.status, waiting.reason) == ("CANCELLED", "not needed")
        assert await running.cancel()
        await sched.advance("1s")
        assert (running.status, await running.cancel()) == ("CANCELLED", False)
        kept = await task.submit()
    with pytest.raises(MisuseError, match="not kept by a scheduler"):
        await kept.cancel() if not kept.status.final else await _orphan().cancel()


def _orphan() -> Any:
    from asyncsched import Run

    return Run("r", "t", 0, 0)


async def test_a_coroutine_that_does_not_heed_its_cancellation_is_left_behind(virtual: Any) -> None:
    registry, leave = Registry(), asyncio.Event()

    @registry.every("10s", id="deaf", overlap="queue_one")
    async def deaf() -> None:
        while not leave.is_set():
            try:
                await leave.wait()
            except asyncio.CancelledError:
                continue

    async with virtual(registry, at=T0) as sched:
        await sched.advance("15s")
        (run,) = sched.runs()
        assert await run.cancel("enough")
        await sched.advance("29s")
        assert run.status == "RUNNING"  # it may take its time to clean up
        await sched.advance("1s")
        assert (run.status, run.reason) == ("CANCELLED", "enough")
        assert len(sched.runs()) == 2
        assert [event.run for event in sched.events if isinstance(event, RunAbandoned)] == [run]
        (left,) = sched.scheduler.runs.abandoned
        assert run.id in left.what
        leave.set()
        await sched.advance("1s")
        assert sched.scheduler.runs.abandoned == ()
        assert run.status == "CANCELLED"  # what it does later changes nothing


async def test_a_process_that_is_out_of_time_leaves_no_child(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    registry = Registry()
    task = registry.register(Task(sleeps, executor="process", timeout="3s", args=(note,)))
    async with Scheduler(registry=registry, tz="UTC"):
        run = await task.submit()
        with pytest.raises(TimeoutError):
            await run
        pids = [int(pid) for pid in note.read_text(encoding="utf-8").split()]
        deadline = time.monotonic() + 30
        while any(map(_runs, pids)) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        assert not any(map(_runs, pids))


def _runs(pid: int) -> bool:
    if not alive(pid):
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.strip().startswith("Z")


async def test_a_thread_that_is_out_of_time_frees_its_place() -> None:
    registry, release = Registry(), threading.Event()

    @registry.task(timeout="50ms", max_running=1)
    def waits(first: bool) -> str:
        if first:
            release.wait(10)
        return "done"

    try:
        async with Scheduler(registry=registry, tz="UTC", threads=1) as scheduler:
            stuck, other = await waits.submit_many([(True,), (False,)])
            assert await other == "done"
            assert (stuck.status, type(stuck.error)) == ("FAILED", TimeoutError)
            assert len(scheduler.runs.abandoned) == 1
            release.set()
    finally:
        release.set()


# --- warnings


def warnings(sched: Any) -> list[tuple[str, bool, float]]:
    found = [event for event in sched.events if isinstance(event, RunWarning)]
    return [(type(event).__name__, event.over, (event.at_us - T0.timestamp() * 1e6) / 1e6) for event in found]


async def test_who_asks_is_warned_once_of_a_run_that_does_not_start_and_once_that_it_has(virtual: Any) -> None:
    registry, task = taking(20, warn_not_started="5s", max_running=1)
    async with virtual(registry, at=T0) as sched:
        await task.submit_many([(), (), ()])
        later = await task.using(delay="100s").submit()
        await sched.advance("21s")
        assert warnings(sched) == [
            (RunLate.__name__, False, 5),
            (RunLate.__name__, False, 5),
            (RunLate.__name__, True, 20),
        ]
        await sched.scheduler.runs.cancel(later.id)
        await sched.advance("1h")
        assert warnings(sched)[3:] == [(RunLate.__name__, True, 40)]


async def test_and_of_a_run_that_does_not_end_over_all_its_attempts(virtual: Any) -> None:
    registry = Registry()

    @registry.task(warn_longer="15s", retry=Retry(attempts=2, wait="2s"))
    async def fails(seconds: float) -> None:
        await asyncio.sleep(seconds)
        raise OSError

    async with virtual(registry, at=T0) as sched:
        await fails.submit(10)
        await fails.submit(5)
        await sched.advance("1h")
        assert warnings(sched) == [(RunLong.__name__, False, 15), (RunLong.__name__, True, 22)]


async def test_and_of_a_task_that_fails_again_and_again_also_over_a_restart(virtual: Any) -> None:
    registry, fine = Registry(), False

    @registry.every("10s", warn_failures=3, id="flaky")
    async def flaky() -> None:
        if not fine:
            raise OSError

    async with virtual(registry, at=T0) as sched:
        await sched.advance("25s")
        await sched.restart()
        await sched.advance("60s")
        fine = True
        await sched.advance("60s")
        assert warnings(sched) == [(TaskFailing.__name__, False, 30), (TaskFailing.__name__, True, 90)]
