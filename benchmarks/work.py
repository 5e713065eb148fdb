"""What the servers' stores are measured with: one task, and nodes that run it or do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asyncsched import Registry, Scheduler
from asyncsched.stores import Store


async def nothing() -> None:
    """What tasks call that only have to be there."""


def registry_of(kept: int) -> tuple[Registry, Any]:
    """A task that gives back its argument, of which so many ended runs are kept; and the registry that has it."""
    registry = Registry()

    @registry.task(id="work", history_limit=kept)
    async def work(number: int) -> int:
        return number

    return registry, work


@asynccontextmanager
async def idler(store: Store, kept: int = 100) -> AsyncIterator[Any]:
    """That task at a node that runs nothing."""
    registry, work = registry_of(kept)
    async with Scheduler(store, registry=registry, tz="UTC", stall_warning=None, queues=[]):
        yield work
