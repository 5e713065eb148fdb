"""What becomes of runs whose nodes are gone, or let go of them: for every store that keeps rows."""

from __future__ import annotations

from asyncsched.again import dump_error
from asyncsched.errors import RunFailed
from asyncsched.run import RunStatus
from asyncsched.stores._durable.rows import Row, ended_as, handed_back

LOST_LIMIT = 3
"""A run that has been lost with so many nodes is given up: it may be what kills them."""
SUSPECT = LOST_LIMIT - 1
"""One that has been lost with so many is given up if it is lost with one more."""


def let_go(row: Row, now_us: int, stop: str | None, lost: int | None) -> Row:
    """How a run then stands: it waits for another node, or it has ended, if it was told to stop or is given up.

    stop: why it was told to stop, if it was.
    lost: with how many nodes it has been lost, this one included; ``None`` if the node itself hands it back.
    """
    if stop is not None:
        return ended_as(row, RunStatus.CANCELLED, stop, now_us)
    if lost is None or lost < LOST_LIMIT:
        return handed_back(row, now_us)
    message = f"run {row.id} of {row.task!r} was given up: {lost} processes died while they ran it"
    error = dump_error(RunFailed(message, run_id=row.id, reason="lost"))
    return ended_as(row, RunStatus.FAILED, "lost", now_us)._replace(error=error)
