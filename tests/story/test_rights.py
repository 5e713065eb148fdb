"""Nodes with no more rights than the pages say: they work, and cannot change what the tables are."""

from __future__ import annotations

import asyncio
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from asyncsched import Registry, Retry, Scheduler, Task
from asyncsched.errors import StoreError
from asyncsched.stores.postgres import PostgresStore
from contract.postgres_bench import server
from servers import valkey

PAGES = Path(__file__).resolve().parent.parent.parent / "docs" / "how-to"


def block(page: str, language: str, begins: str) -> str:
    """The block of a page that begins so."""
    text = (PAGES / page).read_text(encoding="utf-8")
    (found,) = re.findall(rf"^```{language}\n({begins}.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(found)


def things_to_do() -> tuple[Registry, Task[..., Any]]:
    registry = Registry()

    @registry.every("200ms", id="tick")
    async def tick() -> None: ...

    @registry.task(id="send", retry=Retry(attempts=2, wait="10ms"), key="to", max_running=1, rate="50/1s")
    async def send(to: str) -> str:
        if to == "nobody":
            raise ValueError("no such address")
        return f"sent to {to}"

    @registry.after(send, id="file")
    async def file() -> None: ...

    return registry, send


async def do_them(url: str) -> None:
    """Everything a node does, once: fire, submit, claim, wait, retry, limit, follow, control, forget."""
    registry, send = things_to_do()
    other, _send = things_to_do()
    async with (
        Scheduler(url, registry=registry, queues=[]) as web,
        Scheduler(url, registry=other) as worker,
    ):
        assert await (await send.submit("a@b.c")) == "sent to a@b.c"
        once = send.using(idempotency_key="7", unique="7")
        assert (await once.submit("d@e.f")).id == (await once.submit("d@e.f")).id
        later = await send.using(delay="1h").submit("later")
        assert await web.runs.cancel(later.id)
        failed = await send.submit("nobody")
        with pytest.raises(ValueError, match="no such address"):
            await failed
        with pytest.raises(ValueError, match="no such address"):
            await (await web.runs.retry(failed.id))
        await worker.tasks.pause("tick")
        await worker.tasks.resume("tick")
        async with asyncio.timeout(20):
            while not await web.runs.list(task="tick"):
                await asyncio.sleep(0.02)
            while (
                await web.tasks.explain("tick")
            ).next_fire is None:  # it hears of the end of the pause a little later
                await asyncio.sleep(0.02)


@pytest.fixture
def database() -> Iterator[str]:
    """The name of a database of its own, which the roles of the page may connect to."""
    name = f"rights_{time.monotonic_ns()}"
    server().sql(f"CREATE DATABASE {name}")
    try:
        yield name
    finally:
        server().sql(f"DROP DATABASE {name} WITH (FORCE)")
        server().sql("DROP ROLE IF EXISTS shop_owner, shop_worker")


async def test_on_postgresql_one_role_makes_the_tables_and_another_works_with_them(database: str) -> None:
    server().sql(block("postgres.md", "sql", "CREATE ROLE"), database)

    def url(user: str) -> str:
        return f"{server().url(database).replace('postgres@', f'{user}@')}&migrate=no"

    with pytest.raises(StoreError, match=r"lacks step '0001 .*run 'asyncsched migrate"):
        await do_them(url("shop_worker"))
    with pytest.raises(StoreError, match="lacks a right"):
        await PostgresStore(url("shop_worker").removesuffix("&migrate=no")).migrate()
    await PostgresStore(url("shop_owner").removesuffix("&migrate=no")).migrate()
    await do_them(url("shop_worker"))
    for statement in (
        "CREATE TABLE asyncsched.more (a int)",
        "CREATE TABLE public.more (a int)",
        "CREATE SCHEMA more",
        "DROP TABLE asyncsched.runs",
        "TRUNCATE asyncsched.history",
        "ALTER TABLE asyncsched.runs ADD more int",
        "CREATE OR REPLACE FUNCTION asyncsched.now_us() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
    ):
        with pytest.raises(RuntimeError, match=r"permission denied|must be owner"):
            server().sql(f"SET ROLE shop_worker; {statement}", database)


async def test_on_redis_a_user_with_the_rights_of_the_page_is_enough() -> None:
    with valkey("--appendonly", "yes", "--appendfsync", "no", "--save", "") as own:
        said = shlex.split(block("redis.md", "text", "ACL SETUSER"))
        folder = own.folder
        client = Redis.from_url(own.url())
        client.execute_command(*said)
        password = next(word[1:] for word in said if word.startswith(">"))
        await do_them(f"unix://{said[2]}:{password}@{folder}/socket?db=0")
        assert client.execute_command("ACL", "LOG") == []
        client.execute_command("ACL", "SETUSER", said[2], "-@scripting")
        with pytest.raises(StoreError, match=r"~{asyncsched}:\* &{asyncsched}:\* \+@all -@dangerous \+info"):
            await do_them(f"unix://{said[2]}:{password}@{folder}/socket?db=0")
        client.close()
