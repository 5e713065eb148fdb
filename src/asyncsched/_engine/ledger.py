"""The runs of a task that are on their way, one by one: for policies that must know more than how many they are."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from asyncsched._engine.bus import Events, warn
from asyncsched._engine.timer import Timer
from asyncsched._heap import Wakeup
from asyncsched.deadlines import passed, streak_change, warn_longer_us, warn_not_started_us
from asyncsched.events import RunLate, RunLong, RunWarning, TaskFailing
from asyncsched.policy import Policy
from asyncsched.run import Run, RunStatus

log = logging.getLogger("asyncsched.engine")

_ONE_BY_ONE = ("queue_one", "queue_all", "cancel_previous")


def keeps_ledger(policy: Policy) -> bool:
    """Whether a task of this policy needs one."""
    warned = (policy.warn_not_started, policy.warn_longer, policy.warn_failures)
    return policy.overlap in _ONE_BY_ONE or any(limit is not None for limit in warned)


class Ledger:
    """What is on its way of one task, what was told of it, and how often it has failed in a row."""

    def __init__(self, policy: Policy, timer: Timer, bus: Events, now_us: Callable[[], int]) -> None:
        self.failures = 0
        self._policy = policy
        self._timer = timer
        self._bus = bus
        self._now_us = now_us
        self._entries: dict[str, _Entry] = {}

    def recall(self, ended: Iterable[Run[Any]]) -> None:
        """Know how often the task has failed in a row, from its ended runs, newest first."""
        for run in ended:
            if run.status is RunStatus.FAILED:
                self.failures += 1
            elif run.status is RunStatus.SUCCESS:
                return

    def made(self, runs: Iterable[Run[Any]]) -> None:
        """These have been written, or were found."""
        for run in runs:
            if run.id not in self._entries and not run.status.final:
                entry = self._entries[run.id] = _Entry(run, self._rang)
                self._watch(entry)

    def started(self, run: Run[Any]) -> None:
        """An attempt of this one is about to begin."""
        entry = self._entries.get(run.id)
        if entry is not None and run.attempt == 1:
            self._over(entry)
            self._watch(entry)

    def ended(self, run: Run[Any]) -> None:
        """This one has ended."""
        entry = self._entries.pop(run.id, None)
        if entry is not None:
            self._timer.drop(entry)
            self._over(entry)
        if run.status is RunStatus.FAILED or run.status is RunStatus.SUCCESS:
            before, self.failures = self.failures, self.failures + 1 if run.status is RunStatus.FAILED else 0
            change = streak_change(self._policy, before, self.failures)
            if change is not None:
                self._tell(TaskFailing, run, over=change == "recovered")

    def close(self) -> None:
        """Tell no more."""
        for entry in self._entries.values():
            self._timer.drop(entry)

    def on_their_way(self, now_us: int) -> tuple[int, int]:
        """How many are running or between two attempts, and how many are due and have not started."""
        begun = [entry.run.attempt > 0 for entry in self._entries.values() if is_due(entry.run, now_us)]
        return sum(begun), len(begun) - sum(begun)

    def due_ids(self, now_us: int) -> list[str]:
        """The ids of those that are on their way; not of those that wait for their time."""
        return [run_id for run_id, entry in self._entries.items() if is_due(entry.run, now_us)]

    def _watch(self, entry: _Entry) -> None:
        """Let the entry ring when there is something to warn of."""
        by_us = self._by_us(entry.run)
        if by_us is None:
            self._timer.drop(entry)
        else:
            self._timer.set(entry, by_us)

    def _by_us(self, run: Run[Any]) -> int | None:
        if run.first_us is None:
            return warn_not_started_us(self._policy, run.due_us)
        return warn_longer_us(self._policy, run.first_us)

    def _rang(self, entry: _Entry) -> None:
        by_us = self._by_us(entry.run)
        if not passed(by_us, None, self._now_us()):  # its instant was moved meanwhile
            self._watch(entry)
            return
        entry.told = RunLate if entry.run.first_us is None else RunLong
        self._tell(entry.told, entry.run, over=False)

    def _over(self, entry: _Entry) -> None:
        kind, entry.told = entry.told, None
        if kind is not None:
            self._tell(kind, entry.run, over=True)

    def _tell(self, kind: type[RunWarning], run: Run[Any], *, over: bool) -> None:
        if over:
            with contextlib.suppress(Exception):
                log.info("task %s: no longer %s, run %s", run.task, kind.__name__, run.id)
        else:
            warn("task %s: %s, run %s", run.task, kind.__name__, run.id)
        self._bus.tell(kind(at_us=self._now_us(), task=run.task, run=run, over=over))


class _Entry(Wakeup):
    __slots__ = ("_rang", "run", "told")

    def __init__(self, run: Run[Any], rang: Callable[[_Entry], None]) -> None:
        super().__init__()
        self.run = run
        self.told: type[RunWarning] | None = None
        self._rang = rang

    def ring(self) -> None:
        self._rang(self)


def is_due(run: Run[Any], now_us: int) -> bool:
    """Whether a fire meets this run, which has not ended: not while it waits for its time, nor if it is backfilled."""
    return (run.attempt > 0 or run.due_us <= now_us) and not run.terms.backfill


def still_later(runs: Sequence[Run[Any]], now_us: int) -> list[Run[Any]]:
    """Those of the runs that have not ended, and that a fire does not meet."""
    return [run for run in runs if not run.status.final and not is_due(run, now_us)]
