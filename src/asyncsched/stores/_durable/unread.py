"""Runs that a node has put aside as it could not read them, and that another one can: it has later code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from asyncsched.stores._durable.known import KnownRuns
from asyncsched.stores._durable.marred import check
from asyncsched.stores._durable.rows import Row, needs_of, run_of

# Whoever could not read a run may claim it once more, so that it is put aside again. Of two nodes that are as quick
# each wins every other time; after so many times nobody who could read it claims it, and it waits for one that comes.
_TIMES = 20
_REMEMBERED = 1_000
AT_ONCE = 1_000
"""So many of them are looked at, at most."""


class Unread:
    """How often this node has let each of them wait again."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def readable(self, rows: Iterable[Row], upstreams: Mapping[str, Row], known: KnownRuns) -> list[str]:
        """The ids of those that are to wait again: they can be read here. ``upstreams``: the rows that they need."""
        return [row.id for row in rows if _reads(row, upstreams, known) and self._tries(row.id)]

    def _tries(self, run_id: str) -> bool:
        times = self._times.pop(run_id, 0)
        self._times[run_id] = times + 1
        if len(self._times) > _REMEMBERED:
            del self._times[next(iter(self._times))]
        return times < _TIMES


def _reads(row: Row, upstreams: Mapping[str, Row], known: KnownRuns) -> bool:
    try:
        check(row)
        needed = [upstreams[need] for need in needs_of(row) if need in upstreams]
        given = {one.id: run_of(one, known.values(one.task), {}) for one in needed}
        run_of(row, known.values(row.task), given)
    except Exception:  # whatever it is that makes it unreadable; whoever claims it tells of that
        return False
    return True
