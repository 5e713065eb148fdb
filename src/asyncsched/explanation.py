"""What became of a task's fires and why, and what it waits for now: a value, for people and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from asyncsched.phrases import moment_words, number_words
from asyncsched.run import RunStatus

WaitsFor = Literal[
    "turn", "instant", "retry", "upstream", "limit", "rate", "node", "queue", "group", "scheduler", "start", "end",
    "task",
]  # fmt: skip
"""``turn``: the engine, which is about to handle a fire that is due; ``instant``: its time; ``retry``: its next
attempt; ``upstream``: the runs that it needs; ``limit``: a place among the runs of its task or key; ``rate``: that
enough time has passed; ``node``: one that serves its queue; ``queue``, ``group``, ``scheduler``: a place there;
``start``: nothing, it is ready; ``end``: it runs; ``task``: a node that serves the task, or can read the run."""

NoteKind = Literal[
    "paused", "skip_next", "standing_by", "stopping", "broken", "never", "over", "max_runs", "completion", "blackout",
    "dependency", "submitted", "upstream", "override", "retired",
]  # fmt: skip
"""``over``: no instants are left; ``never``: there were none; ``completion``: the next fire is counted from the end of
the last run; ``submitted``, ``upstream``: no trigger, it runs when it is submitted, or after its upstreams;
``override``: an operator has put something in place of what code says; ``retired``: no node declares it."""

_LABEL = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of one fire, of several that were treated as one, or of a submitted run.

    run: the id of the run, or of the record of the skip; ``None`` for fires that are not recorded yet.
    at: the instant it is for, or at which it was submitted, in the task's zone.
    scheduled: whether ``at`` is a fire of the trigger.
    stands_for: how many fires this tells of; ``at`` is the last of them.
    reason: why it was skipped or cancelled, as it is recorded.
    late: from ``at`` to the start of the first attempt.
    took: from the start of the last attempt to the end.
    error: what the last attempt raised, on one line.
    waits_for: of what has not ended.
    says: all of that in words.
    cure: what to do about it, where there is something to do.
    """

    run: str | None
    at: datetime
    scheduled: bool
    stands_for: int
    status: RunStatus
    says: str
    reason: str | None = None
    attempt: int = 0
    late: timedelta | None = None
    took: timedelta | None = None
    error: str | None = None
    waits_for: WaitsFor | None = None
    cure: str | None = None

    def to_json(self) -> dict[str, Any]:
        """This as JSON values: instants in ISO 8601, durations in seconds."""
        return {
            "run": self.run,
            "at": self.at.isoformat(),
            "scheduled": self.scheduled,
            "stands_for": self.stands_for,
            "status": str(self.status),
            "reason": self.reason,
            "attempt": self.attempt,
            "late": _seconds(self.late),
            "took": _seconds(self.took),
            "error": self.error,
            "waits_for": self.waits_for,
            "says": self.says,
            "cure": self.cure,
        }


class Note(NamedTuple):
    """Something about the task itself that decides when it runs; ``cure`` as in ``Account``."""

    kind: NoteKind
    says: str
    cure: str | None = None

    def to_json(self) -> dict[str, Any]:
        """This as JSON values."""
        return {"kind": self.kind, "says": self.says, "cure": self.cure}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What became of the fires of a task, and why; ``str()`` is for people, ``to_json()`` for programs.

    at: when it was asked for, in the task's zone.
    trigger: in words; ``None`` if it has none.
    next_fire: ``None`` if there is none; ``notes`` tell why.
    live: what waits or runs, the newest first.
    recent: what has ended or was skipped, the newest first.
    """

    task: str
    at: datetime
    trigger: str | None
    next_fire: datetime | None
    notes: tuple[Note, ...]
    live: tuple[Account, ...]
    recent: tuple[Account, ...]

    def to_json(self) -> dict[str, Any]:
        """This as JSON values: instants in ISO 8601, durations in seconds."""
        return {
            "task": self.task,
            "at": self.at.isoformat(),
            "trigger": self.trigger,
            "next_fire": None if self.next_fire is None else self.next_fire.isoformat(),
            "notes": [note.to_json() for note in self.notes],
            "live": [account.to_json() for account in self.live],
            "recent": [account.to_json() for account in self.recent],
        }

    def __str__(self) -> str:
        lines = [self.task if self.trigger is None else f"{self.task}: {self.trigger}"]
        lines.append(_line("now", moment_words(self.at)))
        if self.next_fire is not None:
            lines.append(_line("next", moment_words(self.next_fire)))
        told: set[str] = set()
        lines += [_line("note", note.says + _cure(note.cure, told)) for note in self.notes]
        lines += [_account_line(account, told) for account in (*self.live, *self.recent)]
        if not (self.live or self.recent):
            lines.append(_line("", "no run and no skip is on record"))
        return "\n".join(lines)


def _account_line(account: Account, told: set[str]) -> str:
    fires = "" if account.stands_for == 1 else f"{number_words(account.stands_for, 'fire')}, the last at "
    at = moment_words(account.at) if account.scheduled else f"{moment_words(account.at)} (submitted)"
    return _line(account.status, f"{fires}{at}: {account.says}{_cure(account.cure, told)}")


def _cure(cure: str | None, told: set[str]) -> str:
    """What to do, the first time that it is told."""
    if cure is None or cure in told:
        return ""
    told.add(cure)
    return f" -> {cure}"


def _line(label: str, text: str) -> str:
    return f"  {label:{_LABEL}}  {text}"


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()
