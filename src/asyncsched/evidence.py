"""What there is to know of a task when somebody asks why it did not run. Values, and what follows from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from asyncsched.clock import from_us
from asyncsched.links import NO_LINKS, Links
from asyncsched.phrases import moment_words, number_words
from asyncsched.policy import Policy
from asyncsched.run import Run, RunStatus

# So many are named, the others counted.
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Where runs are started: what is known of this node.

    queues: those that are served, each with its limit or ``None``; ``None`` is all, without a limit.
    groups: how many runs of a group may be under way at once.
    max_running: how many runs may be; ``None`` is no limit.
    under_way: the runs that are.
    """

    queues: Mapping[str, int | None] | None = None
    groups: Mapping[str, int] = field(default_factory=dict)
    max_running: int | None = None
    under_way: Collection[Run[Any]] = ()


ANYWHERE = Room()
"""Nothing is known of where runs are started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A task that is asked about.

    runs: what is on record of it, live, ended and skipped.
    links: what it depends on.
    upstreams: the runs that its runs need, by their ids, as far as they are known.
    succeeded: when each task that it depends on last succeeded, ``None`` for never.
    room: where they are started.
    places: the runs that have a place under each limit key, as ``places_of`` finds them.
    """

    policy: Policy
    zone: ZoneInfo
    now_us: int
    runs: Sequence[Run[Any]]
    links: Links = NO_LINKS
    upstreams: Mapping[str, Run[Any]] = field(default_factory=dict)
    succeeded: Mapping[str, int | None] = field(default_factory=dict)
    room: Room = ANYWHERE
    places: Mapping[str, Sequence[Run[Any]]] = field(default_factory=dict)

    def moment(self, at_us: int) -> datetime:
        """The instant, in the task's zone."""
        return from_us(at_us).astimezone(self.zone)

    def when(self, at_us: int) -> str:
        """The instant in words: its time, with the day where that is another one than today."""
        moment = self.moment(at_us)
        if moment.date() == self.moment(self.now_us).date():
            return moment.strftime("%H:%M:%S") + (f".{moment.microsecond:06}".rstrip("0") if moment.microsecond else "")
        return moment_words(moment, year=False)

    def name(self, run: Run[Any]) -> str:
        """What to call a run of the task."""
        if run.scheduled_us is None:
            return f"the run submitted at {self.when(run.created_us)}"
        return f"the run for {self.when(run.scheduled_us)}"


def places_of(runs: Iterable[Run[Any]], now_us: int) -> Mapping[str, Sequence[Run[Any]]]:
    """Of each limit key the runs that have a place: those that others with the key wait for.

    Who runs, or ran and will be tried again, has one; what is left is for those that came first.
    """
    holding: dict[str, list[Run[Any]]] = {}
    waiting: dict[str, list[Run[Any]]] = {}
    for run in runs:
        key = run.terms.limit_key
        if key is None or run.status.final:
            continue
        if run.status is RunStatus.RUNNING or run.attempt:
            holding.setdefault(key, []).append(run)
        elif run.due_us <= now_us:
            waiting.setdefault(key, []).append(run)
    for key, queue in waiting.items():
        places = holding.setdefault(key, [])
        for run in sorted(queue, key=lambda each: each.id):
            if run.terms.limit is None or len(places) < run.terms.limit:
                places.append(run)
    return holding


def listed(names: Sequence[str]) -> str:
    """The names, the first few of many."""
    more = f" and {number_words(len(names) - _NAMED, 'other')}" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
