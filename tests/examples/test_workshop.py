"""The workshop over two days, over a year, and as a program that people watch."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Run
from workshop import schedule, shapes

EXAMPLES = Path(schedule.__file__).parent.parent


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workshop's folder."""
    monkeypatch.setattr(schedule, "HOME", tmp_path)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.feature("PL8")
async def test_pl8_two_days_leave_exactly_the_expected_files(virtual: Any, home: Path) -> None:
    async with virtual(schedule.scheduler, at="2026-11-21 12:00") as sched:  # a Saturday
        shapes.stock(home / "parts")
        await sched.advance("2 days")
        assert sched.fires("compute") == ["2026-11-22T02:30+01:00", "2026-11-23T02:30+01:00"]
        assert sched.fires("clean") == ["2026-11-22T04:00+01:00"]
        said = [str(run.result) for run in sched.runs("compute")]
    assert said == ["5 measured, 0 unchanged", "0 measured, 5 unchanged"]
    assert names(home / "results") == ["ball.json", "block.json", "pinion.json", "plate.json", "wheel.json"]
    archives = [f"parts-202611{day}T{hour:02}0000Z.tar.gz" for day in (21, 22, 23) for hour in (5, 11, 17, 23)]
    assert names(home / "backups") == archives[2:10]


@pytest.mark.full_speed
async def test_a_year_of_the_workshop(virtual: Any, home: Path) -> None:
    async with virtual(schedule.scheduler, at="2026-01-01 00:00") as sched:
        part = shapes.write(home / "parts" / "plate.stl", shapes.box(1, 2, 3))
        await sched.advance("180 days")
        shapes.write(part, shapes.box(2, 2, 3))
        await sched.advance("185 days")
        runs = sched.runs()
        nights = sched.fires("compute")
    assert Counter(run.task for run in runs) == {"compute": 365, "backup": 4 * 365, "clean": 52}
    assert {run.status for run in runs} == {"SUCCESS"}
    # Once in every night, also in that which has no 02:30, and in that which has it twice.
    assert [night[:10] for night in nights] == [f"{date(2026, 1, 1) + timedelta(days=n)}" for n in range(365)]
    odd = [night for night in nights if night[11:16] != "02:30"]
    assert odd == ["2026-03-29T03:00+02:00"]
    assert "2026-10-25T02:30+02:00" in nights
    # Results live 30 days, or until their part changes, and are made anew in the next night.
    measured = [night for night, run in zip(nights, by_task(runs, "compute"), strict=True) if run.result.measured]
    removed = [run for run in by_task(runs, "clean") if run.result.removed]
    assert len(measured) == 1 + len(removed) + 1
    assert len(removed) == 10
    assert json.loads((home / "results" / "plate.json").read_text())["volume"] == 12
    assert len(names(home / "backups")) == 28
    with tarfile.open(home / "backups" / names(home / "backups")[-1]) as tar:
        assert tar.getnames() == ["parts/plate.stl"]


def by_task(runs: list[Run[Any]], task: str) -> list[Run[Any]]:
    return [run for run in runs if run.task == task]


def watch_demo(folder: Path, stop_at: str) -> list[str]:
    """What the demo prints until, after a line with ``stop_at``, Ctrl-C is pressed and it has ended."""
    env = os.environ | {"PYTHONPATH": str(EXAMPLES), "PYTHONWARNINGS": "error"}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    lines: list[str] = []
    with subprocess.Popen([sys.executable, "-m", "workshop", "here"], cwd=folder, env=env, **pipes) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            lines.append(line.rstrip())
            if stop_at in line:
                demo.send_signal(signal.SIGINT)
    assert demo.returncode == 0, lines
    return lines


def test_the_demo_tells_what_will_happen_what_happens_and_what_it_drained(tmp_path: Path) -> None:
    lines = watch_demo(tmp_path, stop_at="5 measured, 0 unchanged")
    said = "\n".join(lines)
    assert re.search(r"^  \d\d:\d\d:\d\d  next       mill      every 4 seconds$", said, re.MULTILINE)
    assert re.search(r"^  \d\d:\d\d:\d\d  SUCCESS    compute +\d+ ms  5 measured, 0 unchanged$", said, re.MULTILINE)
    told = said.index("Nothing fires any more. Draining: mill.")
    assert re.search(r"SUCCESS    mill +1\.5 s  gear-9\.stl is ready$", said[told:], re.MULTILINE)
    assert lines[-3:] == ["", "  Runs that ended: 2 SUCCESS.", "  In here/: 6 parts, 5 results."]
    assert "Drained: 1 finished, none cancelled." in said
    assert "\033" not in said
    assert len(names(tmp_path / "here" / "parts")) == 6
