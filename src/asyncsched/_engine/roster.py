"""What other nodes do to the tasks of this one, and tasks that no node serves: followed, parked and told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from asyncsched._engine.arming import Arming
from asyncsched._engine.bus import Events, warn
from asyncsched._engine.living import Living
from asyncsched.events import StoreRolledBack, TaskUnknown
from asyncsched.stored import retired_words
from asyncsched.stores import Store
from asyncsched.task import Task


class Roster:
    """Keeps this node's tasks as they stand in the store, where others edit them.

    ring: called when there is something to follow.
    """

    def __init__(
        self,
        living: Living,
        store: Store,
        bus: Events,
        arming: Arming,
        now_us: Callable[[], int],
        ring: Callable[[], None],
    ) -> None:
        self._living = living
        self._store = store
        self._bus = bus
        self._arming = arming
        self._now_us = now_us
        self._ring = ring
        self.stirred = False
        """Others have edited tasks, or nodes have come or gone."""
        self._edited: set[str] = set()
        self._unknown: set[str] = set()
        """The tasks that nobody serves, as far as that was told."""
        self._complete = False
        """Whether all tasks have been taken up."""
        self._rollbacks = 0
        self._forgotten = False
        """Whether the store may not know what this node declares."""
        store.edited, store.forgot = self.edited, self.forgot

    async def take_up(self, tasks: Iterable[Task[..., Any]], begin: Callable[[], None]) -> None:
        """Serve these tasks, each from where the store says that it stands; ``begin``: see ``Arming``."""
        await self._arming.take_up(tasks, begin)
        self._complete = True
        await self.look()

    def edited(self, tasks: Collection[str]) -> None:
        """These have been edited, perhaps by others, or nodes have come or gone: look in the next turn."""
        self._edited.update(tasks)
        self.stirred = True
        self._ring()

    def forgot(self) -> None:
        """The store has forgotten what it had acknowledged: declare the tasks again in the next turn."""
        self._rollbacks += 1
        self._forgotten = self.stirred = True
        self._bus.tell(StoreRolledBack(at_us=self._now_us(), times=self._rollbacks))
        self._ring()

    async def follow(self) -> None:
        """Take over what others have edited, and look for tasks that nobody serves by now."""
        edited, self._edited = self._edited, set()
        self.stirred = False
        try:
            if self._forgotten:
                await self._arming.declare_again()
                self._forgotten = False
            served = edited & self._living.tasks.keys()
            for standing in await self._store.standings(served) if served else ():
                armed = self._living.tasks.get(standing.task)
                if armed is not None and armed.version != standing.version:
                    self._arming.follow(armed, standing)
            if self._complete:
                await self.look()
        except BaseException:
            self._edited |= edited
            self.stirred = True
            raise

    async def look(self) -> None:
        """Let the runs of tasks that no node serves wait where nobody claims them, and tell of those tasks once."""
        unserved = await self._store.park_unserved()
        for task, waiting, since_us in unserved:
            if task not in self._unknown:
                cure = f"if it was renamed, give the new one aliases=[{task!r}]"
                warn("task %s: %d run(s) wait, %s; %s", task, waiting, retired_words(since_us), cure)
                self._bus.tell(TaskUnknown(at_us=self._now_us(), task=task, waiting=waiting))
        self._unknown = {task for task, _waiting, _since_us in unserved}
