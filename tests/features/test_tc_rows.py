"""The rows of features about exact instants, and about what runs, callbacks and operators may do meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from asyncsched import Registry, Run, RunContext, Scheduler, Task, current_run
from asyncsched.events import CallbackFailed, RunEnded, RunStarted, SchedulerStopping, TaskRemoved
from asyncsched.triggers import Every, Once, Trigger

T0 = datetime(2025, 1, 1, tzinfo=UTC)


async def nothing() -> None: ...


@pytest.mark.feature("TC5")
async def test_tc5_once_is_an_instant_and_a_naive_one_is_in_the_schedulers_zone(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, trigger=Once(T0 + timedelta(seconds=20)), id="aware"))
    registry.register(Task(nothing, trigger=Once(datetime(2025, 1, 1, 12)), id="naive"))
    registry.register(Task(nothing, run_at=datetime(2025, 1, 1, 12), id="run-at"))
    registry.register(Task(nothing, run_at=datetime(2025, 1, 1, 12), id="own-zone", tz="America/New_York"))
    async with virtual(Scheduler(registry=registry, tz="Asia/Seoul"), at=T0) as sched:
        await sched.advance("3 days")
        started = {run.task: run.started_at for run in sched.runs()}
    assert started == {
        "aware": T0 + timedelta(seconds=20),
        "naive": T0 + timedelta(hours=3),
        "run-at": T0 + timedelta(hours=3),
        "own-zone": T0 + timedelta(hours=17),
    }


@pytest.mark.feature("TC6")
async def test_tc6_an_interval_may_be_below_a_second_and_outlives_a_stall(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, every="50ms", id="often"))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("2s")
        tick = timedelta(milliseconds=50)
        assert [run.started_at for run in sched.runs("often")] == [T0 + tick * number for number in range(1, 41)]
        await sched.advance("20ms")
        await sched.jump("30s")
        late = sched.runs("often")[40:]
        assert [(run.scheduled_for, run.stands_for) for run in late] == [(T0 + timedelta(seconds=32), 600)]
        await sched.advance("2s")
        after = sched.runs("often")[41:]
        assert [run.scheduled_for for run in after] == [T0 + timedelta(seconds=32) + tick * n for n in range(1, 41)]
        assert [run.started_at for run in after] == [run.scheduled_for for run in after]


@pytest.mark.feature("TC12")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"every": "1.000001s"}, T0 + timedelta(seconds=1, microseconds=1)),
        ({"trigger": Every("1h", T0 + timedelta(microseconds=7))}, T0 + timedelta(microseconds=7)),
        ({"at": "13:30", "tz": "Asia/Seoul"}, T0 + timedelta(hours=4, minutes=30)),
        ({"cron": "30 13 * * *"}, T0 + timedelta(hours=13, minutes=30)),
        ({"run_at": T0 + timedelta(microseconds=123456)}, T0 + timedelta(microseconds=123456)),
        ({}, None),
    ],
    ids=["every", "start", "at", "cron", "run_at", "none"],
)
async def test_tc12_next_fire_is_an_aware_datetime_and_exact(
    virtual: Any, options: dict[str, Any], expected: datetime | None
) -> None:
    registry = Registry()
    task = registry.register(Task(nothing, **options))
    assert task.next_fire is None
    async with virtual(registry, at=T0) as sched:
        assert task.next_fire == expected
        if expected is not None:
            assert str(task.next_fire.tzinfo) == options.get("tz", "UTC")
            await sched.until(task="nothing")
            assert sched.now() == expected
    assert task.next_fire is None


@pytest.mark.feature("TC19")
async def test_tc19_a_cron_line_means_one_thing_however_it_is_given(virtual: Any) -> None:
    line, registry = "0 12 1 * MON", Registry()

    @registry.cron(line)
    async def decorated() -> None: ...

    registry.register(Task(nothing, cron=line, id="constructed"))
    registry.register(Task(nothing, trigger=line, id="text"))
    async with virtual(registry, at=T0) as sched:
        added = await sched.scheduler.tasks.add(Task(nothing, cron=line, id="added"))
        stored = Trigger.from_json(added.trigger.to_json())
        await sched.scheduler.tasks.add(Task(nothing, trigger=stored, id="reloaded"))
        previews = {task.id: task.next_fires(50) for task in await sched.scheduler.tasks.list()}
        assert len(previews) == 5
        (instants,) = {tuple(preview) for preview in previews.values()}
        assert instants == tuple(islice(stored.upcoming(T0), 50))
        assert [f"{instant:%a %d %H:%M}" for instant in instants[:4]] == [
            "Wed 01 12:00",
            "Mon 06 12:00",
            "Mon 13 12:00",
            "Mon 20 12:00",
        ]
        await sched.advance("120 days")
        fired = {task: [run.scheduled_for for run in sched.runs(task)] for task in previews}
    (runs,) = {tuple(of_one) for of_one in fired.values()}
    assert runs == instants[: len(runs)]
    assert len(runs) == 21  # 17 Mondays and four firsts until the end of April


@pytest.mark.feature("TC19")
async def test_tc19_and_still_means_it_after_leaving_and_entering_again(virtual: Any) -> None:
    registry = Registry()
    task = registry.register(Task(nothing, cron="0 12 1 * MON"))
    async with virtual(registry, at=T0) as sched:
        before = task.next_fires(50)
        await sched.restart()
        assert task.next_fires(50) == before


@pytest.mark.feature("TC24")
@pytest.mark.full_speed
async def test_tc24_nothing_is_lost_however_much_is_due(virtual: Any) -> None:
    registry = Registry()
    for number in range(5000):
        moment = T0 + timedelta(seconds=1, microseconds=number * 200)
        registry.register(Task(nothing, run_at=moment, id=f"t{number}"))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("2s")
        assert Counter(run.status for run in sched.runs()) == {"SUCCESS": 5000}
        assert len({run.task for run in sched.runs()}) == 5000


@pytest.mark.feature("TC1")
async def test_tc1_a_parameter_annotated_run_context_is_given_the_run(virtual: Any) -> None:
    registry = Registry()
    seen: list[tuple[Run[Any], Run[Any], int]] = []

    @registry.every("1m", retry=1, kwargs={"number": 3})
    async def on_the_loop(context: RunContext, number: int) -> None:
        seen.append((context, current_run(), number))
        assert (context.task, context.node) == (on_the_loop.id, "here")
        assert context.attempt == len(seen)
        assert context.scheduled_for == T0 + timedelta(minutes=1)
        if context.attempt == 1:
            raise OSError

    @registry.task
    def in_a_thread(number: int, *more: int, context: RunContext, key: str = "") -> tuple[Any, ...]:
        assert context is current_run()
        return context.id, number, more, key

    async with virtual(Scheduler(registry=registry, node="here"), at=T0) as sched:
        await sched.advance("1m")
        (run,) = sched.runs()
        assert seen == [(run, run, 3)] * 2
        assert run.status == "SUCCESS"
        submitted = await in_a_thread.submit(1, 2, key="k")
        assert await submitted == (submitted.id, 1, (2,), "k")


ONE_AT_ONCE = """
import asyncio
from asyncsched import Registry, Scheduler

