"""A node leaves a SQLite file, whatever happens meanwhile: it is not there any more, and nothing of it is left."""

from __future__ import annotations

import asyncio
from pathlib import Path

from asyncsched.clock import SystemClock
from asyncsched.stores.sqlite import SQLiteStore

from .invariants import sqlite_damage


async def test_who_leaves_does_not_come_anew_as_others_have_struck_it_off(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    await store.open("n", SystemClock())
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    store._given_up()  # the writer has seen that the node is none, which it is as it leaves
    await closing
    assert sqlite_damage(tmp_path / "jobs.db") == []


async def test_what_a_node_left_that_died_after_its_leave_is_taken_away_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = SQLiteStore(path)
    await store.open("n", SystemClock())
    (tmp_path / "jobs.db-node-left").touch()
    await store.close()
    assert sqlite_damage(path) == ["jobs.db-node-left is left"]
    await store.open("n", SystemClock())
    await store.close()
    assert sqlite_damage(path) == []
