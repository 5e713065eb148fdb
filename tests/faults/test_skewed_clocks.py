"""Nodes whose clocks are wrong, each in another way, at one server: every fire once, and by the server's clock."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from addresses import Place
from asyncsched import Registry, Scheduler
from asyncsched.clock import SystemClock
from asyncsched.events import ClockSkewed, NodeLost
from asyncsched.run import Run, RunStatus

from .crew import LONG

SECOND = 1_000_000
PERIOD_US = SECOND // 4
LASTS_S = 600 if LONG else 7
PATIENCE_S = 60
NEVER_US = 10**15


class Wrong(SystemClock):
    """A clock that is so far off, is set by so much ``after_us``, and drifts."""

    def __init__(self, off_us: int = 0, set_by_us: int = 0, after_us: int = NEVER_US, drift: float = 0.0) -> None:
        self._off_us, self._set_by_us, self._after_us, self._drift = off_us, set_by_us, after_us, drift
        self._began_us = super().steady_us()

    def _passed_us(self) -> int:
        return super().steady_us() - self._began_us

    def _drifted_us(self) -> int:
        return int(self._passed_us() * self._drift)

    def now_us(self) -> int:
        was_set_us = self._set_by_us if self._passed_us() > self._after_us else 0
        return super().now_us() + self._off_us + was_set_us + self._drifted_us()

    def steady_us(self) -> int:
        return super().steady_us() + self._drifted_us()


MINUTES, HOUR = 300 * SECOND, 3_600 * SECOND
MIDWAY_US = LASTS_S * SECOND // 4
PROFILES = {
    "5 min ahead": lambda: Wrong(MINUTES),
    "5 min behind": lambda: Wrong(-MINUTES),
    "1 h ahead": lambda: Wrong(HOUR),
    "1 h behind": lambda: Wrong(-HOUR),
    "set forward midway": lambda: Wrong(set_by_us=MINUTES, after_us=MIDWAY_US),
    "set back midway": lambda: Wrong(set_by_us=-MINUTES, after_us=MIDWAY_US),
    "drifts ahead": lambda: Wrong(drift=0.01),
    "drifts behind": lambda: Wrong(drift=-0.01),
}


def a_node(place: Place, name: str) -> tuple[Scheduler, list[object]]:
    registry = Registry()

    @registry.every("250ms", id="tick", history_limit=100_000, max_running=50)
    async def tick() -> None:
        """Does nothing: that it was called is on record."""

    node = place.scheduler(registry, node=name, clock=PROFILES[name](), stall_warning=None)
    told: list[object] = []
    node.events.on([NodeLost, ClockSkewed], told.append)
    return node, told


async def fires(node: Scheduler) -> list[Run[object]]:
    return await node.runs.list(task="tick", limit=100_000)


async def lasting(node: Scheduler) -> list[Run[object]]:
    """The fires of so long; they are there sooner or later."""
    async with asyncio.timeout(LASTS_S + PATIENCE_S):
        while len(found := await fires(node)) < LASTS_S * SECOND // PERIOD_US:
            await asyncio.sleep(0.25)
    return found


@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_every_fire_is_once_and_by_the_servers_clock(kind: str, tmp_path: Path) -> None:
    place = Place(kind, tmp_path)
    nodes = {name: a_node(place, name) for name in PROFILES}
    async with AsyncExitStack() as stack:
        for node, _told in nodes.values():
            await stack.enter_async_context(node)
        (first, _told) = nodes["5 min ahead"]
        await lasting(first)
        machine_us = SystemClock().now_us()
    async with Scheduler(first._store, registry=Registry(), roles=()) as looking:
        runs = await fires(looking)
    done = [run for run in runs if run.status is not RunStatus.PENDING]
    at = sorted(run.scheduled_us or 0 for run in runs)
    stands_for = sum(run.stands_for for run in runs)
    assert len(set(at)) == len(at), "a fire was twice"
    assert stands_for == (at[-1] - at[0]) // PERIOD_US + 1, "a fire is not accounted for"
    assert machine_us - PATIENCE_S * SECOND <= at[-1] <= SystemClock().now_us()  # the server has the machine's clock
    assert all(run.started_us >= run.scheduled_us for run in done if run.started_us is not None and run.scheduled_us)
    for name, (_node, told) in nodes.items():
        assert not [one for one in told if isinstance(one, NodeLost)], f"{name}: a lease was over"
        skews = [one for one in told if isinstance(one, ClockSkewed)]
        assert len(skews) <= 1 if "drifts" in name else len(skews) == 1, f"{name}: {skews}"
