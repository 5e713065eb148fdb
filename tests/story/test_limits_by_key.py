"""Limits that look at the arguments: places, rates, and several submits that are one run."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched import Registry, Retry, Task, current_run, testing
from asyncsched.errors import ArgumentsError, ConfigError

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


# --- places and rates


async def test_the_key_may_be_made_of_all_arguments(virtual: Any) -> None:
    registry = Registry()

    @registry.task(max_running=1, key=lambda customer, region: f"{customer}:{region}")
    async def bill(customer: str, region: str) -> None:
        await asyncio.sleep(1)

    async with virtual(registry, at=T0):
        runs = await bill.submit_many([("acme", "eu"), ("acme", "us"), ("acme", "eu")])
        await asyncio.gather(*runs)
        assert [run.started_at for run in runs] == [at(0), at(0), at(1)]


async def test_fires_and_submits_of_one_key_share_a_rate(virtual: Any) -> None:
    registry = Registry()

    @registry.every("10s", rate="1/15s", key="host", kwargs={"host": "a"}, overlap="allow")
    async def ask(host: str) -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("9s")
        await ask.submit("a")
        await ask.submit("b")
        await sched.advance("42s")
        starts = [(run.kwargs.get("host", *run.args), run.started_at) for run in sched.runs()]
        assert starts == [("a", at(9)), ("b", at(9)), ("a", at(24)), ("a", at(39))]


async def test_every_attempt_is_a_start(virtual: Any) -> None:
    registry, starts = Registry(), list[tuple[str, datetime]]()

    @registry.task(rate="1/10s", retry=Retry(attempts=3, wait="1s"))
    async def call(name: str) -> None:
        starts.append((name, sched.now()))
        if name == "bad":
            raise OSError

    async with virtual(registry, at=T0) as sched:
        bad, good = await call.submit_many([("bad",), ("good",)])
        await good
        assert starts == [("bad", at(0)), ("bad", at(10)), ("bad", at(20)), ("good", at(30))]
        assert bad.status == "FAILED"


async def test_a_clock_that_is_set_back_does_not_stop_a_rate(virtual: Any) -> None:
    registry = Registry()

    @registry.task(rate="1/10s")
    async def call() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await (await call.submit())
        run = await call.submit()
        await sched.jump("-1d")
        await sched.advance("11s")
        assert run.status == "SUCCESS"


CALLS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("ab"), st.integers(0, 6), st.integers(0, 2)), max_size=25)


@settings(max_examples=50, deadline=None)
@given(CALLS)
def test_whatever_is_submitted_no_key_passes_its_limits_and_every_run_ends(
    calls: list[tuple[int, str, int, int]],
) -> None:
    testing.run(lambda: submit_all(calls))


async def submit_all(calls: list[tuple[int, str, int, int]]) -> None:
    registry, inside, starts = Registry(), Counter[str](), dict[str, list[datetime]]()

    @registry.task(key="customer", max_running=2, rate="3/10s", retry=Retry(attempts=3, wait="1s"))
    async def bill(customer: str, seconds: int, failures: int) -> None:
        inside[customer] += 1
        starts.setdefault(customer, []).append(sched.now())
        assert inside[customer] <= 2
        await asyncio.sleep(seconds)
        inside[customer] -= 1
        if current_run().attempt <= failures:
            raise OSError

    async with testing.virtual(registry, at=T0) as sched:
        runs = []
        for gap, customer, seconds, failures in calls:
            await sched.advance(timedelta(seconds=gap))
            runs.append(await bill.submit(customer, seconds, failures))
        await asyncio.gather(*runs)
        assert {run.status for run in runs} <= {"SUCCESS"}
    for times in starts.values():
        assert all(later - one >= timedelta(seconds=10) for one, later in zip(times, times[3:], strict=False))


# --- several submits that are one run


async def test_the_run_that_waits_takes_over_what_was_said_last(virtual: Any) -> None:
    registry, seen = Registry(), list[tuple[tuple[Any, ...], int]]()

    @registry.task(debounce="5s")
    async def rebuild(number: int) -> int:
        seen.append((run.args, run.priority))
        return number

    async with virtual(registry, at=T0) as sched:
        run = await rebuild.submit(1)
        await sched.advance("4s")
        again = await rebuild.using(priority=7).submit(2)
        assert again is run
        assert await run == 2
        assert (seen, run.started_at) == ([((2,), 7)], at(9))
        other = await rebuild.submit(3)
        assert other is not run
        assert await other == 3


async def test_a_submit_while_the_debounced_run_is_running_makes_another(virtual: Any) -> None:
    registry, seen = Registry(), list[int]()

    @registry.task(debounce="1s")
    async def rebuild(number: int) -> None:
        await asyncio.sleep(10)
        seen.append(number)

    async with virtual(registry, at=T0) as sched:
        first = await rebuild.submit(1)
        await sched.advance("2s")
        second = await rebuild.submit(2)
        await asyncio.gather(first, second)
        assert seen == [1, 2]


async def test_one_submit_may_be_unique_by_a_key_of_its_own(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def send(to: str) -> str:
        return to

    async with virtual(registry, at=T0) as sched:
        later = sched.now() + timedelta(hours=1)
        first = await send.using(at=later, unique="welcome").submit("a@b.c")
        second = await send.using(unique="welcome").submit("x@y.z")
        other = await send.using(unique="reminder").submit("x@y.z")
        plain = await send.submit("x@y.z")
        assert second is first
        assert len({first.id, other.id, plain.id}) == 3
        assert await second == "a@b.c"
        kept = await send.using(unique="kept", unique_for="1h").submit("1")
        await kept
        assert await send.using(unique="kept", unique_for="1h").submit("2") is kept


async def test_what_is_done_by_hand_is_done(virtual: Any) -> None:
    registry = Registry()

    @registry.task(cooldown="1h")
    async def warn() -> None: ...

    @registry.task(debounce="1h")
    async def rebuild() -> None: ...

    @registry.task(unique=True, unique_for="1h")
    async def ship() -> None:
        await asyncio.sleep(1)

    async with virtual(registry, at=T0) as sched:
        tasks, runs = sched.scheduler.tasks, sched.scheduler.runs
        first = await warn.submit()
        await first
        assert (await runs.retry(first.id)).id != first.id
        assert (await tasks.run_now(warn.id)).id != first.id
        now = await tasks.run_now(rebuild.id)
        await now
        assert now.started_at == at(0)
        live = await ship.submit()
        assert (await tasks.run_now(ship.id)).id == live.id
        await live
        assert (await tasks.run_now(ship.id)).id != live.id


async def test_many_submits_at_once_are_one_run_and_the_task_knows_of_one(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1m", unique=True)
    async def sync() -> None:
        await asyncio.sleep(80)

    async with virtual(registry, at=T0) as sched:
        await sched.advance("30s")
        runs = await sync.submit_many([()] * 50)
        assert len({run.id for run in runs}) == 1
        assert sync.status == "PENDING"
        await sched.advance("31s")  # the fire of 00:01:00 meets that run
        assert Counter(run.reason for run in sched.skips()) == {"overlap": 1}
        await runs[0]
        await sched.advance("1m")
        assert [run.started_at for run in sched.runs()] == [at(30), at(120)]


# --- fires


async def test_a_fire_soon_after_another_run_is_a_recorded_skip(virtual: Any) -> None:
    registry = Registry()

    @registry.every("10m", cooldown="5m")
    async def backup() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("8m")
        by_hand = await backup.submit()
        await sched.advance("3m")
        (skip,) = sched.skips()
        assert (skip.reason, skip.scheduled_for) == ("cooldown", at(600))
        assert list(backup.history) == [skip, by_hand]
        await sched.advance("10m")
        fired = sched.runs()[-1]
        assert fired.scheduled_for == at(1200)
        assert await backup.submit() is fired


async def test_a_fire_while_a_run_of_its_key_is_live_is_a_recorded_skip(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1m", unique="host", overlap="allow", args=["a"])
    async def ask(host: str) -> None:
        await asyncio.sleep(90)

    async with virtual(registry, at=T0) as sched:
        await sched.advance("50s")
        await ask.submit("b")
        await sched.advance("3m")
        assert [(run.args, run.started_at) for run in sched.runs()] == [
            (("b",), at(50)), (("a",), at(60)), (("a",), at(180)),
        ]  # fmt: skip
        assert [(run.reason, run.scheduled_for) for run in sched.skips()] == [("overlap", at(120))]


async def test_fires_wait_for_no_debounce(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1m", debounce="10s")
    async def rebuild() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("55s")
        await rebuild.submit()
        await sched.advance("66s")
        assert [run.started_at for run in sched.runs()] == [at(60), at(65), at(120)]
        assert sched.skips() == []


# --- graphs


async def test_what_depends_on_a_run_of_several_submits_runs_once(virtual: Any) -> None:
    registry = Registry()

    @registry.task(unique=True)
    async def extract() -> None:
        await asyncio.sleep(10)

    @registry.after(extract)
    async def load() -> None: ...

    async with virtual(registry, at=T0) as sched:
        runs = await asyncio.gather(*(extract.submit() for _ in range(5)))
        await sched.advance("1m")
        assert len({run.id for run in runs}) == 1
        assert [run.flow for run in sched.runs("load")] == [runs[0].id]
        assert len(await sched.scheduler.runs.list()) == 2
        await extract.submit()
        await sched.advance("1m")
        assert len(sched.runs("load")) == 2


async def test_what_depends_on_a_fire_that_was_skipped_for_a_cooldown_does_not_run(virtual: Any) -> None:
    registry = Registry()

    @registry.every("10m", cooldown="5m")
    async def extract() -> None: ...

    @registry.after(extract)
    async def load() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("8m")
        run = await extract.submit()
        await sched.advance("3m")
        assert [skip.reason for skip in sched.skips()] == ["cooldown"]
        assert [each.flow for each in sched.runs("load")] == [run.id]
        assert {each.status for each in await sched.scheduler.runs.list(task=load.id)} == {"SUCCESS"}


async def test_each_flow_has_its_own_runs_whatever_its_tasks_say_of_submits(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def extract() -> None: ...

    @registry.after(extract, unique=True, overlap="allow")
    async def load() -> None:
        await asyncio.sleep(10)

    async with virtual(registry, at=T0) as sched:
        roots = await extract.submit_many([(), ()])
        await sched.advance("1m")
        assert sorted(run.flow for run in sched.runs("load")) == sorted(root.id for root in roots)


# --- mistakes


async def test_a_key_that_cannot_be_made_is_told_where_it_is_submitted(virtual: Any) -> None:
    registry = Registry()

    @registry.task(max_running=1, key="customer")
    async def bill(customer: Any) -> None: ...

    @registry.task(unique=lambda number: 1 // number)
    async def divide(number: int) -> None: ...

    async with virtual(registry, at=T0) as sched:
        with pytest.raises(ArgumentsError, match=r"key='customer' is \['acme'\], a list: give a text or a number"):
            await bill.submit(["acme"])
        with pytest.raises(ArgumentsError, match="no key can be made of these arguments: ZeroDivisionError"):
            await divide.submit_many([(1,), (0,)])
        assert await sched.scheduler.runs.list() == []


def work(customer: str, *rest: str) -> None: ...


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"key": "custommer", "rate": "1/s"}, "key='custommer': the function has no such parameter"),
        ({"unique": "rest"}, "unique='rest': the function has no such parameter; its parameters are customer"),
        ({"unique": 3}, "unique=3: the name of a parameter"),
        ({"key": "customer"}, "tells what is counted apart: give also one of"),
        ({"unique": True, "cooldown": "1m"}, "give one of them"),
        ({"unique": True, "debounce": "1m"}, "give one of them"),
        ({"cooldown": "1m", "debounce": "1m"}, "give one of them"),
        ({"unique_for": "1m"}, "unique_for= makes unique= hold longer"),
        ({"unique": True, "unique_for": "0s"}, "unique_for="),
        ({"every": "1m", "args": [["acme"]], "unique": "customer"}, "has no key when it fires: .*unique='customer' is"),
        ({"every": "1m", "args": ["a"], "rate": "1/s", "key": lambda _customer: 1 // 0}, "has no key when it fires"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_where_it_is_declared(options: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Task(work, id="t", **options)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"unique": ""}, r"using\(unique=''\): give a text"),
        ({"unique": 5}, r"using\(unique=5\): give a text"),
        ({"queue": ""}, r"using\(queue=''\): give a text"),
        ({"unique_for": "1m"}, "makes unique= hold longer: give that too"),
        ({"unique": "a", "unique_for": 5}, "unique_for="),
    ],
)
def test_a_submission_that_cannot_be_is_refused(how: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Task(work, id="t").using(**how)
