"""The rows of features about what became of a fire: told, made up for, paused, asked on the command line."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Task

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


async def nothing() -> None: ...


@pytest.mark.feature("JS8")
async def test_js8_the_last_five_seconds_are_five_runs_oldest_first(virtual: Any) -> None:
    registry = Registry()
    task = registry.register(Task(nothing, id="work", every="1s"))
    async with virtual(registry, at=T0) as sched:
        await sched.scheduler.tasks.backfill(task.id, at(-5), T0)
        await sched.drain()
        assert [run.scheduled_for for run in sched.runs()] == [at(second) for second in range(-5, 0)]
        assert {run.status for run in sched.runs()} == {"SUCCESS"}


@pytest.mark.feature("NB3")
async def test_nb3_a_backfill_is_bounded_and_repeatable_and_tells_before_it_acts(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, id="work", cron="0 * * * *"))
    async with virtual(registry, at=T0) as sched:
        tasks = sched.scheduler.tasks
        dry = await tasks.backfill("work", T0 - 24 * HOUR, T0, dry_run=True)
        await sched.drain()
        assert (len(dry.instants), sched.runs()) == (24, [])
        for made in (24, 0):
            assert len((await tasks.backfill("work", T0 - 24 * HOUR, T0)).runs) == made
            await sched.drain()
        assert len(sched.runs()) == 24
        with pytest.raises(ValueError, match="more than 10,000 fires"):
            await tasks.backfill("work", T0 - 10_001 * HOUR, T0)


@pytest.mark.feature("PE24")
async def test_pe24_a_pause_by_tag_ends_by_itself_whatever_is_restarted_meanwhile(virtual: Any) -> None:
    registry = Registry()
    for name, tags in (("a", ["mail", "slow"]), ("b", ["mail"]), ("c", [])):
        registry.register(Task(nothing, id=name, every="10s", tags=tags))
    async with virtual(registry, at=T0) as sched:
        await sched.scheduler.tasks.pause(tag="mail", until=at(65), note="the mail server moves")
        await sched.advance("30s")
        await sched.restart()
        await sched.advance("20s")
        await sched.crash()
        await sched.restart()
        await sched.advance("15s")
        assert {run.task for run in sched.runs()} == {"c"}
        await sched.advance("10s")
        for name in "ab":
            assert [run.scheduled_for for run in sched.runs(name)] == [at(70)]
            assert [skip.scheduled_for for skip in sched.skips(name)] == [at(second) for second in range(10, 70, 10)]
        assert len(sched.runs("c")) == 7


async def fails() -> None:
    raise ValueError("no")


async def slow() -> None:
    await asyncio.sleep(15)


def scenes() -> Registry:
    """Nine tasks, each with a fire that becomes no run, for nine reasons."""
    registry = Registry()
    register = registry.register
    register(Task(slow, id="overlap", every="10s"))
    register(Task(nothing, id="missed", every="10s", missed="skip"))
    register(Task(nothing, id="paused", every="10s"))
    register(Task(nothing, id="blackout", every="10s", blackout="00:00-00:01"))
    register(Task(nothing, id="skipped", every="10s"))
    register(Task(fails, id="fails", run_at=at(1)))
    register(Task(nothing, id="dependency", every="10s", depends_on="fails"))
    register(Task(nothing, id="upstream_failed", depends_on="fails"))
    register(Task(nothing, id="fine", run_at=at(1)))
    register(Task(nothing, id="rule", depends_on="fine", rule="any_failed"))
    register(Task(slow, id="expired", every="10s", overlap="queue_all", expires="4s"))
    return registry


@pytest.mark.feature("NB5")
async def test_nb5_nine_scenes_have_nine_reasons(virtual: Any) -> None:
    async with virtual(scenes(), at=T0) as sched:
        tasks = sched.scheduler.tasks
        await tasks.pause("paused", until=at(12))
        await tasks.skip_next("skipped")
        await sched.advance("25s")
        await sched.jump("13s")
        expected = {
            "overlap": "the run for 00:00:10 had not ended",
            "missed": "it was looked at 8 s late (the program was down, asleep or blocked), "
            "and missed='skip' runs no late fire",
            "paused": "the task was paused",
            "blackout": "it lay within a blackout (00:00-00:01)",
            "skipped": "tasks.skip_next had been asked for",
            "dependency": "it depends on fails, which had not succeeded yet",
            "upstream_failed": "it needs fails, which failed: ValueError: no",
            "rule": "rule='any_failed' runs only if one of its upstreams failed, and none did",
            "expired": "it had not started within expires='4s'",
        }
        told = {}
        for reason in expected:
            found = [one for one in (await tasks.explain(reason)).recent if one.status == "SKIPPED"]
            assert {one.reason for one in found} == {reason}
            told[reason] = found[-1].says
        assert told == expected
