"""Which run stands for a key in memory, so that several submits may be one run."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any

from asyncsched.merge import merge, merged_reason, stands_until_us
from asyncsched.renaming import renamed_key
from asyncsched.run import Run, RunStatus, Settled


class StandingRuns:
    """Which run stands for each key of those that several submits may share."""

    def __init__(self) -> None:
        self._runs: dict[str, Run[Any]] = {}
        self._leaving: list[tuple[int, str, str]] = []
        """Until when the runs that have ended stand, by their key and id."""

    def submitted(self, run: Run[Any], now_us: int) -> tuple[Run[Any], bool]:
        """The run that stands for the key of a new one, and whether it waits for the new one's instant from now on."""
        key = run.terms.once_key
        assert key is not None
        self._forget(now_us)
        earlier = self._runs.get(key)
        verdict = merge(run, earlier, now_us)
        if earlier is None or verdict == "new":
            self._runs[key] = run
            return run, False
        if verdict == "moved":
            earlier.terms, earlier.args, earlier.kwargs = run.terms, run.args, run.kwargs
            earlier.token += 1
        return earlier, verdict == "moved"

    def fired(self, run: Run[Any], now_us: int) -> bool:
        """Whether the run of a fire stands for its key; it is SKIPPED if another one does."""
        once = run.terms.once
        assert once is not None
        if self.submitted(run, now_us)[0] is run:
            return True
        run.apply(Settled(RunStatus.SKIPPED, now_us, reason=merged_reason(once)))
        return False

    def ended(self, run: Run[Any], now_us: int) -> None:
        """Keep a run that has ended for as long as it stands for its key."""
        key = run.terms.once_key
        if key is None or self._runs.get(key) is not run:
            return
        until_us = stands_until_us(run, now_us)
        if until_us <= now_us:
            del self._runs[key]
        else:
            heappush(self._leaving, (until_us, key, run.id))
            self._forget(now_us)

    def rename(self, before: str, task: str) -> None:
        """Let the runs of a task that had the id ``before`` stand for its keys of today."""
        self._runs = {renamed_key(key, before, task) or key: run for key, run in self._runs.items()}
        self._leaving = [(at_us, renamed_key(key, before, task) or key, run) for at_us, key, run in self._leaving]
        heapify(self._leaving)

    def _forget(self, now_us: int) -> None:
        while self._leaving and self._leaving[0][0] <= now_us:
            _until_us, key, run_id = heappop(self._leaving)
            standing = self._runs.get(key)
            if standing is not None and standing.id == run_id:
                del self._runs[key]
