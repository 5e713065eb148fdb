"""The row of features about the command line: every command, as a program of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

APP = """
from asyncsched import Registry, Scheduler

registry = Registry()
scheduler = Scheduler("sqlite:///jobs.db", registry=registry, tz="Europe/Berlin")

@registry.at("02:30")
async def backup(): ...

@registry.task(depends_on=backup)
async def report(): ...

@registry.task
async def send(to: str) -> str:
    if to == "bad":
        raise ValueError("no such address")
    return to
"""


# Calls the command line once for each list of words, in one process: a start takes longer than most commands do.
MANY = """
import contextlib, io, json, sys
from asyncsched.__main__ import main

said = []
for words in json.load(sys.stdin):
    sys.argv = ["asyncsched", *words]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    said.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(said))
"""


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``asyncsched`` with these words, in a folder with an app."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "asyncsched", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def all_asked(asked, tmp_path: Path) -> Callable[..., list[tuple[int, str, str]]]:
    """Exit code, output and complaints of each of several commands."""

    def run(commands: Iterable[Sequence[str]]) -> list[tuple[int, str, str]]:
        program = [sys.executable, "-W", "error", "-c", MANY]
        done = subprocess.run(
            program, cwd=tmp_path, input=json.dumps(list(commands)), capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [(code, out, err) for code, out, err in json.loads(done.stdout)]

    return run


@pytest.mark.feature("PE27")
def test_pe27_each_command_ends_with_0_and_its_json_parses(asked, all_asked) -> None:
    failed = json.loads(asked("submit", "app", "send", '["bad"]', "--json").stdout)["id"]
    waiting = json.loads(asked("submit", "app", "send", '["x"]', "--delay", "1h", "--json").stdout)["id"]
    done = asked("run", "app", "--until-idle")
    assert (done.returncode, "FAILED   send" in done.stdout) == (0, True)
    spring = ["backup", "--start", "2026-03-27", "--end", "2026-03-30"]
    commands = (
        *(
            ["ls", "app"],
            ["skip-next", "app", "backup"],
            ["next", "app"],
            ["explain", "every friday at 9am"],
            ["why", "app", "send"],
            ["graph", "app"],
        ),
        *(["simulate", "app", "--from", "2026-03-28", "--to", "2026-03-30"], ["runs", "app"], ["show", "app", failed]),
        *(["trigger", "app", "backup"], ["submit", "app", "send", '["y"]'], ["pause", "app", "backup"]),
        *(["resume", "app", "backup"], ["cancel", "app", waiting], ["retry", "app", failed], ["retry", "app", "--all"]),
        *(["backfill", "app", *spring], ["prune", "app"], ["migrate", "app"], ["migrate", "app", "--check"]),
    )
    said = all_asked([*words, "--json"] for words in commands)
    for words, (code, out, err) in zip(commands, said, strict=True):
        assert (code, err) == (0, ""), words
        json.loads(out)
    assert json.loads(asked("show", "app", waiting, "--json").stdout)["status"] == "CANCELLED"


@pytest.mark.feature("PE27")
def test_pe27_for_an_unknown_id_near_ones_are_offered(asked, all_asked) -> None:
    known = json.loads(asked("submit", "app", "send", '["x"]', "--json").stdout)["id"]
    commands = (
        *(((verb, "app", "bakup"), "backup") for verb in ("why", "trigger", "submit", "pause", "resume", "skip-next")),
        *(((verb, "app", known[-6:]), known) for verb in ("show", "cancel", "retry")),
        (("backfill", "app", "bakup", "--start", "2026-03-27", "--end", "2026-03-30"), "backup"),
    )
    said = all_asked(words for words, _near in commands)
    for (words, near), (code, out, err) in zip(commands, said, strict=True):
        assert (code, out) == (2, ""), words
        assert f"did you mean {near}?" in err, words


@pytest.mark.feature("PE27")
def test_pe27_a_simulation_over_a_change_of_the_clock_lists_every_fire(asked) -> None:
    fires = json.loads(asked("simulate", "app", "--from", "2026-03-28", "--to", "2026-03-31", "--json").stdout)["fires"]
    assert [fire["at"] for fire in fires if fire["task"] == "app:backup"] == [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]
