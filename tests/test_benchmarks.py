"""The benchmarks work: a smoke run of the limit and of ourselves gives every figure. How fast is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.figures import OURS, PLOTTED, figures
from benchmarks.rounds import Rounds

ROOT = Path(__file__).resolve().parent.parent


def test_a_smoke_run_gives_all_figures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(tmp_path), "--subjects", "call_at", OURS]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    (told,) = tmp_path.glob("*.json")
    found = json.loads(told.read_text())
    assert found["errors"] == {}
    lines = figures(sys.version_info[:2], quick=True)
    limits = {line.key for line in lines if line.beside == "call_at"}
    wanted = {(line.key, OURS) for line in lines} | {(key, "call_at") for key in limits}
    if sys.platform != "linux":  # elsewhere the system does not tell how much memory is in use
        wanted -= {pair for pair in wanted if pair[0].startswith("bulk.memory")}
    assert wanted <= {(key, subject) for key, samples in found["samples"].items() for subject in samples}
    assert all(line.title in ended.stdout for line in lines)
    (drawn,) = tmp_path.glob("*.svg")
    assert drawn.read_text().count("logarithmic") == len(PLOTTED)


def test_rounds_without_any_subject_come_to_their_end() -> None:
    rounds = Rounds({}, quick=True, tell=lambda _line: None)
    rounds.run([])
    rounds.run(["idle"])
    assert rounds.results.samples == rounds.results.errors == {}
