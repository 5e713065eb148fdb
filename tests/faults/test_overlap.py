"""Two processes fire tasks at one server, and are killed (F17): each fire does what its policy says of the other runs.

What a server holds at each moment cannot be seen from outside. But it tells of each run from when to when it was live,
and of each fire whether it was skipped: that agrees with the policy, but for what may have happened on the way.
"""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from .crew import LONG, seeded
from .grounds import Ground, ground_of
from .test_sqlite_overlap import DURATIONS, PERIOD_MS, POLICIES, Pair, pair, run_for, spans

# From the moment for which a fire is decided to that at which the server counts, at a busy machine.
ON_THE_WAY_US = 1_000_000
SECONDS, KILLS = (20.0, 5) if LONG else (12.0, 1)
# In the long form one policy after another: 25 tasks at once keep a machine too busy to tell what comes of what.
CELLS = [(policy,) for policy in POLICIES] if LONG else [POLICIES]
# So many runs may be live beside the one that a fire makes; as soon as there is one more, a fire is skipped.
BESIDE = {"skip": 0, "queue_one": 1}
_ROW = ("id", "task", "status", "reason", "created_at", "finished_at", "scheduled_at", "stands_for")


def live_around(row: dict[str, Any], runs: list[dict[str, Any]], spare_us: int) -> int:
    """How many other runs were live when the fire of this one was decided, ``spare_us`` before and after included."""
    at_us = row["created_at"]
    return sum(
        run["created_at"] + spare_us <= at_us and (run["live"] or run["finished_at"] - spare_us >= at_us)
        for run in runs
        if run is not row
    )


def contradictions(policy: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fires of which became something else than the policy says."""
    skipped = [row for row in rows if row["reason"] == "overlap"]
    runs = [row for row in rows if row["status"] != "SKIPPED"]
    most = BESIDE.get(policy)
    if most is None:
        return skipped
    crowded = [row for row in runs if live_around(row, runs, ON_THE_WAY_US) > most]
    return crowded + [row for row in skipped if live_around(row, runs, -ON_THE_WAY_US) <= most]


def check(two: Pair, ground: Ground, name: str, policy: str, seconds: float) -> None:
    """What holds of one task."""
    rows = [row for row in ground.rows(*_ROW) if row["task"] == name]
    statuses = [row["status"] for row in rows]
    long = seconds > 1.5 * PERIOD_MS / 1_000
    skipped = statuses.count("SKIPPED")
    print(f"{ground.kind}: {name}: {len(rows) - skipped} runs, {skipped} skipped, {len(two.killed)} killed")
    assert len(rows) - skipped > 3
    assert contradictions(policy, rows) == []
    if policy in BESIDE and long:
        assert skipped > 3
    if policy == "cancel_previous" and long:
        assert statuses.count("CANCELLED") > 3
    if policy != "allow":
        own = {row["id"] for row in rows}
        assert all(one[1] <= other[0] for one, other in pairwise(spans(two, own))), f"{name}: two ran at once"
    instants = [row["scheduled_at"] for row in rows]
    assert len(instants) == len(set(instants))
    next_us = ground.watermarks()[name]
    assert next_us is not None
    assert sum(row["stands_for"] for row in rows) == (next_us - min(instants)) // (PERIOD_MS * 1_000)


@pytest.mark.timeout(300 if LONG else 150)
@pytest.mark.parametrize("policies", CELLS, ids=lambda policies: " ".join(policies))
def test_each_fire_does_what_its_policy_says_of_all_nodes(policies: tuple[str, ...], tmp_path: Path) -> None:
    random = seeded(f"overlap {policies}")
    ticks = [
        (f"{policy}-{by}", policy, by * PERIOD_MS / 1_000, 0)
        for policy in policies
        for by in (DURATIONS if LONG else (3.0,))
    ]
    grounds = [ground_of(kind, tmp_path) for kind in ("postgres", "redis")]
    for ground in grounds:
        (tmp_path / ground.kind).mkdir()
    with (
        pair(tmp_path / "postgres", grounds[0].url, *ticks) as one,
        pair(tmp_path / "redis", grounds[1].url, *ticks) as other,
    ):
        begun = time.monotonic()
        for two in (one, other):
            run_for(two, SECONDS / 2, KILLS, random)
        while time.monotonic() - begun < SECONDS:
            time.sleep(0.1)
        for two in (one, other):
            while two.living:
                two.kill(0)
    for two, ground in zip((one, other), grounds, strict=True):
        for name, policy, seconds, _most in ticks:
            check(two, ground, name, policy, seconds)
