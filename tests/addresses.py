"""Where the stores of tests are: one place for each test, at servers that live as long as the test process.

A test of what holds for every store asks for a place of each of ``STORES``; one with several nodes, for one of each
of ``SHARED``.
"""

from __future__ import annotations

import atexit
import itertools
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import servers
from asyncsched import Scheduler
from asyncsched.stores import MemoryStore
from contract.postgres_bench import server as postgres_server

SHARED = ("sqlite", "postgres", "redis")
STORES = ("memory", *SHARED)
_numbers = itertools.count(1)


@cache
def valkey_server() -> servers.Valkey:
    """The server of this test process, which ends with it."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(servers.valkey())


def new_url(kind: str, directory: Path, *, lease: str = "20s") -> str:
    """The URL of a shared store in which nothing is yet."""
    number = next(_numbers)
    if kind == "sqlite":
        # What outlives a loss of power costs a wait for the disk each time, and these tests pull no plugs.
        return f"sqlite:///{directory / 'jobs.db'}?synchronous=normal&lease={lease}"
    if kind == "postgres":
        return f"{postgres_server().url()}&schema=place{number}&lease={lease}"
    return f"{valkey_server().url()}&namespace=place-{number}&volatile=allow&lease={lease}"


class Place:
    """A store that schedulers use one after another; several at once, unless it is that of one process."""

    def __init__(self, kind: str, directory: Path, *, lease: str = "20s") -> None:
        self.kind = kind
        self._store = MemoryStore() if kind == "memory" else new_url(kind, directory, lease=lease)

    @property
    def url(self) -> str:
        """For other processes."""
        assert isinstance(self._store, str)
        return self._store

    def scheduler(self, registry: Any, **options: Any) -> Scheduler:
        """A new scheduler there."""
        return Scheduler(self._store, registry=registry, **options)
