"""How many runs of a task are on their way."""

from __future__ import annotations

from asyncsched.stores._durable.rows import BLOCKED, PARKED
from asyncsched.stores._graphs import Met
from asyncsched.stores._postgres.transaction import Transaction


def on_their_way(task: str, now: str, most: str) -> str:
    """A query for how many there are, up to ``most``; these are expressions."""
    return (
        f"(SELECT count(*) FROM (SELECT 1 FROM asyncsched.runs o WHERE o.task = {task} AND o.state <> {PARKED} "
        f"AND (o.attempt > 0 OR o.due_at <= {now}) "
        f"""AND (o.state <> {BLOCKED} OR strpos(o.edges, '"kind":"gate"') > 0) """
        f"""AND (o.terms IS NULL OR strpos(o.terms, '"backfill":') = 0) LIMIT {most}) AS x)"""
    )


_NUMBER = f"SELECT {on_their_way('$1', '$2', '$3')}"


async def still_met(db: Transaction, task: str, met: Met) -> bool:
    """Whether so many runs of the task are on their way. Whoever asks has locked the row of the task."""
    number = await db.value(_NUMBER, task, db.now_us, met.most)
    return bool(number == met.number)
