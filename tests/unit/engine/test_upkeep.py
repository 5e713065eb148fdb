"""The chore of forgetting: only where something is to be forgotten, and in spite of a store that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random
from typing import Any, cast

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched._engine.living import Living
from asyncsched._engine.timer import Timer
from asyncsched._engine.upkeep import Upkeep
from asyncsched._heap import Wakeup
from asyncsched.clock import SECOND_US
from asyncsched.errors import StoreError
from asyncsched.stores import MemoryStore
from asyncsched.stores._upkeep import Pruned

HOUR_US = 3_600 * SECOND_US


class HandTimer:
    """Rings when it is told to; knows what it was set to."""

    def __init__(self) -> None:
        self.due: tuple[Wakeup, int] | None = None

    def set(self, wakeup: Wakeup, due_us: int) -> None:
        self.due = wakeup, due_us

    def drop(self, _wakeup: Wakeup) -> None:
        self.due = None

    async def ring(self) -> int:
        """Ring; when the chore comes next."""
        assert self.due is not None
        wakeup, self.due = self.due[0], None
        wakeup.ring()
        await asyncio.sleep(0)
        return self.next_us

    @property
    def next_us(self) -> int:
        assert self.due is not None
        return self.due[1]


class TroubledStore(MemoryStore):
    """Answers, or raises, as it is told."""

    def __init__(self, *answers: bool) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[tuple[Mapping[str, int | None], int | None]] = []

    async def prune(self, keep_us: Mapping[str, int | None], others_us: int | None, most: int = 1_000) -> Pruned:
        self.asked.append((keep_us, others_us))
        if not self.answers:
            raise StoreError("the disk is full")
        return Pruned(most, 0, self.answers.pop())


def chore(timer: HandTimer, store: MemoryStore, keep_us: int | None) -> Upkeep:
    living = Living("UTC", store.recent, groups={}, stopping=lambda _one: None, give_up=lambda _one: None)
    return Upkeep(living, store, cast("Timer", timer), lambda: 0, Random(1), keep_us)


async def test_where_nothing_says_how_long_nothing_wakes() -> None:
    timer = HandTimer()
    chore(timer, MemoryStore(), None).begin()
    assert timer.due is None


@pytest.mark.parametrize(("keep_us", "period_us"), [(1, SECOND_US), (50 * SECOND_US, 5 * SECOND_US), (2**60, HOUR_US)])
async def test_it_comes_about_a_tenth_of_the_time_later_never_together_with_others(
    keep_us: int, period_us: int
) -> None:
    timer, store = HandTimer(), TroubledStore(False, False)
    chore(timer, store, keep_us).begin()
    instants = {timer.next_us, await timer.ring(), await timer.ring()}
    assert len(instants) == 3
    assert all(0.8 * period_us <= at_us <= 1.2 * period_us for at_us in instants)
    assert store.asked == [({}, keep_us)] * 2


async def test_more_is_forgotten_soon_and_what_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    timer, store = HandTimer(), TroubledStore(True)
    chore(timer, store, HOUR_US).begin()
    assert await timer.ring() < SECOND_US
    assert await timer.ring() > 60 * SECOND_US
    assert "could not be forgotten, it is tried again: the disk is full" in caplog.text


async def test_when_it_ends_it_comes_no_more() -> None:
    timer = HandTimer()
    upkeep = chore(timer, TroubledStore(True), HOUR_US)
    upkeep.begin()
    upkeep.end()
    assert timer.due is None


async def test_a_task_that_comes_later_is_looked_after_too(virtual: Any) -> None:
    async def work() -> None: ...

    async with virtual(Scheduler(registry=Registry())) as sched:
        task = Task(work, id="work", keep="1h")
        await sched.scheduler.tasks.add(task)
        await (await task.submit())
        await sched.advance("50m")
        assert len(await sched.scheduler.runs.list()) == 1
        await sched.advance("20m")
        assert await sched.scheduler.runs.list() == []
