"""Old and new versions of the library at one store (F15): each does its work, and none spoils what it does not know."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, current_run
from asyncsched.errors import ConfigError, StoreError
from asyncsched.version import VERSION

from .crew import LONG, Crew, chosen, pause, seeded, wait_until
from .grounds import SHARED, Ground, ground_of
from .releases import NEXT, next_release

WORKERS = 6 if LONG else 2
KILLS, RUNS = (200, 15_000) if LONG else (4, 100)
PATIENCE_S = 60
DIFFERS = "this node has asyncsched"


def replace_one_after_the_other(crew: Crew, random: Random, newer: Path) -> list[str]:
    """Kill one worker after the other; of those that follow ever more are of the newer version. All that were."""
    names = [crew.start("produce") for _ in range(WORKERS)]
    wait_until(lambda: all(map(crew.ready, names)), PATIENCE_S, "the old version is at work")
    names.append(crew.start("produce", library=newer))  # it changes the schema under the others
    kills = 0
    while kills < KILLS or crew.acknowledged() < RUNS:
        pause(random, 0.02, 0.15)
        left = [name for name, process in crew.living.items() if process.poll() is not None]
        assert not left, f"{left[0]} ended by itself: {crew.said(left[0])}"
        ready = [name for name in crew.living if crew.ready(name)]
        if kills < KILLS and len(ready) > WORKERS // 2:
            crew.kill(chosen(random, ready))
            kills += 1
            new = random.random() < max(0.25, kills / KILLS)
            names.append(crew.start("produce", library=newer if new else None))
    return names


@pytest.mark.timeout(1800 if LONG else 240)
@pytest.mark.parametrize("kind", SHARED)
def test_what_was_acknowledged_runs_while_one_version_replaces_the_other(kind: str, tmp_path: Path) -> None:
    random, ground = seeded("upgrade"), ground_of(kind, tmp_path)
    newer = next_release(tmp_path / "newer")
    with Crew(tmp_path / "crew", ground).declare() as crew:
        names = replace_one_after_the_other(crew, random, newer)
        last = [crew.start("produce"), crew.start("produce", library=newer)]
        wait_until(lambda: any(DIFFERS in crew.said(name) for name in last), PATIENCE_S, "one finds the other version")
        wait_until(lambda: all(map(crew.ready, last)), PATIENCE_S, "both versions are at work")
        crew.mark("enough", "stop")
        for name in list(crew.living):
            crew.leaves(name)
        crew.drain(patience_s=600 if LONG else 60)
        assert crew.judge(int(ground.recovery_s * 1e6)) == []
        assert len(crew.deaths) == KILLS
        differ = [crew.said(name).count(DIFFERS) for name in (*names, *last)]
        print(f"{sum(differ)} of {len(differ)} workers found nodes of the other version")
        assert set(differ) <= {0, 1}, "it is said once"


# -- what an older version does not know

# A later library says one thing more in the terms of each run.
MORE_TERMS = {
    "run.py": (
        "    idempotency: Idempotency | None = None\n",
        "    idempotency: Any = None\n    colour: str = 'red'\n",
    ),
    "stores/_durable/rows.py": ("if value == _DEFAULTS[name]:", 'if value == _DEFAULTS[name] and name != "colour":'),
}


class Older:
    """This version of the library, with an older program: its ``work`` runs too, and ``tick`` fires by another rule."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.began: list[str] = []

        @self.registry.task(id="work", priority=1, key="number", max_running=1, history_limit=1_000)
        async def work(number: int) -> str:
            self.began.append(current_run().id)
            return VERSION

        @self.registry.every("1h", id="tick", overlap="allow", history_limit=1_000)
        async def tick() -> None: ...

    def scheduler(self, ground: Ground) -> Scheduler:
        return Scheduler(ground.url, registry=self.registry, tz="UTC")


