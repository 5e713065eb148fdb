"""How a function is called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any


class Executor(ABC):
    """Calls functions of one kind, somewhere."""

    @abstractmethod
    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Awaitable[Any]:
        """An awaitable of the result of ``func(*args, **kwargs)``; awaiting it raises what the function raised.

        Cancelling it returns at once, even where the call itself cannot be stopped.
        """

    @property
    @abstractmethod
    def busy(self) -> int:
        """How many calls are under way outside the event loop."""
