"""Runs for fires of the past: ``scheduler.tasks.backfill``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Any

from asyncsched._engine.arming import instant_us
from asyncsched._engine.engine import Engine
from asyncsched._engine.living import ArmedTask
from asyncsched.backfill import BACKFILL_KEY, Backfill, fires_between, reaching_back
from asyncsched.clock import from_us
from asyncsched.errors import ConfigError, MisuseError
from asyncsched.run import Run, RunStatus, Terms
from asyncsched.stores import FireOrder, RunFilter
from asyncsched.triggers import Trigger

# What was missed yesterday is less urgent than what is due now, unless somebody says otherwise.
BEHIND = 100
_LEAST = -(2**31)
# Runs written at once: some 5 ms of work, after which others get their turn.
_BATCH = 500
_RAN = frozenset(RunStatus) - {RunStatus.SKIPPED}


async def backfill(
    engine: Engine, armed: ArmedTask, start: datetime, end: datetime, priority: int | None, *, dry_run: bool
) -> Backfill:
    """Runs for the fires of the task from ``start`` (included) to ``end`` (not included) that have none."""
    if engine.stopping and not dry_run:
        raise MisuseError(f"the scheduler is stopping: it takes no new runs of {armed.task.id!r}")
    now_us = engine.clock.now_us()
    start_us, end_us = instant_us(armed, start), instant_us(armed, end)
    if end_us > now_us:
        raise ConfigError(f"end={end}: a backfill is of the past, and now is {from_us(now_us)}")
    instants = fires_between(_trigger_of(armed, start_us), start_us, _handled_us(engine, armed, end_us))
    if dry_run:
        range_of = RunFilter(task=armed.task.id, status=_RAN, since_us=start_us, until_us=end_us, limit=2**31)
        there = {run.scheduled_us for run in await engine.store.runs(range_of)}
        left = [at_us for at_us in instants if at_us not in there]
        return Backfill(_shown(armed, left), (), len(instants) - len(left))
    terms = _terms(armed, priority)
    made: list[Run[Any]] = []
    rest = iter(instants)
    while batch := [_run(engine, armed, at_us, terms) for at_us in islice(rest, _BATCH)]:
        made += await _write(engine, armed, batch, priority)
        await _let_others()
    found = [run.scheduled_us for run in made if run.scheduled_us is not None]
    return Backfill(_shown(armed, found), tuple(made), len(instants) - len(made))


async def _write(engine: Engine, armed: ArmedTask, runs: list[Run[Any]], priority: int | None) -> list[Run[Any]]:
    """Those of the runs that were written, each with what follows it in its flow."""
    now_us = engine.clock.now_us()
    if armed.place is not None:
        order = FireOrder(armed.task.id, armed.version, None, None, runs, ())
        ((_armed, gated),) = await engine.flows.gate([(armed, order)], now_us)
        runs = list(gated.runs)
        for run in runs:
            if run.scheduled_us is None and (follower := engine.living.tasks.get(run.task)):
                run.terms = _terms(follower, priority)
    standing = await engine.store.submit(runs)
    written = [run for run, stands in zip(runs, standing, strict=True) if stands.id == run.id]
    made = [run for run in written if run.scheduled_us is not None]
    armed.take(made, now_us)
    if armed.place is not None:
        engine.flows.laid(run for run in written if run.scheduled_us is None)
    engine.cycle.stir()
    return made


def _trigger_of(armed: ArmedTask, start_us: int) -> Trigger:
    """Whose instants are replayed.

    Raises:
        ConfigError: the task has none that lie in the past.
    """
    task_id, bound = armed.task.id, armed.trigger
    declared = armed.overrides.trigger or armed.task.trigger
    if declared is None or bound is None:
        raise ConfigError(f"task {task_id!r} has no trigger, so no fires to replay: submit it")
    if armed.policy.anchor == "completion":
        raise ConfigError(f"task {task_id!r} has anchor='completion': its fires depend on its runs, submit it instead")
    return reaching_back(declared, bound, start_us)


def _handled_us(engine: Engine, armed: ArmedTask, end_us: int) -> int:
    """Up to where fires are replayed: those that are due at this moment become runs by themselves."""
    if armed.next_us is None or armed.paused_until_us is not None or engine.firing.standing_by:
        return end_us
    return min(end_us, armed.next_us)


def _terms(armed: ArmedTask, priority: int | None) -> Terms:
    """On which terms the runs wait: one after another, unless those of the task may overlap."""
    terms = armed.terms
    if priority is None:
        priority = max(_LEAST, terms.priority - BEHIND)
    # Many of them wait for long, one for the other: none expires for that.
    bounds = None if terms.bounds is None else terms.bounds._replace(expires_us=None)
    terms = terms._replace(priority=priority, once=None, once_key=None, bounds=bounds, backfill=True)
    if armed.policy.overlap == "allow":
        return terms
    key = terms.limit_key or f"{BACKFILL_KEY}{armed.task.id}"
    return terms._replace(limit_key=key, limit=1)


def _run(engine: Engine, armed: ArmedTask, at_us: int, terms: Terms) -> Run[Any]:
    # Due now, not then: what counts from there, such as expires=, would be over before it begins.
    now_us, task = engine.clock.now_us(), armed.task
    return Run(engine.ids.make(now_us), task.id, now_us, now_us, at_us, 1, terms, task.args, task.kwargs)


def _shown(armed: ArmedTask, instants: Iterable[int]) -> tuple[datetime, ...]:
    zone = armed.zone
    return tuple(from_us(at_us).astimezone(zone) for at_us in instants)


async def _let_others() -> None:
    """Go on in the next round of the loop."""
    loop = asyncio.get_running_loop()
    later = loop.create_future()
    loop.call_soon(later.set_result, None)
    await later
