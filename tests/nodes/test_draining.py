"""A node that is asked to drain hears of it by the same hint as of everything else, and polls only if that was lost."""

from __future__ import annotations

import asyncio

import pytest

from addresses import Place
from asyncsched import Registry, Task
from asyncsched._engine import sweep
from asyncsched.clock import SECOND_US
from asyncsched.events import Event, NodeDrains
from asyncsched.stores._postgres import pulse as postgres_pulse
from asyncsched.stores._redis import pulse as redis_pulse

SOON = 20.0
"""Far less than what is between two polls here."""


def registry() -> Registry:
    found = Registry()

    async def work(number: int) -> int:
        return number

    found.register(Task(work, id="work"))
    return found


@pytest.fixture
def nobody_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not hinted at is not heard for a quarter of an hour."""
    monkeypatch.setattr(postgres_pulse, "POLL_US", 900 * SECOND_US)
    monkeypatch.setattr(redis_pulse, "POLL_US", 900 * SECOND_US)
    monkeypatch.setattr(sweep, "_PERIOD_US", 900 * SECOND_US)


@pytest.mark.usefixtures("nobody_polls")
async def test_a_node_claims_nothing_more_as_soon_as_the_hint_has_come_that_it_is_to_drain(shared: Place) -> None:
    drains = asyncio.Event()

    def heard(_event: Event) -> None:
        drains.set()

    declared = registry()
    async with (
        shared.scheduler(registry(), queues=[], node="operator") as operator,
        shared.scheduler(declared, node="worker") as worker,
    ):
        worker.events.on([NodeDrains], heard)
        assert await (await (await operator.tasks.get("work")).submit(1)) == 1
        async with asyncio.timeout(SOON):
            await operator.nodes.drain("worker")
            await drains.wait()
        runs = [await declared["work"].submit(number) for number in range(5)]
        async with shared.scheduler(registry(), node="other"), asyncio.timeout(SOON):
            assert [await run for run in runs] == list(range(5))
            assert {(await operator.runs.get(run.id)).node for run in runs} == {"other"}
