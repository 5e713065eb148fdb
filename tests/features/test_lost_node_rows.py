"""The rows of features about nodes that are stopped or die: real processes, real signals, at every shared store.

Leases take seconds to end: so each tale has its turn at all stores at once.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from tests.faults.grounds import LEASE_S, SWEEP_S, Ground
from tests.faults.nodes import node
from tests.faults.test_leases import ended_once, side_by_side

BUSY_S = 30.0
"""What a busy machine may take beside that, with nine processes."""


@pytest.mark.feature("NB11")
async def test_nb11_a_stalled_owner_is_fenced_off_and_sees_that_it_is_lost(tmp_path: Path) -> None:
    async def tale(ground: Ground) -> None:
        async with node(ground.url) as owner:
            run_id = await owner.submit("stubborn")
            stale = await owner.said("began", run_id)
            async with node(ground.url) as other:
                owner.signal(signal.SIGSTOP)
                fresh = await other.said("began", run_id)
                owner.signal(signal.SIGCONT)
                assert (await owner.said("lost", run_id))["lost"] is True
                assert (await owner.said("ended", run_id))["fence"] == stale["fence"]
                assert fresh["fence"] > stale["fence"]
                over = await owner.over(run_id)
                assert (over["status"], over["value"]) == ("SUCCESS", other.pid)
        assert ended_once(ground)

    await side_by_side(tmp_path, tale)


@pytest.mark.feature("NB10")
@pytest.mark.feature("PQ11")
async def test_pq11_nb10_after_kill_9_another_node_runs_it_and_there_is_one_record(tmp_path: Path) -> None:
    async def tale(ground: Ground) -> None:
        async with node(ground.url) as first:
            run_id = await first.submit("work", 60.0, 0.0)
            began = await first.said("began", run_id)
            async with node(ground.url) as second:
                first.signal(signal.SIGKILL)
                killed = time.monotonic()
                again = await second.said("began", run_id)
                assert again["at"] - killed < LEASE_S + SWEEP_S + BUSY_S
                assert again["fence"] > began["fence"]
                assert (await second.over(run_id))["value"] == second.pid
        rows = ground.rows("id", "status")
        assert rows == [{"id": run_id, "status": "SUCCESS", "live": False}]

    await side_by_side(tmp_path, tale)


@pytest.mark.feature("PA16")
async def test_pa16_a_run_goes_on_though_the_row_of_its_dead_node_is_gone(tmp_path: Path) -> None:
    async def tale(ground: Ground) -> None:
        async with node(ground.url) as first:
            run_id = await first.submit("work", 60.0, 0.0)
            await first.said("began", run_id)
            first.signal(signal.SIGKILL)
            await first.ended()
        ground.forget_nodes()
        async with node(ground.url) as second:
            assert (await second.over(run_id))["value"] == second.pid

    await side_by_side(tmp_path, tale)
