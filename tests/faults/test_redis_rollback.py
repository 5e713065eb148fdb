"""A Redis server that goes back in time: each node notices, says so, declares its tasks again, and goes on."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
from collections.abc import Callable
from typing import Any

import pytest
import redis

from asyncsched import Registry, Scheduler
from asyncsched.errors import RunFailed
from asyncsched.events import StoreRolledBack
from servers import Valkey, valkey

PATIENCE_S = 60


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not check():
            await asyncio.sleep(0.05)


def url_of(server: Valkey) -> str:
    return f"{server.url()}&volatile=allow&lease=3s"


def declared(client: Any) -> set[str]:
    """The tasks that stand in the store."""
    return {key.decode().partition(":t:")[2] for key in client.scan_iter("{asyncsched}:t:*")}


class Program:
    """A scheduler with a task that fires all the time, and what it has told."""

    def __init__(self, server: Valkey) -> None:
        self.fires: list[int] = []
        self.registry = Registry()
        self.scheduler = Scheduler(url_of(server), registry=self.registry)
        self.told: list[StoreRolledBack] = []
        self.scheduler.events.on([StoreRolledBack], self.told.append)

        @self.registry.every("100ms", id="tick", overlap="allow")
        async def tick() -> None:
            self.fires.append(len(self.told))

        @self.registry.task(id="later")
        async def later() -> None: ...

        self.later = later


async def test_a_server_that_was_emptied_is_told_of_once_and_the_schedule_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with valkey() as server, redis.Redis.from_url(server.url()) as client:
        program = Program(server)
        async with program.scheduler:
            await until(lambda: len(program.fires) > 2)
            forgotten = await program.later.using(delay="1h").submit()
            with caplog.at_level(logging.ERROR, "asyncsched.stores"):
                client.flushall()
                await until(lambda: program.told)
            assert "has forgotten what it had acknowledged" in caplog.text
            await until(lambda: sum(program.fires) > 5)
            assert [event.times for event in program.told] == [1]
            assert declared(client) == {"tick", "later"}
            with pytest.raises(RunFailed):  # who awaits it is not left waiting
                async with asyncio.timeout(PATIENCE_S):
                    await forgotten
            await (await program.later.submit())
            client.flushall()
            await until(lambda: len(program.told) > 1)
            assert [event.times for event in program.told] == [1, 2]


async def test_a_server_that_comes_back_from_an_older_file_is_told_of_and_the_schedule_goes_on() -> None:
    with valkey("--save", "", "--appendonly", "no", "--dbfilename", "dump.rdb") as server:
        program = Program(server)
        async with program.scheduler:
            await until(lambda: len(program.fires) > 2)
            with redis.Redis.from_url(server.url()) as client:
                client.save()
            await until(lambda: len(program.fires) > 10)
            shutil.copy(server.folder / "dump.rdb", server.folder / "kept.rdb")
            server.stop(signal.SIGKILL)
            shutil.copy(server.folder / "kept.rdb", server.folder / "dump.rdb")
            server.start()
            await until(lambda: program.told)
            before = len(program.fires)
            await until(lambda: len(program.fires) > before + 5)
            await (await program.later.submit())
            assert [event.times for event in program.told] == [1]


async def test_all_nodes_notice_it_and_each_fire_is_made_by_one() -> None:
    with valkey() as server, redis.Redis.from_url(server.url()) as client:
        one, other = Program(server), Program(server)
        async with one.scheduler, other.scheduler:
            await until(lambda: len(one.fires) + len(other.fires) > 5)
            client.flushall()
            await until(lambda: one.told and other.told)
            await until(lambda: sum(one.fires) + sum(other.fires) > 10)
            runs = await one.scheduler.runs.list(task="tick", limit=1_000)
            instants = [run.scheduled_for for run in runs]
            assert len(instants) > 5
            assert len(instants) == len(set(instants))
