"""What importing the core costs, beside importing the libraries that it stands on."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from benchmarks.sizes import Sizes

_STATEMENTS = {"asyncsched": "import asyncsched", "anyio, pydantic, croniter": "import anyio, pydantic, croniter"}
_PROGRAM = "import time; begun = time.process_time_ns(); {}; print(time.process_time_ns() - begun)"


def measure(sizes: Sizes) -> dict[str, dict[str, float]]:
    """CPU milliseconds of each import in a fresh interpreter, the median of several after one that is not counted.

    That first one compiles what is not compiled yet: all of it is then measured with its bytecode at hand.
    """
    costs: dict[str, list[float]] = {name: [] for name in _STATEMENTS}
    with tempfile.TemporaryDirectory() as bytecode:
        surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        surroundings["PYTHONPYCACHEPREFIX"] = bytecode
        for _ in range(sizes.imports + 1):
            for name, statement in _STATEMENTS.items():
                command = [sys.executable, "-P", "-c", _PROGRAM.format(statement)]
                told = subprocess.run(command, capture_output=True, text=True, check=True, env=surroundings).stdout
                costs[name].append(int(told) / 1e6)
    return {name: {"import_ms": statistics.median(values[1:])} for name, values in costs.items()}
