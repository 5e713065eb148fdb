"""The rows of features about several nodes at one store: real processes, real signals."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.faults.nodes import DEAF, PROGRAM, node
from tests.faults.test_sqlite_leases import starts

from addresses import Place
from asyncsched import Registry, Task
from asyncsched.run import RunStatus

# Processes that look only when they are told that others have written, never each second or every five.
HINTED = """
from asyncsched._engine import sweep
from asyncsched.stores._sqlite import neighbours
neighbours.SECOND_US = sweep._PERIOD_US = 10**15
""" + PROGRAM  # fmt: skip


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}?synchronous=normal&lease=3s"


@pytest.mark.feature("PQ12")
async def test_pq12_a_submit_wakes_the_other_node_and_polling_is_only_the_fallback(url: str) -> None:
    async with node(url, HINTED, serves=False) as asking, node(url, HINTED) as serving:
        await asyncio.sleep(1.2)  # until each has seen that it is not alone
        assert len(await starts(asking, serving, 15)) == 15
    async with node(url, DEAF, serves=False) as asking, node(url, DEAF) as serving:
        assert len(await starts(asking, serving, 3)) == 3


@pytest.mark.feature("PE16")
async def test_pe16_a_run_is_cancelled_from_another_node(shared: Place) -> None:
    async with node(shared.url, serves=False) as asking, node(shared.url) as serving:
        run_id = await asking.submit("work", 60.0)
        await serving.said("began", run_id)
        told = await asking.do("cancel", run_id, answer="told")
        assert told["stopped"] is True
        await serving.said("cancelled", run_id)
        over = await asking.over(run_id)
        assert (over["status"], over["reason"], over["value"]) == ("CANCELLED", "not wanted", "RunCancelled")
        assert (await asking.do("cancel", run_id, answer="told"))["stopped"] is False


@pytest.mark.feature("PE16")
async def test_pe16_a_run_that_waits_is_cancelled_at_once_by_any_node(url: str) -> None:
    async with node(url, serves=False) as asking, node(url, serves=False) as other:
        run_id = await asking.submit("quick", 1)
        assert (await other.do("cancel", run_id, answer="told"))["stopped"] is True
        over = await asking.over(run_id)
        assert (over["status"], over["value"]) == ("CANCELLED", "RunCancelled")


@pytest.mark.feature("PE12")
async def test_pe12_of_each_customer_one_run_at_a_time_over_all_nodes(shared: Place) -> None:
    async with node(shared.url) as first, node(shared.url) as second:
        runs = []
        for customer in ("acme", "bolt"):
            runs += (await first.do("many", "one", 5, customer, answer="submitted"))["runs"]
        for run_id in runs:
            assert (await first.over(run_id))["status"] == "SUCCESS"
        await second.submit("quick", 1)  # what it has said before is read by then
        said = sorted(first.heard + second.heard, key=lambda one: one["at"])
    for customer in ("acme", "bolt"):
        words = [one["word"] for one in said if one.get("customer") == customer]
        assert words == ["began", "ended"] * 5


@pytest.mark.feature("PE13")
async def test_pe13_two_nodes_that_race_with_one_key_get_one_run(shared: Place) -> None:
    # Nobody runs it: once it has ended, a submit that comes late is another run.
    async with node(shared.url, serves=False) as first, node(shared.url, serves=False) as second:
        answers = await asyncio.gather(
            *(one.do("many", "unique", 50, "A-1", answer="submitted") for one in (first, second))
        )
        assert len({run_id for answer in answers for run_id in answer["runs"]}) == 1


@pytest.mark.feature("PE24")
async def test_pe24_a_pause_by_tag_holds_on_all_nodes_until_it_is_over(shared: Place) -> None:
    def registry() -> Registry:
        declared = Registry()

        async def work() -> None: ...

        declared.register(Task(work, id="work", every="100ms", tags=["nightly"], history_limit=1_000))
        return declared

    async with shared.scheduler(registry()) as first:
        async with shared.scheduler(registry()):
            await asyncio.sleep(0.3)
            asked = datetime.now(UTC)
            until = asked + timedelta(seconds=1)
            await first.tasks.pause(tag="nightly", until=until)
            paused = datetime.now(UTC)
        # A restart in between changes nothing.
        async with shared.scheduler(registry()) as again:
            while datetime.now(UTC) < until + timedelta(seconds=0.5):
                await asyncio.sleep(0.05)
            shown = [await one.runs.list(task="work", limit=1_000) for one in (first, again)]
    for runs in shown:
        fires = [run.scheduled_for for run in runs if run.status is RunStatus.SUCCESS]
        made = [at for at in fires if at is not None]
        assert any(at < asked for at in made)
        assert any(at >= until for at in made)
        assert [at for at in made if paused < at < until] == []
