"""Many processes race for the same fires (F8): each becomes one run, also where some decide on an old view.

In the long form the one that won most of them is killed midway.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from .crew import LONG, Crew, wait_until
from .grounds import SHARED, ground_of

RACERS, TASKS = 8, 50
FIRES = 25_000 if LONG else 2_000
GRIDS = {"tasks": TASKS, "every_ms": 20, "fires": FIRES // TASKS}


@pytest.mark.feature("NB9")
@pytest.mark.timeout(1800 if LONG else 150)
@pytest.mark.parametrize("kind", SHARED)
def test_nb9_each_fire_becomes_one_run_however_many_race_for_it(kind: str, tmp_path: Path) -> None:
    ground = ground_of(kind, tmp_path)
    # Ahead, so that all racers are there when it begins.
    with Crew(tmp_path / "crew", ground).declare(ahead_s=4, **GRIDS) as crew:
        racers = [crew.start("fire", **GRIDS) for _ in range(RACERS)]
        if LONG:
            wait_until(lambda: len(crew.evidence().executions) > FIRES // 2, 600, "half of the fires", every_s=1)
            by_worker = Counter(one.worker for one in crew.evidence().executions)
            (winner, _most), *_others = by_worker.most_common()
            crew.kill(winner)
            racers.remove(winner)
        wait_until(ground.over, 1500 if LONG else 120, "all fires", every_s=0.25)
        crew.mark("stop")
        for name in racers:
            crew.leaves(name)
        assert crew.judge(int(ground.recovery_s * 1e6)) == []
        runs = [record for record in ground.records() if record.status == "SUCCESS"]
        assert len(runs) == FIRES, "none was skipped, and none stands for others"
        executions = crew.evidence().executions
        assert len({one.worker for one in executions}) > 1
        assert sum(one.key is not None for one in executions) >= FIRES // TASKS, "I8 was not tried"
