"""The policy a task runs under: every option of it, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, get_args

from asyncsched.blackout import Blackout, blackouts_of
from asyncsched.duration import as_duration
from asyncsched.errors import ConfigError
from asyncsched.limits import Cooldown, Debounce, Key, Once, Rate, Unique
from asyncsched.retry import NO_RETRY, Retry

Missed = Literal["latest", "skip", "all"]
OverlapPolicy = Literal["skip", "allow", "queue_one", "queue_all", "cancel_previous"]
Anchor = Literal["grid", "completion"]
OnLost = Literal["cancel", "continue"]

NO_LIMIT = 2**31
"""The ``history_limit`` of a task all of whose ended runs are kept, for a time."""
_US = timedelta(microseconds=1)
_SERIAL = ("queue_one", "queue_all", "cancel_previous")

_CHOICES = (("missed", Missed), ("overlap", OverlapPolicy), ("anchor", Anchor), ("on_lost", OnLost))
PRIORITIES = range(-(2**31), 2**31)
"""What a priority may be: what every store can keep."""
# The least of each, and what None means where it is allowed.
_NUMBERS = (
    ("missed_limit", 0, ""),
    ("history_limit", 0, ""),
    ("priority", PRIORITIES.start, ""),
    ("max_running", 1, "no limit"),
    ("max_runs", 1, "no limit"),
    ("warn_failures", 1, "no warning"),
)
# Whether it may be zero.
_DURATIONS = (
    ("keep", False),
    ("grace", True),
    ("jitter", True),
    ("timeout", False),
    ("run_timeout", False),
    ("expires", False),
    ("unique_for", False),
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
    keep: how long its ended runs are kept, all of them unless ``history_limit`` is given too; a whole number is the
        ``history_limit``.
    history_limit: how many ended runs of the task are kept.
    rate, debounce, cooldown: limits of the runs that are started, or submitted, in a time; see ``limits``.
    key: the parameter, or a function of the arguments, for each value of which ``max_running`` and those three
        count apart.
    unique: the parameter, or a function of the arguments, for each value of which there is one live run at most;
        ``True``: one of the task.
    unique_for: so long after its success, too, it is the run that a submit with the same value gives.
    warn_not_started: tell when a run has not started so long after it was due.
    warn_longer: tell when a run has been running for longer than this, over all its attempts.
    warn_failures: tell when so many runs have failed in a row.
    on_lost: what becomes of an attempt when other nodes have taken this one for dead, having heard nothing of it for
        as long as its lease, and run its run again. ``"cancel"`` it; or let it ``"continue"``, where
        ``current_run().lost`` tells it so. What comes of it counts for nothing either way.
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
    keep: timedelta | None = None
    run_timeout: timedelta | None = None
    expires: timedelta | None = None
    jitter: timedelta | None = None
    blackout: tuple[Blackout, ...] = ()
    max_runs: int | None = None
    rate: Rate | None = None
    debounce: Debounce | None = None
    cooldown: Cooldown | None = None
    key: Key | None = None
    unique: Key | bool = False
    unique_for: timedelta | None = None
    warn_not_started: timedelta | None = None
    warn_longer: timedelta | None = None
    warn_failures: int | None = None
    on_lost: OnLost = "cancel"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Policy:
        """The policy that these options describe, checked.

        Raises:
            ConfigError: a value is not allowed; the message says which are.
        """
        if not options:
            return DEFAULT_POLICY
        checked = _with_keep(options) if options.get("keep") is not None else dict(options)
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
    def once(self) -> Once | None:
        """What may make one run of several submits."""
        if self.unique:
            return Unique(0 if self.unique_for is None else self.unique_for // _US)
        return self.debounce or self.cooldown

    @property
    def timed(self) -> bool:
        """Whether attempts or runs may run out of time."""
        return self.timeout is not None or self.run_timeout is not None

    @property
    def timeout_us(self) -> int | None:
        """``timeout`` in microseconds."""
        return None if self.timeout is None else self.timeout // _US

    @property
    def run_timeout_us(self) -> int | None:
        """``run_timeout`` in microseconds."""
        return None if self.run_timeout is None else self.run_timeout // _US

    @property
    def keep_us(self) -> int | None:
        """``keep`` in microseconds."""
        return None if self.keep is None else self.keep // _US

    @property
    def jitter_us(self) -> int:
        """``jitter`` in microseconds, 0 for none."""
        return 0 if self.jitter is None else self.jitter // _US


def is_text(value: object) -> bool:
    """Whether the value is a text that every store can keep as a name: not empty, whole characters, no NUL."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        return bool(value.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _with_keep(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with what ``keep`` says in its place: how many, or how long and then all of them."""
    keep, limit = options["keep"], options.get("history_limit")
    if not isinstance(keep, int):
        return {**options, "history_limit": NO_LIMIT if limit is None else limit}
    if isinstance(keep, bool) or keep < 0:
        raise ConfigError(f"keep={keep!r}: how many ended runs, such as 500, or for how long, such as '30d'")
    if limit is not None:
        raise ConfigError(f"keep={keep} and history_limit={limit} say the same: how many are kept; give one of them")
    return {**options, "keep": None, "history_limit": keep}


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
    if options.get("priority", 0) not in PRIORITIES:
        raise ConfigError(f"priority={options['priority']!r}: a whole number up to {PRIORITIES[-1]}")
    if not is_text(queue := options.get("queue", "default")):
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
    if options.get("unique") and (options.get("debounce") or options.get("cooldown")):
        raise ConfigError("unique=, debounce= and cooldown= each make one run of several submits: give one of them")
    if options.get("unique_for") is not None and not options.get("unique"):
        raise ConfigError("unique_for= makes unique= hold longer: give that too, such as unique=True")
    limits = ("max_running", "rate", "debounce", "cooldown")
    if options.get("key") is not None and all(options.get(name) is None for name in limits):
        raise ConfigError(f"key={options['key']!r} tells what is counted apart: give also one of {', '.join(limits)}")


DEFAULT_POLICY = Policy()
