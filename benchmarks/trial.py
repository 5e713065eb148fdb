"""One measure of one scheduler, in this process: ``python -m benchmarks.trial SUBJECT MEASURE``.

Prints one line of JSON: the figures by subject, or why there are none.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import os
import platform
import sys
import traceback
from importlib.metadata import version
from typing import Any

from benchmarks.adapters import adapter_of
from benchmarks.measures import MEASURES, CountingLoop, Found
from benchmarks.sizes import FULL, QUICK, Sizes

# Measures that have no adapters, by the module that measures them: several subjects in one process, interleaved.
TOGETHER = {
    "lateness": "benchmarks.lateness",
    "cron": "benchmarks.cron",
    "imports": "benchmarks.imports",
    "durable": "benchmarks.durable",
    "postgres": "benchmarks.postgres",
    "redis": "benchmarks.redis",
}


def measured(subject: str, measure: str, sizes: Sizes) -> dict[str, Found]:
    """The figures of one trial, by subject."""
    if measure in TOGETHER:
        found: dict[str, Found] = importlib.import_module(TOGETHER[measure]).measure(sizes)
        return found
    adapter = adapter_of(subject)
    counting = CountingLoop if measure == "idle" else None
    with asyncio.Runner(loop_factory=counting) as runner:
        figures = runner.run(MEASURES[measure](adapter, sizes))
        report({"figures": {subject: figures}})
        sys.stdout.flush()
        # Not every scheduler lets go of what it runs; this process has told all it knows.
        os._exit(0)


def facts(subject: str) -> dict[str, Any]:
    """What would be measured here."""
    adapter = adapter_of(subject)
    return {
        "version": adapter.distribution and version(adapter.distribution),
        "settings": adapter.settings,
        "python": platform.python_version(),
    }


def report(told: dict[str, Any]) -> None:
    print(json.dumps(told))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject")
    parser.add_argument("measure", choices=[*MEASURES, *TOGETHER, "facts"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rate", type=int, help="fires per second, for the measures that have a rate")
    chosen = parser.parse_args()
    sizes = QUICK if chosen.quick else FULL
    if chosen.rate:
        sizes = sizes._replace(rate=chosen.rate)
    # Warnings are made and formatted as in a service, and go nowhere.
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        logging.basicConfig(level=logging.WARNING, stream=nowhere)
        try:
            if chosen.measure == "facts":
                report({"facts": facts(chosen.subject)})
            else:
                report({"figures": measured(chosen.subject, chosen.measure, sizes)})
        except Exception as error:
            traceback.print_exc()
            report({"error": f"{type(error).__name__}: {error}"[:300]})


if __name__ == "__main__":
    main()
