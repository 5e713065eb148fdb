"""One adapter for each scheduler that is measured, each set up as its own documentation says is fastest."""

from __future__ import annotations

from importlib import import_module

from benchmarks.adapters._base import Adapter

NAMES = (
    "call_at",
    "asyncsched",
    "apscheduler3",
    "apscheduler4",
    "scheduler",
    "schedule",
    "aiocron",
    "docket",
    "taskiq",
)


def adapter_of(name: str) -> type[Adapter]:
    """The adapter of this name; what it measures is imported only now.

    Raises:
        ImportError: this environment has no such library, or one of another version.
    """
    found: type[Adapter] = import_module(f"benchmarks.adapters.{name}_").Measured
    return found
