"""By when a run must have started or ended, and when a task has failed too often. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from asyncsched.policy import Policy

StreakChange = Literal["failing", "recovered"]
_US = timedelta(microseconds=1)


def expires_us(policy: Policy, due_us: int) -> int | None:
    """From when on a run that has not started is skipped; ``None`` is never.

    ``due_us`` is when it was first due: for a fire its instant, later by the jitter; for a submitted run its
    submission, or the time that was asked for. A run whose first attempt has started expires no more.
    """
    return None if policy.expires is None else due_us + policy.expires // _US


def warn_not_started_us(policy: Policy, due_us: int) -> int | None:
    """When to warn that a run has not started that was first due at ``due_us``; ``None`` is never."""
    return None if policy.warn_not_started is None else due_us + policy.warn_not_started // _US


def warn_longer_us(policy: Policy, started_us: int) -> int | None:
    """When to warn that a run has not ended whose first attempt began at ``started_us``; ``None`` is never."""
    return None if policy.warn_longer is None else started_us + policy.warn_longer // _US


def run_ends_us(policy: Policy, started_us: int) -> int | None:
    """When a run whose first attempt began at ``started_us`` is out of time altogether; ``None`` is never."""
    return None if policy.run_timeout is None else started_us + policy.run_timeout // _US


def passed(by_us: int | None, happened_us: int | None, now_us: int) -> bool:
    """Whether what was to happen by ``by_us`` (``None``: whenever) did not: it happened later, or has not at that time.

    ``happened_us`` is when it did, ``None`` if it has not.
    """
    if by_us is None:
        return False
    return now_us >= by_us if happened_us is None else happened_us > by_us


def streak_change(policy: Policy, before: int, after: int) -> StreakChange | None:
    """What to tell when the failures in a row, ``before`` the last run's end, are now ``after`` it.

    ``"failing"`` once, when they come to ``warn_failures``; ``"recovered"`` once, when they are broken after that.
    """
    most = policy.warn_failures
    if most is None or (before >= most) == (after >= most):
        return None
    return "failing" if after >= most else "recovered"
