"""The rows of features about what goes on after a restart, at a file: real processes, kills, and clocks set later."""

from __future__ import annotations

import asyncio
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from addresses import SHARED, new_url
from asyncsched import Registry, Retry, Scheduler, Task, current_run
from asyncsched._engine.timer import HopAlarm
from asyncsched.clock import Alarm, SystemClock, to_us
from asyncsched.events import Event, RunEnded, TaskChanged

T0 = datetime(2025, 1, 1, 14, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Shown(SystemClock):
    """A clock that goes as the system's, and shows ``moment`` now."""

    def __init__(self, moment: datetime) -> None:
        self._ahead_us = to_us(moment) - super().now_us()

    def now_us(self) -> int:
        return super().now_us() + self._ahead_us

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        return HopAlarm(self, ring)


class Session:
    """One life of a program: it serves tasks at the file, and is gone."""

    def __init__(self, path: Path, registry: Registry, moment: datetime) -> None:
        self.events: list[Event] = []
        self.scheduler = Scheduler(
            f"sqlite:///{path}?synchronous=normal", registry=registry, tz="UTC", clock=Shown(moment), stall_warning=None
        )
        self.scheduler.events.on({Event}, self.events.append)

    async def __aenter__(self) -> Scheduler:
        await self.scheduler.start()
        await self.scheduler.idle()
        return self.scheduler

    async def __aexit__(self, *_: object) -> None:
        await self.scheduler.stop()


def serving(**options: Any) -> Registry:
    registry = Registry()

    async def work() -> None: ...

    registry.register(Task(work, id="work", **options))
    return registry


async def ended(scheduler: Scheduler) -> list[tuple[datetime | None, str, int]]:
    """What has ended, oldest first: for when it was, how it ended, and how many fires it stands for."""
    found = await scheduler.runs.list(limit=10_000)
    return [(run.scheduled_for, run.reason or run.status, run.stands_for) for run in reversed(found)]


async def next_fire(scheduler: Scheduler) -> datetime | None:
    return (await scheduler.tasks.get("work")).next_fire


@pytest.mark.feature("EA2")
async def test_ea2_at_a_file_a_time_of_day_that_was_slept_through_is_one_late_run(tmp_path: Path) -> None:
    async with Session(tmp_path / "new.db", serving(at="14:30"), T0 + 35 * MINUTE) as scheduler:
        assert await ended(scheduler) == []
        assert await next_fire(scheduler) == T0 + timedelta(days=1, minutes=30)
    path = tmp_path / "jobs.db"
    async with Session(path, serving(at="14:30"), T0):
        pass
    for _ in range(2):
        async with Session(path, serving(at="14:30"), T0 + 35 * MINUTE) as scheduler:
            assert await ended(scheduler) == [(T0 + 30 * MINUTE, "SUCCESS", 1)]


@pytest.mark.feature("EA3")
async def test_ea3_at_a_file_run_at_runs_once_however_often_the_program_starts(tmp_path: Path) -> None:
    tried: list[int] = []
    registry = Registry()

    async def fails_once() -> None:
        tried.append(current_run().attempt)
        if len(tried) == 1:
            raise OSError

    async def nothing() -> None: ...

    registry.register(Task(fails_once, id="past", run_at=T0 - MINUTE, retry=1))
    registry.register(Task(nothing, id="old", run_at=T0 - MINUTE, grace="10s"))
    registry.register(Task(nothing, id="coming", run_at=T0 + MINUTE))
    for minutes, coming in ((0, []), (2, ["SUCCESS"]), (3, ["SUCCESS"])):
        async with Session(tmp_path / "jobs.db", registry, T0 + minutes * MINUTE) as scheduler:
            (past,) = await scheduler.runs.list(task="past")
            assert (past.status, past.attempt, tried) == ("SUCCESS", 2, [1, 2])
            (old,) = await scheduler.runs.list(task="old")
            assert (old.status, old.reason) == ("SKIPPED", "missed")
            assert [run.status for run in await scheduler.runs.list(task="coming")] == coming


@pytest.mark.feature("LS24")
async def test_ls24_a_redeploy_after_twenty_minutes_shifts_nothing_that_is_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    fires, changed = [], []
    for minutes, every in ((0, "1h"), (20, "1h"), (20, "30m"), (40, "30m")):
        session = Session(path, serving(every=every), T0 + minutes * MINUTE)
        async with session as scheduler:
            fires.append(await next_fire(scheduler))
        changed.append(len([event for event in session.events if isinstance(event, TaskChanged)]))
    assert fires[0] == fires[1]
    assert fires[0] is not None
    assert abs(fires[0] - T0 - 60 * MINUTE) < timedelta(seconds=5)
    assert fires[2] == fires[3]
    assert fires[2] is not None
    assert abs(fires[2] - T0 - 50 * MINUTE) < timedelta(seconds=5)
    assert changed == [0, 0, 1, 0]


class CountingSelector(selectors.DefaultSelector):
    """Counts how often the loop comes back from waiting; not its steps without a wait."""

    wakes = 0

    def select(self, timeout: float | None = None) -> Any:
        self.wakes += timeout is None or timeout > 0
        return super().select(timeout)


AT_REST = 12
"""At most so often a loop wakes that has nothing to do: at a file it looks once what was done before it came."""


def wakes_in(seconds: float, program: Callable[[Callable[[], Any]], Any]) -> int:
    """How often the loop wakes in so many seconds, from when ``program`` asks on; one of them is the test's own."""
    selector = CountingSelector()
    found: list[int] = []

    async def sleep() -> None:
        before = selector.wakes
        await asyncio.sleep(seconds)
        found.append(selector.wakes - before)

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(program(sleep))
    return found[0]


@pytest.mark.feature("LS28")
def test_ls28_at_a_file_what_is_overdue_is_one_run_at_once_and_no_spin(tmp_path: Path) -> None:
    async def overdue(sleep: Callable[[], Any]) -> None:
        path = tmp_path / "jobs.db"
        async with Session(path, serving(every="40m"), T0):
            pass
        async with Session(path, serving(every="40m"), T0 + 100 * MINUTE) as scheduler:
            assert [one[1:] for one in await ended(scheduler)] == [("SUCCESS", 2)]
            await sleep()

    assert wakes_in(1, overdue) <= AT_REST


@pytest.mark.feature("LS23")
@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/jobs.db"])
def test_ls23_what_always_fails_never_spins(tmp_path: Path, url: str) -> None:
    tried: list[int] = []

    async def failing(sleep: Callable[[], Any]) -> None:
        registry = Registry()

        @registry.task(retry=Retry(attempts=9, wait="1s", factor=1))
        async def fails() -> None:
            tried.append(current_run().attempt)
            raise OSError

        async with Scheduler(url.format(tmp_path), registry=registry, stall_warning=None) as scheduler:
            run = await fails.submit()
            await sleep()
            await scheduler.runs.cancel(run.id)

    assert wakes_in(2.5, failing) < 20
    assert tried == [1, 2, 3]


@pytest.mark.feature("PA7")
async def test_pa7_at_a_file_neither_a_restart_nor_a_run_by_hand_moves_the_rhythm(tmp_path: Path) -> None:
    path, fires = tmp_path / "jobs.db", []
    for minutes in (0, 20, 30, 45):
        async with Session(path, serving(every="1h"), T0 + minutes * MINUTE) as scheduler:
            if minutes == 30:
                await (await scheduler.tasks.run_now("work"))
            fires.append(await next_fire(scheduler))
    assert len(set(fires)) == 1
    async with Session(path, serving(every="1h"), T0 + 61 * MINUTE) as scheduler:
        assert [one[0] for one in await ended(scheduler)] == [None, fires[0]]


@pytest.mark.feature("PA13")
def test_pa13_at_a_file_a_paused_and_overdue_task_costs_nothing_and_stays_paused(tmp_path: Path) -> None:
    async def paused(sleep: Callable[[], Any]) -> None:
        path = tmp_path / "jobs.db"
        async with Session(path, serving(every="1m"), T0) as scheduler:
            await scheduler.tasks.pause("work")
        async with Session(path, serving(every="1m"), T0 + 60 * MINUTE) as scheduler:
            assert await next_fire(scheduler) is None
            await sleep()
            assert await ended(scheduler) == []
            await scheduler.tasks.resume("work")
            await scheduler.idle()
            assert {what for _at, what, _count in await ended(scheduler)} == {"paused"}

    assert wakes_in(1, paused) <= AT_REST


@pytest.mark.feature("PA28")
@pytest.mark.parametrize(("options", "ran"), [({}, [1_440]), ({"missed": "all", "missed_limit": 10}, [1] * 10)])
async def test_pa28_at_a_file_a_day_of_outage_is_no_flood(
    tmp_path: Path, options: dict[str, Any], ran: list[int]
) -> None:
    path = tmp_path / "jobs.db"
    async with Session(path, serving(every="1m", **options), T0):
        pass
    async with Session(path, serving(every="1m", **options), T0 + timedelta(days=1, seconds=30)) as scheduler:
        found = await ended(scheduler)
        assert [count for _at, what, count in found if what == "SUCCESS"] == ran
        assert sum(count for _at, what, count in found if what == "missed") == 1_440 - sum(ran)


# --- what a killed process leaves


@contextmanager
def program(text: str, *args: object, **env: str) -> Iterator[subprocess.Popen[str]]:
    """The program, which is killed when the block is left."""
    command = [sys.executable, "-c", text, *map(str, args)]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | env, **pipes) as running:
        try:
            yield running
        finally:
            running.kill()


