"""Whether a new run is a run of its own, or one that is there already. Pure."""

from __future__ import annotations

from typing import Any, Literal, assert_never

from asyncsched.limits import Cooldown, Debounce, Once, Unique
from asyncsched.run import Run, RunStatus, SkipReason

Verdict = Literal["new", "same", "moved"]


def merge(run: Run[Any], earlier: Run[Any] | None, now_us: int) -> Verdict:
    """What becomes of ``run``, submitted at ``now_us``, where ``earlier`` is the run that stands for its key.

    ``"new"``: it is a run of its own, which stands for the key from then on. ``"same"``: it is the earlier run.
    ``"moved"``: it is the earlier run, which takes over its due instant, its terms and its arguments.
    """
    once = run.terms.once
    if earlier is None or once is None:
        return "new"
    match once:
        case Debounce():
            waits = earlier.status is RunStatus.PENDING and earlier.started_us is None
            # Arguments that are runs cannot be taken over, nor exchanged for others: they are edges.
            free = waits and not (earlier.needs or run.needs)
            return "moved" if once.submit(earlier.due_us if free else None, now_us).merged else "new"
        case Cooldown():
            ran = earlier.status not in (RunStatus.CANCELLED, RunStatus.SKIPPED)
            return "same" if ran and once.holds(earlier.created_us, now_us) else "new"
        case Unique():
            return "same" if not earlier.status.final or once.holds(_succeeded_us(earlier), now_us) else "new"
        case _:
            assert_never(once)


def stands_until_us(run: Run[Any], now_us: int) -> int:
    """Until when a run that has ended may stand for its key."""
    match run.terms.once:
        case Cooldown(wait_us):
            return run.created_us + wait_us
        case Unique(keep_us):
            succeeded_us = _succeeded_us(run)
            return now_us if succeeded_us is None else succeeded_us + keep_us
        case Debounce() | None:
            return now_us
        case _:
            assert_never(run.terms.once)


def merged_reason(once: Once) -> SkipReason:
    """Why a fire does not become a run where an earlier one stands for its key."""
    return SkipReason.COOLDOWN if isinstance(once, Cooldown) else SkipReason.OVERLAP


def _succeeded_us(run: Run[Any]) -> int | None:
    return run.finished_us if run.status is RunStatus.SUCCESS else None
