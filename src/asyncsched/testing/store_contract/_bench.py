"""The benches on which the contract is tried: a place where runs are kept, and nodes that come and go there."""

from __future__ import annotations

from abc import ABC, abstractmethod

from asyncsched.clock import Clock
from asyncsched.stores import Store

SECOND = 1_000_000
START_US = 1_767_225_600_000_000
"""When the clock of every bench begins: 2026-01-01 00:00 UTC, in microseconds since the epoch."""


class HandClock(Clock):
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.moved_us = 0

    def now_us(self) -> int:
        return START_US + self.moved_us

    def steady_us(self) -> int:
        return self.moved_us


class Bench(ABC):
    """One place where runs are kept, and the nodes that come and go there.

    clock: what ``enter`` opens the store with.
    """

    def __init__(self) -> None:
        self.clock = HandClock()

    @abstractmethod
    async def enter(self, node: str) -> Store:
        """The store, opened by ``node`` with ``clock``. What nodes before it have left there is there.

        A node that entered before and has not closed its store vanishes now, as a process that is killed does: what it
        was running is handed back before this returns.
        """

    async def advance(self, us: int) -> None:
        """Let so many microseconds pass by the store's clock; where they are negative, it is set back by so much."""
        self.clock.moved_us += us

    @abstractmethod
    async def clear(self) -> None:
        """Let go of everything: connections, threads, and what is kept."""


class SharedBench(Bench):
    """The same for a store that several processes may use at once, ``shared``."""

    @abstractmethod
    async def beside(self, node: str) -> Store:
        """The store, opened by one more ``node``, while those that are there go on."""
