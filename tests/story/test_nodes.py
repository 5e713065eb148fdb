"""Several processes at one store are its nodes: who is there, what each has, and how one is taken out of service."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import asyncsched
from addresses import SHARED, STORES, Place
from asyncsched import Registry, Scheduler
from asyncsched._engine import presence
from asyncsched.clock import SystemClock
from asyncsched.errors import UnknownNode
from asyncsched.events import ClockSkewed, NodeDrains, NodesDiffer
from asyncsched.nodes import StoredNode
from asyncsched.zone import tzdata_version

PATIENCE_S = 60


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


@asynccontextmanager
async def until() -> AsyncIterator[None]:
    """Nobody waits for ever."""
    async with asyncio.timeout(PATIENCE_S):
        yield


async def seen(node: Scheduler, name: str, fits: Any = lambda _node: True) -> StoredNode:
    """The node of this name, once it has said what it is and ``fits``."""
    async with until():
        while True:
            for found in await node.nodes.list():
                if found.name == name and found.report is not None and fits(found):
                    return found
            await asyncio.sleep(0.02)


async def test_a_node_says_what_it_is(place: Place) -> None:
    async with place.scheduler(Registry(), node="web", queues={"mail": 2, "reports": None}) as web:
        found = await seen(web, "web")
        assert found.report is not None
        assert (found.report.host, found.report.pid) == (socket.gethostname(), os.getpid())
        assert (found.report.version, found.report.tzdata) == (asyncsched.__version__, tzdata_version())
        assert (found.report.roles, found.report.queues) == (("fire", "run"), ("mail", "reports"))
        assert (found.running, found.draining, found.drained) == (0, False, False)
        assert found.skew is not None
        assert abs(found.skew) < timedelta(seconds=1)
        assert found.heard_at >= found.started_at


async def test_each_node_sees_all_of_them_and_who_leaves_is_gone(shared: Place) -> None:
    async with shared.scheduler(Registry(), node="web", roles=["fire"]) as web:
        async with shared.scheduler(Registry(), node="worker", roles=["run"]) as worker:
            for each in (web, worker):
                assert (await seen(each, "web")).to_json()["roles"] == ["fire"]
                assert (await seen(each, "worker")).to_json()["roles"] == ["run"]
        assert [node.name for node in await web.nodes.list()] == ["web"]


async def test_a_node_that_is_drained_finishes_what_it_runs_and_takes_nothing_more(shared: Place) -> None:
    registry, began, go_on = Registry(), asyncio.Event(), asyncio.Event()

    @registry.task(id="long")
    async def long() -> None:
        began.set()
        await go_on.wait()

    told: list[NodeDrains] = []
    async with shared.scheduler(registry, node="old") as old:
        old.events.on([NodeDrains], told.append)
        async with until():
            under_way = await long.submit()
            await began.wait()
        async with shared.scheduler(Registry(), node="operator", roles=()) as operator:
            asked = await operator.nodes.drain("old")
            assert (asked.draining, asked.running) == (True, 1)
            heard = await seen(operator, "old", lambda node: node.report.draining)
            assert not heard.drained
            waits = await long.submit()
            go_on.set()
            async with until():
                await under_way
            assert (await seen(operator, "old", lambda node: node.drained)).running == 0
            assert (await operator.runs.get(waits.id)).status == "PENDING"
        assert len(told) == 1
    other = Registry()

    @other.task(id="long")
    async def again() -> None: ...

    async with shared.scheduler(other, node="new") as new, until():
        await (await new.runs.get(waits.id))


async def test_a_node_may_drain_itself(place: Place) -> None:
    registry = Registry()

    @registry.task(id="work")
    async def work() -> None: ...

    async with place.scheduler(registry, node="only") as only:
        async with until():
            await (await work.submit())
        await only.nodes.drain("only")
        assert (await seen(only, "only", lambda node: node.drained)).asked
        waits = await work.submit()
        await asyncio.sleep(0.05)
        assert waits.status == "PENDING"


async def test_a_node_that_is_not_there_cannot_be_drained(place: Place) -> None:
    async with place.scheduler(Registry(), node="only") as only:
        with pytest.raises(UnknownNode, match=r"no node 'other' is at the store; there is: only"):
            await only.nodes.drain("other")


async def test_who_comes_with_other_time_zones_or_another_version_is_warned_once(
    shared: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with shared.scheduler(Registry(), node="first") as first:
        await seen(first, "first")
        monkeypatch.setattr(presence, "tzdata_version", lambda: "1999z")
        monkeypatch.setattr(presence, "VERSION", "0.0.7")
        second = shared.scheduler(Registry(), node="second")
        told: list[NodesDiffer] = []
        second.events.on([NodesDiffer], told.append)
        with caplog.at_level(logging.WARNING, "asyncsched"):
            async with second:
                await seen(second, "second")
                async with until():
                    while len(told) < 2:
                        await asyncio.sleep(0.02)
    assert {(one.what, one.here, one.there, one.node) for one in told} == {
        ("tzdata", "1999z", tzdata_version(), "first"),
        ("version", "0.0.7", asyncsched.__version__, "first"),
    }
    (said,) = (record.getMessage() for record in caplog.records if "tzdata" in record.getMessage())
    assert said.startswith(f"this node has time zones (tzdata) 1999z, and the node first has {tzdata_version()}: zones")


class AMinuteAhead(SystemClock):
    def now_us(self) -> int:
        return super().now_us() + 60_000_000


@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_a_machine_whose_clock_is_wrong_is_told_once_and_shown(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = Place(kind, tmp_path).scheduler(Registry(), node="hasty", clock=AMinuteAhead(), stall_warning=None)
    told: list[ClockSkewed] = []
    node.events.on([ClockSkewed], told.append)
    with caplog.at_level(logging.WARNING, "asyncsched"):
        async with node:
            found = await seen(node, "hasty")
            assert found.skew is not None
            assert abs(found.skew - timedelta(minutes=1)) < timedelta(seconds=1)
    (one,) = told
    assert abs(one.by - timedelta(minutes=1)) < timedelta(seconds=1)
    (said,) = (record.getMessage() for record in caplog.records if "clock of this machine" in record.getMessage())
    assert "60.0 s ahead of that of" in said
