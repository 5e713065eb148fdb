"""The command line, called in this process or as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from asyncsched.__main__ import main

APP = """
from asyncsched import Registry, Scheduler

registry = Registry()
scheduler = Scheduler(registry=registry, tz="Europe/Berlin")


@registry.every("1h")
async def fetch(): raise AssertionError("called")


@registry.at("02:30")
def backup(): raise AssertionError("called")


@registry.cron("*/30 2 * * *")
def half(): raise AssertionError("called")


@registry.task
async def send_mail(to: str): raise AssertionError("called")
"""


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with an ``app.py``; what is imported from it is forgotten afterwards."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delenv("ASYNCSCHED_TARGET", raising=False)
    return tmp_path


@pytest.fixture(autouse=True)
def _forget_modules():
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if (file := getattr(sys.modules[name], "__file__", None)) and "pytest-of" in file:
            del sys.modules[name]


@pytest.fixture
def command(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Calls ``asyncsched`` with these words, in this process."""

    def call(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["asyncsched", *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return call


@pytest.fixture
def program(here: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts ``asyncsched`` with these words as a program of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "asyncsched", *words],
            cwd=here,
            env=os.environ | {"PYTHONUNBUFFERED": "", "PYTHONPATH": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
