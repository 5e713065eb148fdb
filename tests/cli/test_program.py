"""The command line as a whole: help, version, exit codes, and that it is an extra."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest

from asyncsched import __version__


def test_help_names_every_command(command) -> None:
    done = command("--help")
    assert done.code == 0
    told = [line.split()[0] for line in done.out.partition("Commands:\n")[2].splitlines()]
    assert told == [
        *("run", "next", "explain", "why", "graph", "simulate"),
        *("ls", "runs", "show", "trigger", "submit", "pause", "resume", "skip-next", "cancel", "retry", "backfill"),
        *("prune", "migrate", "nodes"),
    ]


@pytest.mark.parametrize("words", [["--version"], ["--version", "run"]])
def test_the_version_is_told(command, words: list[str]) -> None:
    done = command(*words)
    assert (done.code, done.out) == (0, f"asyncsched {__version__}\n")


def test_the_version_needs_no_extra_and_everything_else_says_which(here) -> None:
    (here / "typer.py").write_text("raise ModuleNotFoundError('No module named typer', name='typer')")
    told = [sys.executable, "-m", "asyncsched"]
    version = subprocess.run([*told, "--version"], cwd=here, capture_output=True, text=True, check=False)
    assert (version.returncode, version.stdout) == (0, f"asyncsched {__version__}\n")
    help_ = subprocess.run([*told, "--help"], cwd=here, capture_output=True, text=True, check=False)
    assert help_.returncode == 1
    assert help_.stderr == "asyncsched's command line needs: pip install 'asyncsched[cli]'\n"


def test_the_core_imports_no_part_of_the_extra() -> None:
    code = (
        "import sys, asyncsched; print([name for name in ('typer', 'rich', 'asyncsched.cli') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_looking_needs_no_part_of_the_testing_extra(here) -> None:
    (here / "time_machine.py").write_text("raise ModuleNotFoundError")
    words = ["simulate", "app", "--from", "2026-01-01", "--to", "2026-01-02"]
    done = subprocess.run([sys.executable, "-m", "asyncsched", *words], cwd=here, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_target_that_is_not_there_has_its_own_exit_code(command) -> None:
    for verb in (["run"], ["next"], ["simulate", "--to", "2199-01-01"]):
        done = command(*verb, "app:nothing")
        assert (done.code, done.out) == (5, "")
        assert done.err == "asyncsched: app has no 'nothing': there is app:scheduler\n"


def test_the_target_may_stand_in_the_environment(command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("next").code == 2
    monkeypatch.setenv("ASYNCSCHED_TARGET", "app:scheduler")
    assert command("next").code == 0


def test_modules_are_looked_for_in_the_app_dir(command, here) -> None:
    (here / "deep").mkdir()
    (here / "deep" / "inner.py").write_text(
        "from asyncsched import Registry, Scheduler\ns = Scheduler(registry=Registry())"
    )
    assert command("next", "inner", "--tz", "UTC").code == 5
    assert command("next", "inner", "--tz", "UTC", "--app-dir", "deep").code == 0
    assert command("next", "inner.py", "--tz", "UTC", "--app-dir", "deep").code == 0


def test_tasks_without_a_scheduler_are_served_and_that_is_told(program, here) -> None:
    (here / "bare.py").write_text("from asyncsched import every\n@every('1h')\ndef f(): ...\n")
    out, err = program("next", "bare.py", "-n", "1").communicate(timeout=20)
    assert out.split()[-3:] == ["f", "in", "1h"]
    assert err == "bare.py holds no Scheduler: its tasks are served by a Scheduler() made for them\n"


def test_a_system_zone_without_a_name_is_a_wrong_configuration(here, monkeypatch: pytest.MonkeyPatch, program) -> None:
    (here / "quiet.py").write_text("from asyncsched import Registry, Scheduler\ns = Scheduler(registry=Registry())")
    monkeypatch.setenv("TZ", "XYZ3")
    process = program("run", "quiet")
    _out, err = process.communicate(timeout=20)
    assert process.returncode == 78
    assert err.startswith("asyncsched: the system's time zone has no IANA name (TZ='XYZ3')")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pty")
@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_has_colours_unless_they_are_refused(here, no_color: str, coloured: bool) -> None:
    import pty

    mine, theirs = pty.openpty()
    words = [sys.executable, "-m", "asyncsched", "explain", "*/7 * * * *", "--tz", "UTC"]
    env = os.environ | {"TERM": "xterm", "NO_COLOR": no_color}
    subprocess.run(words, stdout=theirs, env=env, check=True)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error
        while part := os.read(mine, 65536):
            shown += part
    os.close(mine)
    assert (b"\x1b[33m" in shown) == coloured


def test_colours_are_for_terminals_alone(command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in command("explain", "0 4 * * *", "--tz", "UTC").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[1m" in command("explain", "0 4 * * *", "--tz", "UTC").out