def told(running: subprocess.Popen[str]) -> list[str]:
    """The words of the next line that it prints."""
    assert running.stdout is not None
    line = running.stdout.readline()
    assert line, running.communicate()[1]
    return line.split()


FLOW = """
import asyncio, sys
from asyncsched import Registry, Scheduler, Task, result_of

url, hang = sys.argv[1:]
registry = Registry()

async def extract() -> list[int]:
    print("extract", flush=True)
    return [3, 4]

async def transform(dep_extract: list[int]) -> int:
    print("transform", flush=True)
    if hang == "hang":
        await asyncio.Event().wait()
    return sum(dep_extract)

async def load(dep_transform: int) -> int:
    print("load", flush=True)
    return dep_transform

registry.register(Task(extract, id="extract", every="300ms", max_runs=1))
registry.register(Task(transform, id="transform", depends_on=["extract"]))
final = registry.register(Task(load, id="load", depends_on=["transform"]))

async def main() -> None:
    async with Scheduler(url, registry=registry):
        print("result", await (await final.next_run()), flush=True)

asyncio.run(main())
"""


@pytest.mark.feature("NB15")
def test_nb15_a_flow_whose_process_was_killed_after_the_first_of_three_goes_on_with_the_second(tmp_path: Path) -> None:
    url = new_url("sqlite", tmp_path)
    with program(FLOW, url, "hang") as killed:
        assert [told(killed), told(killed)] == [["extract"], ["transform"]]
    with program(FLOW, url, "go") as again:
        out, err = again.communicate(timeout=30)
    assert out.split("\n") == ["transform", "load", "result 7", ""], err


