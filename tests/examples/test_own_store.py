"""The store of the example: a scheduler on it goes on where it was, also after ``kill -9``."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from asyncsched import Registry, Scheduler, Task, result_of
from asyncsched.errors import ArgumentsError, StoreError
from asyncsched.run import RunStatus
from asyncsched.testing import VirtualClock, VirtualLoop
from asyncsched.testing.store_contract import HandClock
from own_store import JournalStore

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_store.py"
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def declared(billed: list[str]) -> tuple[Registry, Task[..., str]]:
    registry = Registry()

    @registry.every("1h", id="extract")
    async def extract() -> list[int]:
        return [1, 2, 3]

    @registry.after(extract, id="load")
    async def load(numbers: list[int] = result_of(extract)) -> int:
        return sum(numbers)

    @registry.task(id="bill")
    async def bill(customer: str, *, euros: int) -> str:
        billed.append(customer)
        return f"{customer} owes {euros}"

    return registry, bill


async def test_another_process_goes_on_where_the_first_one_was(virtual: Any, tmp_path: Path) -> None:
    path, billed = tmp_path / "journal.jsonl", list[str]()
    clock = VirtualClock(cast("VirtualLoop", asyncio.get_running_loop()), T0)
    registry, bill = declared(billed)
    async with Scheduler(JournalStore(path), registry=registry, clock=clock):
        await asyncio.sleep(90 * 60)
        later = await bill.using(delay="1h").submit("acme", euros=5)
        killed = shutil.copy(path, tmp_path / "killed.jsonl")  # what the disk holds if it is killed in this moment

    registry, _bill = declared(billed)
    async with Scheduler(JournalStore(killed), registry=registry, clock=clock) as scheduler:
        assert await scheduler.tasks.next_fires() == [("extract", T0 + timedelta(hours=2))]
        (before,) = await scheduler.runs.list(task="load")
        assert (before.status, before.result) == (RunStatus.SUCCESS, 6)
        assert await scheduler.runs.wait(later.id) == "acme owes 5"
        assert clock.now() == T0 + timedelta(minutes=150)
        assert [run.result for run in await scheduler.runs.list(task="load")] == [6, 6]
    assert billed == ["acme"]


async def test_a_line_that_was_cut_off_was_never_asked(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    store = JournalStore(path)
    await store.open("n1", HandClock())
    await store.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'[1767225600000000, "submit", [[{"ru')
    await store.open("n1", HandClock())
    await store.close()
    assert path.read_bytes().startswith(whole)
    assert path.read_bytes().count(b"\n") == 2 * whole.count(b"\n")


async def test_what_cannot_be_written_down_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    registry, bill = declared([])
    async with Scheduler(JournalStore(path), registry=registry, queues=[]) as scheduler:
        size = path.stat().st_size
        with pytest.raises(ArgumentsError, match="euros"):
            await bill.submit("acme", euros=object())
        assert path.stat().st_size == size
        assert await scheduler.runs.list() == []


async def test_a_journal_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="give a file to write to"):
        await JournalStore(tmp_path).open("n1", HandClock())


def test_the_program_is_killed_and_goes_on(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    lines = []
    for _ in range(2):
        child = subprocess.Popen(
            [sys.executable, str(EXAMPLE), str(journal)],
            stdout=subprocess.PIPE,
            text=True,
        )
        guard = time.monotonic() + 30
        try:
            assert child.stdout is not None
            while len(lines) % 2 == 0 and time.monotonic() < guard:
                lines.append(child.stdout.readline())
            lines.append(child.stdout.readline())
        finally:
            child.send_signal(signal.SIGKILL)
            child.communicate(timeout=10)
    assert lines == ["tick\n"] * 4
    opened = [line for line in journal.read_text(encoding="utf-8").splitlines() if '"open"' in line]
    assert len(opened) == 2
