"""Why did it not run? ``tasks.explain`` tells, for each recent fire, what became of it, and what waits for what."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncsched import Registry, Retry, Scheduler, Task
from asyncsched.errors import UnknownTask
from asyncsched.explanation import Account, Explanation
from asyncsched.run import RunStatus
from asyncsched.testing import Stage, run, virtual
from asyncsched.triggers import Every
from asyncsched.triggers._base import InstantTrigger

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


async def nothing() -> None: ...


async def slow() -> None:
    await asyncio.sleep(15)


async def on_disk(disk: str) -> None:
    await asyncio.sleep(15)


async def broken() -> None:
    raise ValueError("no such host\nin any network")


def one(func: Any = nothing, **options: Any) -> Registry:
    registry = Registry()
    registry.register(Task(func, id="work", **{"every": "10s", **options}))
    return registry


def said(found: Explanation) -> list[tuple[float, str, str]]:
    return [((each.at - T0).total_seconds(), str(each.status), each.says) for each in (*found.live, *found.recent)]


def notes(found: Explanation) -> list[tuple[str, str]]:
    return [(note.kind, note.says) for note in found.notes]


async def test_what_was_submitted_for_later_or_follows_others_is_not_late_for_it(virtual: Any) -> None:
    registry = Registry()
    first = registry.task(slow, id="first")
    registry.register(Task(nothing, id="second", depends_on=first))
    async with virtual(registry, at=T0) as sched:
        await first.using(delay="1m").submit()
        await sched.advance("2m")
        explained = [await sched.scheduler.tasks.explain(task) for task in ("first", "second")]
        assert [found.recent[0].says for found in explained] == ["on time, took 15 s", "took 0 ms"]


async def test_it_reads_as_an_answer(virtual: Any) -> None:
    async with virtual(one(slow), at=T0, tz="Europe/Berlin") as sched:
        await sched.advance("42s")
        assert str(await sched.scheduler.tasks.explain("work")).replace(f" on {sched.scheduler._node}", "") == (
            "work: every 10 seconds\n"
            "  now        Thu  1 Jan 2026 01:00:42 CET\n"
            "  next       Thu  1 Jan 2026 01:00:50 CET\n"
            "  RUNNING    Thu  1 Jan 2026 01:00:30 CET: running for 12 s\n"
            "  SKIPPED    Thu  1 Jan 2026 01:00:40 CET: the run for 01:00:30 had not ended"
            " -> overlap='queue_one' waits for its end, 'allow' runs both at once\n"
            "  SKIPPED    Thu  1 Jan 2026 01:00:20 CET: the run for 01:00:10 had not ended\n"
            "  SUCCESS    Thu  1 Jan 2026 01:00:10 CET: on time, took 15 s"
        )


async def test_what_a_program_reads_is_json(virtual: Any) -> None:
    async with virtual(one(broken, retry=Retry(attempts=2, wait="3s")), at=T0) as sched:
        await sched.advance("21s")
        found = json.loads(json.dumps((await sched.scheduler.tasks.explain("work")).to_json()))
        assert found["next_fire"] == "2026-01-01T00:00:30+00:00"
        (waits,), (failed,) = found["live"], found["recent"]
        assert (waits["waits_for"], waits["attempt"], waits["error"]) == ("retry", 1, "ValueError: no such host")
        assert waits["says"] == "attempt 1 failed (ValueError: no such host), the next one is due at 00:00:23"
        assert (failed["at"], failed["status"], failed["late"], failed["took"]) == (
            "2026-01-01T00:00:10+00:00", "FAILED", 0.0, 0.0,
        )  # fmt: skip
        assert failed["says"] == "on time, took 0 ms in attempt 2: ValueError: no such host"


async def test_a_task_that_nobody_knows_is_refused(virtual: Any) -> None:
    async with virtual(one(), at=T0) as sched:
        with pytest.raises(UnknownTask, match="no task 'x'; there are: work"):
            await sched.scheduler.tasks.explain("x")


async def test_of_a_pause_the_fires_are_told_before_they_are_recorded_and_after(virtual: Any) -> None:
    async with virtual(one(), at=T0) as sched:
        tasks = sched.scheduler.tasks
        await sched.advance("15s")
        await tasks.pause("work", until=at(45))
        assert said(await tasks.explain("work")) == [(10, "SUCCESS", "on time, took 0 ms")]
        await sched.advance("20s")
        found = await tasks.explain("work")
        assert notes(found) == [("paused", "it is paused until Thu  1 Jan 2026 00:00:45 UTC")]
        assert found.next_fire is None
        assert [(each.run, each.reason, each.stands_for) for each in found.recent[:1]] == [(None, "paused", 2)]
        await sched.advance("16s")
        found = await tasks.explain("work")
        assert said(found)[1:] == [(second, "SKIPPED", "the task was paused") for second in (40, 30, 20)] + [
            (10, "SUCCESS", "on time, took 0 ms")
        ]
        assert notes(found) == []


async def test_why_a_task_has_no_next_fire(virtual: Any) -> None:
    class Raises(InstantTrigger):
        def next_us(self, after_us: int) -> int | None:
            if after_us >= at(5).timestamp() * 1e6:
                raise OSError("the calendar is gone")
            return int(at(10).timestamp() * 1e6)

    registry = Registry()
    registry.register(Task(nothing, id="submitted"))
    registry.register(Task(nothing, id="once", run_at=at(5)))
    registry.register(Task(nothing, id="broken", trigger=Raises()))
    registry.register(Task(nothing, id="never", trigger="never"))
    registry.register(Task(slow, id="after", every="10s", anchor="completion"))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("12s")
        found = {task.id: await sched.scheduler.tasks.explain(task.id) for task in sched.scheduler.served()}
        assert {each.next_fire for each in found.values()} == {None}
        assert {task: notes(each) for task, each in found.items()} == {
            "submitted": [("submitted", "it has no trigger: it runs when it is submitted")],
            "once": [("over", "it fires no more: its trigger has no instants left")],
            "broken": [("broken", "it fires no more: its trigger raised OSError: the calendar is gone")],
            "never": [("never", "its trigger never fires")],
            "after": [("completion", "its next fire is counted from the end of what is under way (1 run)")],
        }
        assert said(found["broken"]) == []
        await sched.scheduler.tasks.replace(Task(nothing, id="broken", every="10s"))
        assert notes(await sched.scheduler.tasks.explain("broken")) == []


async def test_a_skip_that_is_still_to_come_is_told(virtual: Any) -> None:
    async with virtual(one(), at=T0) as sched:
        await sched.scheduler.tasks.skip_next("work")
        found = await sched.scheduler.tasks.explain("work")
        assert notes(found) == [("skip_next", "its fire at 00:00:10 will be skipped, as was asked")]
        assert found.next_fire == at(20)


async def test_what_each_run_waits_for(virtual: Any) -> None:
    registry = Registry()
    mail = registry.register(Task(slow, id="mail", queue="mail"))
    more = registry.register(Task(slow, id="more", queue="mail"))
    other = registry.register(Task(slow, id="other"))
    single = registry.register(Task(slow, id="single", max_running=1, queue="single"))
    gpu = registry.register(Task(slow, id="gpu", queue="gpu"))
    sched = Scheduler(registry=registry, queues={"mail": 1, "default": None, "single": None}, max_running=3)
    async with virtual(sched, at=T0) as stage:
        await mail.submit()
        await more.submit()
        await single.submit_many([(), ()])
        await other.submit_many([(), ()])
        await gpu.submit()
        await other.using(delay="1h").submit()
        await stage.advance("1s")
        found = {task.id: await sched.tasks.explain(task.id) for task in sched.served()}
        assert {task: [account.waits_for for account in each.live] for task, each in found.items()} == {
            "mail": ["end"],
            "more": ["queue"],
            "single": ["limit", "end"],
            "other": ["instant", "scheduler", "end"],
            "gpu": ["node"],
        }
        words = {account.waits_for: account.says for each in found.values() for account in each.live}
        assert words["queue"] == "waits for a place in queue 'mail': 1 run at once, and mail is running"
        assert words["limit"] == (
            "waits for a place: at most 1 run of its task at once, and there is the run submitted at 00:00:00 (RUNNING)"
        )
        assert words["scheduler"] == (
            "waits for a place in the scheduler: 3 runs at once, and mail, other, single are running"
        )
        assert words["node"] == "waits for a node that serves queue 'gpu'"
        assert words["instant"] == "does not start before 01:00:00"
        cures = {account.waits_for: account.cure for account in found["gpu"].live}
        assert cures["node"] == (
            "start a node that serves it, or add it to queues= of this one, which serves 'mail', 'default', 'single'"
        )


async def test_what_follows_others_tells_which_of_them_it_waits_for_and_what_became_of_them(virtual: Any) -> None:
    registry = Registry()
    first = registry.register(Task(slow, id="first"))
    registry.register(Task(slow, id="second", depends_on="first"))
    registry.register(Task(nothing, id="last", depends_on=["first", "second"]))
    registry.register(Task(nothing, id="rescue", depends_on="second", rule="any_success"))
    async with virtual(registry, at=T0) as sched:
        explain, runs = sched.scheduler.tasks.explain, sched.scheduler.runs
        await first.submit()
        await sched.advance("1s")
        (waits,) = (await explain("last")).live
        assert (waits.waits_for, waits.says) == (
            "upstream", "waits for its upstreams: first (RUNNING), second (PENDING)",
        )  # fmt: skip
        assert notes(await explain("last")) == [
            ("upstream", "it has no trigger: it follows first, second (rule='all_success')")
        ]
        await sched.advance("15s")
        (second,) = await runs.list(task="second")
        await runs.cancel(second.id, "the disk is full")
        await sched.drain()
        (last,) = (await explain("last")).recent
        assert (last.reason, last.says) == (
            "upstream_failed", "it needs second, which was cancelled: the disk is full",
        )  # fmt: skip
        assert last.cure == "tasks.explain('second') tells more; rule='all_done' runs whatever became of it"
        await first.submit()
        await sched.advance("1s")
        for run in await runs.list(status="RUNNING"):
            await runs.cancel(run.id, "no time")
        await sched.drain()
        assert [one.says for one in (await explain("rescue")).recent] == [
            "it needs second, which was skipped, for it needs another that failed",
            "it needs second, which was cancelled: the disk is full",
        ]


async def test_a_task_with_a_time_and_upstreams_tells_what_is_lacking(virtual: Any) -> None:
    registry = Registry()
    above = registry.register(Task(slow, id="above"))
    options: dict[str, Any] = {"every": "10s", "depends_on": "above"}
    registry.register(Task(nothing, id="ever", **options))
    registry.register(Task(nothing, id="fresh", dependency="fresh", dependency_timeout="5s", **options))
    async with virtual(registry, at=T0) as sched:
        explain = sched.scheduler.tasks.explain
        await sched.advance("11s")
        for name, asked in (("ever", "yet"), ("fresh", "since its previous fire")):
            found = await explain(name)
            assert said(found) == [(10, "SKIPPED", f"it depends on above, which had not succeeded {asked}")]
            assert notes(found) == [
                ("dependency", f"it depends on above, which has not succeeded {asked}: till then no fire of it runs")
            ]
        await above.submit()
        await sched.advance("10s")
        (waits,) = (await explain("fresh")).live
        assert waits.says == "waits for its upstreams: above (RUNNING), until 00:00:25 at most"
        await sched.advance("10s")
        assert [one.status for one in (await explain("ever")).recent] == ["SUCCESS", "SUCCESS", "SKIPPED"]
        assert notes(await explain("ever")) == []


async def test_limits_in_time_and_number_are_told(virtual: Any) -> None:
    registry = Registry()
    rated = registry.register(Task(nothing, id="rated", rate="2/1m"))
    registry.register(Task(nothing, id="few", every="10s", max_runs=1))
    registry.register(Task(nothing, id="dark", cron="0 * * * *", blackout="01:00-03:00"))
    one_by_key = registry.register(Task(on_disk, id="key", max_running=1, key="disk"))
    grouped = registry.register(Task(slow, group="heavy", name="a"))
    async with virtual(Scheduler(registry=registry, groups={"heavy": 1}), at=T0) as sched:
        explain = sched.scheduler.tasks.explain
        await rated.submit_many([(), (), ()])
        await one_by_key.submit_many([("a",), ("b",), ("a",)])
        await grouped.submit_many([(), ()])
        await sched.advance("11s")
        (waits,) = (await explain("rated")).live
        assert (waits.waits_for, waits.says) == (
            "rate", "waits for its rate: at most 2/1m starts, the next one at 00:01:00",
        )  # fmt: skip
        assert notes(await explain("few")) == [("max_runs", "it fires no more: max_runs=1 were made")]
        assert [one.waits_for for one in (await explain("key")).live] == ["limit", "end", "end"]
        assert (await explain("key")).live[0].says == (
            "waits for a place: at most 1 run of its task with key 'a' at once, "
            "and there is the run submitted at 00:00:00 (RUNNING)"
        )
        (waits, _runs) = (await explain("heavy.a")).live
        assert (waits.waits_for, waits.says) == (
            "group", "waits for a place in group 'heavy': 1 run at once, and heavy.a is running",
        )  # fmt: skip
        assert notes(await explain("dark")) == [
            ("blackout", "its next fire lies within a blackout, until 03:00:00 at least")
        ]


async def test_a_fire_for_which_an_earlier_run_stands_says_so(virtual: Any) -> None:
    async with virtual(one(cooldown="15s"), at=T0) as sched:
        await sched.advance("35s")
        found = (await sched.scheduler.tasks.explain("work")).recent
        assert [(one.at, one.reason) for one in found] == [(at(30), None), (at(20), "cooldown"), (at(10), None)]
        assert found[1].says == "an earlier run stood for it: cooldown= starts no other so soon after it"


async def test_a_fire_that_is_spread_says_so_before_and_after(virtual: Any) -> None:
    async with virtual(one(cron="0 * * * *", every=None, jitter="10m"), at=T0) as sched:
        explain = sched.scheduler.tasks.explain
        await sched.advance("1h")
        (waits,) = (await explain("work")).live
        assert (waits.run, waits.at, waits.waits_for) == (None, at(3600), "instant")
        begins = waits.says.removeprefix("starts at ").removesuffix(": jitter= spreads the starts of its fires")
        await sched.advance("10m")
        (ran,) = (await explain("work")).recent
        assert ran.late is not None
        assert begins == f"{at(3600) + ran.late:%H:%M:%S.%f}"
        assert ran.says.startswith("on time, ")
        assert ran.says.endswith(" after its instant by jitter, took 0 ms")


async def test_of_a_fire_that_was_replayed_the_run_is_told_and_not_the_skip(virtual: Any) -> None:
    async with virtual(one(), at=T0) as sched:
        tasks = sched.scheduler.tasks
        await tasks.skip_next("work")
        await sched.advance("25s")
        await tasks.backfill("work", at(1), at(20))
        await sched.drain()
        assert said(await tasks.explain("work")) == [
            (20, "SUCCESS", "on time, took 0 ms"),
            (10, "SUCCESS", "backfilled, took 0 ms"),
        ]


async def test_history_answers_what_ran_when_and_why_not(virtual: Any) -> None:
    async with virtual(one(slow), at=T0) as sched:
        await sched.advance("65s")
        runs = sched.scheduler.runs
        assert [run.scheduled_for for run in await runs.list(task="work", since=at(30), until=at(50))] == [
            at(40), at(30),
        ]  # fmt: skip
        skips = await runs.list(task="work", reason="overlap", since=at(30))
        assert [(skip.scheduled_for, skip.status) for skip in skips] == [
            (at(second), RunStatus.SKIPPED) for second in (60, 40)
        ]
        assert await runs.list(reason="missed") == []
        ran = await runs.list(status="SUCCESS", until=at(30))
        assert [(run.started_at, run.duration, run.result) for run in ran] == [(at(10), timedelta(seconds=15), None)]


async def test_naive_times_are_in_the_zone_of_the_task_or_else_of_the_scheduler(virtual: Any) -> None:
    registry = one(tz="Asia/Seoul")
    async with virtual(Scheduler(registry=registry, tz="Europe/Berlin"), at=T0) as sched:
        await sched.advance("25s")
        listed = sched.scheduler.runs.list
        for task, hour in (("work", 9), (None, 1)):
            ran = await listed(task=task, since=datetime(2026, 1, 1, hour, 0, 15))
            assert [run.scheduled_for for run in ran] == [at(20)]


Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.integers(0, 60)),
        st.tuples(st.just("jump"), st.integers(2, 90)),
        st.tuples(st.just("pause"), st.integers(0, 40)),
        st.tuples(st.sampled_from(["resume", "skip_next", "run_now", "restart"]), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    STEPS,
    st.integers(1, 20),
    st.integers(0, 30),
    st.sampled_from(["latest", "skip", "all"]),
    st.sampled_from(["skip", "allow", "queue_one", "queue_all", "cancel_previous"]),
    st.sampled_from([None, "00:00:20-00:01:10"]),
)
def test_every_fire_is_accounted_for_exactly_once(
    steps: list[Step], period: int, takes: int, missed: str, overlap: str, blackout: str | None
) -> None:
    async def work() -> None:
        await asyncio.sleep(takes)

    registry = Registry()
    options: dict[str, Any] = {"missed": missed, "overlap": overlap, "blackout": blackout, "history_limit": 10_000}
    registry.register(Task(work, id="work", every=timedelta(seconds=period), **options))

    async def main() -> None:
        async with virtual(Scheduler(registry=registry, tz="UTC"), at=T0) as stage:
            for what, seconds in steps:
                await take(stage, what, seconds)
                await check(stage, period)

    run(main)


async def take(stage: Stage, what: str, seconds: int) -> None:
    tasks = stage.scheduler.tasks
    match what:
        case "advance":
            await stage.advance(timedelta(seconds=seconds))
        case "jump":
            await stage.jump(timedelta(seconds=seconds))
        case "pause":
            await tasks.pause("work", until=stage.now() + timedelta(seconds=seconds) if seconds else None)
        case "resume":
            await tasks.resume("work")
            await stage.advance("0s")
        case "skip_next":
            await tasks.skip_next("work")
        case "run_now":
            await tasks.run_now("work")
        case "restart":
            await stage.restart()
            await stage.advance("0s")


async def check(stage: Stage, period: int) -> None:
    found = await stage.scheduler.tasks.explain("work", last=10_000)
    accounts: list[Account] = [*found.live, *found.recent]
    fires = [account for account in accounts if account.scheduled]
    due = sum(
        1 for _fire in Every(timedelta(seconds=period), T0).between(at(0.5), stage.now() + timedelta(microseconds=1))
    )
    assert sum(account.stands_for for account in fires) == due
    recorded = await stage.scheduler.runs.list(task="work", limit=10_000)
    assert {(account.run, str(account.status), account.stands_for) for account in accounts if account.run} == {
        (record.id, str(record.status), record.stands_for) for record in recorded
    }
    assert len({account.at for account in fires}) == len(fires)
