"""The rows of features about the first fire of an interval, and about time that is not waited for."""

from __future__ import annotations

import time
from typing import Any

import pytest

from asyncsched import Registry


@pytest.mark.feature("TK3")
async def test_tk3_an_interval_first_fires_one_interval_after_the_start_or_at_once(virtual: Any) -> None:
    registry = Registry()

    @registry.every("5s")
    async def patient() -> None: ...

    @registry.every("5s", immediate=True)
    async def eager() -> None: ...

    async with virtual(registry, at="2025-01-01", tz="UTC") as sched:
        await sched.advance("10s")
        assert [f"{run.started_at:%H:%M:%S.%f}" for run in sched.runs("patient")] == [
            "00:00:05.000000",
            "00:00:10.000000",
        ]
        assert [f"{run.started_at:%H:%M:%S.%f}" for run in sched.runs("eager")] == [
            "00:00:00.000000",
            "00:00:05.000000",
            "00:00:10.000000",
        ]


@pytest.mark.feature("TK12")
@pytest.mark.feature("PA25")
@pytest.mark.full_speed
async def test_tk12_pa25_a_month_of_an_hourly_task_takes_less_than_a_second(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1h")
    async def hourly() -> None: ...

    async with virtual(registry, at="2025-01-01", tz="UTC") as sched:
        began = time.perf_counter()
        await sched.advance("30 days")
        took = time.perf_counter() - began
        assert len(sched.runs("hourly")) == 720
        assert {run.status for run in sched.runs("hourly")} == {"SUCCESS"}
    assert took < 1
