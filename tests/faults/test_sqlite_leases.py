"""Nodes at one SQLite file that are not told that others have written: they look by themselves, once in a while.

The long form runs with ``ASYNCSCHED_FAULTS=long``.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from .crew import LONG
from .nodes import DEAF, Node, node


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}?synchronous=normal&lease=3s"


async def starts(asking: Node, serving: Node, count: int) -> list[float]:
    """How long runs that were submitted at one node waited for their start at the other, in seconds."""
    waited = []
    for _ in range(count):
        asked = time.monotonic()
        run_id = await asking.submit("work", 0.0)
        waited.append((await serving.said("began", run_id))["at"] - asked)
    return sorted(waited)


async def test_without_hints_nothing_waits_for_longer_than_a_poll(url: str) -> None:
    async with node(url, DEAF, serves=False) as asking, node(url, DEAF) as serving:
        await starts(asking, serving, 1)
        waited = await starts(asking, serving, 200 if LONG else 5)
        assert waited[-1] < 1.0 + 0.1 + 0.2, "and what the submit itself took, on a busy machine"
        assert waited[-1] > 0.05, "it was told after all"
