"""What a store must do about the nodes that are at it: each verb is one unit, and returns values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from asyncsched.nodes import NodeReport, StoredNode


class NodeVerbs(ABC):
    """The verbs about who is there, what each says of itself, and who is to take nothing more.

    own_clock: whether the store has a clock of its own, which is not that of the machine that the node runs on.
    """

    own_clock: ClassVar[bool] = False

    @abstractmethod
    async def report(self, said: NodeReport | None) -> bool | None:
        """Keep what this node says of itself, if it is given; whether somebody has asked it to drain.

        ``None`` if nothing is kept of what it has said: it was taken for dead and has come anew, or is about to.
        """

    @abstractmethod
    async def nodes(self) -> list[StoredNode]:
        """The nodes that are there, in the order in which they came; this one is among them.

        One that has died is there until that is noticed.
        """

    @abstractmethod
    async def ask_to_drain(self, node_id: str) -> bool:
        """Let the node of this id be told to claim nothing any more; whether there is one.

        ``edited`` is called there, with no tasks. It goes on being asked; to say that it does so is the node's.
        """

    def clock_set_back(self, by_us: int) -> None:  # noqa: B027 - to most stores it is nothing
        """Told by the node when the clock of ``open`` was found to be set back by so much. Asks nobody.

        A store that is its process's own may let no run wait longer for its next attempt than it would have. Elsewhere
        that is an instant, by which all nodes go: nothing is moved.
        """
