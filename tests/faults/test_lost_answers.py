"""The answer to a submit is lost (F6): whoever submits again under the same key has one run, not two."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler

from .crew import LONG, Crew, seeded

DEATHS = 100 if LONG else 6
ORDERS = 2_000 if LONG else 300


def orders_in(path: Path) -> Counter[int]:
    """How many runs there are of each order: done, or given up as each died with its process three times."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        query = "SELECT args FROM asyncsched_history WHERE task = 'order' AND (status = 'SUCCESS' OR reason = 'lost')"
        found = db.execute(query).fetchall()
        return Counter(number_of(args) for (args,) in found)


def number_of(args: str) -> int:
    """The one number among the stored arguments of a run."""
    found: Any = json.loads(args)
    while not isinstance(found, int):
        found = next(one for one in (found.values() if isinstance(found, dict) else found) if one not in ({}, []))
    return found


@pytest.mark.timeout(1200 if LONG else 150)
def test_an_order_whose_submitter_was_killed_is_submitted_again_and_runs_once(tmp_path: Path) -> None:
    random = seeded("orders")
    first = 0
    with Crew(tmp_path / "crew").declare() as crew:
        for number in range(DEATHS):
            side = "before" if number % 3 == 0 else "after"
            name = crew.start("orders", f"submit-{side}-commit:{random.randint(1, 30)}", first=first)
            crew.dies(name)
            # Of the last one nobody knows whether it was written: it is submitted again.
            first += len((crew.folder / f"acknowledged-{name}").read_text().splitlines())
        crew.drain()
        assert crew.judge() == []
        runs = orders_in(crew.path)
        assert [order for order in range(first) if runs[order] != 1] == []
        assert set(runs) <= set(range(first + 1)), "one more may have been written that nobody heard of"
        assert set(runs.values()) == {1}


async def test_an_order_whose_submitter_no_longer_waits_is_submitted_again_and_runs_once(tmp_path: Path) -> None:
    random, registry = seeded("impatience"), Registry()
    done: Counter[int] = Counter()

    @registry.task(id="order", history_limit=10_000)
    async def order(number: int) -> None:
        done[number] += 1

    path, impatient = tmp_path / "jobs.db", 0
    async with Scheduler(f"sqlite:///{path}", registry=registry, tz="UTC") as scheduler:
        for number in range(ORDERS):
            for attempt in count():
                submitting = asyncio.ensure_future(order.using(idempotency_key=str(number)).submit(number))
                if attempt < 3:
                    # From before it is asked for to after it is told: a commit takes about a millisecond.
                    asyncio.get_running_loop().call_later(random.uniform(0, 0.002), submitting.cancel)
                with contextlib.suppress(asyncio.CancelledError):
                    await submitting
                    break
                impatient += 1
        await scheduler.idle()
    print(f"{impatient} submits were given up")
    assert impatient > ORDERS // 20
    assert done == Counter(range(ORDERS))
    assert orders_in(path) == done
