"""What a store must do to stay small and quick to open: each verb is one unit, bounded, and returns values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from asyncsched.run import Run


class Pruned(NamedTuple):
    """What ``prune`` did.

    runs: how many ended runs and records of skips were forgotten.
    keys: how many idempotency keys were.
    more: whether there may be more to forget: call again.
    """

    runs: int
    keys: int
    more: bool


class UpkeepVerbs(ABC):
    """The verbs about what is kept, for how long, and how much of it a node has at hand."""

    @abstractmethod
    async def unfinished(self, tasks: Collection[str]) -> list[Run[Any]]:
        """The runs of these tasks that have not ended, newest first; this node counts them from then on.

        So ``cycle`` does not tell it again that they are there, and tells it how each one ends that ends elsewhere. Of
        other tasks a ``shared`` store tells each run by ``Cycled.found`` when it is first heard of, claimed or over:
        a million runs that wait need not be known for that.
        """

    @abstractmethod
    def awaited(self) -> Sequence[Run[Any]]:
        """The runs that have not ended and that somebody in this process may be waiting for. Asks nobody."""

    @abstractmethod
    async def prune(self, keep_us: Mapping[str, int | None], others_us: int | None, most: int = 1_000) -> Pruned:
        """Forget what is past its keeping, of about ``most`` ended runs that are looked at, and as many keys.

        Of each of these tasks what ended longer ago than is said, of all others what ended longer ago than
        ``others_us``; ``None``: nothing. Beside this the last ``history_limit`` of a task are kept, which needs no
        verb. What a run that waits still needs the result of stays. An idempotency key goes once its time is over,
        unless its run is still live.

        A caller goes on until ``more`` is false: each call goes on where the last one of this instance ended.
        """
