"""A run may start later, in another order, or with many others at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Run
from asyncsched.errors import ArgumentsError, ConfigError, MisuseError

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def senders(**options: Any) -> tuple[Registry, list[str]]:
    registry = Registry()
    sent: list[str] = []

    @registry.task(id="send", **options)
    async def send(to: str, *, code: int = 0) -> str:
        sent.append(to)
        return f"{to} {code}"

    return registry, sent


async def test_a_run_waits_for_its_instant_or_for_its_delay(virtual: Any) -> None:
    registry, sent = senders()
    send = registry["send"]
    async with virtual(registry, at=T0) as sched:
        late = await send.using(at=at(60)).submit("late", code=1)
        soon = await send.using(delay=timedelta(seconds=30)).submit("soon")
        assert [late.status, soon.status] == ["PENDING", "PENDING"]
        await sched.drain()  # what waits for its time does not keep the scheduler busy
        assert sched.now() == T0
        assert await late == "late 1"
        assert (late.started_at, soon.started_at) == (at(60), at(30))
        assert (late.scheduled_for, sent) == (None, ["soon", "late"])


async def test_an_instant_without_a_zone_is_in_the_tasks_and_one_in_the_past_is_now(virtual: Any) -> None:
    registry, _sent = senders(tz="Asia/Seoul")
    send = registry["send"]
    async with virtual(registry, at=T0) as sched:
        naive = await send.using(at=datetime(2026, 1, 1, 9, 0, 20)).submit("a")
        past = await send.using(at=at(-1000)).submit("b")
        now = await send.using(delay="0s").submit("c")
        await sched.advance("1m")
        assert [run.started_at for run in (naive, past, now)] == [at(20), T0, T0]


async def test_a_task_stays_as_it_is_and_a_way_of_using_it_can_be_kept(virtual: Any) -> None:
    registry, sent = senders()
    send = registry["send"]
    later = send.using(delay="5s")
    async with virtual(registry, at=T0) as sched:
        await sched.advance("10s")
        first = await later.submit("first")
        second = await send.submit("second")
        await sched.advance("5s")
        third = await later.submit("third")
        await third
    assert sent == ["second", "first", "third"]
    assert [run.started_at for run in (first, second, third)] == [at(15), at(10), at(20)]


async def test_many_are_written_at_once_and_each_is_a_run_of_its_own(virtual: Any) -> None:
    registry, _sent = senders()
    async with virtual(registry, at=T0) as sched:
        runs = await registry["send"].using(delay="1s").submit_many((name,) for name in "abc")
        assert [run.args for run in runs] == [("a",), ("b",), ("c",)]
        assert [run.id for run in runs] == sorted({run.id for run in runs})
        assert await asyncio.gather(*map(result, runs)) == ["a 0", "b 0", "c 0"]
        assert sched.now() == at(1)
        assert await registry["send"].submit_many([]) == []
        assert await registry["send"].submit_many([("x",)] * 2) != []


async def result(run: Run[Any]) -> Any:
    return await run


async def test_of_many_none_is_written_if_one_does_not_fit(virtual: Any) -> None:
    registry, sent = senders()
    async with virtual(registry, at=T0) as sched:
        with pytest.raises(ArgumentsError, match=r"call 1: argument to: .*5"):
            await registry["send"].submit_many([("a",), (5,), ("c",)])
        with pytest.raises(ArgumentsError, match=r"call 0: missing a required argument: 'to'"):
            await registry["send"].submit_many([()])
        await sched.drain()
        assert sent == []


async def test_arguments_are_checked_when_a_run_is_submitted_not_when_it_starts(virtual: Any) -> None:
    registry, _sent = senders()
    async with virtual(registry, at=T0) as sched:
        with pytest.raises(ArgumentsError, match=r"argument code: .*'x'"):
            await registry["send"].using(delay="1h").submit("a", code="x")
        assert await sched.scheduler.runs.list() == []


async def test_what_waits_outlives_a_restart_and_a_crash(virtual: Any) -> None:
    registry, sent = senders()
    async with virtual(registry, at=T0) as sched:
        kept = await registry["send"].using(delay="1m").submit("kept")
        await sched.advance("10s")
        await sched.restart()
        await sched.advance("10s")
        await sched.crash()
        await sched.restart()
        await sched.advance("2m")
        assert sent == ["kept"]
        assert (await sched.scheduler.runs.get(kept.id)).started_at == at(60)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"at": T0, "delay": "1s"}, "give one or the other"),
        ({"at": "tomorrow"}, r"using\(at='tomorrow'\): give a datetime"),
        ({"delay": "soon"}, "soon"),
        ({"delay": timedelta(seconds=-1)}, "delay"),
        ({"priority": "high"}, r"using\(priority='high'\): give a whole number"),
        ({"priority": 1.0}, "give a whole number from -2147483648 to 2147483647"),
        ({"priority": 2**31}, "give a whole number from -2147483648 to 2147483647"),
        ({"queue": ""}, r"using\(queue=''\): give a text"),
        ({"unique": "half \ud800"}, "give a text of whole characters"),
        ({"idempotency_key": "a\0b"}, "give a text of whole characters, without NUL"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, Any], says: str) -> None:
    registry, _sent = senders()
    with pytest.raises(ConfigError, match=says):
        registry["send"].using(**options)


async def test_a_delay_is_over_before_the_last_instant_that_there_is(virtual: Any) -> None:
    registry, _sent = senders()
    async with virtual(registry, at=T0) as sched:
        run = await registry["send"].using(delay="2000000d").submit("late")
        with pytest.raises(ConfigError, match="would be over after the year 9999"):
            await registry["send"].using(delay=timedelta.max).submit("later")
        assert await sched.scheduler.runs.list() == [run]


async def test_without_a_scheduler_nothing_can_be_submitted() -> None:
    registry, _sent = senders()
    with pytest.raises(MisuseError, match="no scheduler is running task 'send'"):
        await registry["send"].using(delay="1s").submit("a")
    with pytest.raises(MisuseError, match="no scheduler is running task 'send'"):
        await registry["send"].submit_many([("a",)])
