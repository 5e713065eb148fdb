"""What is done to many runs at once: in batches, so that neither the store nor the loop is held up by thousands."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from asyncsched._engine.engine import Engine
from asyncsched._engine.selection import Selection
from asyncsched.limits import Idempotency
from asyncsched.results import needed_runs
from asyncsched.run import Run, RunStatus
from asyncsched.submission import Submission

_BATCH = 500
# So long it is known that a run has been repeated with others: longer than most are kept.
_KNOWN_US = timedelta(days=90) // timedelta(microseconds=1)


async def cancel_all(engine: Engine, chosen: Selection, reason: str) -> int:
    """Stop those that have not ended; how many had to be.

    Raises:
        MisuseError: it is not said which, or a status is that of runs that have ended.
    """
    wanted = chosen.unfinished()
    stopped: set[str] = set()
    if RunStatus.PENDING in wanted:
        waiting = chosen._replace(status=RunStatus.PENDING).filter(engine, _BATCH)
        while ids := [run.id for run in await engine.store.runs(waiting)]:
            done = await engine.custody.cancel(ids, reason)
            stopped |= done
            if len(ids) < _BATCH or not done:
                break
    if RunStatus.RUNNING in wanted:
        running = chosen._replace(status=RunStatus.RUNNING).filter(engine, 2**31 - 1)
        ids = [run.id for run in await engine.store.runs(running)]
        stopped |= await engine.custody.cancel(ids, reason) if ids else set()
    return len(stopped)


async def retry_all(engine: Engine, chosen: Selection, limit: int) -> list[Run[Any]]:
    """A new run for each of those that have ended so, unless it has been repeated like this before.

    Raises:
        MisuseError: it is not said which, or a status is that of runs that have not ended.
    """
    found = await engine.store.runs(chosen._replace(status=chosen.ended()).filter(engine, limit))
    runs = [run for run in found if run.task in engine.living.tasks]
    first = engine.ids.make(engine.clock.now_us())
    again: list[Run[Any]] = []
    for start in range(0, len(runs), _BATCH):
        again += await asyncio.gather(*(repeat(engine, run, once=True) for run in runs[start : start + _BATCH]))
    return [run for run in again if run.id > first]


async def repeat(engine: Engine, run: Run[Any], *, once: bool = False) -> Run[Any]:
    """A new run with the arguments of one that has ended; with ``once`` the one that there is already."""
    how = Submission(by_hand=True)
    if run.edges is not None:
        how = how._replace(needs={0: needed_runs(run.args, run.kwargs)})
    if once:
        how = how._replace(idempotency=Idempotency(f"retry of {run.id}", _KNOWN_US))
    (again,) = await engine.intake.submit(engine.living.tasks[run.task].task, [(run.args, run.kwargs)], how, run.id)
    return again
