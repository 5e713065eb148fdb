"""The demo is killed and started again, as people do who do not believe it."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The very command that ``dev.py demo`` becomes; killed when the block is left, if it has not ended."""
    env = os.environ | {"PYTHONPATH": str(EXAMPLES), "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "workshop", "here"]
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def read_until(running: subprocess.Popen[str], text: str) -> list[str]:
    """What it prints up to the line with this text."""
    assert running.stdout is not None
    lines = []
    for line in running.stdout:
        lines.append(line.rstrip())
        if text in line:
            return lines
    raise AssertionError(f"it ended before it said {text!r}:\n" + "\n".join(lines))


def test_the_demo_is_killed_between_two_steps_and_goes_on_with_the_second(tmp_path: Path) -> None:
    with demo(tmp_path) as killed:
        before = read_until(killed, "step 1 of 3")
        time.sleep(0.5)  # in the middle of the second step
        os.kill(killed.pid, signal.SIGKILL)
        killed_us = time.time_ns() // 1_000
    assert not any("Goes on" in line for line in before)
    with demo(tmp_path) as again:
        said = read_until(again, "step 3 of 3")
        again.send_signal(signal.SIGINT)
        out, _err = again.communicate(timeout=30)
    assert again.returncode == 0, out
    text = "\n".join(said)
    assert re.search(r"^  Goes on: \d+ runs so far\.$", text, re.MULTILINE)
    assert "  The offer is at step 2 of 3: price begins again, with what collect found." in said
    assert re.search(r"SUCCESS    offer +\d+ ms  step 3 of 3: offer-1\.txt: 6 parts, \d+\.\d\d euros$", said[-1])
    with closing(sqlite3.connect(tmp_path / "here" / "jobs.db")) as db:
        steps = db.execute(
            "SELECT task, finished_at > ? FROM asyncsched_history WHERE status = 'SUCCESS' AND flow = (SELECT flow "
            "FROM asyncsched_history WHERE task = 'collect' ORDER BY scheduled_at LIMIT 1) ORDER BY finished_at",
            (killed_us,),
        ).fetchall()
        fires = db.execute(
            "SELECT task, scheduled_at FROM asyncsched_history WHERE scheduled_at IS NOT NULL"
        ).fetchall()
    assert steps == [("collect", 0), ("price", 1), ("offer", 1)], "the first step was not repeated"
    # The grid goes on where it was, and no fire was made twice.
    assert len(fires) == len(set(fires))
    assert {len({at_us % 4_000_000 for task, at_us in fires if task == "mill"})} == {1}
    assert re.search(r"Runs that ended: \d+ SUCCESS", out)


def test_two_demos_in_one_folder_share_the_work(tmp_path: Path) -> None:
    with demo(tmp_path) as one:
        read_until(one, "took  result")
        with demo(tmp_path) as other:
            read_until(other, "took  result")
            time.sleep(5)
            for running in (one, other):
                running.send_signal(signal.SIGINT)
            assert [running.wait(30) for running in (one, other)] == [0, 0]
    with closing(sqlite3.connect(tmp_path / "here" / "jobs.db")) as db:
        fires = db.execute(
            "SELECT task, scheduled_at FROM asyncsched_history WHERE scheduled_at IS NOT NULL"
        ).fetchall()
    assert len(fires) == len(set(fires))
    assert len([task for task, _at_us in fires if task == "mill"]) >= 2


def test_a_folder_that_is_no_workshop_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "jobs.db").write_text("this was never a database, and it is long enough to tell " * 9)
    with demo(tmp_path) as running:
        out, _err = running.communicate(timeout=30)
    assert running.returncode == 1
    assert out.splitlines()[-1].startswith("the workshop cannot be opened: ")
    assert "Traceback" not in out
