"""The workshop for CAD parts, every day of a year: which files are there at the end."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from workshop import schedule, shapes

PARTS = ["ball", "block", "pinion", "plate", "wheel"]


@pytest.mark.full_speed
async def test_a_year_leaves_exactly_the_expected_files(
    virtual: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "HOME", tmp_path)
    async with virtual(schedule.scheduler, at="2027-01-01", tz="Europe/Berlin") as sched:
        drawn = shapes.stock(tmp_path / "parts")
        await sched.advance("365 days")
        end = sched.now()
        assert end == datetime(2027, 12, 31, 23, tzinfo=UTC)
        assert Counter((run.task, str(run.status)) for run in sched.runs()) == {
            ("compute", "SUCCESS"): 365,
            ("backup", "SUCCESS"): 4 * 365,
            ("clean", "SUCCESS"): 52,
        }
        assert sched.skips() == []
    assert sorted(path.name for path in drawn) == [f"{part}.stl" for part in PARTS]
    # A week of backups, one each six hours up to the last instant of the year.
    archives = [f"parts-{end - timedelta(hours=6 * age):%Y%m%dT%H%M%SZ}.tar.gz" for age in reversed(range(28))]
    expected = [
        *(f"backups/{archive}" for archive in archives),
        *(f"parts/{part}.stl" for part in PARTS),
        *(f"results/{part}.json" for part in PARTS),
    ]
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*")) if path.is_file()] == expected
    for part in PARTS:
        report = json.loads((tmp_path / "results" / f"{part}.json").read_text())
        assert report["model"] == f"{part}.stl"
        assert report["volume"] > 0
        # Results older than 30 days go on Sunday morning and are made anew in the next night.
        assert end - datetime.fromisoformat(report["measured_at"]) < timedelta(days=38)
    with tarfile.open(tmp_path / "backups" / archives[-1]) as tar:
        assert sorted(tar.getnames()) == [f"parts/{part}.stl" for part in PARTS]
