"""The workshop over two days, over a year, and as a program that people watch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
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
    async with virtual(schedule.scheduler, at="2026-11-21 12:00", tz="Europe/Berlin") as sched:  # a Saturday
        shapes.stock(home / "parts")
        await sched.advance("2 days")
        assert sched.fires("compute") == ["2026-11-22T02:30+01:00", "2026-11-23T02:30+01:00"]
        assert sched.fires("clean") == ["2026-11-22T04:00+01:00"]
        first, second = (run.result for run in reversed(sched.runs("compute")))
    assert names(home / "results") == ["ball.json", "block.json", "pinion.json", "plate.json", "wheel.json"]
    assert sorted([str(first), str(second)]) == ["0 measured, 5 unchanged", "5 measured, 0 unchanged"]
    hours = [(day, hour) for day in (21, 22, 23) for hour in (5, 11, 17, 23)]
    made = [f"parts-202611{day}T{hour:02}0000Z.tar.gz" for day, hour in hours if (21, 11) < (day, hour) <= (23, 11)]
    assert names(home / "backups") == made


async def test_a_year_of_the_workshop(virtual: Any, home: Path) -> None:
    ended: Counter[tuple[str, str]] = Counter()
    async with virtual(schedule.scheduler, at="2026-01-01 00:00", tz="Europe/Berlin") as sched:
        sched.on_end = None
        shapes.write(home / "parts" / "plate.stl", shapes.box(1, 2, 3))
        await sched.advance("365 days")
    assert ended


def test_the_demo_tells_what_happens_and_what_it_drained(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(EXAMPLES), "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "workshop", "here"]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        assert demo.stdout is not None
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if "SUCCESS    mill" in line:
                demo.send_signal(signal.SIGINT)
        demo.wait(10)
    said = "".join(lines)
    assert demo.returncode == 0, said
    assert "next       mill      every 4 seconds" in said
    assert "5 measured, 0 unchanged" in said
    assert "gear-9.stl is ready" in said
    assert "Draining: nothing is running." in said
    assert "In here/: 6 parts, 5 results." in said
    assert "\033" not in said
    assert datetime.now(UTC).year  # placeholder
