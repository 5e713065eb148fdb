"""Tasks of different policies on one scheduler, with whatever may happen to them: no fire and no run is ever lost."""

from __future__ import annotations

import asyncio
from asyncio import Runner
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asyncsched import Registry, Retry, Run, Scheduler, Task, current_run
from asyncsched.clock import to_us
from asyncsched.events import RunEnded
from asyncsched.run import FINAL
from asyncsched.testing import Stage, VirtualLoop, virtual

T0 = datetime(2026, 1, 1, tzinfo=UTC)
START = to_us(T0)
SECOND = 1_000_000
# Of each task its period in seconds, and its options.
TASKS: dict[str, tuple[int, dict[str, Any]]] = {
    "skip": (7, {}),
    "two": (5, {"overlap": "allow", "max_running": 2, "missed": "skip"}),
    "one": (6, {"overlap": "queue_one", "retry": Retry(attempts=3, wait="4s", jitter="3s")}),
    "all": (11, {"overlap": "queue_all", "missed": "all", "missed_limit": 3}),
    "latest": (9, {"overlap": "cancel_previous", "retry": 1}),
    "hurried": (8, {"expires": "3s", "timeout": "6s", "run_timeout": "9s", "retry": 5, "max_running": 1}),
    "jittered": (10, {"jitter": "25s", "grace": "20s", "warn_longer": "5s", "warn_not_started": "2s"}),
    "seldom": (13, {"max_runs": 4, "overlap": "queue_one", "warn_failures": 2}),
    "dark": (12, {"blackout": "00:01-00:02", "missed": "all"}),
}
MOST = {"two": 2, "one": 1, "all": 1, "latest": 1, "hurried": 1, "seldom": 1, "dark": 1}
NAMES = st.sampled_from(list(TASKS))


