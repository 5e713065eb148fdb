"""Which fires of a task are due, which of them become runs, and which are skipped. Pure."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import NamedTuple, overload

from asyncsched.blackout import NEVER_US, look_at
from asyncsched.clock import SECOND_US, to_us
from asyncsched.policy import Policy
from asyncsched.spread import jittered_us
from asyncsched.triggers import Between, Every, Once, Trigger

# A fire is missed when it is handled more than this after its instant.
LATE_US = SECOND_US
# Skipped fires up to this many get a record each; more share one that counts them.
_RECORDS = 100
# So many fires of one task may come due within LATE_US and each be a run of its own.
_FRESH = 1000
_BEFORE_ALL_US = -(2**62)
_US = timedelta(microseconds=1)


class Planned(NamedTuple):
    """One run or one record of skipped fires to be made."""

    scheduled_us: int
    stands_for: int = 1


class Due(NamedTuple):
    """What becomes of the fires of one task that are due.

    runs: to be made, oldest first.
    skips: to be recorded as missed.
    one_by_one: whether each run waits for the one before it.
    dark: to be recorded as skipped for a blackout.
    """

    runs: tuple[Planned, ...]
    skips: tuple[Planned, ...] = ()
    one_by_one: bool = False
    dark: tuple[Planned, ...] = ()


class Overdue:
    """The fires of a trigger from its first due instant up to ``now_us``, counted without keeping them all.

    Counting may be long (a year of missed seconds), so it goes in steps between which the caller may do
    something else. ``Every``, also within a ``Between``, is counted by arithmetic. Where fires are jittered, it is
    the jittered instant that is due, late or old; all else goes by the nominal one.
    """

    __slots__ = (
        "_blackouts",
        "_changes_us",
        "_dark_now",
        "_grid_end_us",
        "_jitter_us",
        "_period_us",
        "_task",
        "_trigger",
        "_zone",
        "count",
        "dark",
        "kept",
        "kept_dark",
        "kept_old",
        "next_us",
        "now_us",
        "old",
        "old_before_us",
        "old_last_us",
    )

    def __init__(
        self,
        trigger: Trigger,
        first_us: int,
        now_us: int,
        policy: Policy,
        zone: str = "local",
        task: str | None = None,
    ) -> None:
        """Begin to count.

        Args:
            trigger: whose fires.
            first_us: the first of them, which is due.
            now_us: until when they are due.
            policy: of the task.
            zone: the name of the task's, in which blackouts without a zone are read.
            task: the id of the task, which fixes the jitter; ``None`` counts the fires at their nominal instants.
        """
        grace_us = None if policy.grace is None else policy.grace // _US
        self._task = task or ""
        self._jitter_us = 0 if task is None else policy.jitter_us
        self._trigger = trigger
        self._period_us, self._grid_end_us = _grid(trigger)
        self._blackouts = policy.blackout
        self._zone = zone
        self._dark_now = False
        # Whether it is dark is as it was up to this instant.
        self._changes_us = first_us if policy.blackout else NEVER_US
        self.now_us = now_us
        self.next_us: int | None = first_us
        self.count = 0
        self.old_before_us = now_us - max(grace_us, LATE_US) if grace_us is not None else first_us
        self.old = 0
        """How many of them are older than the grace, blackouts aside."""
        self.old_last_us = first_us
        self.dark = 0
        """How many of them lie within a blackout."""
        self.kept: deque[int] = deque(maxlen=max(policy.missed_limit, _RECORDS) + _FRESH)
        """The latest instants within the grace, as many as a policy can ask for."""
        self.kept_old: deque[int] = deque(maxlen=_RECORDS)
        """The latest instants that are older than the grace."""
        self.kept_dark: deque[int] = deque(maxlen=_RECORDS)
        """The latest instants within a blackout."""

    def walk(self, steps: int) -> bool:
        """Count up to ``steps`` more fires; whether the count is complete."""
        at_us = self._leap(self.next_us)
        step = self._trigger.next_us
        for _ in range(steps):
            if at_us is None or self.starts_us(at_us) > self.now_us:
                break
            if at_us >= self._changes_us:
                at_us = self._leap(at_us)
            self._take(at_us, 1)
            at_us = step(at_us)
        self.next_us = at_us
        return at_us is None or self.starts_us(at_us) > self.now_us

    def starts_us(self, at_us: int) -> int:
        """When the fire at ``at_us`` starts: later by the jitter."""
        return jittered_us(self._task, at_us, self._jitter_us) if self._jitter_us else at_us

    def records(self) -> tuple[Planned, ...]:
        """Records of all of them as skipped."""
        kept = sorted([*self.kept_old, *self.kept, *self.kept_dark])
        return _records(kept, self.count, kept[-1])

    def _take(self, at_us: int, count: int) -> None:
        self.count += count
        if self._dark_now:
            self.dark += count
            self.kept_dark.append(at_us)
        elif at_us < self.old_before_us and self.starts_us(at_us) < self.old_before_us:
            self.old += count
            self.old_last_us = at_us
            self.kept_old.append(at_us)
        else:
            self.kept.append(at_us)

    @overload
    def _leap(self, at_us: int) -> int: ...
    @overload
    def _leap(self, at_us: None) -> None: ...
    def _leap(self, at_us: int | None) -> int | None:
        """The instant to go on from, with all up to there counted by arithmetic that need not be kept.

        A leap stays on its side of what divides the fires: the grace, and where a blackout begins or ends.
        """
        if at_us is None or at_us > self.now_us:
            return at_us
        if at_us >= self._changes_us:
            self._dark_now, self._changes_us = look_at(self._blackouts, at_us, self._zone)
        if self._period_us is None:
            return at_us
        assert self.kept.maxlen is not None
        border_us = (self.old_before_us if at_us < self.old_before_us else self.now_us) - self._jitter_us
        border_us = min(border_us, self._changes_us - 1, self._grid_end_us - 1)
        leap = (border_us - at_us) // self._period_us - self.kept.maxlen
        if leap > 0:
            self._take(at_us + (leap - 1) * self._period_us, leap)
            at_us += leap * self._period_us
        return at_us


def _grid(trigger: Trigger) -> tuple[int | None, int]:
    """The period of a trigger whose instants follow one another evenly up to an end (not included)."""
    if isinstance(trigger, Between) and isinstance(trigger.trigger, Every):
        if trigger.end is None:
            return trigger.trigger.grid_us[1], NEVER_US
        return (trigger.trigger.grid_us[1], to_us(trigger.end)) if trigger.end.tzinfo else (None, NEVER_US)
    return (trigger.grid_us[1] if isinstance(trigger, Every) else None), NEVER_US


def first_fire(trigger: Trigger, now_us: int, *, immediate: bool) -> int | None:
    """When a newly registered task first fires. A one-off in the past is due at once: it is never dropped."""
    inner = trigger.trigger if isinstance(trigger, Between) else trigger
    if immediate:
        return first_within(trigger, now_us)
    return trigger.next_us(_BEFORE_ALL_US if isinstance(inner, Once) else now_us)


def first_within(trigger: Trigger, now_us: int) -> int | None:
    """``now_us``, or the start of the time to which the trigger is bound; ``None`` if that is over."""
    if not isinstance(trigger, Between):
        return now_us
    if trigger.end is not None and to_us(trigger.end) <= now_us:
        return None
    return now_us if trigger.start is None else max(now_us, to_us(trigger.start))


def due_fires(overdue: Overdue, policy: Policy) -> Due:
    """What becomes of the fires that ``overdue`` has counted to the end. At least one is due."""
    kept = list(overdue.kept)
    now_us = overdue.now_us
    fresh = [at_us for at_us in kept if now_us - overdue.starts_us(at_us) <= LATE_US]
    dark = _records(list(overdue.kept_dark), overdue.dark, overdue.kept_dark[-1]) if overdue.dark else ()
    count = overdue.count - overdue.dark
    missed = count - len(fresh)
    if not missed:
        return Due(tuple(Planned(at_us) for at_us in fresh), dark=dark)
    late = kept[: len(kept) - len(fresh)]
    late_last_us = late[-1] if late else overdue.old_last_us
    young = count - overdue.old
    skips = _records(list(overdue.kept_old), overdue.old, overdue.old_last_us)
    match policy.missed:
        case "latest":
            return Due((Planned(kept[-1], young),) if young else (), skips, dark=dark)
        case "skip":
            skips += _records(late, missed - overdue.old, late_last_us)
            return Due(tuple(Planned(at_us) for at_us in fresh), skips, dark=dark)
        case "all":
            run_late = late[max(0, len(late) - policy.missed_limit) :] if policy.missed_limit else []
            dropped = late[: len(late) - len(run_late)]
            last_us = dropped[-1] if dropped else late_last_us
            skips += _records(dropped, missed - overdue.old - len(run_late), last_us)
            runs = tuple(Planned(at_us) for at_us in run_late + fresh)
            return Due(runs, skips, one_by_one=policy.overlap != "allow", dark=dark)


def _records(instants: list[int], count: int, last_us: int) -> tuple[Planned, ...]:
    """Records for ``count`` skipped fires: one each, or one that counts them all if they are many."""
    if count > _RECORDS or count > len(instants):
        return (Planned(last_us, count),)
    return tuple(Planned(at_us) for at_us in instants)


def exhausted(policy: Policy, made: int) -> bool:
    """Whether the task fires no more, because so many runs were made of its fires."""
    return policy.max_runs is not None and made >= policy.max_runs
