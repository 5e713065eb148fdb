"""The diagram of a run's life in the docs is the table in the code."""

from __future__ import annotations

import re
from pathlib import Path

from asyncsched.run import TRANSITIONS, RunStatus, SkipReason

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "engine.md"


def diagram() -> str:
    """The life of a run as a Mermaid diagram, its states in the order of their declaration."""
    edges = [("[*]", RunStatus.PENDING)]
    edges += [(before, after) for before in RunStatus for after in RunStatus if after in TRANSITIONS[before]]
    edges += [(status, "[*]") for status in RunStatus if status.final]
    return "stateDiagram-v2\n" + "".join(f"    {before} --> {after}\n" for before, after in edges)


def test_the_page_draws_the_table() -> None:
    (drawn,) = re.findall(r"```mermaid\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert drawn == diagram()


def test_the_page_explains_each_state_and_each_reason_of_a_skip() -> None:
    rows = dict(re.findall(r"^\| ([A-Z]+) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert list(rows) == list(RunStatus)
    assert set(re.findall(r"`(\w+)`", rows["SKIPPED"])) == set(SkipReason)
