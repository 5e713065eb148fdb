"""Whether a server still has what was acknowledged: one that has taken over may lack the last moments."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from asyncsched.run import Run
from asyncsched.stores._durable.known import KnownRuns
from asyncsched.stores._postgres.connection import Database

# Of a task that keeps fewer ended runs others may have made the store forget one meanwhile.
_KEPT = 20
# What is lost is always what came last: so this many of each kind are enough to see it.
_LAST = 16
SERVER = "SELECT pg_postmaster_start_time()"
"""What tells a server from others, and from itself before it was started."""
_THERE = (
    "SELECT id, token, false AS ended FROM asyncsched.runs WHERE id = ANY($1::text[]) "
    "UNION ALL SELECT id, token, true FROM asyncsched.history WHERE id = ANY($1::text[])"
)
_EDITS = "SELECT coalesce((SELECT value FROM asyncsched.counts WHERE name = 'edits'), 0)"


class Acknowledged(NamedTuple):
    """What a node knows to be there.

    tokens: runs, each with its token, or one that it has passed. ended: those of them that have ended.
    edits: the version of tasks that was given last.
    """

    tokens: Mapping[str, int]
    ended: frozenset[str]
    edits: int


class Latest:
    """The runs that were submitted here last, which nobody here may hold any more."""

    def __init__(self) -> None:
        self._submitted: deque[tuple[str, str]] = deque(maxlen=_LAST)

    def submitted(self, run: Run[Any]) -> None:
        """Know that a submit was answered with this run."""
        self._submitted.append((run.id, run.task))

    def with_those_of(self, known: KnownRuns, tasks: Iterable[str], edits: int) -> Acknowledged:
        """All that was acknowledged last, as far as its absence would tell anything."""
        kept = [task for task in tasks if known.recent.keeps(task) >= _KEPT]
        ended = {run.id: run.token for task in kept for run in known.recent.last(task, _LAST)}
        tasks_kept = frozenset(kept)
        tokens = {run_id: 0 for run_id, task in self._submitted if task in tasks_kept}
        for run_id in known.here:
            if (run := known.get(run_id)) is not None and run.task in tasks_kept:
                tokens[run_id] = run.token
        return Acknowledged({**tokens, **ended}, frozenset(ended), edits)


async def forgotten(db: Database, known: Acknowledged) -> bool:
    """Whether the server lacks any of this."""
    if await db.value(_EDITS) < known.edits:
        return True
    there = {run_id: (token, ended) for run_id, token, ended in await db.rows(_THERE, list(known.tokens))}
    for run_id, least in known.tokens.items():
        token, ended = there.get(run_id, (-1, False))
        if token < least or (run_id in known.ended and not ended):
            return True
    return False
