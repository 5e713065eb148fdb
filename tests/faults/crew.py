"""Workers at one store, each a process: started, killed, told to leave, and what they left behind as evidence."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Self

from asyncsched.clock import to_us
from asyncsched.crash_points import VARIABLE

from .grounds import File, Ground
from .invariants import Evidence, Fires, acknowledged_in, executions_in, percentile, recoveries_us, violations
from .worker import FENCED, IN_FLIGHT, Orders, grid_of, main

LONG = os.environ.get("ASYNCSCHED_FAULTS") == "long"
SEED = int(os.environ.setdefault("ASYNCSCHED_SEED", str(time.time_ns() % 1_000_000)))
_WORKER = Path(__file__).with_name("worker.py")


def seeded(name: str) -> Random:
    """Chances that come again with the same seed, which is printed."""
    print(f"ASYNCSCHED_SEED={SEED}")
    return Random(f"{SEED} {name}")


class Crew:
    """The workers at one store, a file of the folder unless another is given. As a context manager it ends all of them.

    start_at: where the grids of all fires begin.
    fires: the tasks all of whose fires are to be accounted for from then on.
    deaths: who was killed, and when each was surely alive, in microseconds since the epoch.
    died_at: how many have died at each named point.
    """

    def __init__(self, folder: Path, ground: Ground | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.ground = ground or File(folder)
        self.path = folder / "jobs.db"
        self.start_at = datetime.now(UTC)
        self.fires: list[str] = []
        self.deaths: dict[str, int] = {}
        self.died_at: Counter[str] = Counter()
        self._points: dict[str, str] = {}
        self.living: dict[str, subprocess.Popen[bytes]] = {}
        self._started = 0
        self._declared = self._orders("declare")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.living.values():
            process.kill()
            process.wait()

    def declare(self, ahead_s: float = 0.2, **more: int) -> Self:
        """Make the tables, and declare all tasks before their first fires, which are so far ahead."""
        for factor in (1, 5, 25):
            self.start_at = datetime.now(UTC) + timedelta(seconds=ahead_s * factor)
            self._declared = self._orders("declare", **more)
            asyncio.run(main(self._declared))
            watermarks = self.ground.watermarks()
            self.fires = [task for task, next_us in watermarks.items() if next_us is not None]
            if all(watermarks[task] == to_us(self.start_at) for task in self.fires):
                return self
            self.ground.clear()
        raise AssertionError("this machine is too slow to declare a task before it fires")

    def start(self, act: str, crash_at: str | None = None, library: Path | None = None, **more: int) -> str:
        """Start a worker, with the library in this folder if one is given; its name."""
        orders = self._orders(act, **more)
        name = orders.name
        command = [sys.executable, str(_WORKER), json.dumps(asdict(orders))]
        environ = {key: value for key, value in os.environ.items() if key != VARIABLE}
        if library is not None:
            environ["PYTHONPATH"] = str(library)
        if crash_at is not None:
            environ[VARIABLE] = crash_at
            self._points[name] = crash_at.partition(":")[0]
        with (self.folder / f"said-{name}").open("wb") as said:
            self.living[name] = subprocess.Popen(command, env=environ, stdout=said, stderr=said)
        return name

    def _orders(self, act: str, **more: int) -> Orders:
        name, start = f"w{self._started}", self.start_at.isoformat()
        self._started += 1
        return Orders(self.ground.url, str(self.folder), name, act, start, SEED, **more)

    def ready(self, name: str) -> bool:
        """Whether this worker has entered its scheduler."""
        return (self.folder / f"ready-{name}").exists()

    def mark(self, *files: str) -> None:
        """Tell the workers something, by files that they look for."""
        for file in files:
            (self.folder / file).touch()

    def kill(self, name: str) -> None:
        """Kill a worker, and count that."""
        process = self.living.pop(name)
        self.deaths[name] = time.time_ns() // 1000
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def dies(self, name: str, patience_s: float = 120) -> None:
        """Wait until a worker has died by itself, at its point."""
        code = self._leaves(name, patience_s)
        assert code == -signal.SIGKILL, f"it ended with {code}, not at its point: {self.said(name)}"
        files = [file for file in self.folder.glob(f"*-{name}") if not file.name.startswith("said-")]
        self.deaths[name] = max((file.stat().st_mtime_ns // 1000 for file in files), default=0)
        self.died_at[self._points[name]] += 1

    def leaves(self, name: str, patience_s: float = 60) -> None:
        """Wait until a worker has left by itself, as it should."""
        code = self._leaves(name, patience_s)
        assert code == 0, f"it ended with {code}: {self.said(name)}"

    def _leaves(self, name: str, patience_s: float) -> int:
        process = self.living[name]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
        assert process.poll() is not None, f"worker {name} is still there after {patience_s} s: {self.said(name)}"
        del self.living[name]
        return process.returncode

    def said(self, name: str) -> str:
        """The end of what a worker has printed."""
        return (self.folder / f"said-{name}").read_text(errors="replace")[-3000:]

    def acknowledged(self) -> int:
        """How many runs were acknowledged so far."""
        return sum(file.stat().st_size for file in self.folder.glob("acknowledged-*")) // 37

    def drain(self, patience_s: float = 60) -> None:
        """Let a last worker run what is left."""
        self.leaves(self.start("drain"), patience_s)

    def evidence(self, recovery_us: int | None = None) -> Evidence:
        """What is there to be judged. ``recovery_us``: see there; ``None`` where nobody lived to begin again."""
        watermarks, grid, start_us = self.ground.watermarks(), grid_of(self._declared), to_us(self.start_at)
        fires = [Fires(task, grid, start_us, watermarks[task]) for task in self.fires]
        return Evidence(
            acknowledged=acknowledged_in(self.folder),
            records=self.ground.records(),
            executions=executions_in(self.folder),
            fires=fires,
            deaths=self.deaths,
            in_flight=IN_FLIGHT,
            fenced=FENCED,
            recovery_us=recovery_us,
        )

    def judge(self, recovery_us: int | None = None) -> list[str]:
        """What is wrong, when all have left; prints what there was.

        recovery_us: so soon what dead workers ran is to begin again; the short form forgives a machine that is slow.
        """
        evidence = self.evidence(recovery_us if recovery_us is None or LONG else 4 * recovery_us)
        again = sorted(recoveries_us(evidence))
        p99_s, slowest_s = (percentile(again, 99) / 1e6, again[-1] / 1e6) if again else (0.0, 0.0)
        keyed = sum(one.key is not None for one in evidence.executions)
        print(
            f"{len(self.deaths)} deaths, {len(evidence.acknowledged)} acknowledged, {len(evidence.records)} runs, "
            f"{len(evidence.executions)} executions, {keyed} of them under a key, "
            f"{len(again)} begun again, p99 after {p99_s:.3f} s, the slowest after {slowest_s:.3f} s"
        )
        return [*violations(evidence), *self.ground.left()]


def wait_until(holds: Callable[[], bool], patience_s: float, what: str, *, every_s: float = 0.01) -> None:
    """Wait until something holds, which other processes bring about.

    Raises:
        AssertionError: it does not, for so long.
    """
    until = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < until, f"not after {patience_s} s: {what}"
        time.sleep(every_s)


def pause(random: Random, least_s: float, most_s: float) -> None:
    """Let the workers go on for a while."""
    time.sleep(random.uniform(least_s, most_s))


def chosen(random: Random, names: Sequence[str]) -> str:
    """One of them."""
    return names[random.randrange(len(names))]
