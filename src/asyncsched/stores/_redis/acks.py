"""Acknowledgements at the Redis store: runs that only end, and those that have to do with others."""

from __future__ import annotations

from collections.abc import Sequence

from asyncsched.run import RunStatus, Settled
from asyncsched.stores._durable.rows import Row, terms_of
from asyncsched.stores._redis.records import RUNNING, free
from asyncsched.stores._redis.unit import Unit
from asyncsched.stores._redis.wire import Done
from asyncsched.stores._redis.wire import Unit as Changes

_PENDING = RunStatus.PENDING.value


def plain_ends(rows: Sequence[Row]) -> Changes:
    """How runs end that have nothing to do with others; the answer tells which of them did not end so."""
    return Changes([], [("ends", [_plain_end(row) for row in rows])])


def _plain_end(row: Row) -> list[str | bool]:
    said = [False if value is None else value for value in (row.result, row.reason, row.error, row.notes)]
    return [row.id, row.task, str(row.token - 1), str(row.token), row.status, str(row.finished_at), *said]


def missed_of(done: Done) -> set[int]:
    """The places of the runs that did not end in this way."""
    (answer,) = done.answers
    said = answer[0] if answer else 1
    return {place - 1 for place in said} if isinstance(said, list) else set()


def is_plain(row: Row) -> bool:
    """Whether a run ends here that, as far as its node knows, has nothing to do with others."""
    return row.status != _PENDING and row.flow is None and (row.terms is None or free(terms_of(row.terms)))


async def acknowledge(unit: Unit, rows: Sequence[Row]) -> list[tuple[bool, bool, Row | None]]:
    """Let runs end, or be tried again: whether that counted, whether others need it, and it if it was told to stop."""
    return [await _acknowledge(unit, row) for row in rows]


async def _acknowledge(unit: Unit, row: Row) -> tuple[bool, bool, Row | None]:
    if row.status != _PENDING:
        needed = await unit.end(row, running=True)
        return needed is not None, bool(needed), None
    kept = await unit.run(row.id)
    if kept is None or kept.state != RUNNING or kept.row.token != row.token - 1:
        return False, False, None
    stop = kept.stop
    await unit.admit(row)
    if stop is None:
        return True, False, None
    ended = await unit.end_waiting(row, Settled(RunStatus.CANCELLED, unit.now_us, reason=stop))
    return False, False, ended
