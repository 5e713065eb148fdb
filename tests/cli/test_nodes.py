"""``asyncsched nodes``: who is at a store, and who is to take nothing more."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncsched import __version__
from asyncsched.zone import tzdata_version

APP = """
import asyncio
from asyncsched import Registry, Scheduler

registry = Registry()
scheduler = Scheduler("sqlite:///jobs.db", registry=registry, tz="UTC", node="worker-1", queues={"mail": 2})


@registry.every("1h", queue="mail")
async def send(): ...
"""
PATIENCE_S = 60


@pytest.fixture
def served(here: Path, program) -> subprocess.Popen[str]:
    """A process that serves the app: it is up."""
    (here / "app.py").write_text(APP, encoding="utf-8")
    process = program("run", "app")
    assert process.stdout.readline().startswith("asyncsched ")
    return process


@pytest.fixture
def nodes(served: subprocess.Popen[str], command) -> Callable[[Callable[[Any], bool]], Any]:
    """What ``nodes list --json`` says of the process, once that fits."""

    def ask(fits: Callable[[Any], bool]) -> Any:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            done = command("nodes", "list", "app", "--json")
            assert done.code == 0, done.err
            (node,) = json.loads(done.out)
            if fits(node):
                return node
        raise AssertionError(node)

    return ask


def test_a_process_is_listed_and_drained(served: subprocess.Popen[str], nodes, command) -> None:
    node = nodes(lambda node: node["pid"] is not None)
    assert (node["name"], node["pid"], node["roles"], node["queues"]) == (
        "worker-1",
        served.pid,
        ["fire", "run"],
        ["mail"],
    )
    assert (node["version"], node["tzdata"]) == (__version__, tzdata_version())
    assert (node["running"], node["skew_seconds"], node["draining"], node["drained"]) == (0, 0.0, False, False)
    assert node["started"] <= node["last_heard"]

    line = command("nodes", "list", "app").out
    assert line.startswith(f"worker-1  {node['id'][:8]}  queues mail, 0 running, since ")
    assert f", asyncsched {__version__}, tzdata {tzdata_version()}" in line

    done = command("nodes", "drain", "app", "worker-1")
    assert (done.code, done.out) == (0, "worker-1: is to claim no more runs; nothing is under way there\n")
    nodes(lambda node: node["drained"])
    assert "  drained, " in command("nodes", "list", "app").out
    assert json.loads(command("nodes", "drain", "app", node["id"][:6], "--json").out)["draining"] is True


def test_a_node_that_is_not_there_is_an_error_that_tells_who_is(nodes, command) -> None:
    node = nodes(lambda node: node["pid"] is not None)
    done = command("nodes", "drain", "app", "worker-2")
    assert done.code == 2
    assert done.err == (f"asyncsched: no node 'worker-2' is at the store; there is: worker-1 ({node['id'][:8]})\n")


def test_where_nobody_serves_there_are_none(here: Path, command) -> None:
    (here / "app.py").write_text(APP, encoding="utf-8")
    assert command("ls", "app").code == 0  # which makes the file
    assert command("nodes", "list", "app").out == "no nodes: no process serves this store\n"
    assert command("nodes", "list", "--store", "sqlite:///jobs.db", "--json").out == "[]\n"


def test_a_store_in_memory_is_one_processs_own(here: Path, command) -> None:
    done = command("nodes", "list", "--store", "memory://")
    assert done.code == 2
    assert "nobody else can see it" in done.err
