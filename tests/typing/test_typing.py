"""mypy reads the typing of the public names: every marked mistake is found, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy comes with the group 'types'")

ROOT = Path(__file__).resolve().parents[2]
API = Path(__file__).parent / "api.py"
MARK = re.compile(r"  # type: ignore\[([a-z-]+)\]$")


def test_mypy_finds_each_marked_mistake_and_no_other(tmp_path: Path) -> None:
    lines = API.read_text(encoding="utf-8").splitlines()
    marked = {(number, found[1]) for number, line in enumerate(lines, 1) if (found := MARK.search(line))}
    assert len(marked) >= 15
    bare = tmp_path / "bare.py"
    bare.write_text("\n".join(MARK.sub("", line) for line in lines) + "\n", encoding="utf-8")
    # A process of its own: mypy keeps hundreds of megabytes, and its cache makes the next one fast.
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--no-pretty", str(bare)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    errors = re.findall(r"bare\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    assert {(int(number), code) for number, code in errors} == marked, done.stdout + done.stderr
