"""By when a run must have started or ended, and when a task has failed too often. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from asyncsched.duration import format_duration
from asyncsched.policy import Policy
from asyncsched.run import Bounds, Run, RunStatus, Settled, SkipReason

StreakChange = Literal["failing", "recovered"]
_US = timedelta(microseconds=1)


def bounds_of(policy: Policy) -> Bounds | None:
    """Until when the runs of a task may wait; ``None`` if nothing ends that."""
    if policy.expires is None and policy.run_timeout is None:
        return None
    return Bounds(None if policy.expires is None else policy.expires // _US, policy.run_timeout_us)


def lapses_us(run: Run[Any]) -> int | None:
    """From when on a run is over if it still waits then; ``None`` is never.

    Before its first attempt that counts from when it was due: for a fire its instant, later by the jitter; for a
    submitted run its submission, or the time that was asked for. Between two attempts, from the start of the first.
    """
    bounds = run.terms.bounds
    if bounds is None:
        return None
    from_us, within_us = (
        (run.due_us, bounds.expires_us) if run.first_us is None else (run.first_us, bounds.run_timeout_us)
    )
    return None if within_us is None else from_us + within_us


def lapse(run: Run[Any], now_us: int) -> Settled | None:
    """What becomes of a run that still waits at ``now_us``; ``None`` if it may go on waiting."""
    by_us = lapses_us(run)
    if by_us is None or now_us < by_us:
        return None
    if run.first_us is None:
        return Settled(RunStatus.SKIPPED, now_us, reason=SkipReason.EXPIRED)
    error = out_of_time(run)
    error.__cause__ = run.error
    return Settled(RunStatus.FAILED, now_us, error=error)


def out_of_time(run: Run[Any]) -> TimeoutError:
    """What a run ends with that took longer than its ``run_timeout``, over all its attempts."""
    bounds = run.terms.bounds
    assert bounds is not None
    assert bounds.run_timeout_us is not None
    limit = format_duration(bounds.run_timeout_us * _US)
    return TimeoutError(f"the run took longer than run_timeout={limit!r}, over {run.attempt} attempt(s)")


def warn_not_started_us(policy: Policy, due_us: int) -> int | None:
    """When to warn that a run has not started that was first due at ``due_us``; ``None`` is never."""
    return None if policy.warn_not_started is None else due_us + policy.warn_not_started // _US


def warn_longer_us(policy: Policy, started_us: int) -> int | None:
    """When to warn that a run has not ended whose first attempt began at ``started_us``; ``None`` is never."""
    return None if policy.warn_longer is None else started_us + policy.warn_longer // _US


def run_ends_us(run: Run[Any]) -> int | None:
    """When a run that has begun is out of time altogether; ``None`` is never."""
    bounds = run.terms.bounds
    if bounds is None or bounds.run_timeout_us is None or run.first_us is None:
        return None
    return run.first_us + bounds.run_timeout_us


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
