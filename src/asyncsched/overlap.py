"""What a fire does while earlier runs of its task are on their way. Pure."""

from __future__ import annotations

from typing import Literal, assert_never

from asyncsched.policy import Policy

Verdict = Literal["run", "wait", "skip", "cancel"]

# So many runs of one task with overlap="queue_all" may wait: more would be a list that only grows.
QUEUE_ALL_LIMIT = 1_000
_ALL = 2**31


def most_met(policy: Policy) -> int:
    """Up to how many runs on their way make a difference to a fire; 0 where none does."""
    match policy.overlap:
        case "allow":
            return 0
        case "skip":
            return 1
        case "queue_one" | "queue_all" | "cancel_previous":
            return _ALL
        case _:
            assert_never(policy.overlap)


def overlap_verdict(policy: Policy, running: int, waiting: int) -> Verdict:
    """What a fire does while runs of its task are on their way.

    ``"run"``: become a run. ``"wait"``: become a run, which ``Policy.limit`` holds back until those before it have
    ended. ``"skip"``: be recorded as skipped. ``"cancel"``: become a run, after all those on their way were told to
    stop; ``Policy.limit`` holds it back until they have.

    Args:
        policy: of the task.
        running: runs that are running, or between two of their attempts.
        waiting: runs that are due and have not started, queued ones too. Submitted runs that wait for their time
            are neither.
    """
    if not (running or waiting):
        return "run"
    match policy.overlap:
        case "skip":
            return "skip"
        case "allow":
            return "run"
        case "queue_one" | "queue_all":
            # Of those that wait one is about to start if none is running.
            queued = waiting if running else waiting - 1
            most = 1 if policy.overlap == "queue_one" else QUEUE_ALL_LIMIT
            return "skip" if queued >= most else "wait"
        case "cancel_previous":
            return "cancel"
        case _:
            assert_never(policy.overlap)
