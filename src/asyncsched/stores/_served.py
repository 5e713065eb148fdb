"""Tasks as the memory store keeps them, and which of them are served since it was last opened."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from heapq import nsmallest
from typing import Any

from asyncsched.overrides import NO_OVERRIDES
from asyncsched.renaming import renamed_terms
from asyncsched.run import NO_TERMS, Run, RunStatus
from asyncsched.stored import PARKED, StoredTask, Unserved, unserved_reason
from asyncsched.stores._base import Amendment, Declared, Standing
from asyncsched.stores._blocked import BlockedRuns
from asyncsched.stores._keeping import IdempotencyKeys
from asyncsched.stores._roster import RosterVerbs
from asyncsched.stores._standing import StandingRuns
from asyncsched.stores._waiting import WaitingRoom

_PENDING = RunStatus.PENDING


class KeptTask:
    """A task as it stands: what ``Standing`` tells, in a form that changes with every fire.

    era: how often the store had been opened when the task was last declared.
    """

    __slots__ = (
        "coded",
        "declaration",
        "era",
        "history_limit",
        "made",
        "metadata",
        "next_us",
        "overrides",
        "paused_until_us",
        "skip_us",
        "trigger",
        "version",
    )

    def __init__(self, declared: Declared, version: int, era: int, before: KeptTask | None) -> None:
        self.paused_until_us: int | None = None
        self.overrides = NO_OVERRIDES
        if before is not None:
            self.paused_until_us, self.overrides = before.paused_until_us, before.overrides
        self.declaration = declared.declaration
        self.coded = self.trigger = declared.trigger
        self.next_us = declared.next_us
        if before is not None and self.overrides.trigger is not None:
            self.trigger, self.next_us = before.trigger, before.next_us
        self.history_limit = declared.history_limit
        self.metadata = declared.metadata
        self.version = version
        self.era = era
        self.skip_us: int | None = None
        self.made = 0

    def amend(self, amendment: Amendment) -> None:
        """Take what an operator changed."""
        self.paused_until_us, self.skip_us = amendment[:2]
        if amendment.overrides is not None:
            self.overrides = amendment.overrides
            self.trigger, self.next_us = amendment.overrides.trigger or self.coded, amendment.next_us

    def standing(self, task: str) -> Standing:
        return Standing(
            task,
            self.declaration,
            self.trigger,
            self.next_us,
            self.version,
            self.history_limit,
            self.paused_until_us,
            self.skip_us,
            self.made,
            self.overrides,
            self.coded,
        )


class MemoryRoster(RosterVerbs):
    """Those verbs of the memory store that tell who is served; and what becomes of the renamed."""

    _now_us: Callable[[], int]
    _tasks: dict[str, KeptTask]
    _live: dict[str, Run[Any]]
    _room: WaitingRoom
    _standing: StandingRuns
    _keys: IdempotencyKeys
    _blocked: BlockedRuns
    _left_us: list[int | None]
    """When each era of the store ended, the last of which is under way."""

    @abstractmethod
    def _rename_history(self, before: str, task: str) -> bool:
        """Keep the ended runs of a task under its new id; whether there were any."""

    async def due(self, limit: int) -> list[str]:
        waiting = (
            (kept.next_us, task)
            for task, kept in self._tasks.items()
            if kept.next_us is not None and kept.paused_until_us is None
        )
        return [task for _at_us, task in nsmallest(limit, waiting)]

    async def tasks(self, task_ids: Collection[str] | None = None) -> list[StoredTask]:
        live: dict[str, list[Run[Any]]] = {}
        for run in self._live.values():
            live.setdefault(run.task, []).append(run)
        wanted = self._tasks if task_ids is None else self._tasks.keys() & set(task_ids)
        return [self._stored(task, live.get(task, ())) for task in sorted(wanted)]

    def _stored(self, task: str, live: Sequence[Run[Any]]) -> StoredTask:
        kept = self._tasks[task]
        waiting = [run for run in live if run.status is _PENDING]
        return StoredTask(
            task=task,
            trigger=kept.trigger,
            coded=kept.coded,
            next_us=kept.next_us,
            skip_us=kept.skip_us,
            paused_until_us=kept.paused_until_us,
            overrides=kept.overrides,
            retired=not self._is_served(task),
            retired_us=None if self._is_served(task) else self._left_us[kept.era],
            waiting=len(waiting),
            running=len(live) - len(waiting),
            parked=sum(run.reason is not None and run.reason.startswith(PARKED) for run in waiting),
            metadata=kept.metadata or {},
        )

    def _is_served(self, task: str) -> bool:
        kept = self._tasks.get(task)
        return kept is not None and kept.era == len(self._left_us) - 1

    async def park_unserved(self) -> list[Unserved]:
        waiting: dict[str, int] = {}
        for run in self._live.values():
            if run.status is _PENDING and not run.blocked and not self._is_served(run.task):
                run.reason = unserved_reason(run.task)
                waiting[run.task] = waiting.get(run.task, 0) + 1
        self._room.absent.update(waiting)
        since = {task: None if (kept := self._tasks.get(task)) is None else self._left_us[kept.era] for task in waiting}
        return [Unserved(task, count, since[task]) for task, count in sorted(waiting.items())]

    def _declare(self, declared: Declared) -> None:
        """Serve the task from now on: its runs wait again."""
        kept = self._tasks[declared.task]
        kept.era = len(self._left_us) - 1
        kept.metadata = declared.metadata
        if declared.task in self._room.absent:
            for run in self._live.values():
                if run.task == declared.task and run.reason == unserved_reason(run.task):
                    run.reason = None
            self._room.back(declared.task)

    def _take_over(self, declared: Declared) -> list[tuple[str, str]]:
        """Keep under the task's id what is kept under its aliases; under which of them a task was found."""
        return [(alias, declared.task) for alias in declared.aliases if self._rename(alias, declared.task)]

    def _rename(self, before: str, task: str) -> bool:
        kept = self._tasks.pop(before, None)
        if kept is not None and task not in self._tasks:
            self._tasks[task] = kept
        live = [run for run in self._live.values() if run.task == before]
        for run in live:
            run.task = task
            if run.reason == unserved_reason(before):
                run.reason = None
            if run.terms is not NO_TERMS:
                run.terms = renamed_terms(run.terms, before, task)
        self._room.rename(before, task)
        self._standing.rename(before, task)
        self._keys.rename(before, task)
        self._blocked.rename(before, task)
        self._rename_history(before, task)
        return kept is not None or bool(live)