class Newer:
    """A process with ``newer.py``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def said(self, word: str) -> dict[str, Any]:
        """The next line with this word."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                assert self._process.stdout is not None
                line = await self._process.stdout.readline()
                assert line, f"it ended with {await self._process.wait()} and had not said {word!r}"
                said: dict[str, Any] = json.loads(line)
                if said["word"] == word:
                    return said

    async def leave(self) -> None:
        """Let it stop serving, and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(PATIENCE_S):
            assert await self._process.wait() == 0

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def newer(ground: Ground, act: str, library: Path) -> AsyncIterator[Newer]:
    """A process of the newer version; it is killed when the block is left."""
    program = str(Path(__file__).with_name("newer.py"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, program, ground.url, act),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(library)},
    )
    try:
        yield Newer(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


async def become(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds, which another process brings about."""
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():
            await asyncio.sleep(0.02)


@pytest.fixture(params=SHARED)
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Ground:
    return ground_of(request.param, tmp_path)


async def test_an_older_version_is_refused_where_the_schema_says_so_and_told_which_one_is_needed(
    ground: Ground, tmp_path: Path
) -> None:
    older, library = Older(), next_release(tmp_path / "newer", alone=True)
    async with older.scheduler(ground), newer(ground, "come", library) as other:
        await other.said("ready")
        await other.leave()
        # Who is there already goes on, as before: that nobody is, is up to whoever installs such a version.
        assert await (await older.registry["work"].submit(1)) == VERSION
    for _ in range(2):
        with pytest.raises(StoreError, match=rf"its schema is newer .* Install version {NEXT}, or a later one"):
            await older.scheduler(ground).start()


async def test_runs_of_which_more_is_said_than_an_older_version_knows_are_left_to_newer_ones(
    ground: Ground, tmp_path: Path
) -> None:
    older, library = Older(), next_release(tmp_path / "newer", changes=MORE_TERMS)
    async with older.scheduler(ground) as scheduler, newer(ground, "serve", library) as serving:
        await serving.said("ready")
        serving.signal(signal.SIGSTOP)  # so that it is the older one that claims them
        async with newer(ground, "submit", library) as asking:
            runs = (await asking.said("submitted"))["runs"]

            async def put_aside() -> bool:
                found = [await scheduler.runs.get(run_id) for run_id in runs]
                return all(
                    run.reason and run.reason.startswith("parked, it cannot be read: its terms") for run in found
                )

            await become(put_aside)
            own = await older.registry["work"].submit(7)
            assert await own == VERSION, "what it knows goes on beside them"
            serving.signal(signal.SIGCONT)
            assert (await asking.said("ended"))["by"] == [NEXT] * len(runs)
        await serving.leave()
        assert older.began == [own.id]
        assert all('"colour":"red"' in row["terms"] for row in ground.rows("terms", "task", "id") if row["id"] in runs)


# At a server the lease of whoever died has to be waited for.
@pytest.mark.parametrize("ground", SHARED if LONG else ["sqlite"], indirect=True)
async def test_a_run_of_which_more_is_said_is_handed_back_by_an_older_version_as_it_was(
    ground: Ground, tmp_path: Path
) -> None:
    older, library = Older(), next_release(tmp_path / "newer", changes=MORE_TERMS)
    async with newer(ground, "hang", library) as dies, newer(ground, "submit", library) as asks:
        await dies.said("began")
        async with older.scheduler(ground), newer(ground, "serve", library) as serving:
            await serving.said("ready")
            await dies.kill()
            assert (await asks.said("ended"))["by"] == [NEXT] * 3
            await serving.leave()
        assert older.began == []


async def test_a_trigger_that_an_older_program_does_not_know_is_left_to_newer_ones(
    ground: Ground, tmp_path: Path
) -> None:
    older, library = Older(), next_release(tmp_path / "newer")
    async with older.scheduler(ground) as scheduler, newer(ground, "serve", library) as other:
        await other.said("ready")

        async def stands() -> bool:
            return (await scheduler.tasks.get("tick")).next_fire is None

        await become(stands)
        with pytest.raises(ConfigError, match="trigger of task 'tick' cannot be read here"):
            await scheduler.tasks.override("tick", priority=3)
        await scheduler.tasks.pause("tick")
        await scheduler.tasks.resume("tick")
        done = len(await scheduler.runs.list(task="tick", status="SUCCESS", limit=1_000))

        async def fires() -> bool:
            return len(await scheduler.runs.list(task="tick", status="SUCCESS", limit=1_000)) > done + 2

        await become(fires)
        assert ground.watermarks()["tick"] is not None
        await other.leave()