@pytest.mark.feature("NB15")
@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("sqlite", "followers"),
        ("sqlite", "settle-before-commit"),
        ("sqlite", "settle-after-commit"),
        ("sqlite", "finish-after-commit"),
        ("postgres", "followers"),
        ("redis", "followers"),
    ],
)
def test_nb15_a_crash_between_an_end_and_what_follows_from_it_is_healed_at_the_start(
    tmp_path: Path, kind: str, point: str
) -> None:
    url = new_url(kind, tmp_path)
    with program(FLOW, url, "go", ASYNCSCHED_CRASH_AT=point) as killed:
        before, _err = killed.communicate(timeout=30)
    assert killed.returncode == -9
    assert before.split() == ["extract"]
    with program(FLOW, url, "go") as again:
        out, err = again.communicate(timeout=30)
    assert out.split("\n") == ["transform", "load", "result 7", ""], err


@pytest.mark.feature("NB15")
async def test_nb15_at_a_file_two_roots_are_joined_when_both_are_new_with_the_latest_of_each(tmp_path: Path) -> None:
    registry = Registry()

    async def instant() -> int:
        scheduled_us = current_run().scheduled_us
        assert scheduled_us is not None
        return scheduled_us // 1_000

    registry.register(Task(instant, id="twos", every="400ms"))
    registry.register(Task(instant, id="threes", every="600ms"))
    joined: list[list[int]] = []
    four = asyncio.Event()

    @registry.after("twos", "threes", id="pair")
    async def pair(dep_twos: int, dep_threes: int) -> list[int]:
        return [dep_twos, dep_threes]

    def note(event: RunEnded) -> None:
        if event.task == "pair":
            joined.append(event.run.result)
            if len(joined) == 4:
                four.set()

    path = tmp_path / "jobs.db"
    async with Scheduler(f"sqlite:///{path}?synchronous=normal", registry=registry) as scheduler:
        scheduler.events.on({RunEnded}, note)
        start = min(at.timestamp() for at, _task in [(at, task) for task, at in await scheduler.tasks.next_fires()])
        await asyncio.wait_for(four.wait(), 20)
    twos = round(start * 1_000)
    seen = [[round((one - twos) / 200) + 2 for one in pair] for pair in joined[:4]]
    assert seen == [[2, 3], [6, 6], [8, 9], [12, 12]]


