"""What a cron step and a cron parse cost, beside cronsim and croniter in the same run.

    python benchmarks/cron.py [--rounds 7] [--json FILE]

Every library walks the same fires from the same start, each called as its documentation says, datetime in and
datetime out; the walks must agree. Rounds are interleaved, so that a busy machine is busy for all; figures are
medians over the rounds, of CPU time, with warm caches except where parsing is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import geometric_mean, median
from typing import NamedTuple
from zoneinfo import ZoneInfo

from croniter import croniter
from cronsim import CronSim

from asyncsched.clock import to_us
from asyncsched.triggers import _cron
from asyncsched.triggers._cron import Cron


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


def agree(case: Case) -> None:
    """Stop if the libraries do not name the same instants: their costs could not be compared."""
    expected = list(islice(walk_ours(case), case.steps))
    for name in PEERS:
        for ours, theirs in zip(expected, WALKS[name](case), strict=False):
            if ours.timestamp() != theirs.timestamp():  # type: ignore[attr-defined]
                raise SystemExit(f"{name} differs on {case.line!r}: {theirs} is not {ours}")


def step_us(name: str, case: Case) -> float:
    """CPU microseconds for one step of a walk that was walked once before, its generator included."""
    for _ in islice(WALKS[name](case), case.steps):
        pass
    walk = WALKS[name](case)
    next(walk)
    begun = time.process_time_ns()
    for _ in islice(walk, case.steps - 1):
        pass
    return (time.process_time_ns() - begun) / (case.steps - 1) / 1000


def make_us(name: str, case: Case) -> float:
    """CPU microseconds to make what can then be stepped."""
    make = MAKERS[name]
    begun = time.process_time_ns()
    for _ in range(PARSES):
        make(case)
    return (time.process_time_ns() - begun) / PARSES / 1000


def measure(rounds: int) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Median microseconds by library and line: of a step, and of making."""
    steps: dict[tuple[str, str], list[float]] = {}
    makes: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for case in CASES:
            gc.collect()
            gc.disable()
            for name in WALKS:
                steps.setdefault((name, case.line), []).append(step_us(name, case))
            for name in MAKERS:
                makes.setdefault((name, case.line), []).append(make_us(name, case))
            gc.enable()
    return _medians(steps), _medians(makes)


def _medians(samples: dict[tuple[str, str], list[float]]) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for (name, line), values in samples.items():
        table.setdefault(name, {})[line] = median(values)
    return table


def markdown(title: str, table: dict[str, dict[str, float]]) -> str:
    """The table with a row for each line and their geometric mean."""
    names = list(table)
    rows = [f"| {title}, us | zone | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for case in CASES:
        figures = " | ".join(f"{table[name][case.line]:.2f}" for name in names)
        rows.append(f"| `{case.line}` | {case.zone} | {figures} |")
    means = " | ".join(f"**{geometric_mean(table[name].values()):.2f}**" for name in names)
    return "\n".join([*rows, f"| **geometric mean** | | {means} |"])


def summary(steps: dict[str, dict[str, float]], makes: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The figures that have goals, and their ratios to cronsim in this run: to the mean of all its lines."""

    def beside_cronsim(table: dict[str, dict[str, float]], cases: list[Case]) -> dict[str, float]:
        ours = geometric_mean(table[OURS][case.line] for case in cases)
        theirs = geometric_mean(table["cronsim"].values())
        return {"us": round(ours, 3), "cronsim_us": round(theirs, 3), "ratio": round(ours / theirs, 4)}

    return {
        "step": beside_cronsim(steps, CASES),
        "step within a day": beside_cronsim(steps, WITHIN_A_DAY),
        "parse": beside_cronsim(makes, CASES),
    }


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = f"{len(names)} x {names[0]}" if names else cpu
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"cpu": cpu, "system": platform.platform(), "python": python} | {name: version(name) for name in PEERS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds, at least 5 for figures to keep")
    parser.add_argument("--json", type=Path, help="write machine, figures and summary to this file")
    options = parser.parse_args()
    for case in CASES:
        agree(case)
    steps, makes = measure(options.rounds)
    facts, figures = machine(), summary(steps, makes)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))
    print(f"\n{markdown('next_after', steps)}\n\n{markdown('make', makes)}\n")
    for name, figure in figures.items():
        print(f"{name}: {figure['us']:.2f} us, {figure['ratio']:.3f} x cronsim")
    if options.json:
        report = {"machine": facts, "rounds": options.rounds, "step_us": steps, "make_us": makes, "summary": figures}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