class Together(RuleBasedStateMachine):
    """A scheduler in virtual time, with room for six runs at once, and four of its group."""

    @initialize(takes=st.lists(st.integers(0, 20), min_size=1, max_size=20), fails=st.integers(0, 3))
    def begin(self, takes: list[int], fails: int) -> None:
        self.takes, self.fails = takes, fails
        self.inside: Counter[str] = Counter()
        self.exceeded: list[str] = []
        self.seen: dict[str, Run[Any]] = {}
        self.ends: Counter[str] = Counter()
        self.runner = Runner(loop_factory=VirtualLoop)
        self.stack = AsyncExitStack()
        self.runner.run(self.enter())

    async def enter(self) -> None:
        registry = Registry()
        for name, (period, options) in TASKS.items():
            grouped = {"group": "g", "name": name} if name in ("two", "one", "all") else {"id": name}
            every = timedelta(seconds=period)
            registry.register(Task(self.work, every=every, history_limit=10**6, **{**grouped, **options}))
        scheduler = Scheduler(registry=registry, max_running=6, groups={"g": 4})
        self.stage: Stage = await self.stack.enter_async_context(virtual(scheduler, at=T0, tz="UTC"))
        scheduler.events.on({RunEnded}, lambda event: self.ends.update([event.run.id]))  # type: ignore[attr-defined]
        self.tasks = {task.id.removeprefix("g."): task for task in registry}

    async def work(self) -> None:
        run = current_run()
        name = run.task.removeprefix("g.")
        self.inside[name] += 1
        if self.inside[name] > MOST.get(name, 99) or self.inside.total() > 6:
            self.exceeded.append(name)
        # A number that is fixed by the run: what it takes, and whether it fails.
        number = len(self.seen) + run.attempt
        try:
            await asyncio.sleep(self.takes[number % len(self.takes)] + 0.5)
        finally:
            self.inside[name] -= 1
        if self.fails and number % (self.fails + 1) == 0:
            raise OSError

    @rule(seconds=st.integers(0, 60))
    def time_passes(self, seconds: int) -> None:
        self.runner.run(self.stage.advance(timedelta(seconds=seconds)))

    @rule(seconds=st.integers(-30, 120))
    def the_clock_jumps(self, seconds: int) -> None:
        self.runner.run(self.stage.jump(f"-{-seconds}s" if seconds < 0 else timedelta(seconds=seconds)))

    @rule(name=NAMES, later=st.integers(0, 20))
    def somebody_submits(self, name: str, later: int) -> None:
        how = self.tasks[name].using(delay=timedelta(seconds=later))
        run = self.runner.run(how.submit())
        self.seen[run.id] = run

    @rule(name=NAMES, seconds=st.none() | st.integers(1, 40))
    def somebody_pauses(self, name: str, seconds: int | None) -> None:
        until = None if seconds is None else self.stage.now() + timedelta(seconds=seconds)
        self.runner.run(self.stage.scheduler.tasks.pause(self.tasks[name].id, until=until))

    @rule(name=NAMES)
    def somebody_resumes(self, name: str) -> None:
        self.runner.run(self.stage.scheduler.tasks.resume(self.tasks[name].id))

    @rule(name=NAMES)
    def somebody_skips_the_next(self, name: str) -> None:
        self.runner.run(self.stage.scheduler.tasks.skip_next(self.tasks[name].id))

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 99))
    def somebody_cancels(self, which: int) -> None:
        live = self.live()
        self.runner.run(live[which % len(live)].cancel())

    @rule(seconds=st.integers(0, 60))
    def the_process_is_killed(self, seconds: int) -> None:
        async def killed() -> None:
            await self.stage.crash()
            await self.stage.advance(timedelta(seconds=seconds))
            await self.stage.restart()

        self.runner.run(killed())

    def live(self) -> list[Run[Any]]:
        runs = self.stage.scheduler.runs.list(status={"PENDING", "RUNNING"}, limit=10**6)
        return sorted(self.runner.run(runs), key=lambda run: run.id)

    @invariant()
    def never_more_at_once_than_may(self) -> None:
        if hasattr(self, "stage"):
            assert self.exceeded == []

    def teardown(self) -> None:
        if not hasattr(self, "stage"):
            return
        try:
            self.runner.run(self.settle())
        finally:
            self.runner.run(self.stack.aclose())
            self.runner.close()

    async def settle(self) -> None:
        """Let all be accounted for that has happened, and everything come to its end."""
        tasks = self.stage.scheduler.tasks
        ids = [task.id for task in self.tasks.values()]
        await tasks.resume(*ids)
        await self.stage.advance("3m")  # past the longest step back, and the longest jitter
        for name, task in self.tasks.items():
            await self.accounted(name, task)
        await tasks.pause(*ids)
        await self.stage.advance("1h")
        assert await self.stage.scheduler.runs.list(status={"PENDING", "RUNNING"}) == []
        lost = [run for run in self.seen.values() if run.status not in FINAL]
        assert lost == []
        assert all(self.ends[run_id] == 1 for run_id in self.seen)  # told once

    async def accounted(self, name: str, task: Task[..., Any]) -> None:
        """Each fire of the task is a run, is stood for by one, or is a recorded skip."""
        records = [run for run in await self.stage.scheduler.runs.list(task=task.id, limit=10**6) if run.scheduled_for]
        period = TASKS[name][0] * SECOND
        first = START + period
        instants = [to_us(run.scheduled_for) for run in records]
        assert len(set(instants)) == len(instants)
        assert all((instant - first) % period == 0 for instant in instants)
        told = sum(run.stands_for for run in records)
        if (most := task.policy.max_runs) is not None:
            made = [run for run in records if run.status != "SKIPPED"]
            assert len(made) <= most
            if len(made) == most:
                assert task.next_fire is None
                return
        assert task.next_fire is not None
        assert told == (to_us(task.next_fire) - first) // period


TestTogether = Together.TestCase
TestTogether.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
