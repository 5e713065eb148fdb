"""Tasks, runs and orders as the promises need them, and the few steps that most of them take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from asyncsched.clock import from_us
from asyncsched.edges import Edges, Rule
from asyncsched.graph import Tally
from asyncsched.ids import RunIds
from asyncsched.limits import Once, Rate
from asyncsched.retry import NO_RETRY, Retry
from asyncsched.run import Outcome, Run, RunStatus, Succeeded, Terms, settle
from asyncsched.stores import Ack, Declared, FireOrder, RunFilter, Standing, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US
from asyncsched.triggers import Every, Trigger

EVERY = Every("10s", from_us(START_US))
UNFINISHED = frozenset({RunStatus.PENDING, RunStatus.RUNNING})
DONE = Succeeded(None)
# Ids sort as they were made, as those of the engine do.
_ids = RunIds(Random(7))


def new_id() -> str:
    """The id of a new run, greater than all before."""
    return _ids.make(START_US)


def declared(
    task: str = "t", text: str = "every 10 s", *, trigger: Trigger | None = EVERY, next_us: int | None = START_US,
    history_limit: int = 100,
) -> Declared:  # fmt: skip
    """A task that is due at the start."""
    return Declared(task, text, trigger, next_us, history_limit)


def a_run(
    task: str = "t", *, name: str | None = None, created_us: int = START_US, due_us: int | None = None, **terms: Any
) -> Run[Any]:
    """A run that is due when it is made, unless it is said otherwise; on these terms."""
    return Run(
        id=name or new_id(), task=task, created_us=created_us, due_us=created_us if due_us is None else due_us,
        terms=Terms(**terms),
    )  # fmt: skip


def keyed_run(
    name: str | None = None, *, key: str | None = "k", limit: int | None = None, rate: Rate | None = None,
    once: Once | None = None, once_key: str = "o", now_us: int = START_US, due_us: int | None = None,
    queue: str = "default", args: tuple[Any, ...] = (), task: str = "t", priority: int = 0,
) -> Run[Any]:  # fmt: skip
    """A run of the key ``k``, which bounds nothing unless it is said."""
    once_of = None if once is None else once_key
    terms = Terms(priority, queue, limit_key=key, limit=limit, rate=rate, once=once, once_key=once_of)
    return Run(name or new_id(), task, now_us, now_us if due_us is None else due_us, terms=terms, args=args)


def needing(task: str = "t", *needs: Run[Any], flow: str | None = None, rule: Rule = "all_success") -> Run[Any]:
    """A run of a graph, blocked if it needs others."""
    run: Run[Any] = Run(new_id(), task, START_US, START_US)
    run.edges = Edges(flow or run.id, tuple(need.id for need in needs), rule, needs, blocked=bool(needs))
    return run


def a_skip(task: str = "t", *, created_us: int = START_US) -> Run[Any]:
    """The record of a fire that was missed."""
    run = a_run(task, created_us=created_us)
    run.become(RunStatus.SKIPPED)
    run.reason, run.finished_us = "missed", created_us
    return run


def order(
    standing: Standing, *, runs: Sequence[Run[Any]] = (), skips: Sequence[Run[Any]] = (), step: int = 10 * SECOND
) -> FireOrder:
    """An order that counts, as long as the task stands so."""
    assert standing.next_us is not None
    return FireOrder(standing.task, standing.version, standing.next_us, standing.next_us + step, runs, skips)


async def where(store: Store, task: str = "t") -> Standing:
    (standing,) = await store.standings([task])
    return standing


async def claim(store: Store, limit: int = 100) -> list[Run[Any]]:
    return (await store.cycle([], limit)).claimed


async def ack_of(store: Store, run: Run[Any], outcome: Outcome, retry: Retry = NO_RETRY) -> Ack:
    """The acknowledgement of the attempt under way, now."""
    return Ack(run, run.token, settle(outcome, run.attempt, retry, await store.now_us()))


async def finish(store: Store, runs: Iterable[Run[Any]]) -> None:
    """Let claimed runs succeed."""
    await store.cycle([await ack_of(store, run, DONE) for run in runs], 0)


async def end(store: Store, *runs: Run[Any], outcome: Outcome = DONE, retry: Retry = NO_RETRY) -> None:
    """Let claimed runs end so; each must count."""
    acks = [await ack_of(store, run, outcome, retry) for run in runs]
    assert (await store.cycle(acks, 0)).accepted == acks


async def run_out(store: Store, *runs: Run[Any], outcome: Outcome = DONE) -> None:
    """Claim these runs, and let them end so."""
    wanted = {run.id for run in runs}
    mine = [run for run in await claim(store) if run.id in wanted]
    assert len(mine) == len(runs)
    await end(store, *mine, outcome=outcome)


async def run_through(store: Store, *runs: Run[Any]) -> None:
    """Submit the runs, one after another, and let each succeed."""
    for run in runs:
        await store.submit([run])
        await finish(store, await claim(store))


async def ids(store: Store, **wanted: Any) -> list[str]:
    return [run.id for run in await store.runs(RunFilter(**wanted))]


def names(runs: Iterable[Run[Any]]) -> list[str]:
    return [run.id for run in runs]


async def told(store: Store, *run_ids: str) -> dict[str, Tally]:
    """What the followers of these runs hear, or all that need a run which has ended."""
    return {follower.run.id: follower.tally for follower in await store.followers(run_ids or None)}