scheduler = Scheduler(registry=Registry(), tz="UTC")

@scheduler.task
async def half():
    await asyncio.sleep(0.5)
    return asyncio.get_running_loop().time()

async def main():
    async with scheduler:
        began = asyncio.get_running_loop().time()
        ends = [await run - began for run in await half.submit_many([()] * 10)]
        print(min(ends) >= 0.5, max(ends) - min(ends) < 0.4)

asyncio.run(main())
"""


@pytest.mark.feature("TC2")
def test_tc2_coroutines_that_are_due_together_run_together_and_are_awaited() -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", ONE_AT_ONCE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == ("True True\n", "", 0)


@pytest.mark.feature("TC4")
async def test_tc4_a_submitted_run_may_wait_less_than_a_second(virtual: Any) -> None:
    registry = Registry()
    task = registry.register(Task(nothing, id="work"))
    async with virtual(registry, at=T0) as sched:
        before = asyncio.all_tasks()
        run = await task.using(delay="250ms").submit()
        assert run.status == "PENDING"
        await run
        assert (run.started_at, sched.now()) == (T0 + timedelta(seconds=0.25),) * 2
        await sched.advance("1 day")
        assert sched.runs() == [run]
        assert await sched.scheduler.tasks.list() == [task]
        assert asyncio.all_tasks() == before


@pytest.mark.feature("TC7")
def test_tc7_an_id_is_module_and_name_or_what_is_given() -> None:
    assert Task(nothing).id == f"{__name__}:nothing"
    assert Task(nothing, id="given").id == "given"


@pytest.mark.feature("TC8")
async def test_tc8_a_run_may_change_its_scheduler(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1s", id="once")
    async def once() -> None:
        assert await sched.scheduler.tasks.remove("once")

    @registry.every("1h", id="adds")
    async def adds() -> None:
        await sched.scheduler.tasks.add(Task(nothing, every="1m", id="added"))
        await sched.scheduler.tasks.remove("adds")

    async with virtual(registry, at=T0) as sched:
        await sched.advance("1h")
        assert [(run.task, run.status) for run in sched.runs()] == [("once", "SUCCESS"), ("adds", "SUCCESS")]
        await sched.advance("2m")
        assert len(sched.runs("added")) == 2


@pytest.mark.feature("TC10")
async def test_tc10_fires_come_on_time(virtual: Any) -> None:
    registry = Registry()
    began: list[datetime] = []

    @registry.every("5ms")
    async def beat() -> None:
        began.append(sched.now())

    async with virtual(registry, at=T0) as sched:
        await sched.advance("1s")
        assert began == [T0 + number * timedelta(milliseconds=5) for number in range(1, 201)]


@pytest.mark.feature("TC10")
async def test_tc10_no_fire_of_a_real_clock_comes_early() -> None:
    registry = Registry()
    late_us: list[int] = []  # by how much is a figure of the benchmarks
    enough = asyncio.Event()

    @registry.every("5ms")
    async def beat(context: RunContext) -> None:
        late_us.append(time.time_ns() // 1000 - context.due_us)
        if len(late_us) == 50:
            enough.set()

    async with Scheduler(registry=registry, tz="UTC"):
        await asyncio.wait_for(enough.wait(), 30)
    assert min(late_us) >= 0


@pytest.mark.feature("TC11")
async def test_tc11_what_is_due_now_is_among_the_next_fires(virtual: Any) -> None:
    async with virtual(Registry(), at=T0) as sched:
        tasks = sched.scheduler.tasks
        await tasks.add(Task(nothing, run_at=T0, id="now"))
        assert await tasks.next_fires() == [("now", T0)]
        await sched.advance("1s")
        assert await tasks.next_fires() == []
        assert len(sched.runs("now")) == 1


@pytest.mark.feature("TC13")
@pytest.mark.full_speed
async def test_tc13_a_subscription_tells_of_one_task_in_order_until_it_is_cancelled(virtual: Any) -> None:
    registry = Registry()
    task = registry.register(Task(nothing, id="work"))
    other = registry.register(Task(nothing, id="other"))
    heard: list[tuple[type, str]] = []

    def listen(event: Any) -> None:
        heard.append((type(event), "" if isinstance(event, TaskRemoved) else event.run.id))

    async with virtual(registry, at=T0) as sched:
        kinds = {RunStarted, RunEnded, TaskRemoved}
        subscription = sched.scheduler.events.on(kinds, listen, task="work")
        runs = await task.submit_many([()] * 1000)
        await other.submit()
        await sched.drain()
        assert len(heard) == 2000
        assert {run.id for run in runs} == {run for _kind, run in heard}
        place = {found: place for place, found in enumerate(heard)}
        assert all(place[RunStarted, run.id] < place[RunEnded, run.id] for run in runs)
        await sched.scheduler.tasks.remove("work")
        assert heard[2000:] == [(TaskRemoved, "")]
        subscription.cancel()
        await sched.scheduler.tasks.add(Task(nothing, id="work", every="1s"))
        await sched.advance("5s")
        assert len(heard) == 2001


@pytest.mark.feature("TC16")
async def test_tc16_callbacks_on_the_stop_are_awaited_the_last_first_whatever_fails(virtual: Any) -> None:
    registry = Registry()
    told: list[int] = []

    @registry.task
    async def failing() -> None:
        raise RuntimeError("run")

    def callback(number: int) -> Any:
        async def call(_event: SchedulerStopping) -> None:
            await asyncio.sleep(1)
            told.append(number)
            if number == 3:
                raise RuntimeError("callback")

        return call

    async with virtual(registry, at=T0) as sched:
        for number in (1, 2, 3):
            sched.scheduler.events.on({SchedulerStopping}, callback(number))
        await failing.submit()
        await sched.drain()
        await sched.scheduler.stop()
        assert told == [3, 2, 1]
        assert sched.now() == T0 + timedelta(seconds=3)
        (failed,) = [event for event in sched.events if isinstance(event, CallbackFailed)]
        assert repr(failed.error) == "RuntimeError('callback')"


SERVES = """
import asyncio
from asyncsched import Registry, Scheduler
from asyncsched.events import SchedulerStopping

