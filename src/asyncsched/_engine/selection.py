"""Which runs somebody means: what was given, as a filter for the store."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from asyncsched._engine.engine import Engine
from asyncsched.clock import to_us
from asyncsched.errors import MisuseError
from asyncsched.run import FINAL, RunStatus, SkipReason
from asyncsched.stores import RunFilter
from asyncsched.zone import load_zone

Statuses = RunStatus | str | Collection[RunStatus | str]
"""A status, or several."""
UNFINISHED = frozenset((RunStatus.PENDING, RunStatus.RUNNING))


class Selection(NamedTuple):
    """The runs that fit every part that is given; ``runs.list`` says what each is."""

    task: str | None = None
    status: Statuses | None = None
    since: datetime | None = None
    until: datetime | None = None
    queue: str | None = None
    tag: str | None = None

    def filter(self, engine: Engine, limit: int, reason: SkipReason | str | None = None) -> RunFilter:
        """What the store is asked; zones and tags are those of the tasks that are served here.

        Raises:
            MisuseError: an instant is no datetime, or the limit no whole number from zero on.
            ValueError: there is no such status.
        """
        for name, given in (("since", self.since), ("until", self.until)):
            if given is not None and not isinstance(given, datetime):
                raise MisuseError(f"{name}={given!r}: give a datetime")
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise MisuseError(f"limit={limit!r}: give a whole number, zero or more")
        tasks = engine.living.tasks
        armed = None if self.task is None else tasks.get(self.task)
        zone = load_zone(engine.tz) if armed is None else armed.zone
        since_us, until_us = (
            None if moment is None else to_us(moment if moment.tzinfo else moment.replace(tzinfo=zone))
            for moment in (self.since, self.until)
        )
        tagged = None if self.tag is None else {one.task.id for one in tasks.values() if self.tag in one.task.tags}
        return RunFilter(
            task=self.task,
            status=self.statuses,
            reason=None if reason is None else {reason},
            since_us=since_us,
            until_us=until_us,
            tasks=tagged,
            queue=self.queue,
            limit=limit,
        )

    @property
    def statuses(self) -> set[RunStatus] | None:
        """Those that are given; ``None``: all.

        Raises:
            ValueError: there is no such status.
        """
        if self.status is None:
            return None
        return {RunStatus(one) for one in ([self.status] if isinstance(self.status, str) else self.status)}

    def unfinished(self) -> frozenset[RunStatus]:
        """Which of them can be cancelled, by their status.

        Raises:
            MisuseError: nothing is given, or a status of runs that have ended.
            ValueError: there is no such status.
        """
        self._check("cancel")
        wanted = self.statuses or UNFINISHED
        if not UNFINISHED.issuperset(wanted):
            cure = "PENDING and RUNNING can be cancelled"
            raise MisuseError(f"runs.cancel(status={self.status!r}): these have ended; {cure}")
        return frozenset(wanted)

    def ended(self) -> frozenset[RunStatus]:
        """Which of them can be run again, by their status; those that FAILED if none is given.

        Raises:
            MisuseError: nothing is given, or a status of runs that have not ended.
            ValueError: there is no such status.
        """
        self._check("retry")
        wanted = self.statuses or {RunStatus.FAILED}
        if not FINAL.issuperset(wanted):
            cure = "cancel them first, or await them"
            raise MisuseError(f"runs.retry(status={self.status!r}): these have not ended; {cure}")
        return frozenset(wanted)

    def _check(self, verb: str) -> None:
        if all(part is None for part in self):
            given = "the id of a run, or which runs: task=, queue=, tag=, status=, since=, until="
            raise MisuseError(f"runs.{verb}() of nothing: give {given}")
