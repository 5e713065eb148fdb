"""What a store must do about tasks that come and go with the code of its nodes: each verb is one unit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from asyncsched.stored import StoredTask, Unserved


class RosterVerbs(ABC):
    """The verbs about which tasks are kept, and which of them any node declares.

    A node declares what it hands to ``reconcile`` and ``put_task``, from then on until it leaves the store or is found
    to be gone. What no node declares is kept as it stands: it is retired until one does again.
    """

    @abstractmethod
    async def tasks(self, task_ids: Collection[str] | None = None) -> list[StoredTask]:
        """All tasks that are kept, or those of these ids, in the order of their ids; unknown ids are left out."""

    @abstractmethod
    async def park_unserved(self) -> list[Unserved]:
        """Let nobody claim the waiting runs of tasks that no node declares; these tasks.

        Such a run stays PENDING, and its ``reason`` is what ``unserved_reason`` says. It waits again, with no reason,
        as soon as ``reconcile`` or ``put_task`` declares its task. Those parked before are told again. What is blocked
        is not concerned, and what the deadlines end is ended, parked or not.

        Where a node puts aside what it cannot read, as an older version of the library or of the program may have to,
        this is also when what others have put aside so, and this node can read, waits again.
        """

    @abstractmethod
    async def due(self, limit: int) -> list[str]:
        """Up to so many tasks that have a watermark and are not paused, the earliest first.

        Who declares very many serves these before the others.
        """
