"""What an adapter must do, so that every scheduler is asked the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple


class Work(NamedTuple):
    """What the tasks of one trial call."""

    function: Callable[..., Any]
    """A coroutine function, or a plain one if ``blocking``."""
    numbered: bool
    """Whether it takes the number of its task."""
    blocking: bool = False


class Order(NamedTuple):
    """One task to be added: fire every ``period`` seconds from ``first`` on, or from now on."""

    number: int
    period: int
    first: float | None
    """Seconds since the epoch; ``None`` leaves it to the library, in its simplest form."""

    @property
    def first_at(self) -> datetime:
        assert self.first is not None
        return datetime.fromtimestamp(self.first, UTC)


class Adapter(ABC):
    """One scheduler with its tasks. Made on the running loop; tasks may be added before and after ``start``."""

    distribution: ClassVar[str | None] = None
    """The package whose version is reported."""
    settings: ClassVar[str] = ""
    """How it was set up, for the report."""
    whole_seconds: ClassVar[bool] = False
    """It fires on whole seconds only, so that fires of a second cannot be spread over it."""
    plain_functions: ClassVar[bool] = True
    """It calls plain functions in threads."""
    anchored: ClassVar[bool] = True
    """Its intervals keep to their grid, so that lateness can be told."""
    add_us: ClassVar[float] = 40
    """About what adding one task takes, for the lead that a trial needs."""
    most: ClassVar[int] = 100_000
    """With more tasks due at once it takes minutes."""

    graphs: ClassVar[bool] = False
    """Its tasks may need tasks."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def arguments(self, order: Order) -> tuple[int, ...]:
        return (order.number,) if self.work.numbered else ()

    def values(self, orders: Sequence[Order]) -> list[Any]:  # noqa: ARG002
        """What the program itself makes to describe these tasks and hands over; nothing where it hands over calls."""
        return []

    @abstractmethod
    async def add(self, orders: Sequence[Order]) -> list[Any]:
        """Add these tasks; what ``remove`` needs of each."""

    async def add_graph(self, needs: Sequence[tuple[int, ...]]) -> Callable[[int], Awaitable[None]]:
        """Add tasks that need those of the given numbers; what makes so many runs of the first, and waits for all."""
        raise NotImplementedError

    async def start(self) -> None:  # noqa: B027 - some fire from the first task on
        """Begin to fire."""

    async def stop(self) -> None:  # noqa: B027 - some never stop
        """Fire no more."""

    @abstractmethod
    async def remove(self, handle: Any) -> None:
        """Remove one task."""
