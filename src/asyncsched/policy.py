"""The policy a task runs under, and what it decides: which fires are due, which run, which are skipped. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NamedTuple, get_args

from asyncsched.clock import SECOND_US
from asyncsched.duration import as_duration
from asyncsched.errors import ConfigError
from asyncsched.retry import NO_RETRY, Retry
from asyncsched.run import SkipReason
from asyncsched.triggers import Every, Once, Trigger

Missed = Literal["latest", "skip", "all"]
OverlapPolicy = Literal["skip", "allow"]
Anchor = Literal["grid", "completion"]

# A fire is missed when it is handled more than this after its instant.
LATE_US = SECOND_US
# Skipped fires up to this many get a record each; more share one that counts them.
_RECORDS = 100
# So many fires of one task may come due within LATE_US and each be a run of its own.
_FRESH = 1000
_BEFORE_ALL_US = -(2**62)
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the fires of a task become runs. Every field is an option of the decorators and of ``Task``.

    missed: what becomes of fires handled more than 1 s late. ``"latest"``: one run that knows how many it
        stands for; ``"skip"``: a record of the skip; ``"all"``: each runs, oldest first.
    missed_limit: with ``missed="all"``, at most this many run, the latest ones; the rest are recorded skips.
    grace: missed fires older than this are skipped whatever ``missed`` says; ``None`` is no bound.
    overlap: what a fire does while a run of its task is pending or running: ``"skip"`` (recorded) or ``"allow"``.
    retry: a ``Retry``, or how many immediate tries follow a failed one.
    timeout: for each attempt, after which it is cancelled and counts as a ``TimeoutError``.
    immediate: fire once when the task is first registered, then as the trigger says.
    anchor: where an interval is measured from: its own ``"grid"``, or the ``"completion"`` of the last run.
    max_running: how many runs of the task may be ready or running at once; more wait. ``None`` is no limit.
    priority: of runs that are ready at once the greater starts first.
    queue: which nodes may run it, and under which limit, goes by its queue.
    history_limit: how many ended runs of the task are kept.
    """

    missed: Missed = "latest"
    missed_limit: int = 100
    grace: timedelta | None = None
    overlap: OverlapPolicy = "skip"
    retry: Retry = NO_RETRY
    timeout: timedelta | None = None
    immediate: bool = False
    anchor: Anchor = "grid"
    max_running: int | None = None
    priority: int = 0
    queue: str = "default"
    history_limit: int = 100

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Policy:
        """The policy that these options describe, checked.

        Raises:
            ConfigError: a value is not allowed; the message says which are.
        """
        if not options:
            return DEFAULT_POLICY
        checked = dict(options)
        for name, allowed in (("missed", Missed), ("overlap", OverlapPolicy), ("anchor", Anchor)):
            if name in checked and checked[name] not in get_args(allowed):
                raise ConfigError(f"{name}={checked[name]!r}: one of {', '.join(map(repr, get_args(allowed)))}")
        for name, least in (("missed_limit", 0), ("history_limit", 0), ("priority", -(2**31))):
            value = checked.get(name, least)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name}={value!r}: a whole number from {least} on")
        limit = checked.get("max_running")
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise ConfigError(f"max_running={limit!r}: a whole number from 1 on, or None for no limit")
        queue = checked.get("queue", "default")
        if not isinstance(queue, str) or not queue:
            raise ConfigError(f"queue={queue!r}: the name of a queue")
        if not isinstance(checked.get("immediate", False), bool):
            raise ConfigError(f"immediate={checked['immediate']!r}: True or False")
        for name, zero in (("grace", True), ("timeout", False)):
            if checked.get(name) is not None:
                checked[name] = as_duration(name, checked[name], zero=zero)
        if "retry" in checked:
            checked["retry"] = Retry.of(checked["retry"])
        return cls(**checked)

    @property
    def limit(self) -> int | None:
        """How many runs of the task may be ready or running at once; ``None`` is no limit."""
        one_by_one = self.missed == "all" and self.overlap != "allow"
        return 1 if one_by_one else self.max_running

    @property
    def timeout_us(self) -> int | None:
        """``timeout`` in microseconds."""
        return None if self.timeout is None else self.timeout // _US


DEFAULT_POLICY = Policy()


class Planned(NamedTuple):
    """One run or one record of skipped fires to be made."""

    scheduled_us: int
    stands_for: int = 1


class Due(NamedTuple):
    """What becomes of the fires of one task that are due.

    runs: to be made, oldest first.
    skips: to be recorded as missed.
    one_by_one: whether each run waits for the one before it.
    """

    runs: tuple[Planned, ...]
    skips: tuple[Planned, ...] = ()
    one_by_one: bool = False


