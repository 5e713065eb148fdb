"""What ``asyncsched run`` prints of runs that other processes at the same store have carried out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from asyncsched import Registry, Scheduler
from asyncsched.cli._run import Teller
from asyncsched.cli._show import Screen
from asyncsched.events import RunEnded

PATIENCE_S = 30


def node(path: Path, name: str, queues: list[str] | None) -> Scheduler:
    registry = Registry()

    @registry.every("1h", id="clean")
    async def clean() -> None: ...

    return Scheduler(f"sqlite:///{path}", registry=registry, node=name, queues=queues)


async def test_what_ran_elsewhere_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web, worker = node(tmp_path / "jobs.db", "web", []), node(tmp_path / "jobs.db", "worker", None)
    ended = asyncio.Event()
    for scheduler in (web, worker):
        Teller(Screen(), scheduler, "UTC")
    async with web, worker:
        web.events.on([RunEnded], lambda _event: ended.set())
        await (await web.tasks.run_now("clean"))
        await asyncio.wait_for(ended.wait(), PATIENCE_S)
    lines = [line for line in capsys.readouterr().out.splitlines() if "SUCCESS" in line]
    assert len(lines) == 2
    assert [line.endswith("  at worker") for line in lines].count(True) == 1
