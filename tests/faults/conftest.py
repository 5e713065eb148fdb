"""What all fault tests print first: in which form they run, and with which seed."""

from __future__ import annotations

from .crew import LONG, SEED


def pytest_report_header() -> str:
    return f"fault tests: {'long' if LONG else 'short'} form, ASYNCSCHED_SEED={SEED}"
