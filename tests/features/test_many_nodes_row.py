"""EA21: many nodes at one store, none of which leads."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncsched.clock import to_us
from faults.crew import Crew, wait_until
from faults.grounds import SHARED, ground_of

FIRES, EVERY_MS = 20, 250
GRID = {"tasks": 1, "every_ms": EVERY_MS, "fires": FIRES}


@pytest.mark.feature("EA21")
@pytest.mark.parametrize("kind", SHARED)
def test_ea21_four_processes_fire_each_instant_once_though_one_of_them_is_killed(kind: str, tmp_path: Path) -> None:
    ground = ground_of(kind, tmp_path)
    with Crew(tmp_path / "crew", ground).declare(ahead_s=1, **GRID) as crew:
        names = [crew.start("fire", **GRID) for _ in range(4)]

        def ended() -> list[int]:
            return sorted(record.scheduled_us or 0 for record in ground.records() if not record.live)

        wait_until(lambda: len(ended()) >= FIRES // 2, 60, "half of the fires")
        crew.kill(names[0])
        wait_until(lambda: len(ended()) >= FIRES, 60, "all fires")
        crew.mark("stop")
        for name in names[1:]:
            crew.leaves(name)
        assert ended() == [to_us(crew.start_at) + number * EVERY_MS * 1000 for number in range(FIRES)]
        assert crew.judge() == []
