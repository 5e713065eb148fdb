"""Whatever is asked in whatever order: SQLite answers as the memory store does."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from asyncsched.limits import Cooldown, Debounce, Rate, Unique
from asyncsched.retry import NO_RETRY, Retry
from asyncsched.run import Raised, Run, RunStatus, Succeeded, Terms, settle
from asyncsched.stores import Ack, Amendment, Declared, FireOrder, MemoryStore, RunFilter, Store
from asyncsched.stores.sqlite import SQLiteStore
from asyncsched.testing.store_contract import HandClock
from asyncsched.triggers import Every

T = TypeVar("T")
SECOND = 1_000_000
LONG = os.environ.get("ASYNCSCHED_FAULTS") == "long"
TASKS = ("a", "b", "c")
TERMS = (
    Terms(),
    Terms(priority=5),
    Terms(queue="mail"),
    Terms(limit_key="one", limit=1),
    Terms(limit_key="two", limit=2, rate=Rate(2, 3 * SECOND)),
    Terms(once=Unique(0), once_key="u"),
    Terms(once=Cooldown(4 * SECOND), once_key="c"),
    Terms(once=Debounce(4 * SECOND), once_key="d"),
    Terms(group="g"),
)
names, counts = st.sampled_from(TASKS), st.integers(0, 4)


def shown(run: Run[Any]) -> tuple[Any, ...]:
    # What is raised comes back from a file as an error that says so.
    failed = run.error is not None
    told = (run.id, run.task, run.status, run.reason, run.attempt, run.token)
    return (*told, run.due_us, run.scheduled_us, run.args, failed)


class SameAnswers(RuleBasedStateMachine):
    """Two stores that are asked the same. Each has runs of its own, with the same ids."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.place = Path(tempfile.mkdtemp())
        self.clock = HandClock()
        self.stores: Sequence[Store] = (
            MemoryStore(),
            SQLiteStore(self.place / "jobs.db", synchronous="normal"),
        )
        self.running: tuple[dict[str, Run[Any]], ...] = ({}, {})
        self.made = 0

    def ask(self, asked: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(asked)

    def same(self, answers: Sequence[Any]) -> Any:
        assert answers[0] == answers[1]
        return answers[0]

    @initialize()
    def begin(self) -> None:
        for store in self.stores:
            self.ask(store.open("n", self.clock))
        for task in TASKS:
            self.declare(task, 1)

    def a_run(self, task: str, terms: Terms, *, delay: int = 0, number: int = 0) -> tuple[Run[Any], Run[Any]]:
        self.made += 1
        self.clock.moved_us += 1  # which of two that are due at one instant goes first nobody promises
        now_us = self.clock.now_us()
        first, second = (
            Run(f"{self.made:06}", task, now_us, now_us + delay * SECOND, terms=terms, args=(number,)) for _ in range(2)
        )
        return first, second

    @rule(task=names, period=st.integers(1, 3))
    def declare(self, task: str, period: int) -> None:
        trigger = Every(f"{period}s")
        one = Declared(task, (trigger,), trigger, self.clock.now_us() + period * SECOND, 100)
        answers = [self.ask(store.reconcile([one])) for store in self.stores]
        self.same([([(s.task, s.next_us, s.made) for s in a.standings], a.added, a.changed) for a in answers])

    @rule(task=names, terms=st.sampled_from(TERMS), delay=st.sampled_from([0, 0, 0, 2]), many=st.integers(1, 3))
    def submit(self, task: str, terms: Terms, delay: int, many: int) -> None:
        runs = [self.a_run(task, terms, delay=delay, number=number) for number in range(many)]
        answers = [self.ask(self.stores[side].submit([pair[side] for pair in runs])) for side in (0, 1)]
        self.same([[run.id for run in answer] for answer in answers])

    @rule(task=names, skip=st.booleans())
    def fire(self, task: str, skip: bool) -> None:
        answers = []
        runs = self.a_run(task, Terms())
        for store, run in zip(self.stores, runs, strict=True):
            found = self.ask(store.standings([task]))
            if not found or found[0].next_us is None:
                answers.append(set())
                continue
            run.scheduled_us = found[0].next_us
            if skip:
                run.become(RunStatus.SKIPPED)
                run.finished_us = self.clock.now_us()
            made, skips = ((), (run,)) if skip else ((run,), ())
            next_us = found[0].next_us + SECOND
            order = FireOrder(task, found[0].version, found[0].next_us, next_us, made, skips, len(made))
            answers.append(self.ask(store.fire([order])))
        self.same(answers)

    @rule(limit=st.integers(0, 5), acked=counts, how=st.sampled_from(["good", "bad", "again"]))
    def cycle(self, limit: int, acked: int, how: str) -> None:
        self.clock.moved_us += 1
        retry = Retry(attempts=3, wait="1s") if how == "again" else NO_RETRY
        answers = []
        for store, running in zip(self.stores, self.running, strict=True):
            acks = []
            for run_id in list(running)[: min(acked, 1) if how == "again" else acked]:
                run = running.pop(run_id)
                outcome = Succeeded(run.args[0]) if how == "good" else Raised(ValueError("no"))
                settled = settle(outcome, run.attempt, retry, self.clock.now_us(), run_id=run.id)
                acks.append(Ack(run, run.token, settled))
            answers.append(self.ask(store.cycle(acks, limit, None, {"g": 1})))
            running.update({run.id: run for run in answers[-1].claimed})
        self.same([([ack.run.id for ack in a.accepted], [run.id for run in a.claimed]) for a in answers])
        self.same([a.lapses_us for a in answers])
        if len(answers[0].claimed) < limit:  # else it may be worth while to ask again, or not: groups may be full
            self.same([a.next_due_us for a in answers])

    @rule(place=st.integers(0, 30))
    def cancel(self, place: int) -> None:
        run_id = f"{place:06}"
        self.same([[shown(run) for run in self.ask(store.cancel([run_id], "enough"))] for store in self.stores])

    @rule(task=names, paused=st.booleans())
    def amend(self, task: str, paused: bool) -> None:
        answers = []
        for store in self.stores:
            found = self.ask(store.standings([task]))
            until_us = self.clock.now_us() + SECOND if paused else None
            stands = None if not found else self.ask(store.amend(task, found[0].version, Amendment(until_us, None)))
            answers.append(None if stands is None else (stands.paused_until_us, stands.skip_us, stands.next_us))
        self.same(answers)

    @rule(task=names)
    def drop(self, task: str) -> None:
        self.same([sorted(shown(run) for run in self.ask(store.drop_task(task))) for store in self.stores])

    @rule(seconds=counts)
    def advance(self, seconds: int) -> None:
        self.clock.moved_us += seconds * SECOND

    @rule()
    def come_again(self) -> None:
        self.clock.moved_us += 1
        for store in self.stores:
            self.ask(store.close())
            self.ask(store.open("n", self.clock))
        self.clock.moved_us += 1
        for running in self.running:
            running.clear()  # what was under way is handed back

    @invariant()
    def they_keep_the_same(self) -> None:
        if not self.made:
            return
        self.same([sorted(map(shown, self.ask(store.runs(RunFilter(limit=10_000))))) for store in self.stores])
        stand = [sorted((s.task, s.next_us, s.paused_until_us, s.made) for s in self.ask(store.standings(TASKS)))
                 for store in self.stores]  # fmt: skip
        self.same(stand)

    def teardown(self) -> None:
        for store in self.stores:
            self.ask(store.close())
        self.loop.close()
        shutil.rmtree(self.place)


TestSameAnswers = SameAnswers.TestCase
TestSameAnswers.settings = settings(
    max_examples=10_000 if LONG else 200,
    stateful_step_count=20,
    deadline=None,
    print_blob=True,  # what fails is run again from it
    suppress_health_check=[HealthCheck.too_slow],
)
