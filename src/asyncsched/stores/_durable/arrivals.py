"""Runs that are being written: nobody here may be told that they run before whoever made them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


class Arrivals:
    """Those of one node, by their ids."""

    def __init__(self) -> None:
        self._arriving: dict[str, asyncio.Future[Any]] = {}

    async def write(self, run_ids: Iterable[str], written: Awaitable[T]) -> T:
        """What ``written`` gives; these runs arrive until then."""
        future = asyncio.ensure_future(written)
        ids = list(run_ids)
        for run_id in ids:
            self._arriving[run_id] = future
        try:
            return await future
        finally:
            for run_id in ids:
                self._arriving.pop(run_id, None)

    async def wait(self, run_ids: Iterable[str]) -> None:
        """Return once those that make these runs have been told that they are written."""
        arriving = {self._arriving[run_id] for run_id in run_ids if run_id in self._arriving}
        if arriving:
            await asyncio.wait(arriving)
