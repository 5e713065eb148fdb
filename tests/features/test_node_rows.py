"""The rows of features about several nodes at one store: real processes at one SQLite file, real signals."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.faults.nodes import DEAF, node
from tests.faults.test_sqlite_leases import LEASE_S, starts

from asyncsched import Registry, Scheduler, Task
from asyncsched.run import RunStatus


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}?synchronous=normal&lease=3s"


@pytest.mark.feature("NB11")
async def test_nb11_a_stalled_owner_is_fenced_off_and_sees_that_it_is_lost(url: str) -> None:
    async with node(url) as owner:
        run_id = await owner.submit("stubborn", LEASE_S + 3)
        stale = await owner.said("began", run_id)
        async with node(url) as other:
            owner.signal(signal.SIGSTOP)
            fresh = await other.said("began", run_id)
            owner.signal(signal.SIGCONT)
            assert (await owner.said("lost", run_id))["lost"] is True
            assert (await owner.said("ended", run_id))["fence"] == stale["fence"]
            assert fresh["fence"] > stale["fence"]
            over = await owner.over(run_id)
            assert (over["status"], over["value"]) == ("SUCCESS", other.pid)


@pytest.mark.feature("NB10")
@pytest.mark.feature("PQ11")
async def test_pq11_nb10_after_kill_9_another_node_runs_it_and_there_is_one_record(url: str, tmp_path: Path) -> None:
    async with node(url) as first:
        run_id = await first.submit("work", 60.0, 0.0)
        began = await first.said("began", run_id)
        async with node(url) as second:
            first.signal(signal.SIGKILL)
            killed = time.monotonic()
            again = await second.said("began", run_id)
            assert again["at"] - killed < LEASE_S + 5 + 1
            assert again["fence"] > began["fence"]
            assert (await second.over(run_id))["value"] == second.pid
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as db:
        assert db.execute("SELECT id, status FROM asyncsched_history").fetchall() == [(run_id, "SUCCESS")]


@pytest.mark.feature("PA16")
async def test_pa16_a_run_goes_on_though_the_row_of_its_dead_node_is_gone(url: str, tmp_path: Path) -> None:
    async with node(url) as first:
        run_id = await first.submit("work", 60.0, 0.0)
        await first.said("began", run_id)
        first.signal(signal.SIGKILL)
        await first.ended()
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as db:
        db.execute("DELETE FROM asyncsched_nodes")
        db.commit()
    for file in tmp_path.glob("jobs.db-node-*"):
        file.unlink()
    async with node(url) as second:
        assert (await second.over(run_id))["value"] == second.pid


@pytest.mark.feature("PQ12")
async def test_pq12_a_submit_wakes_the_other_node_and_polling_is_only_the_fallback(url: str) -> None:
    async with node(url, serves=False) as asking, node(url) as serving:
        await asyncio.sleep(1.2)  # until each has seen that it is not alone
        assert statistics.median(await starts(asking, serving, 15)) < 0.05
    async with node(url, DEAF, serves=False) as asking, node(url, DEAF) as serving:
        assert max(await starts(asking, serving, 3)) < 1.0 + 0.1 + 0.2  # the last for the submit itself


@pytest.mark.feature("PE16")
async def test_pe16_a_run_is_cancelled_from_another_node(url: str) -> None:
    async with node(url, serves=False) as asking, node(url) as serving:
        run_id = await asking.submit("work", 60.0)
        await serving.said("began", run_id)
        told = await asking.do("cancel", run_id, answer="told")
        assert told["stopped"] is True
        inside = await serving.said("cancelled", run_id)
        assert inside["at"] - told["before"] < 1
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
async def test_pe12_of_each_customer_one_run_at_a_time_over_all_nodes(url: str) -> None:
    async with node(url) as first, node(url) as second:
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
async def test_pe13_two_nodes_that_race_with_one_key_get_one_run(url: str) -> None:
    async with node(url) as first, node(url) as second:
        answers = await asyncio.gather(
            *(one.do("many", "unique", 50, "A-1", answer="submitted") for one in (first, second))
        )
        assert len({run_id for answer in answers for run_id in answer["runs"]}) == 1


@pytest.mark.feature("PE24")
async def test_pe24_a_pause_by_tag_holds_on_all_nodes_until_it_is_over(url: str) -> None:
    def registry() -> Registry:
        declared = Registry()

        async def work() -> None: ...

        declared.register(Task(work, id="work", every="100ms", tags=["nightly"], history_limit=1_000))
        return declared

    async with Scheduler(url, registry=registry()) as first, Scheduler(url, registry=registry()) as second:
        await asyncio.sleep(0.5)
        asked = datetime.now(UTC)
        until = asked + timedelta(seconds=1.5)
        await first.tasks.pause(tag="nightly", until=until)
        paused = datetime.now(UTC)
        await asyncio.sleep(2.5)
        for one in (first, second):
            fires = [run for run in await one.runs.list(task="work", limit=1_000) if run.status is RunStatus.SUCCESS]
            made = [run.scheduled_for for run in fires if run.scheduled_for is not None]
            assert any(at < asked for at in made)
            assert any(at >= until for at in made)
            assert [at for at in made if paused < at < until] == []
