"""It is midnight somewhere: zones, their two odd days, and a year that passes in the time of a cup of tea."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Task
from asyncsched.triggers import Daily

T0 = datetime(2026, 1, 1, tzinfo=UTC)


async def nothing() -> None: ...


async def test_half_past_one_in_seoul_is_half_past_four_in_utc(virtual: Any) -> None:
    registry = Registry()

    @registry.at("13:30", tz="Asia/Seoul")
    async def lunch() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("48h")
        assert [run.started_at for run in sched.runs()] == [T0 + timedelta(hours=4.5), T0 + timedelta(hours=28.5)]
        assert sched.fires("lunch") == ["2026-01-01T13:30+09:00", "2026-01-02T13:30+09:00"]


ZONES = ["Pacific/Kiritimati", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC", "America/St_Johns", "Pacific/Niue"]


async def test_a_day_has_a_midnight_in_each_zone_at_its_own_instant(virtual: Any) -> None:
    registry = Registry()
    for zone in ZONES:
        registry.register(Task(nothing, at="00:00", tz=zone, id=zone.replace("/", ".")))
    async with virtual(registry, at="2026-01-01T00:00:01+00:00") as sched:
        await sched.advance("24h")
        started = {run.task: f"{run.started_at:%H:%M}" for run in sched.runs()}
    assert started == {
        "Pacific.Kiritimati": "10:00",
        "Australia.Lord_Howe": "13:00",
        "Asia.Kathmandu": "18:15",
        "UTC": "00:00",
        "America.St_Johns": "03:30",
        "Pacific.Niue": "11:00",
    }


async def test_the_night_without_half_past_two_and_the_night_with_two_of_them(virtual: Any) -> None:
    registry = Registry()
    registry.register(Task(nothing, at="02:30", id="once"))
    registry.register(Task(nothing, trigger=Daily("02:30", gap="skip", overlap="both"), id="as-the-clock-shows"))
    registry.register(Task(nothing, cron="*/30 2 * * *", id="wildcard"))
    async with virtual(registry, at="2026-03-28 12:00", tz="Europe/Berlin") as sched:
        await sched.advance("24h")
        assert sched.fires("once") == ["2026-03-29T03:00+02:00"]
        assert sched.fires("as-the-clock-shows") == sched.fires("wildcard") == []
    async with virtual(registry, at="2026-10-24 12:00", tz="Europe/Berlin") as sched:
        await sched.advance("24h")
        assert sched.fires("once") == ["2026-10-25T02:30+02:00"]
        assert sched.fires("as-the-clock-shows") == ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00"]
        twice = [f"2026-10-25T02:{minute}+0{offset}:00" for offset in (2, 1) for minute in ("00", "30")]
        assert sched.fires("wildcard") == twice


@pytest.mark.full_speed
async def test_a_year_of_hourly_runs(virtual: Any, capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry()

    @registry.every("1h")
    async def hourly() -> None: ...

    began = time.perf_counter()
    async with virtual(registry, at=T0) as sched:
        await sched.advance("365 days")
        assert len(sched.runs("hourly")) == 8760
        assert {run.status for run in sched.runs()} == {"SUCCESS"}
        assert [run.started_at for run in sched.runs()] == [T0 + timedelta(hours=hour + 1) for hour in range(8760)]
    with capsys.disabled():
        print(f"\n8,760 runs of a virtual year in {time.perf_counter() - began:.2f} s ", end="")
