"""A web app that runs nothing, and two workers: three programs, perhaps on three machines, at one PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from addresses import new_url
from asyncsched import Registry, Scheduler
from asyncsched.errors import RunCancelled


@pytest.fixture
def url(tmp_path: Path) -> str:
    return new_url("postgres", tmp_path)


class Program:
    """What is deployed everywhere: the same tasks, in processes that do not share anything but the database."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.registry = Registry()
        self.sent: list[str] = []
        """The addresses to which this very process has sent something."""

        @self.registry.task(id="send", queue="mail")
        async def send(to: str) -> str:
            if "@" not in to:
                raise ValueError(f"{to} is no address")
            await asyncio.sleep(0.01)
            self.sent.append(to)
            return f"sent to {to}"

        @self.registry.task(id="wait", queue="mail")
        async def wait() -> None:
            await asyncio.Event().wait()

        @self.registry.every("200ms", id="beat", queue="mail", keep=1_000)
        async def beat() -> str:
            return self.node

        self.send, self.wait, self.beat = send, wait, beat

    def web(self, url: str) -> Scheduler:
        """It submits and may fire; the empty list of queues says that it runs nothing."""
        return Scheduler(url, registry=self.registry, node=self.node, queues=[])

    def worker(self, url: str) -> Scheduler:
        return Scheduler(url, registry=self.registry, node=self.node, queues={"mail": 5})


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_the_web_app_submits_the_workers_run_and_it_awaits_the_results(url: str) -> None:
    web, one, two = Program("web"), Program("worker 1"), Program("worker 2")
    async with web.web(url), one.worker(url), two.worker(url), asyncio.timeout(30):
        runs = await web.send.submit_many([(f"{number}@b.c",) for number in range(40)])
        assert await asyncio.gather(*runs) == [f"sent to {number}@b.c" for number in range(40)]
        assert sorted(one.sent + two.sent) == sorted(f"{number}@b.c" for number in range(40))
        assert web.sent == []
        wrong = await web.send.submit("nobody")
        with pytest.raises(ValueError, match="nobody is no address"):  # raised in a worker, and again here
            await wrong


async def test_when_a_worker_leaves_the_other_goes_on_with_what_it_has_not_begun(url: str) -> None:
    web, one, two = Program("web"), Program("worker 1"), Program("worker 2")
    async with web.web(url), two.worker(url), asyncio.timeout(30):
        async with one.worker(url):
            runs = await web.send.submit_many([(f"{number}@b.c",) for number in range(40)])
            await until(lambda: one.sent)
        # Out of the block the first worker has finished what it had begun, and is gone.
        left = list(one.sent)
        more = await web.send.submit("late@b.c")
        await asyncio.gather(*runs, more)
        assert one.sent == left
        assert len(left + two.sent) == len({*left, *two.sent}) == 41


async def test_a_timed_task_fires_once_for_all_and_goes_on_when_a_worker_has_left(url: str) -> None:
    web, one, two = Program("web"), Program("worker 1"), Program("worker 2")
    async with web.web(url) as looks, two.worker(url), asyncio.timeout(30):
        async with one.worker(url):
            await until(lambda: len(web.beat.history) >= 3)
        known = len(web.beat.history)
        await until(lambda: len(web.beat.history) >= known + 3)
        beats = await looks.runs.list(task="beat", status="SUCCESS", limit=1_000)
        assert len({run.scheduled_for for run in beats}) == len(beats)
        assert {run.result for run in beats} <= {"worker 1", "worker 2"}
        assert beats[0].result == "worker 2"


async def test_the_web_app_pauses_what_the_workers_fire_and_cancels_what_they_run(url: str) -> None:
    web, one = Program("web"), Program("worker 1")
    async with web.web(url) as scheduler, one.worker(url), asyncio.timeout(30):
        await scheduler.tasks.pause("beat", note="the database is moved")
        await until(lambda: one.beat.next_fire is None)
        run = await web.wait.submit()
        while (await scheduler.runs.get(run.id)).status != "RUNNING":
            await asyncio.sleep(0.01)
        assert await scheduler.runs.cancel(run.id, "it takes too long")
        with pytest.raises(RunCancelled, match="it takes too long"):
            await run
        await scheduler.tasks.resume("beat")
        await until(lambda: one.beat.next_fire is not None)
