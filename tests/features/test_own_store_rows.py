"""The rows of features about stores: one contract for all, and for whoever writes another one."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler
from asyncsched.run import RunStatus
from asyncsched.testing.store_contract import SharedStoreContract, StoreContract
from own_store import JournalStore

ROOT = Path(__file__).parents[2]


@cache
def collected() -> dict[str, set[str]]:
    """The tests of the contract, by the class that tries a store with them."""
    command = [sys.executable, "-m", "pytest", "tests/contract", "--collect-only", "-q", "-p", "no:randomly"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    found: dict[str, set[str]] = defaultdict(set)
    for name, test in re.findall(r"::(Test\w+)::(.*)$", done.stdout, re.MULTILINE):
        found[name].add(test)
    return found


def promises(contract: type) -> set[str]:
    return {name for name in dir(contract) if name.startswith("test_")}


def tried(name: str) -> set[str]:
    return {test.partition("[")[0] for test in collected()[name]}


@pytest.mark.feature("LS20")
def test_ls20_one_suite_is_tried_on_every_store() -> None:
    assert tried("TestMemory") == promises(StoreContract)
    assert promises(StoreContract) < promises(SharedStoreContract)
    for name in ("TestSQLite", "TestPostgres", "TestRedis"):
        assert tried(name) == promises(SharedStoreContract)
        assert collected()["TestMemory"] < collected()[name]


@pytest.mark.feature("TC20")
def test_tc20_a_store_of_less_than_150_lines_is_tried_with_the_whole_suite() -> None:
    example = (ROOT / "examples" / "own_store.py").read_text(encoding="utf-8")
    assert len(example.splitlines()) < 150
    assert not re.search(r"asyncsched\.[\w.]*_\w+|\b_(?:engine|sqlite)", example), "it needs what is not public"
    assert collected()["TestJournal"] == collected()["TestMemory"]


@pytest.mark.feature("TC22")
async def test_tc22_a_scheduler_on_a_store_of_ones_own_forgets_nothing(tmp_path: Path) -> None:
    registry = Registry()
    tried: list[str] = []

    @registry.task(id="send", retry=3)
    async def send(to: str) -> str:
        tried.append(to)
        if len(tried) < 3:
            raise ConnectionError("not yet")
        return f"sent to {to}"

    path = tmp_path / "journal.jsonl"
    async with Scheduler(JournalStore(path), registry=registry, queues=[]):
        run = await send.submit("acme")
    async with Scheduler(JournalStore(path), registry=registry) as scheduler:
        async with asyncio.timeout(10):
            assert await scheduler.runs.wait(run.id) == "sent to acme"
    async with Scheduler(JournalStore(path), registry=registry) as scheduler:
        ended: Any = await scheduler.runs.get(run.id)
        assert (ended.status, ended.attempt, ended.result) == (RunStatus.SUCCESS, 3, "sent to acme")
    assert tried == ["acme"] * 3