app = Scheduler(registry=Registry(), tz="UTC")

@app.every("1h", immediate=True)
async def later():
    app.events.on({SchedulerStopping}, goodbye)
    print("ready", flush=True)

async def goodbye(event):
    await asyncio.sleep(0)
    print("goodbye", flush=True)

app.run()
"""


@pytest.mark.feature("TC17")
@pytest.mark.skipif(os.name != "posix", reason="a signal is sent")
def test_tc17_a_callback_that_came_after_the_start_counts() -> None:
    command = [sys.executable, "-W", "error", "-c", SERVES]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGTERM)
        out, err = program.communicate(timeout=10)
    assert (out, err, program.returncode) == ("goodbye\n", "", 0)


@pytest.mark.feature("TC25")
async def test_tc25_counts_are_exact_and_metadata_stays_over_a_restart(virtual: Any) -> None:
    registry = Registry()
    metadata = {"owner": "ops", "levels": [1, 2]}
    task = registry.register(Task(nothing, every="1s", id="work", metadata=metadata))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("50s")
        await sched.restart()
        assert len(await sched.scheduler.runs.list(task="work", status="SUCCESS")) == 50
        assert len(task.history) == 50
        assert (await sched.scheduler.tasks.get("work")).metadata == metadata
        await sched.advance("1s")
        assert len(task.history) == 51
