"""The policy a task runs under, and what it decides: which fires are due, which run, which are skipped. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NamedTuple, get_args, overload

from asyncsched.blackout import NEVER_US, Blackout, blackouts_of, look_at
from asyncsched.clock import SECOND_US, to_us
from asyncsched.duration import as_duration
from asyncsched.errors import ConfigError
from asyncsched.limits import Cooldown, Debounce, Key, Rate
from asyncsched.retry import NO_RETRY, Retry
from asyncsched.run import SkipReason
from asyncsched.triggers import Between, Every, Once, Trigger

Missed = Literal["latest", "skip", "all"]
OverlapPolicy = Literal["skip", "allow", "queue_one", "queue_all", "cancel_previous"]
Anchor = Literal["grid", "completion"]

# A fire is missed when it is handled more than this after its instant.
LATE_US = SECOND_US
# Skipped fires up to this many get a record each; more share one that counts them.
_RECORDS = 100
# So many fires of one task may come due within LATE_US and each be a run of its own.
_FRESH = 1000
_BEFORE_ALL_US = -(2**62)
_US = timedelta(microseconds=1)
_SERIAL = ("queue_one", "queue_all", "cancel_previous")

_CHOICES = (("missed", Missed), ("overlap", OverlapPolicy), ("anchor", Anchor))
# The least of each, and what None means where it is allowed.
_NUMBERS = (
    ("missed_limit", 0, ""),
    ("history_limit", 0, ""),
    ("priority", -(2**31), ""),
    ("max_running", 1, "no limit"),
    ("max_runs", 1, "no limit"),
    ("warn_failures", 1, "no warning"),
)
# Whether it may be zero.
_DURATIONS = (
    ("grace", True),
    ("jitter", True),
    ("timeout", False),
    ("run_timeout", False),
    ("expires", False),
    ("warn_not_started", False),
    ("warn_longer", False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the fires of a task become runs. Every field is an option of the decorators and of ``Task``.

    missed: what becomes of fires handled more than 1 s late. ``"latest"``: one run that knows how many it
        stands for; ``"skip"``: a record of the skip; ``"all"``: each runs, oldest first.
    missed_limit: with ``missed="all"``, at most this many run, the latest ones; the rest are recorded skips.
    grace: missed fires older than this are skipped whatever ``missed`` says; ``None`` is no bound.
    overlap: what a fire does while a run of its task is ready, running, between its attempts or queued behind one
        that is; a submitted run that waits for its time does not count. ``"skip"`` (recorded); ``"allow"``;
        ``"queue_one"``: wait for its end, but skip if another one waits; ``"queue_all"``: wait, 1,000 at most;
        ``"cancel_previous"``: cancel those before, and start when they have ended.
    retry: a ``Retry``, or how many immediate tries follow a failed one.
    timeout: for each attempt, after which it is cancelled and counts as a ``TimeoutError``.
    run_timeout: for all attempts of a run together, from the start of the first.
    expires: a run that has not started so long after it was due is skipped.
    jitter: each fire starts later by a part of this, fixed by the task's id and the instant; ``scheduled_for``
        stays the instant itself.
    blackout: windows in which fires are skipped.
    max_runs: after so many runs of its fires the task does not fire any more.
    immediate: fire once when the task is first registered, then as the trigger says.
    anchor: where an interval is measured from: its own ``"grid"``, or the ``"completion"`` of the last run.
    max_running: how many runs of the task may be ready or running at once; more wait. ``None`` is no limit.
    priority: of runs that are ready at once the greater starts first.
    queue: which nodes may run it, and under which limit, goes by its queue.
    history_limit: how many ended runs of the task are kept.
    rate, debounce, cooldown: limits of the runs that are started, or submitted, in a time; see ``limits``.
    key: the parameter, or a function of the arguments, for each value of which ``max_running`` and those three
        count apart.
    warn_not_started: tell when a run has not started so long after it was due.
    warn_longer: tell when a run has been running for longer than this, over all its attempts.
    warn_failures: tell when so many runs have failed in a row.
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
    run_timeout: timedelta | None = None
    expires: timedelta | None = None
    jitter: timedelta | None = None
    blackout: tuple[Blackout, ...] = ()
    max_runs: int | None = None
    rate: Rate | None = None
    debounce: Debounce | None = None
    cooldown: Cooldown | None = None
    key: Key | None = None
    warn_not_started: timedelta | None = None
    warn_longer: timedelta | None = None
    warn_failures: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Policy:
        """The policy that these options describe, checked.

        Raises:
            ConfigError: a value is not allowed; the message says which are.
        """
        if not options:
            return DEFAULT_POLICY
        checked = dict(options)
        _check_values(checked)
        for name, zero in _DURATIONS:
            if checked.get(name) is not None:
                checked[name] = as_duration(name, checked[name], zero=zero)
        if "retry" in checked:
            checked["retry"] = Retry.of(checked["retry"])
        if "blackout" in checked:
            checked["blackout"] = blackouts_of(checked["blackout"])
        for name, kind in (("rate", Rate), ("debounce", Debounce), ("cooldown", Cooldown)):
            if checked.get(name) is not None:
                checked[name] = kind.of(checked[name])
        _check_together(checked)
        return cls(**checked)

    @property
    def limit(self) -> int | None:
        """How many runs of the task may be ready or running at once; ``None`` is no limit."""
        one_by_one = self.missed == "all" and self.overlap != "allow"
        return 1 if one_by_one or self.overlap in _SERIAL else self.max_running

    @property
    def timeout_us(self) -> int | None:
        """``timeout`` in microseconds."""
        return None if self.timeout is None else self.timeout // _US

    @property
    def run_timeout_us(self) -> int | None:
        """``run_timeout`` in microseconds."""
        return None if self.run_timeout is None else self.run_timeout // _US

    @property
    def jitter_us(self) -> int:
        """``jitter`` in microseconds, 0 for none."""
        return 0 if self.jitter is None else self.jitter // _US


def _check_values(options: Mapping[str, Any]) -> None:
    """Refuse each option that is wrong by itself."""
    for name, allowed in _CHOICES:
        if name in options and options[name] not in get_args(allowed):
            raise ConfigError(f"{name}={options[name]!r}: one of {', '.join(map(repr, get_args(allowed)))}")
    for name, least, open_end in _NUMBERS:
        value = options.get(name, None if open_end else least)
        if value is None and open_end:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            otherwise = f", or None for {open_end}" if open_end else ""
            raise ConfigError(f"{name}={value!r}: a whole number from {least} on{otherwise}")
    queue = options.get("queue", "default")
    if not isinstance(queue, str) or not queue:
        raise ConfigError(f"queue={queue!r}: the name of a queue")
    if not isinstance(options.get("immediate", False), bool):
        raise ConfigError(f"immediate={options['immediate']!r}: True or False")


def _check_together(options: Mapping[str, Any]) -> None:
    """Refuse options that contradict one another."""
    overlap, most = options.get("overlap"), options.get("max_running")
    if overlap in _SERIAL and most is not None and most > 1:
        cure = "leave max_running= out, or take overlap='allow', where more than that wait"
        raise ConfigError(f"overlap={overlap!r} runs one at a time, so not max_running={most}: {cure}")
    if options.get("debounce") and options.get("cooldown"):
        raise ConfigError("debounce= keeps the last of many submits, cooldown= the first: give one of them")
    limits = ("max_running", "rate", "debounce", "cooldown")
    if options.get("key") is not None and all(options.get(name) is None for name in limits):
        raise ConfigError(f"key={options['key']!r} tells what is counted apart: give also one of {', '.join(limits)}")


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
    dark: to be recorded as skipped for a blackout.
    """

    runs: tuple[Planned, ...]
    skips: tuple[Planned, ...] = ()
    one_by_one: bool = False
    dark: tuple[Planned, ...] = ()


