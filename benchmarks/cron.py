"""What a cron step and a cron parse cost, beside cronsim and croniter in the same process.

Every library walks the same fires from the same start, each called as its documentation says, datetime in and
datetime out; the walks must agree. The libraries take turns at each line; caches are warm except where parsing is
measured.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from statistics import geometric_mean
from typing import NamedTuple
from zoneinfo import ZoneInfo

from croniter import croniter
from cronsim import CronSim

from asyncsched.clock import to_us
from asyncsched.triggers import _cron
from asyncsched.triggers._cron import Cron
from benchmarks.sizes import Sizes


class Case(NamedTuple):
    line: str
    zone: str
    steps: int

    @property
    def start(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=ZoneInfo(self.zone))


CASES = [
    Case("* * * * *", "America/New_York", 600),
    Case("*/5 * * * *", "America/New_York", 600),
    Case("0 * * * *", "UTC", 600),
    Case("30 13 * * *", "America/New_York", 600),
    Case("0 9 * * 1-5", "America/New_York", 600),
    Case("0 0 1 * *", "America/New_York", 200),
    Case("0 0 L * *", "UTC", 200),
    Case("0 0 * * 5#2", "America/New_York", 200),
    Case("0 0 29 2 *", "America/New_York", 15),
]
WITHIN_A_DAY = CASES[:3]
PARSES = 200
OURS, RAW, PEERS = "asyncsched", "asyncsched next_us", ("cronsim", "croniter")


def walk_ours(case: Case) -> Iterator[datetime]:
    next_after, moment = Cron(case.line, tz=case.zone).next_after, case.start
    while (found := next_after(moment)) is not None:
        yield (moment := found)


def walk_raw(case: Case) -> Iterator[int]:
    next_us, moment = Cron(case.line, tz=case.zone).next_us, to_us(case.start)
    while (found := next_us(moment)) is not None:
        yield (moment := found)


def walk_croniter(case: Case) -> Iterator[datetime]:
    get_next = made_croniter(case).get_next
    while True:
        yield get_next(datetime)


def made_croniter(case: Case) -> croniter:
    return croniter(case.line, case.start, second_at_beginning=True, implement_cron_bug=True)


def made_ours(case: Case) -> Cron:
    _cron._wall_times.cache_clear()
    return Cron(case.line, tz=case.zone)


WALKS: dict[str, Callable[[Case], Iterator[object]]] = {
    OURS: walk_ours,
    RAW: walk_raw,
    "cronsim": lambda case: CronSim(case.line, case.start),
    "croniter": walk_croniter,
}
MAKERS: dict[str, Callable[[Case], object]] = {
    OURS: made_ours,
    f"{OURS}, line seen before": lambda case: Cron(case.line, tz=case.zone),
    "cronsim": lambda case: CronSim(case.line, case.start),
    "croniter": made_croniter,
}


def agree(case: Case, steps: int) -> None:
    """Stop if the libraries do not name the same instants: their costs could not be compared."""
    expected = list(islice(walk_ours(case), steps))
    for name in PEERS:
        for ours, theirs in zip(expected, WALKS[name](case), strict=False):
            if ours.timestamp() != theirs.timestamp():  # type: ignore[attr-defined]
                raise SystemExit(f"{name} differs on {case.line!r}: {theirs} is not {ours}")


def step_us(name: str, case: Case, steps: int) -> float:
    """CPU microseconds for one step of a walk that was walked once before, its generator included."""
    for _ in islice(WALKS[name](case), steps):
        pass
    walk = WALKS[name](case)
    next(walk)
    begun = time.process_time_ns()
    for _ in islice(walk, steps - 1):
        pass
    return (time.process_time_ns() - begun) / (steps - 1) / 1000


def make_us(name: str, case: Case, times: int) -> float:
    """CPU microseconds to make what can then be stepped."""
    make = MAKERS[name]
    begun = time.process_time_ns()
    for _ in range(times):
        make(case)
    return (time.process_time_ns() - begun) / times / 1000


def measure(sizes: Sizes) -> dict[str, dict[str, float]]:
    """Microseconds by library: geometric means over the lines, and each line."""
    steps: dict[str, dict[str, float]] = {name: {} for name in WALKS}
    makes: dict[str, dict[str, float]] = {name: {} for name in MAKERS}
    for case in CASES:
        count = max(5, int(case.steps * sizes.cron_share))
        agree(case, count)
        gc.collect()
        gc.disable()
        for name in WALKS:
            steps[name][case.line] = step_us(name, case, count)
        for name in MAKERS:
            makes[name][case.line] = make_us(name, case, max(2, int(PARSES * sizes.cron_share)))
        gc.enable()
    found: dict[str, dict[str, float]] = {name: {} for name in {**steps, **makes}}
    for name, costs in steps.items():
        found[name]["cron_step_us"] = geometric_mean(costs.values())
        found[name]["cron_day_us"] = geometric_mean(costs[case.line] for case in WITHIN_A_DAY)
        found[name] |= {f"step {line}": cost for line, cost in costs.items()}
    for name, costs in makes.items():
        found[name]["cron_parse_us"] = geometric_mean(costs.values())
        found[name] |= {f"parse {line}": cost for line, cost in costs.items()}
    return found
