"""A PostgreSQL primary dies and its standby takes over (F20): nodes that know both go on there.

With a synchronous standby nothing that was answered is lost, and nobody says so. With an asynchronous one that lags
behind its last moments are lost, and each node that had any part in those says so. The long form does that ten times.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Run, RunStatus, Scheduler
from asyncsched.errors import StoreError
from asyncsched.events import StoreRolledBack

from .crew import LONG, SEED, Crew, seeded, wait_until
from .grounds import LEASE_S, Schema
from .replicas import Pair, standby

PATIENCE_S = 120
TIMES = 10 if LONG else 1
SURELY_S = 0.3
"""A standby that lags behind for so long has not heard of something that was answered."""


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not check():
            await asyncio.sleep(0.05)


class Program:
    """A scheduler with a task that fires all the time, and what it has told; and who submits there."""

    def __init__(self, url: str, **options: Any) -> None:
        registry = Registry()
        self.scheduler = Scheduler(url, registry=registry, **options)
        self.answered: list[Run[int]] = []
        self.told: list[StoreRolledBack] = []
        self.scheduler.events.on([StoreRolledBack], self.told.append)

        @registry.task(id="count", history_limit=100_000)
        async def count(number: int) -> int:
            return number

        @registry.every("500ms", id="tick", history_limit=10_000)
        async def tick() -> None: ...

        self.count = count

    async def submit_on(self) -> None:
        for number in range(1_000_000):
            key = f"{id(self)} {number}"
            try:
                self.answered.append(await self.count.using(idempotency_key=key).submit(number))
            except StoreError:
                await asyncio.sleep(0.1)

    async def answers(self, more: int) -> None:
        """Return once so many more were answered."""
        before = len(self.answered)
        await until(lambda: len(self.answered) >= before + more)


def lost_of(answered: Sequence[Run[int]], pair: Pair) -> int:
    """How many of these runs are nowhere at the server that has taken over."""
    said = pair.standby.sql("SELECT id FROM asyncsched.runs UNION ALL SELECT id FROM asyncsched.history")
    return len({run.id for run in answered} - set(said.split()))


@pytest.mark.timeout(900)
async def test_nodes_follow_to_the_standby_and_what_was_answered_is_there() -> None:
    for number in range(TIMES):
        with standby(synchronous=True) as pair:
            await follow(pair)
        print(f"seed {SEED}, synchronous standby {number}: nothing lost")


async def follow(pair: Pair) -> None:
    program = Program(pair.url())
    async with program.scheduler as scheduler:
        submitting = asyncio.create_task(program.submit_on())
        await program.answers(50)
        await asyncio.to_thread(pair.promote)
        await program.answers(50)
        submitting.cancel()
        async with asyncio.timeout(PATIENCE_S):
            assert [await run for run in program.answered] == [run.args[0] for run in program.answered]
        async with asyncio.timeout(PATIENCE_S):  # one may have come whose answer nobody waited for
            while await scheduler.runs.list(task="count", status=["PENDING", "RUNNING"]):
                await asyncio.sleep(0.05)
        ended = await scheduler.runs.list(task="count", limit=100_000)
        assert Counter(run.id for run in ended) >= Counter(run.id for run in program.answered)
        assert {run.status for run in ended} == {RunStatus.SUCCESS}
        assert set(Counter(run.args[0] for run in ended).values()) == {1}
        fires = Counter(run.scheduled_for for run in await scheduler.runs.list(task="tick", limit=10_000))
        assert set(fires.values()) == {1}
        assert program.told == []


class Taken(Schema):
    """The schema of a store at whichever of two servers is the primary."""

    def __init__(self, pair: Pair) -> None:
        self.server, self.name = pair.primary, "asyncsched"
        self.url = pair.url(lease=f"{LEASE_S:.0f}s")

    def _ask(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.server.sql(f"SELECT coalesce(json_agg(t), '[]') FROM ({query}) t")
        )
        return found

    def clear(self) -> None:
        self.server.sql(f"DROP SCHEMA IF EXISTS {self.name} CASCADE")


if LONG:

    @pytest.mark.timeout(1800)
    def test_a_crew_of_processes_keeps_every_promise_when_a_synchronous_standby_takes_over(tmp_path: Path) -> None:
        for number in range(TIMES):
            with standby(synchronous=True) as pair:
                ground = Taken(pair)
                with Crew(tmp_path / f"crew{number}", ground).declare() as crew:
                    assert take_over(crew, ground, pair) == []

    def take_over(crew: Crew, ground: Taken, pair: Pair) -> list[str]:
        names = [crew.start("persist") for _ in range(4)]
        wait_until(lambda: crew.acknowledged() > 100, PATIENCE_S, "they submit")
        crew.kill(names[0])
        pair.promote()
        ground.server = pair.standby
        before = crew.acknowledged()
        wait_until(lambda: crew.acknowledged() > before + 100, PATIENCE_S, "they submit at the other server")
        crew.mark("enough", "stop")
        for name in list(crew.living):
            crew.leaves(name, PATIENCE_S)
        crew.drain(PATIENCE_S)
        return crew.judge(int((ground.recovery_s + 2 * LEASE_S) * 1e6))


@pytest.mark.timeout(900)
async def test_what_a_standby_that_lags_behind_has_lost_is_told_of_by_each_node_that_had_it_answered() -> None:
    random, losses = seeded("asynchronous standby"), 0
    for number in range(TIMES):
        with standby(synchronous=False) as pair:
            lag_s = random.choice([0.0, 0.02, SURELY_S, 1.0]) if LONG else SURELY_S
            kept, lost, told = await lag_behind(pair, lag_s)
        print(
            f"seed {SEED}, asynchronous standby {number}, {lag_s} s behind: of {kept} answered {lost} lost, told {told}"
        )
        losses += any(lost)
        for gone, times in zip(lost, told, strict=True):
            assert times == 1 if gone else times <= 1
    assert losses


async def lag_behind(pair: Pair, lag_s: float) -> tuple[list[int], list[int], list[int]]:
    """Of a node that only submits, and of one that runs too: the answered, the lost of those, how often it was told."""
    programs = [Program(pair.url(lease="3s"), queues=[]), Program(pair.url(lease="3s"))]
    async with programs[0].scheduler, programs[1].scheduler:
        for url in (pair.standby.url(), f"{pair.standby.url()}&target_session_attrs=primary"):
            with pytest.raises(StoreError, match=r"the primary"):
                async with Scheduler(url, registry=Registry()):
                    pass
        submitting = [asyncio.create_task(program.submit_on()) for program in programs]
        for program in programs:
            await program.answers(10)
        pair.between.hold()
        await asyncio.sleep(lag_s)
        if lag_s >= SURELY_S:
            for program in programs:
                await program.answers(5)
        await asyncio.to_thread(pair.promote)
        before = [len(program.answered) for program in programs]
        for program in programs:
            await program.answers(10)
        for one in submitting:
            one.cancel()
        lost = [lost_of(program.answered[:count], pair) for program, count in zip(programs, before, strict=True)]
        for program, gone in zip(programs, lost, strict=True):
            await until(lambda program=program, gone=gone: program.told or not gone)
        fresh = [await program.count.submit(1) for program in programs]
        async with asyncio.timeout(PATIENCE_S):
            assert [await run for run in fresh] == [1, 1]
        return before, lost, [len(program.told) for program in programs]
