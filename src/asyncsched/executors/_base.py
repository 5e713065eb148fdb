"""How a function is called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """A call that nobody waits for any more, and that goes on all the same.

    what: the task and the run that it belongs to, or the function. since: when it was left, in UTC.
    """

    what: str
    since: datetime


class Executor(ABC):
    """Calls functions of one kind, somewhere. It serves one event loop at a time."""

    @abstractmethod
    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Awaitable[Any]:
        """An awaitable of the result of ``func(*args, **kwargs)``; awaiting it raises what the function raised.

        Cancelling it returns at once, even where the call itself cannot be stopped.
        """

    @property
    @abstractmethod
    def busy(self) -> int:
        """How many calls are under way outside the event loop, abandoned ones too."""

    @property
    def abandoned(self) -> tuple[Abandoned, ...]:
        """The calls that were cancelled and could not be stopped, until they return."""
        return ()

    async def close(self) -> None:
        """Give back what is kept for further calls: idle threads, idle processes. A later ``call`` begins anew.

        The scheduler calls it when it is left, once its runs have ended. It does not wait for abandoned calls.
        """
        return


@runtime_checkable
class LeapingLoop(Protocol):
    """An event loop that leaps through time when nothing is going on, such as one for tests."""

    def watch(self, work: Callable[[], object]) -> Callable[[], None]:
        """Hold time still while ``work()`` gives something true, until what is returned is called."""
        ...


def hold_still(loop: AbstractEventLoop, work: Callable[[], object]) -> Callable[[], None]:
    """Let no time pass on a loop that leaps while ``work()`` gives something true; what is returned ends that."""
    return loop.watch(work) if isinstance(loop, LeapingLoop) else lambda: None