class Overdue:
    """The fires of a trigger from its first due instant up to ``now_us``, counted without keeping them all.

    Counting may be long (a year of missed seconds), so it goes in steps between which the caller may do
    something else. ``Every``, also within a ``Between``, is counted by arithmetic.
    """

    __slots__ = (
        "_blackouts",
        "_changes_us",
        "_dark_now",
        "_grid_end_us",
        "_period_us",
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

    def __init__(self, trigger: Trigger, first_us: int, now_us: int, policy: Policy, zone: str = "local") -> None:
        """Begin to count; ``zone`` is the name of the task's, in which blackouts without a zone are read."""
        grace_us = None if policy.grace is None else policy.grace // _US
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
            if at_us is None or at_us > self.now_us:
                break
            if at_us >= self._changes_us:
                at_us = self._leap(at_us)
            self._take(at_us, 1)
            at_us = step(at_us)
        self.next_us = at_us
        return at_us is None or at_us > self.now_us

    def records(self) -> tuple[Planned, ...]:
        """Records of all of them as skipped."""
        kept = sorted([*self.kept_old, *self.kept, *self.kept_dark])
        return _records(kept, self.count, kept[-1])

    def _take(self, at_us: int, count: int) -> None:
        self.count += count
        if self._dark_now:
            self.dark += count
            self.kept_dark.append(at_us)
        elif at_us < self.old_before_us:
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
        border_us = self.old_before_us if at_us < self.old_before_us else self.now_us
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
        return _first_within(trigger, now_us)
    return trigger.next_us(_BEFORE_ALL_US if isinstance(inner, Once) else now_us)


def _first_within(trigger: Trigger, now_us: int) -> int | None:
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
    fresh = [at_us for at_us in kept if now_us - at_us <= LATE_US]
    dark = _records(list(overdue.kept_dark), overdue.dark, overdue.kept_dark[-1]) if overdue.dark else ()
    count = overdue.count - overdue.dark
    missed = count - len(fresh)
    if not missed:
        return Due(tuple(Planned(at_us) for at_us in fresh), dark=dark)
    late = [at_us for at_us in kept if at_us < now_us - LATE_US]
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


def overlap_reason(policy: Policy, live: int) -> SkipReason | None:
    """Why a fire may not become a run while ``live`` runs of its task are pending or running; ``None`` if it may."""
    return SkipReason.OVERLAP if live and policy.overlap == "skip" else None


def exhausted(policy: Policy, made: int) -> bool:
    """Whether the task fires no more, because so many runs were made of its fires."""
    return policy.max_runs is not None and made >= policy.max_runs
