"""An order and the run that bills it are one transaction; so are the bill and the end of that run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from addresses import Place
from asyncsched import Registry, Transaction, injected
from contract.postgres_bench import server

PAGE = Path(__file__).parent.parent.parent / "docs" / "how-to" / "postgres.md"


async def test_an_order_is_billed_once_or_there_is_no_order(tmp_path: Path) -> None:
    registry, place = Registry(), Place("postgres", tmp_path)

    @registry.task(retry=3)
    async def bill(order: int, tx: Transaction = injected) -> None:
        await tx.execute("INSERT INTO bills VALUES ($1)", order)
        if (await tx.fetchval("SELECT nextval('tries')")) < 3:
            raise ConnectionError("the printer is out of paper")

    own = await asyncpg.connect(server().url())
    await own.execute("CREATE TABLE orders (id INT); CREATE TABLE bills (id INT); CREATE SEQUENCE tries")
    try:
        async with place.scheduler(registry) as scheduler:
            with pytest.raises(ValueError, match="sold out"):
                await order_and_bill(own, bill, 1, sold_out=True)
            assert await scheduler.runs.list() == []  # no order, no run

            run = await order_and_bill(own, bill, 2, sold_out=False)
            await run
            assert run.attempt == 3  # two tries left no bill behind
            assert [row["id"] for row in await own.fetch("SELECT id FROM orders")] == [2]
            assert [row["id"] for row in await own.fetch("SELECT id FROM bills")] == [2]
    finally:
        await own.execute("DROP TABLE orders, bills; DROP SEQUENCE tries")
        await own.close()


async def order_and_bill(own: asyncpg.Connection, bill: Any, number: int, *, sold_out: bool) -> Any:
    async with own.transaction():
        await own.execute("INSERT INTO orders VALUES ($1)", number)
        run = await bill.using(connection=own).submit(number)
        if sold_out:
            raise ValueError("sold out")
    return run


def test_the_program_of_the_page_prints_what_the_page_says(tmp_path: Path) -> None:
    program = PAGE.read_text(encoding="utf-8").partition("```python\n# shop.py\n")[2].partition("```")[0]
    assert program
    server().sql("CREATE DATABASE shop")
    try:
        told = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            env={**os.environ, "DATABASE_URL": server().url("shop")},
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        server().sql("DROP DATABASE shop WITH (FORCE)")
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == ["1", "['order 7 is confirmed']"]
