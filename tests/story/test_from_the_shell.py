"""Work is given to a program from a shell, watched and put right: the commands about what a store keeps."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

APP = """
from asyncsched import Scheduler, at, task

scheduler = Scheduler("sqlite:///jobs.db", tz="Europe/Berlin")

@at("02:30")
async def backup() -> None: ...

@task
async def send(to: str) -> str:
    if "@" not in to:
        raise ValueError(f"{to!r} is no address")
    return f"sent to {to}"
"""


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], str]:
    """Runs a command line in a folder with the app; what it prints."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")

    def run(line: str) -> str:
        command = [sys.executable, "-m", *shlex.split(line)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_what_is_submitted_from_a_shell_is_run_by_the_next_program_that_serves(shell) -> None:
    shell("""asyncsched submit app send '["ada@example.org"]'""")
    shell("""asyncsched submit app send '{"to": "nobody"}'""")
    assert shell("asyncsched runs app").count("PENDING") == 2  # nobody serves yet

    shell("asyncsched run app --until-idle")
    good, bad = sorted(json.loads(shell("asyncsched runs app --json")), key=lambda run: run["status"], reverse=True)
    assert good["result"] == "sent to ada@example.org"
    assert bad["error"] == "ValueError: 'nobody' is no address"

    shell(f"asyncsched retry app {bad['id']}")
    assert shell("asyncsched runs app --status pending").count("send") == 1


def test_a_task_that_is_paused_from_a_shell_stays_paused_for_whoever_serves_it(shell) -> None:
    shell("asyncsched pause app backup --until 2099-01-01")
    assert "paused until Thu  1 Jan 2099 00:00:00 CET" in shell("asyncsched why app backup")
    shell("asyncsched resume app backup")
    assert "paused" not in shell("asyncsched why app backup")