class Overdue:
    """The fires of a trigger from its first due instant up to ``now_us``, counted without keeping them all.

    Counting may be long (a year of missed seconds), so it goes in steps between which the caller may do
    something else. ``Every`` is counted by arithmetic.
    """

    __slots__ = ("_trigger", "count", "kept", "kept_old", "next_us", "now_us", "old", "old_before_us", "old_last_us")

    def __init__(self, trigger: Trigger, first_us: int, now_us: int, policy: Policy) -> None:
        grace_us = None if policy.grace is None else policy.grace // _US
        self._trigger = trigger
        self.now_us = now_us
        self.next_us: int | None = first_us
        self.count = 0
        self.old_before_us = now_us - max(grace_us, LATE_US) if grace_us is not None else first_us
        self.old = 0
        """How many of them are older than the grace."""
        self.old_last_us = first_us
        self.kept: deque[int] = deque(maxlen=max(policy.missed_limit, _RECORDS) + _FRESH)
        """The latest instants within the grace, as many as a policy can ask for."""
        self.kept_old: deque[int] = deque(maxlen=_RECORDS)
        """The latest instants that are older than the grace."""

    def walk(self, steps: int) -> bool:
        """Count up to ``steps`` more fires; whether the count is complete."""
        if isinstance(self._trigger, Every):
            self._leap(self._trigger)
        step = self._trigger.next_us
        at_us = self.next_us
        for _ in range(steps):
            if at_us is None or at_us > self.now_us:
                break
            self._take(at_us, 1)
            at_us = step(at_us)
        self.next_us = at_us
        return at_us is None or at_us > self.now_us

    def records(self) -> tuple[Planned, ...]:
        """Records of all of them as skipped."""
        kept = [*self.kept_old, *self.kept]
        return _records(kept, self.count, kept[-1])

    def _take(self, at_us: int, count: int) -> None:
        self.count += count
        if at_us < self.old_before_us:
            self.old += count
            self.old_last_us = at_us
            self.kept_old.append(at_us)
        else:
            self.kept.append(at_us)

    def _leap(self, every: Every) -> None:
        """Count by arithmetic all but the instants that must be kept, first of those older than the grace."""
        _start_us, period_us = every.grid_us
        assert self.next_us is not None
        assert self.kept.maxlen is not None
        border_us = self.old_before_us if self.next_us < self.old_before_us else self.now_us
        leap = (border_us - self.next_us) // period_us - self.kept.maxlen
        if leap > 0:
            self._take(self.next_us + (leap - 1) * period_us, leap)
            self.next_us += leap * period_us


def first_fire(trigger: Trigger, now_us: int, *, immediate: bool) -> int | None:
    """When a newly registered task first fires. A one-off in the past is due at once: it is never dropped."""
    if immediate:
        return now_us
    return trigger.next_us(_BEFORE_ALL_US if isinstance(trigger, Once) else now_us)


def due_fires(overdue: Overdue, policy: Policy) -> Due:
    """What becomes of the fires that ``overdue`` has counted to the end. At least one is due."""
    kept = list(overdue.kept)
    now_us = overdue.now_us
    fresh = [at_us for at_us in kept if now_us - at_us <= LATE_US]
    missed = overdue.count - len(fresh)
    if not missed:
        return Due(tuple(Planned(at_us) for at_us in fresh))
    late = [at_us for at_us in kept if at_us < now_us - LATE_US]
    late_last_us = late[-1] if late else overdue.old_last_us
    young = overdue.count - overdue.old
    skips = _records(list(overdue.kept_old), overdue.old, overdue.old_last_us)
    match policy.missed:
        case "latest":
            return Due((Planned(kept[-1], young),) if young else (), skips)
        case "skip":
            skips += _records(late, missed - overdue.old, late_last_us)
            return Due(tuple(Planned(at_us) for at_us in fresh), skips)
        case "all":
            run_late = late[max(0, len(late) - policy.missed_limit) :] if policy.missed_limit else []
            dropped = late[: len(late) - len(run_late)]
            last_us = dropped[-1] if dropped else late_last_us
            skips += _records(dropped, missed - overdue.old - len(run_late), last_us)
            runs = tuple(Planned(at_us) for at_us in run_late + fresh)
            return Due(runs, skips, one_by_one=policy.overlap != "allow")


def _records(instants: list[int], count: int, last_us: int) -> tuple[Planned, ...]:
    """Records for ``count`` skipped fires: one each, or one that counts them all if they are many."""
    if count > _RECORDS or count > len(instants):
        return (Planned(last_us, count),)
    return tuple(Planned(at_us) for at_us in instants)


def overlap_reason(policy: Policy, live: int) -> SkipReason | None:
    """Why a fire may not become a run while ``live`` runs of its task are pending or running; ``None`` if it may."""
    return SkipReason.OVERLAP if live and policy.overlap == "skip" else None
