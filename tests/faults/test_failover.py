"""The primary dies and its standby takes over: nodes that know both go on, and nothing that was answered is lost."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import servers
from asyncsched import Registry, Run, Scheduler
from asyncsched.errors import StoreError

PATIENCE_S = 60


@contextmanager
def standby_of(primary: servers.Postgres) -> Iterator[servers.Postgres]:
    """A server that has what ``primary`` has, and without which that answers nothing any more."""
    folder = Path(tempfile.mkdtemp(prefix="asyncsched-pg-"))
    folder.chmod(0o755)
    nobody = servers.Nobody.here()
    nobody.own(folder)
    standby = servers.Postgres(folder, primary.binaries, primary.settings)
    try:
        copy = [primary.binaries / "pg_basebackup", "-h", primary.folder, "-U", "postgres", "-D", folder / "data", "-R"]
        subprocess.run(
            [*copy, "-c", "fast", "--no-sync"],
            check=True,
            cwd="/",
            timeout=PATIENCE_S,
            capture_output=True,
            **nobody.options,
        )
        standby.start()
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.sql("SELECT pg_reload_conf()")
        yield standby
    finally:
        standby.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


async def test_nodes_follow_to_the_standby_and_what_was_answered_is_there() -> None:
    registry = Registry()

    @registry.task(id="count", history_limit=10_000)
    async def count(number: int) -> int:
        return number

    @registry.every("500ms", id="tick", history_limit=10_000)
    async def tick() -> None: ...

    answered: list[Run[int]] = []

    async def submit_on() -> None:
        for number in range(1_000_000):
            try:
                answered.append(await count.using(idempotency_key=str(number)).submit(number))
            except StoreError:
                await asyncio.sleep(0.1)

    with servers.postgres(synchronous_commit="on") as primary, standby_of(primary) as standby:
        url = f"postgresql://postgres@/postgres?host={primary.folder},{standby.folder}&target_session_attrs=primary"
        async with Scheduler(url, registry=registry) as scheduler:
            submitting = asyncio.create_task(submit_on())
            async with asyncio.timeout(PATIENCE_S):
                while len(answered) < 50:
                    await asyncio.sleep(0.05)
                before = len(answered)
                primary.stop(signal.SIGQUIT)
                await asyncio.to_thread(standby.sql, "SELECT pg_promote()")
                while len(answered) < before + 50:
                    await asyncio.sleep(0.05)
                submitting.cancel()
                assert [await run for run in answered] == [run.args[0] for run in answered]
            ended = await scheduler.runs.list(task="count", limit=10_000)
            assert {run.id for run in answered} <= {run.id for run in ended}
            fires = Counter(run.scheduled_for for run in await scheduler.runs.list(task="tick", limit=10_000))
            assert set(fires.values()) == {1}
