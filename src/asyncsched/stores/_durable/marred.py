"""Rows that are not as this library writes them: what is wrong with one, and as much of it as can be shown.

Whoever can write the file may have written anything there: nothing of it may stop a scheduler.
"""

from __future__ import annotations

import json
from typing import Any, Final

from asyncsched.again import load_error
from asyncsched.edges import Edges
from asyncsched.run import Run, RunStatus
from asyncsched.stores._durable.rows import Row
from asyncsched.values import Unstored

# From year 1 to year 9999, which is what a datetime can say.
EARLIEST_US, LATEST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
MOST = 2**53
"""No count comes so far, and one more is still a whole number to SQLite."""
INSTANTS = ("created_at", "due_at", "scheduled_at", "first_at", "started_at", "finished_at")
COUNTS = ("stands_for", "attempt", "token")
PARKED_AS = "parked, it cannot be read"
"""How the reason of a run begins that nobody can read."""
_NEVER_NONE = {"id", "task", "created_at", "due_at", "status", *COUNTS}
_STATUSES: Final = {status.value: status for status in RunStatus}
_KINDS = tuple(
    {int if name in (*INSTANTS, *COUNTS) else str} | (set() if name in _NEVER_NONE else {type(None)})
    for name in Row._fields
)
_NUMBERS = tuple(
    (place, name, *((EARLIEST_US, LATEST_US) if name in INSTANTS else (0, MOST)))
    for place, name in enumerate(Row._fields)
    if name in (*INSTANTS, *COUNTS)
)
# The shapes that rows were seen to have, which are few: to look for one there costs less than to look at each value.
_seen: set[tuple[type, ...]] = set()


def check(row: Row) -> None:
    """Nothing, if each column holds what it may.

    Raises:
        ValueError: one does not; the message names it.
    """
    shape = tuple(map(type, row))
    if shape not in _seen:
        for name, kind, kinds in zip(Row._fields, shape, _KINDS, strict=True):
            if kind not in kinds:
                raise ValueError(f"{name} is of type {kind.__name__}")
        _seen.add(shape)
    for place, name, least, most in _NUMBERS:
        value = row[place]
        if value is not None and not least <= value <= most:  # type: ignore[operator]
            raise ValueError(f"{name} is {value}")
    if row.status not in _STATUSES:
        raise ValueError(f"status is {row.status[:40]!r}")


def sound(row: Row) -> Row:
    """The row with something that may stand there in place of what may not: nothing where there may be nothing."""
    said = row._asdict()
    for name, kinds in zip(Row._fields, _KINDS, strict=True):
        if type(said[name]) not in kinds:
            said[name] = None
    for _place, name, least, most in _NUMBERS:
        value = said[name]
        if value is None or not least <= value <= most:
            said[name] = 0 if name in _NEVER_NONE else None
    if said["status"] not in _STATUSES:
        said["status"] = RunStatus.PENDING.value
    return Row(**said)


def row_said(text: Any) -> Row | None:
    """The row that was written as JSON; ``None`` if that cannot be read."""
    try:
        row = Row(*json.loads(text)[: len(Row._fields)])  # later versions of the library may add columns
        check(row)
    except (ValueError, TypeError, RecursionError):
        return None
    return row


def shown(row: Row, why: str) -> Run[Any]:
    """As much of an unreadable run as people can be shown; nothing of it is to be run."""
    created_us, due_us, scheduled_us, first_us, started_us, finished_us = (
        _within(getattr(row, name), EARLIEST_US, LATEST_US) for name in INSTANTS
    )
    stands_for, attempt, token = (_within(getattr(row, name), 0, MOST) for name in COUNTS)
    made_us = created_us or 0
    due_us = made_us if due_us is None else due_us
    run: Run[Any] = Run(str(row.id), str(row.task), made_us, due_us, scheduled_us, stands_for or 0)
    run.attempt, run.token = attempt or 0, token or 0
    run.first_us, run.started_us, run.finished_us = first_us, started_us, finished_us
    ended = RunStatus.PENDING if finished_us is None else RunStatus.FAILED
    run.status = _STATUSES.get(row.status, ended) if isinstance(row.status, str) else ended
    run.reason = row.reason if isinstance(row.reason, str) else f"it cannot be read: {why}"
    run.node = row.node if isinstance(row.node, str) else None
    run.retry_of = row.retry_of if isinstance(row.retry_of, str) else None
    run.edges = Edges(row.flow) if isinstance(row.flow, str) else None
    run.error = load_error(row.error, run.id) if isinstance(row.error, str) else None
    if row.args is not None:
        run.args = (Unstored("stored arguments", why),)
    if row.result is not None:
        run.result = Unstored("a stored result", why)
    return run


def _within(value: Any, least: int, most: int) -> int | None:
    return value if type(value) is int and least <= value <= most else None
