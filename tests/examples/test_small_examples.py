"""The small examples, each under virtual time."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest
import time_machine


def freshly(name: str, now: str) -> ModuleType:
    """The example, imported at ``now``."""
    with time_machine.travel(now, tick=False):
        return importlib.reload(importlib.import_module(name))


@pytest.mark.feature("EA1")
@pytest.mark.feature("EA2")
@pytest.mark.feature("EA3")
async def test_ea1_ea2_ea3_tasks_by_constructor(virtual: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example = freshly("est_alan", "2026-06-01T13:29:50Z")
    async with virtual(example.scheduler, at="2026-06-01T13:29:50+00:00") as sched:
        await sched.advance("10 seconds")
        assert [str(run.result) for run in sched.runs("add")] == ["30", "30"]
        assert sched.fires("greet") == ["2026-06-01T14:30+01:00"]
        assert sched.fires("remind") == ["2026-06-01T13:30+00:00"]
        await sched.advance("1 hour")
        assert len(sched.runs("add")) == 2 + 3600 // 5
        assert len(sched.runs("greet")) == 1
        assert len(sched.runs("remind")) == 1
        assert {run.result for run in sched.runs("double")} == {60}
        assert len(sched.runs("double")) == len(sched.runs("add"))
        assert sched.fires("summarise") == ["2026-06-01T14:31+01:00"]
        assert f"{example.greeting.next_fire}" == "2026-06-02 14:30:00+01:00"
        assert example.reminding.next_fire is None
    said = set(capsys.readouterr().out.splitlines())
    assert said == {
        "10 + 20 = 30",
        "good afternoon, Alan",
        "ten seconds have passed since this program was started",
        "the last sum is 30, doubled 60",
    }


async def test_cron_lines_with_seconds(virtual: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example = freshly("cron_seconds", "2026-06-01T12:00:00Z")
    async with virtual(example.scheduler, at="2026-06-01 11:59:59") as sched:
        await sched.advance("62 seconds")
        tens = [f"{run.scheduled_for:%H:%M:%S}" for run in sched.runs("every_ten_seconds")]
        sevens = [f"{run.scheduled_for:%S}" for run in sched.runs("from_one_every_seven")]
    assert tens == [*(f"12:00:{second:02}" for second in range(0, 60, 10)), "12:01:00"]
    assert sevens == ["01", "08", "15", "22", "29", "36", "43", "50", "57", "01"]
    assert "from 1 every seventh  12:00:57" in capsys.readouterr().out
