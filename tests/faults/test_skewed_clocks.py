"""Nodes whose clocks are wrong (F7): every fire once, and by the store's clock.

At a server each node's clock is wrong in another way. Processes of one machine have one clock: at a file that is set,
for all of them, while they work.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from addresses import Place
from asyncsched import Registry, Scheduler, current_run
from asyncsched.clock import SystemClock
from asyncsched.events import ClockSkewed, NodeLost
from asyncsched.run import Run, RunStatus

from .crew import LONG
from .invariants import percentile

SECOND = 1_000_000
PERIOD_US = SECOND // 4
LASTS_S = 600 if LONG else 7
PATIENCE_S = 60
LATE_S = 2.5 if LONG else 30
"""So late may a fire be, at a busy machine. In the long form a clock that drifts is off by more in the end."""
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


class Late:
    """How late each fire began, by the machine's own clock, which is the server's."""

    def __init__(self) -> None:
        self.us: list[int] = []

    def note(self) -> None:
        self.us.append(SystemClock().now_us() - (current_run().scheduled_us or 0))

    def judge(self, what: str) -> None:
        p99_s = percentile(sorted(self.us), 99) / 1e6
        print(f"{what}: {len(self.us)} fires, late by {p99_s:.3f} s (p99), {max(self.us) / 1e6:.3f} s at most")
        assert min(self.us) >= 0
        assert p99_s < LATE_S


def a_node(place: Place, name: str, clock: Wrong, late: Late) -> tuple[Scheduler, list[object]]:
    registry = Registry()

    @registry.every("250ms", id="tick", history_limit=100_000, max_running=50)
    async def tick() -> None:
        late.note()

    node = place.scheduler(registry, node=name, clock=clock, stall_warning=None)
    told: list[object] = []
    node.events.on([NodeLost, ClockSkewed], told.append)
    return node, told


async def fires(node: Scheduler) -> list[Run[object]]:
    return await node.runs.list(task="tick", limit=100_000)


async def lasting(node: Scheduler) -> list[Run[object]]:
    """The fires of so long; they are there sooner or later."""
    async with asyncio.timeout(LASTS_S + PATIENCE_S):
        while len(found := await fires(node)) < LASTS_S * SECOND // PERIOD_US:
            await asyncio.sleep(LASTS_S / 28)
    return found


def accounted_for(runs: list[Run[object]]) -> list[int]:
    """The instants of the fires: each is there once, or another one stands for it."""
    at = sorted(run.scheduled_us or 0 for run in runs)
    assert len(set(at)) == len(at), "a fire was twice"
    assert sum(run.stands_for for run in runs) == (at[-1] - at[0]) // PERIOD_US + 1, "a fire is not accounted for"
    return at


@pytest.mark.timeout(LASTS_S + 180)
@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_every_fire_is_once_and_by_the_servers_clock(kind: str, tmp_path: Path) -> None:
    place, late = Place(kind, tmp_path), Late()
    nodes = {name: a_node(place, name, clock(), late) for name, clock in PROFILES.items()}
    async with AsyncExitStack() as stack:
        for node, _told in nodes.values():
            await stack.enter_async_context(node)
        (first, _told) = nodes["5 min ahead"]
        await lasting(first)
        machine_us = SystemClock().now_us()
    async with Scheduler(first._store, registry=Registry(), roles=()) as looking:
        runs = await fires(looking)
    done = [run for run in runs if run.status is not RunStatus.PENDING]
    at = accounted_for(runs)
    late.judge(kind)
    assert machine_us - PATIENCE_S * SECOND <= at[-1] <= SystemClock().now_us()  # the server has the machine's clock
    assert all(run.started_us >= run.scheduled_us for run in done if run.started_us is not None and run.scheduled_us)
    for name, (_node, told) in nodes.items():
        assert not [one for one in told if isinstance(one, NodeLost)], f"{name}: a lease was over"
        skews = [one for one in told if isinstance(one, ClockSkewed)]
        assert len(skews) <= 1 if "drifts" in name else len(skews) == 1, f"{name}: {skews}"


SET_BY_US = {"forward": MINUTES, "back": -LASTS_S * SECOND // 4}


async def set_midway(path: Path, by_us: int) -> None:
    """Three nodes at one file, whose machine's clock is set."""
    place, late = Place("sqlite", path), Late()
    clock = Wrong(set_by_us=by_us, after_us=MIDWAY_US)
    nodes = [a_node(place, f"node-{number}", clock, late) for number in range(3)]
    async with AsyncExitStack() as stack:
        for node, _told in nodes:
            await stack.enter_async_context(node)
        began_us = clock.now_us()
        await asyncio.sleep(LASTS_S)
        async with asyncio.timeout(PATIENCE_S):  # it goes on, also where all that comes again has been
            while max(run.scheduled_us or 0 for run in await fires(nodes[0][0])) < clock.now_us() - 4 * SECOND:
                await asyncio.sleep(0.25)
        runs = await fires(nodes[0][0])
    at = accounted_for(runs)
    assert at[-1] - began_us > LASTS_S * SECOND // 2 + by_us
    most = max(run.stands_for for run in runs)
    assert (most > MINUTES // PERIOD_US // 2) == (by_us > 0), "what was passed over has been missed, as one run"
    assert not [one for _node, told in nodes for one in told], "no lease goes by that clock"
    print(f"set by {by_us / 1e6:+.0f} s: {len(runs)} runs for {sum(run.stands_for for run in runs)} fires")


@pytest.mark.timeout(LASTS_S + 180)
async def test_every_fire_is_once_though_the_clock_of_the_machine_is_set(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        for name, by_us in SET_BY_US.items():
            (tmp_path / name).mkdir()
            group.create_task(set_midway(tmp_path / name, by_us))
