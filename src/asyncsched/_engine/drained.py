"""What a scheduler that has stopped says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asyncsched.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What became of the runs that were under way when the scheduler stopped.

    finished: ended by themselves. cancelled: out of time. left: still running, or their threads are.
    """

    finished: int
    cancelled: tuple[Run[Any], ...]
    left: tuple[Run[Any], ...]
