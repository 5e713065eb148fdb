"""The examples of tasks that need tasks, each under virtual time."""

from __future__ import annotations

import importlib
from typing import Any

import pytest


async def test_a_pipeline_takes_its_rows_to_the_end(virtual: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example = importlib.import_module("pipeline")
    async with virtual(example.scheduler) as sched:
        await sched.advance("61s")
        assert [run.task for run in sched.runs()] == [f"pipeline:{name}" for name in STEPS] * 2
        assert [run.result for run in sched.runs("transform")] == [{"tea": 7, "milk": 1, "bread": 2}] * 2
    assert capsys.readouterr().out == 2 * '4 rows became {"tea": 7, "milk": 1, "bread": 2}\n'


STEPS = ["extract", "transform", "load", "report"]


async def test_a_diamond_with_a_branch_that_fails(virtual: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example = importlib.import_module("diamond")
    async with virtual(example.scheduler) as sched:
        first = await example.order.submit(17)
        await sched.drain()
        assert await first == 17
        ends = {run.task: (str(run.status), run.reason) for run in await sched.scheduler.runs.list()}
    assert ends == {
        "diamond:order": ("SUCCESS", None),
        "diamond:invoice": ("SUCCESS", None),
        "diamond:ship": ("FAILED", None),
        "diamond:thank": ("SKIPPED", "upstream_failed"),
        "diamond:call_the_warehouse": ("SUCCESS", None),
        "diamond:close": ("SUCCESS", None),
    }
    assert capsys.readouterr().out == "the warehouse hears of order 17\nthe order is closed\n"


@pytest.mark.parametrize(
    ("name", "says"),
    [("pipeline", "4 rows became"), ("diamond", "because of ConnectionError('no courier takes parcel 17')")],
)
async def test_they_run_to_their_end(virtual: Any, capsys: pytest.CaptureFixture[str], name: str, says: str) -> None:
    example = importlib.import_module(name)
    await example.main()
    assert says in capsys.readouterr().out
