"""Looking and acting at a store that other processes serve."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from asyncsched.cli._arguments import Place
from asyncsched.clock import SystemClock
from asyncsched.errors import ConfigError, StoreError
from asyncsched.scheduler import Scheduler, acting, store_of
from asyncsched.stores import Store
from asyncsched.stores._migrates import Migrates

T = TypeVar("T")


def look(place: Place, work: Callable[[Store], Awaitable[T]]) -> T:
    """What ``work`` gives for the store, at which nothing is declared: arguments and results are plain JSON values.

    Raises:
        ConfigError: the store is one process's own.
        StoreError: it cannot be used, or there is nothing yet where ``--store`` says.
    """
    store = _shared(place)

    async def looked() -> T:
        await _check(place, store)
        await store.open(looking_name(), SystemClock())
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(looked())


def looking_name() -> str:
    """By which name this process looks at a store."""
    return f"looking:{os.getpid()}"


def act(place: Place, work: Callable[[Scheduler], Awaitable[T]]) -> T:
    """What ``work`` gives for a scheduler at the store, which neither fires nor runs anything.

    Raises:
        ConfigError: the store is one process's own.
        StoreError: it cannot be used, or there is nothing yet where ``--store`` says.
    """
    store = _shared(place)

    async def acted() -> T:
        await _check(place, store)
        async with acting(place.scheduler) as node:
            return await work(node)

    return asyncio.run(acted())


def _shared(place: Place) -> Store:
    store = store_of(place.scheduler)
    if not store.shared:
        cure = "give the scheduler a store that outlives it, as in Scheduler('sqlite:///jobs.db')"
        raise ConfigError(f"{store} store: nothing outlives its process, and nobody else can see it: {cure}")
    return store


async def _check(place: Place, store: Store) -> None:
    if not place.coded and isinstance(store, Migrates) and not (await store.schema()).seen:
        raise StoreError(f"{store}: nothing has ever been stored there; is this the right place?")
