"""The rows of features about triggers that users write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched.triggers import Trigger

T0 = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Tides(Trigger):
    """High water: every 12 hours and 25 minutes after one that was seen."""

    seen: datetime
    period: timedelta = timedelta(hours=12, minutes=25)

    def next_after(self, moment: datetime) -> datetime | None:
        count = (moment - self.seen) // self.period + 1
        return self.seen + max(count, 0) * self.period


@pytest.mark.feature("PE5")
async def test_pe5_a_trigger_of_ones_own_fires_as_a_built_in_one(virtual: Any) -> None:
    registry = Registry()
    tides = Tides(T0 + timedelta(hours=3))

    @registry.when(tides)
    async def open_sluice() -> None: ...

    @registry.when([tides, "every day at 12:00"])
    async def either() -> None: ...

    async with virtual(registry, at=T0) as sched:
        await sched.advance("30h")
        high = [T0 + timedelta(hours=3) + number * timedelta(hours=12, minutes=25) for number in range(3)]
        assert [run.started_at for run in sched.runs("open_sluice")] == high
        assert [run.started_at for run in sched.runs("either")] == sorted([*high, T0 + timedelta(hours=12)])


@pytest.mark.feature("PE5")
async def test_pe5_it_survives_a_store(virtual: Any) -> None:
    tides = Tides(T0 + timedelta(hours=3), period=timedelta(hours=1, microseconds=1))
    assert Trigger.from_json(tides.to_json()) == tides
    assert tides.to_json()["kind"].endswith(":Tides")
    registry = Registry()
    task = registry.register(Task(lambda: None, id="sluice", trigger=Trigger.from_json(tides.to_json())))
    async with virtual(Scheduler(registry=registry), at=T0) as sched:
        await sched.advance("3h")
        await sched.crash()
        await sched.restart()
        assert task.next_fire == T0 + timedelta(hours=4, microseconds=1)
        await sched.advance("2h")
        assert len(sched.runs("sluice")) == 2