RETRIES = """
import asyncio, sys, time
from asyncsched import Registry, Retry, RetryAfter, Scheduler, current_run

registry = Registry()

def note(what="began"):
    run = current_run()
    print(what, run.idempotency_key, run.attempt, run.token, time.time(), flush=True)

@registry.task(id="fails", retry=Retry(attempts=4, wait="500ms", factor=2, cap="60s"))
async def fails() -> None:
    note()
    raise OSError("no")

@registry.task(id="asks", retry=Retry(attempts=2))
async def asks() -> str:
    note()
    if current_run().attempt == 1:
        raise RetryAfter("1500ms")
    return "done"

@registry.task(id="pays", retry=Retry(attempts=3, wait="100ms"))
async def pays() -> str:
    note()
    if current_run().attempt == 1:
        raise OSError("the bank is closed")
    if current_run().token < 5:
        await asyncio.Event().wait()
    return "paid"

async def main() -> None:
    async with Scheduler(sys.argv[1], registry=registry) as scheduler:
        if len(sys.argv) > 2:
            await scheduler.tasks.run_now(sys.argv[2])
        await scheduler.idle()
        while not all(run.status.final for run in await scheduler.runs.list()):
            await asyncio.sleep(0.01)
        (run,) = await scheduler.runs.list()
        print("over", run.status, run.attempt, flush=True)

asyncio.run(main())
"""


@pytest.mark.feature("EA23")
@pytest.mark.feature("PQ7")
def test_ea23_pq7_a_retry_whose_process_was_killed_meanwhile_goes_on_at_its_instant(tmp_path: Path) -> None:
    url = new_url("sqlite", tmp_path)
    with program(RETRIES, url, "fails") as killed:
        before = [told(killed) for _ in range(2)]
        time.sleep(0.1)  # its failure is on the disk, and the next attempt is a second away
    with program(RETRIES, url) as again:
        after = [told(again) for _ in range(3)]
    assert [line[2] for line in before + after[:2]] == ["1", "2", "3", "4"]
    at = [float(line[4]) for line in before + after[:2]]
    assert at[2] - at[1] >= 1.0
    assert 2.0 <= at[3] - at[2] < 2.5
    assert after[2] == ["over", "FAILED", "4"]


@pytest.mark.feature("EA23")
def test_ea23_an_instant_that_the_function_asked_for_outlives_the_process_too(tmp_path: Path) -> None:
    url = new_url("sqlite", tmp_path)
    with program(RETRIES, url, "asks") as killed:
        first = told(killed)
        time.sleep(0.1)
    with program(RETRIES, url) as again:
        second, over = told(again), told(again)
    assert float(second[4]) - float(first[4]) >= 1.5
    assert (second[2], over) == ("2", ["over", "SUCCESS", "2"])


@pytest.mark.feature("NB20")
@pytest.mark.parametrize("kind", SHARED)
def test_nb20_one_key_for_what_fails_is_killed_and_succeeds(tmp_path: Path, kind: str) -> None:
    url = new_url(kind, tmp_path, lease="3s")
    with program(RETRIES, url, "pays") as killed:
        before = [told(killed) for _ in range(2)]
    with program(RETRIES, url) as again:
        last, over = told(again), told(again)
    assert len({line[1] for line in [*before, last]}) == 1
    # What the killed process began counts for nothing, so the attempt keeps its number; its token is a greater one.
    assert [line[2] for line in [*before, last]] == ["1", "2", "2"]
    tokens = [int(line[3]) for line in [*before, last]]
    assert tokens == sorted(set(tokens))
    assert over == ["over", "SUCCESS", "2"]
