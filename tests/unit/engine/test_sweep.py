"""Looking again every few seconds, where several nodes share a store."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest

from asyncsched import Registry, Scheduler
from asyncsched._engine.sweep import Sweep
from asyncsched.stores import MemoryStore


class SharedStore(MemoryStore):
    shared = True


@pytest.mark.parametrize(("store", "least", "most"), [(SharedStore, 10, 16), (MemoryStore, 1, 1)])
async def test_it_looks_at_once_and_with_others_about_every_five_seconds(
    virtual: Any, store: type[MemoryStore], least: int, most: int
) -> None:
    async with virtual(Registry()) as sched:
        scheduler: Scheduler = sched.scheduler
        engine = scheduler._engine
        assert engine is not None
        seen: list[int] = []
        now_us = engine.clock.now_us
        sweep = Sweep(store(), engine.timer, now_us, Random(3), lambda: seen.append(now_us()))
        sweep.begin()
        await sched.advance("60s")
        sweep.end()
        assert least <= len(seen) <= most
        gaps = [after - before for before, after in pairwise(seen)]
        assert all(4_000_000 <= gap <= 6_000_001 for gap in gaps)
        assert len(set(gaps)) == len(gaps)
        await sched.advance("60s")
        assert len(seen) <= most
