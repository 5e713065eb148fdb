"""What importing the core costs, beside importing the libraries that it stands on."""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks.sizes import Sizes

_STATEMENTS = {"asyncsched": "import asyncsched", "anyio, pydantic, croniter": "import anyio, pydantic, croniter"}
_PROGRAM = "import time; begun = time.process_time_ns(); {}; print(time.process_time_ns() - begun)"


def measure(sizes: Sizes) -> dict[str, dict[str, float]]:
    """CPU milliseconds of each import in a fresh interpreter, the median of several after one that is not counted."""
    costs: dict[str, list[float]] = {name: [] for name in _STATEMENTS}
    for _ in range(sizes.imports + 1):
        for name, statement in _STATEMENTS.items():
            command = [sys.executable, "-P", "-c", _PROGRAM.format(statement)]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            costs[name].append(int(told) / 1e6)
    return {name: {"import_ms": statistics.median(values[1:])} for name, values in costs.items()}
