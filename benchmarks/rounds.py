"""Interleaved rounds of trials, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.sizes import FULL, QUICK, Sizes

ROOT = Path(__file__).resolve().parent.parent
APART = ("fires", "sustain", "burst", "stall", "add", "bulk", "idle", "thread_fires", "graph")
"""Measures of one scheduler in a process."""
TOGETHER = ("lateness", "cron", "imports", "durable", "postgres", "redis")
"""Measures of several subjects in turns in one process."""

_TIMEOUT_S = 480
_LATE_MS = 200
_KEPT = 0.97
_NARROWLY = 0.85
# What a loop can give to fires, when a first rate is guessed from the CPU that one takes.
_SHARE_US = 0.7e6


@dataclass
class Results:
    """All that was found: samples by figure and subject, one of each round."""

    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    """Why a trial gave no figures, the last time, by measure and subject."""

    def take(self, measure: str, told: Mapping[str, Mapping[str, float]]) -> None:
        for subject, found in told.items():
            for name, value in found.items():
                self.samples.setdefault(f"{measure}.{name}", {}).setdefault(subject, []).append(value)

    def median(self, key: str, subject: str) -> float | None:
        samples = self.samples.get(key, {}).get(subject)
        return median(samples) if samples else None


class Rounds:
    """Runs the trials of some subjects, each by the interpreter that has it."""

    def __init__(self, pythons: Mapping[str, str], *, quick: bool, tell: Callable[[str], None]) -> None:
        self.results = Results()
        self._pythons = pythons
        self._quick = quick
        self._sizes: Sizes = QUICK if quick else FULL
        self._tell = tell
        self._order = list(pythons)

    def run(self, measures: Iterable[str]) -> None:
        """Every measure of every subject once; who comes first changes from round to round."""
        for measure in measures:
            self._tell(measure)
            subjects = [""] if measure in TOGETHER else self._order
            trial = self._sustain if measure == "sustain" else self._measure
            with ThreadPoolExecutor(self._at_once(measure)) as pool:
                list(pool.map(trial, [measure] * len(subjects), subjects))
        self._order = self._order[1:] + self._order[:1]

    def _at_once(self, measure: str) -> int:
        # Who idles does not disturb the others; a smoke run keeps no figures.
        if measure == "idle":
            return max(1, len(self._order))
        return 6 if self._quick else 1

    def _measure(self, measure: str, subject: str) -> None:
        told = self._told(subject, measure)
        if told is not None:
            self.results.take(measure, told)

    def _sustain(self, measure: str, subject: str) -> None:
        """The greatest of the rates that this subject holds, searched from where it may be."""
        rungs = self._sizes.rungs
        held = self.results.median("sustain.rate", subject)
        if held is None:
            cost_us = self.results.median("fires.cpu_us", subject) or 50
            held = _SHARE_US / cost_us
        place = max((place for place, rate in enumerate(rungs) if rate <= held), default=0)
        if self._holds(subject, rungs[place]):
            while place + 1 < len(rungs) and self._holds(subject, rungs[place + 1]):
                place += 1
        else:
            place -= 1
            while place >= 0 and not self._holds(subject, rungs[place]):
                place -= 1
        self.results.take(measure, {subject: {"rate": float(rungs[place]) if place >= 0 else 0.0}})

    def _holds(self, subject: str, rate: int) -> bool:
        """Whether it does; what fails narrowly gets a second trial: a neighbour on the machine may have spoilt it."""
        for _ in range(2):
            told = self._told(subject, "fires", rate)
            found = {} if told is None else told[subject]
            if found.get("rate", 0) >= _KEPT * rate and found.get("late_p99_ms", 0) < _LATE_MS:
                return True
            if found.get("rate", 0) < _NARROWLY * rate:
                return False
        return False

    def _told(self, subject: str, measure: str, rate: int | None = None) -> dict[str, dict[str, float]] | None:
        told = trial(self._pythons.get(subject, sys.executable), subject, measure, quick=self._quick, rate=rate)
        if "error" in told:
            self.results.errors[f"{measure} {subject}".strip()] = told["error"]
            return None
        figures: dict[str, dict[str, float]] = told["figures"]
        return figures


def trial(python: str, subject: str, measure: str, *, quick: bool = False, rate: int | None = None) -> dict[str, Any]:
    """What one trial told: ``figures`` or ``facts``, or else an ``error``."""
    command = [python, "-m", "benchmarks.trial", subject, measure, *(["--quick"] if quick else [])]
    if rate is not None:
        command += ["--rate", str(rate)]
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S)
        told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {_TIMEOUT_S} s"}
    except (OSError, IndexError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return told
